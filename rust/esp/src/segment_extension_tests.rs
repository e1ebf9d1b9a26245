// SPDX-License-Identifier: GPL-2.0 OR MIT

//! IPv6 extension headers in front of TCP: which are carried along, and which are refused.

use super::*;

/// Puts IPv6 extension headers between the IPv6 header at `at` and TCP: their bytes, and what the IPv6
/// header names first.
fn extend(frame: &mut Vec<u8>, request: &mut Request, at: usize, first: u8, headers: &[u8]) {
    frame[at + 6] = first;
    frame.splice(at + IPV6_HLEN..at + IPV6_HLEN, headers.iter().copied());
    request.tcp += headers.len();
}

/// An extension header of `units` + 1 times eight bytes.
fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![next, units];
    header.resize(8 * (usize::from(units) + 1), 0);
    header
}

fn plain_v6() -> (Vec<u8>, Request) {
    let flow = Flow {
        outer_v6: true,
        ..example(Mode::Plain)
    };
    flow.whole()
}

/// Segments of an IPv6 packet with these extension headers, as frames.
fn with_extensions(first: u8, headers: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let (mut frame, mut request) = plain_v6();
    extend(&mut frame, &mut request, ETH_HLEN, first, headers);
    let segments = Segments::plain(&frame, &Layers::find(&frame), &request)?;
    let one = |i| {
        let mut out = vec![0; segments.len(i)];
        segments.write(i, &mut out).unwrap();
        out
    };
    Ok((0..segments.count()).map(one).collect())
}

#[test]
fn extension_headers_stay_in_front_of_every_segment() {
    let (hop, routing, options) = (0, 43, 60);
    let three = [
        extension(routing, 0),
        extension(options, 2),
        extension(IPPROTO_TCP, 1),
    ]
    .concat();
    let alone = with_extensions(IPPROTO_TCP, &[]).unwrap();
    for (first, headers) in [
        (hop, extension(IPPROTO_TCP, 0)),
        (routing, extension(IPPROTO_TCP, 3)),
        (options, extension(IPPROTO_TCP, 0)),
        (hop, three),
        // As many as may be.
        (options, extension(IPPROTO_TCP, 31)),
    ] {
        let extended = with_extensions(first, &headers).unwrap();
        assert_eq!(extended.len(), alone.len());
        for (extended, alone) in extended.iter().zip(&alone) {
            let (head, rest) = extended.split_at(ETH_HLEN + IPV6_HLEN);
            let (between, tcp) = rest.split_at(headers.len());
            assert_eq!(usize::from(be16(head, 18).unwrap()), rest.len());
            assert_eq!((head[20], between), (first, &headers[..]));
            assert_eq!(tcp, &alone[ETH_HLEN + IPV6_HLEN..]);
        }
    }
}

#[test]
fn extension_headers_that_do_not_lead_to_tcp_are_refused() {
    let options = 60;
    for (first, headers) in [
        // More bytes than are looked through.
        (options, extension(IPPROTO_TCP, 32)),
        // They lead to something else, at the right place.
        (options, extension(17, 0)),
        (options, extension(options, 0)),
        // TCP is said to start before, and behind, its place.
        (IPPROTO_TCP, extension(IPPROTO_TCP, 0)),
        (options, [extension(IPPROTO_TCP, 0), vec![0; 8]].concat()),
        (options, extension(IPPROTO_TCP, 1)[..8].to_vec()),
        // Headers that segments cannot all carry: a fragment, authentication, none at all.
        (44, extension(IPPROTO_TCP, 0)),
        (51, extension(IPPROTO_TCP, 0)),
        (59, extension(IPPROTO_TCP, 0)),
        (
            options,
            [extension(44, 0), extension(IPPROTO_TCP, 0)].concat(),
        ),
    ] {
        let refused = with_extensions(first, &headers);
        assert_eq!(refused, Err(Error::Headers), "{first} {headers:?}");
    }
    // TCP that is said to start within the IPv6 header, and next to it where something else is.
    let (frame, request) = plain_v6();
    let inside = Request {
        tcp: request.tcp - 8,
        ..request
    };
    assert!(Segments::plain(&frame, &Layers::find(&frame), &inside).is_err());
    let (mut frame, request) = plain_v6();
    frame[20] = 17;
    assert!(Segments::plain(&frame, &Layers::find(&frame), &request).is_err());
}

#[test]
fn extension_headers_inside_of_esp_are_refused() {
    let flow = example(Mode::Tunnel);
    let (mut frame, mut request) = flow.whole();
    assert!(flow.segments(&frame, &request).is_ok());
    let at = request.tcp - IPV6_HLEN;
    extend(&mut frame, &mut request, at, 60, &extension(IPPROTO_TCP, 0));
    assert_eq!(flow.segments(&frame, &request).err(), Some(Error::Headers));
}
