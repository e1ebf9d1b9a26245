// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Headers that are right, and every way in which one is not.

use super::*;
use proptest::prelude::*;

/// A frame with `tags` VLAN tags around `packet`.
fn frame(tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 5]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// IPv4 with `words` words of options.
fn ipv4(words: u8, payload: &[u8]) -> Vec<u8> {
    let hlen = 20 + 4 * usize::from(words);
    let mut packet = vec![0x45 + words, 0];
    packet.extend(((hlen + payload.len()) as u16).to_be_bytes());
    packet.extend([
        0,
        1,
        0x40,
        0,
        64,
        IPPROTO_TCP,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ]);
    packet.resize(hlen, 1);
    packet.extend(payload);
    packet
}

fn ipv6(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6f, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([IPPROTO_UDP, 64]);
    packet.extend([0xfd; 16]);
    packet.extend([0xfe; 16]);
    packet.extend(payload);
    packet
}

fn find(frame: &[u8]) -> Option<Ip> {
    Layers::find(frame).packet(frame.len())
}

#[test]
fn ipv4_below_tags_and_with_options() {
    for (tags, words) in [(&[][..], 0), (&[0x8100], 1), (&[0x88a8, 0x8100], 10)] {
        let mut bytes = frame(tags, ETHERTYPE_IPV4, &ipv4(words, b"data"));
        bytes.extend([0; 9]);
        let network = 14 + 4 * tags.len();
        let transport = network + 20 + 4 * usize::from(words);
        let ip = find(&bytes).unwrap();
        let wanted = Ip {
            v6: false,
            network,
            transport,
            end: transport + 4,
            protocol: IPPROTO_TCP,
            fragment: false,
        };
        assert_eq!(ip, wanted);
        assert_eq!(ip.payload(&bytes), Some(&b"data"[..]));
        assert_eq!(ip.has_no_options(), words == 0);
        let [src, dst] = ip.addresses(&bytes).unwrap();
        assert_eq!((src.family, &src.bytes[..5]), (4, &[10, 0, 0, 1, 0][..]));
        assert_eq!((dst.family, &dst.bytes[..5]), (4, &[10, 0, 0, 2, 0][..]));
        assert_eq!(bytes[network + last_of_destination(false)], 2);
    }
}

#[test]
fn ipv6_below_tags() {
    for tags in [&[][..], &[0x8100], &[0x8100, 0x8100]] {
        let mut bytes = frame(tags, ETHERTYPE_IPV6, &ipv6(b"data"));
        bytes.extend([0; 9]);
        let network = 14 + 4 * tags.len();
        let wanted = Ip {
            v6: true,
            network,
            transport: network + 40,
            end: network + 44,
            protocol: IPPROTO_UDP,
            fragment: false,
        };
        let ip = find(&bytes).unwrap();
        assert_eq!(ip, wanted);
        assert!(ip.has_no_options());
        let [src, dst] = [0xfd, 0xfe].map(|byte| Address {
            family: 6,
            bytes: [byte; 16],
        });
        assert_eq!(ip.addresses(&bytes), Some([src, dst]));
        let header = &bytes[network..];
        assert!(is_to(header, true, &dst) && !is_to(header, true, &src));
        assert!(!is_to(header, true, &Address { family: 4, ..dst }));
        assert_eq!(network + last_of_destination(true), network + 39);
    }
}

#[test]
fn no_more_than_two_tags() {
    let bytes = frame(&[0x8100; 3], ETHERTYPE_IPV4, &ipv4(0, &[]));
    assert_eq!(link(&bytes), Some((MAX_LINK_HLEN, 0x8100)));
    assert_eq!(find(&bytes), None);
}

#[test]
fn ethertype_and_version_agree() {
    for (kind, packet) in [
        (ETHERTYPE_IPV4, ipv6(&[])),
        (ETHERTYPE_IPV6, ipv4(0, &[])),
        (0x0806, ipv4(0, &[])),
    ] {
        let bytes = frame(&[], kind, &packet);
        assert_eq!((Layers::find(&bytes).ip(), find(&bytes)), (None, None));
    }
    for (kind, packet) in [(ETHERTYPE_IPV4, ipv4(0, &[])), (ETHERTYPE_IPV6, ipv6(&[]))] {
        let ip = Ip::at(&packet, 0).unwrap();
        assert!(ip.is_kind(kind) && !ip.is_kind(kind ^ 1));
        assert!(!ip.is_kind(ETHERTYPE_IPV4 ^ ETHERTYPE_IPV6 ^ kind));
    }
}

#[test]
fn layers_are_those_of_the_headers() {
    let bytes = frame(&[0x8100], ETHERTYPE_IPV4, &ipv4(1, b"data"));
    let layers = Layers::find(&bytes);
    assert_eq!((layers.link_len(), layers.end_of_headers()), (18, 42));
    assert_eq!(layers.ip(), Ip::at(&bytes, 18));
    // A packet that is not there to its end has a header all the same.
    let short = Layers::find(&bytes[..44]);
    assert_eq!((short, short.packet(44)), (layers, None));
    assert_eq!(short.ending_at(44).packet(44).map(|ip| ip.end), Some(44));
    let arp = Layers::find(&frame(&[0x8100], 0x0806, &[0; 28]));
    assert_eq!((arp.link_len(), arp.ip()), (18, None));
    assert_eq!(arp.end_of_headers(), usize::MAX);
    assert_eq!(Layers::find(&[]), Layers::default());
}

#[test]
fn fragments_are_told() {
    for (flags, fragment) in [
        (0x4000u16, false),
        (0x8000, false),
        (0x2000, true),
        (1, true),
    ] {
        let mut packet = ipv4(0, &[]);
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        assert_eq!(Ip::at(&packet, 0).unwrap().fragment, fragment, "{flags:#x}");
    }
}

#[test]
fn lengths_that_cannot_be() {
    let whole = |packet: &[u8]| {
        let kind = match packet.first() {
            Some(0x60) => ETHERTYPE_IPV6,
            _ => ETHERTYPE_IPV4,
        };
        let frame = frame(&[], kind, packet);
        Layers::find(&frame).packet(frame.len())
    };
    let packet = ipv4(0, b"data");
    for (at, value) in [(0, 0x44), (0, 0x46), (0, 0x55), (3, 19), (3, 25)] {
        let mut other = packet.clone();
        other[at] = value;
        // More options than there is packet are seen only where the packet must be whole.
        assert!(whole(&other).is_none() || value == 0x46, "{at} {value:#x}");
    }
    let mut long = ipv6(b"data");
    long[5] = 5;
    assert_eq!(whole(&long), None);
    for packet in [ipv4(0, b"data"), ipv6(b"data")] {
        for len in 0..packet.len() {
            assert_eq!(whole(&packet[..len]), None);
        }
        assert!(Ip::at(&packet, usize::MAX).is_none());
    }
}

#[test]
fn ports_and_numbers() {
    let mut bytes = [0x11, 0x94, 0x12, 0x34, 0x56];
    let ports = Ports {
        src: 0x1194,
        dst: 0x1234,
    };
    assert_eq!(Ports::of(&bytes), Some(ports));
    assert_eq!(Ports::of(&bytes[..3]), None);
    assert_eq!((be16(&bytes, 3), be16(&bytes, 4)), (Some(0x3456), None));
    assert_eq!(
        (be32(&bytes, 1), be32(&bytes, 2)),
        (Some(0x9412_3456), None)
    );
    assert!(put_be16(&mut bytes, 3, 0xabcd) && !put_be16(&mut bytes, 4, 0));
    assert_eq!(bytes, [0x11, 0x94, 0x12, 0xab, 0xcd]);
}

proptest! {
    #[test]
    fn offsets_stay_inside(mut bytes in prop::collection::vec(any::<u8>(), 0..128), kind in 0u8..3) {
        if let Some(at) = bytes.get_mut(12..15) {
            at.copy_from_slice([&[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0, 0]][usize::from(kind)]);
        }
        if let Some(ip) = find(&bytes) {
            prop_assert!(ip.network < ip.transport);
            prop_assert!(ip.transport <= ip.end && ip.end <= bytes.len());
            prop_assert!(ip.payload(&bytes).is_some() && ip.addresses(&bytes).is_some());
        }
        let layers = Layers::find(&bytes);
        if let Some(ip) = layers.ip() {
            prop_assert_eq!(Some(ip), Ip::at(&bytes, layers.link_len()));
        }
        // Nothing behind the headers counts.
        if let Some(behind) = bytes.get_mut(layers.end_of_headers()..) {
            behind.fill(0xff);
        }
        prop_assert_eq!(layers, Layers::find(&bytes));
    }
}
