// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Plain frames that become many packets.

use super::*;

/// A change to what the driver hands over.
type Change = fn(&mut NetHdr48, &mut Vec<u8>);

/// A TCP packet with `data` bytes, to be sent in segments of `size` bytes.
pub(super) fn big(v6: bool, data: usize, size: u16) -> (NetHdr48, Vec<u8>) {
    let mut tcp = vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0, 0, 0, 2];
    tcp.extend([0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    tcp.extend((0..data).map(|n| n as u8));
    let sum = pseudo(v6, 6, tcp.len());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let frame = ip(v6, 6, &tcp);
    let mut hdr = plain_hdr();
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = if v6 { hdr::GSO_TCPV6 } else { hdr::GSO_TCPV4 };
    hdr.net.gso_size = size.into();
    hdr.net.csum_start = ((frame.len() - tcp.len()) as u16).into();
    hdr.net.csum_offset = 16.into();
    (hdr, frame)
}

#[test]
fn every_segment_is_a_packet_of_its_own() {
    for path in PATHS {
        for &v6 in path.inner() {
            let (a, b) = pair(path);
            let (hdr, clear) = big(v6, 60_000, 1300);
            let wires = transmit(&a, &hdr, &clear).unwrap();
            assert_eq!(wires.len(), 47);
            let headers = clear.len() - 60_000;
            let mut data = Vec::new();
            for wire in &wires {
                let (hdr, plain) = by_rule(&b, wire);
                assert!(hdr.has(F_SECURITY | hdr::F_DATA_VALID), "{path:?} {v6}");
                assert_eq!(plain[..12], clear[..12]);
                data.extend_from_slice(&plain[headers..]);
            }
            assert_eq!(data, clear[headers..]);
            assert_eq!(counter(&a, "ipsec_tx_gso"), 1);
            assert_eq!(counter(&a, "ipsec_tx_packets"), 47);
            assert_eq!(counter(&a, "ipsec_tx_bytes"), counter(&b, "ipsec_rx_bytes"));
        }
    }
}

#[test]
fn one_segment_is_one_packet() {
    let (a, b) = pair(OVER_V4);
    for data in [0, 1, 1000] {
        let (hdr, clear) = big(false, data, 1000);
        let wire = one(&a, &hdr, &clear);
        let (hdr, plain) = by_rule(&b, &wire);
        assert!(hdr.has(hdr::F_DATA_VALID));
        assert_eq!(plain[54..], clear[54..]);
    }
}

/// What a frame becomes must fit the wire, all of it.
#[test]
fn the_longest_frame_fits_and_one_byte_more_does_not() {
    // Outer header, ESP header, IV, padding to four bytes, trailer, ICV, inner headers.
    let most = LONGEST - IP - 20 - 8 - 8 - 2 - 16 - 40;
    let (a, _) = pair(OVER_V4);
    let fit = (most - 8..=most)
        .rev()
        .find(|size| (size + 42) % 4 == 0)
        .unwrap();
    for (size, fits) in [(fit, true), (fit + 1, false)] {
        let (hdr, clear) = big(false, 5 * size, size as u16);
        let sent = transmit(&a, &hdr, &clear);
        assert_eq!(sent.is_ok(), fits, "{size}");
        assert!(fits || sent == Err(TxDrop::Long));
        let (_, _, whole) = udp(false, &vec![1; size + 40 - 28]);
        let sent = transmit(&a, &plain_hdr(), &whole);
        assert_eq!(sent.is_ok(), fits, "{size}");
    }
    assert_eq!(counter(&a, "ipsec_tx_drop_long"), 2);
}

#[test]
fn what_cannot_be_sent_is_dropped_whole() {
    let (a, _) = pair(OVER_V4);
    let drop_of = |change: fn(&mut NetHdr48, &mut Vec<u8>)| {
        let (mut hdr, mut clear) = big(false, 5000, 1000);
        change(&mut hdr, &mut clear);
        transmit(&a, &hdr, &clear).unwrap_err()
    };
    let cases: [(Change, TxDrop); 13] = [
        (|hdr, _| hdr.net.gso_type = 3, TxDrop::Unsupported),
        (|hdr, _| hdr.net.gso_type = 0x81, TxDrop::Unsupported),
        (|hdr, _| hdr.net.gso_type = hdr::GSO_TCPV6, TxDrop::Format),
        (|hdr, _| hdr.net.gso_size = 0.into(), TxDrop::Format),
        (|hdr, _| hdr.net.flags &= !hdr::F_NEEDS_CSUM, TxDrop::Format),
        (|hdr, _| hdr.net.csum_offset = 6.into(), TxDrop::Format),
        (|hdr, _| hdr.net.csum_start = 38.into(), TxDrop::Format),
        (|_, frame| frame.truncate(50), TxDrop::Format),
        (|_, frame| frame[12] = 0x81, TxDrop::Format),
        (|hdr, _| hdr.sec.generation = 8.into(), TxDrop::Stale),
        (|hdr, _| hdr.out.resource_id = 2.into(), TxDrop::NoSa),
        (|hdr, _| hdr.sec.sec_op = 1, TxDrop::Unsupported),
        (|hdr, _| hdr.net.flags &= !F_X_SEC, TxDrop::Unsupported),
    ];
    for (n, (change, drop)) in cases.into_iter().enumerate() {
        assert_eq!(drop_of(change), drop, "{n}");
    }
    assert_eq!(counter(&a, "ipsec_tx_packets"), 0);
    // Nothing of that has taken a number.
    assert_eq!(next(&a)[38..42], [0, 0, 0, 1]);
}
