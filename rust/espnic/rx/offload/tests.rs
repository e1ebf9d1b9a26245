// SPDX-License-Identifier: GPL-2.0

//! Headers of packets that stand for several segments, right and wrong ones.

use super::*;
use kernel::prelude::*;

/// Where the TCP header is.
const TCP: usize = 34;
const TCP6: usize = 54;

/// The headers of a TCP packet over Ethernet.
fn head(family: Family) -> KVec<u8> {
    let mut bytes = KVec::new();
    let len = match family {
        Family::V4 => TCP,
        Family::V6 => TCP6,
    };
    for at in 0..len.saturating_add(TCP_HLEN) {
        let value = match (family, at) {
            (Family::V4, 12) => 0x08,
            (Family::V4, 14) => 0x45,
            (Family::V4, 16) => 0x10,
            (Family::V4, 23) => IPPROTO_TCP,
            (Family::V6, 12) => 0x86,
            (Family::V6, 13) => 0xdd,
            (Family::V6, 14) => 0x60,
            (Family::V6, 18) => 0x10,
            (Family::V6, 20) => IPPROTO_TCP,
            _ if at == len.saturating_add(TCP_OFFSET) => 0x50,
            _ => 0,
        };
        let _ = bytes.push(value, GFP_KERNEL);
    }
    bytes
}

fn header(family: Family) -> NetHdr48 {
    let mut header = NetHdr48::default();
    header.net.flags = hdr::F_NEEDS_CSUM;
    let (kind, start) = match family {
        Family::V4 => (hdr::GSO_TCPV4, TCP),
        Family::V6 => (hdr::GSO_TCPV6, TCP6),
    };
    header.net.gso_type = kind;
    header.net.gso_size = 1000.into();
    header.net.csum_start = (start as u16).into();
    header.net.csum_offset = (TCP_FIELD as u16).into();
    header
}

fn count(header: &NetHdr48, head: &[u8], len: u32) -> Option<u16> {
    find(header, head, len).map(|segments| segments.count)
}

#[kunit_tests(espnic_rx_offload)]
mod cases {
    use super::*;

    #[test]
    fn segments_are_counted() {
        for family in [Family::V4, Family::V6] {
            let (header, head) = (header(family), head(family));
            let len = head.len() as u32;
            for (data, expected) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (64_000, 64)] {
                assert_eq!(count(&header, &head, len + data), Some(expected));
            }
            let found = find(&header, &head, len + 5000).map(|s| (s.family, s.size));
            assert!(found == Some((family, 1000)));
            // The length in the IP header, which IPv6 counts from the end of that header on.
            let end = 14 + 0x1000 + if family == Family::V6 { 40 } else { 0 };
            for (more, certain) in [(0, true), (1, false)] {
                let found = find(&header, &head, end + more).map(|s| s.certain);
                assert_eq!(found, Some(certain));
            }
        }
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        let head = head(Family::V4);
        let wrong: [fn(&mut NetHdr48); 9] = [
            |h| h.net.gso_type = hdr::GSO_TCPV6,
            |h| h.net.gso_type = 3,
            |h| h.net.gso_type |= 0x80,
            |h| h.net.gso_size = 0.into(),
            |h| h.net.gso_size = 7.into(),
            |h| h.net.csum_start = 33.into(),
            |h| h.net.csum_start = u16::MAX.into(),
            |h| h.net.csum_offset = 6.into(),
            |h| h.net.csum_offset = u16::MAX.into(),
        ];
        for spoil in wrong {
            let mut header = header(Family::V4);
            spoil(&mut header);
            assert_eq!(count(&header, &head, 5000), None);
        }
    }

    #[test]
    fn headers_of_the_packet_count() {
        let header = header(Family::V4);
        // UDP, a fragment, IPv6, no TCP header's length, and one beyond the first piece.
        for (at, value) in [(23, 17), (20, 0x20), (14, 0x65), (46, 0x40), (46, 0xf0)] {
            let mut head = head(Family::V4);
            head.iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte = value);
            assert_eq!(count(&header, &head, 5000), None);
        }
        let head = head(Family::V4);
        for end in 0..head.len() {
            let part = head.get(..end).unwrap_or_default();
            assert_eq!(count(&header, part, 5000), None);
        }
        // More segments than can be counted, and a packet that ends before its headers.
        assert_eq!(count(&header, &head, u32::MAX), None);
        assert_eq!(count(&header, &head, 53), None);
    }
}
