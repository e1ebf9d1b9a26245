// SPDX-License-Identifier: GPL-2.0

//! Tests of which bytes count as an IP packet to send.

use super::{
    Family,
    Head, //
};
use kernel::prelude::*;

/// IPv4 (RFC 791) with a header of 20 bytes and 8 bytes behind it.
const IPV4: [u8; 28] = [
    0x45, 0, 0, 28, 0x12, 0x34, 0x40, 0, // version and header length, total length
    64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // protocol, source, destination
    0, 1, 0, 2, 0, 8, 0, 0,
];

/// IPv6 (RFC 8200) with 8 bytes behind the header.
const IPV6: [u8; 48] = [
    0x60, 0, 0, 0, 0, 8, 17, 64, // version, payload length, next header, hops
    0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
    0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // destination
    0, 1, 0, 2, 0, 8, 0, 0,
];

fn changed<const N: usize>(mut packet: [u8; N], at: usize, byte: u8) -> [u8; N] {
    packet[at] = byte;
    packet
}

/// Family, EtherType and header length, if the bytes count as a packet.
fn found(packet: &[u8]) -> Option<(bool, u16, u32)> {
    let head = Head::of(packet)?;
    Some((head.family == Family::V4, head.ethertype, head.length))
}

#[kunit_tests(espnic_xfrm_send)]
mod cases {
    use super::*;

    #[test]
    fn packets() {
        assert_eq!(found(&IPV4), Some((true, 0x0800, 20)));
        assert_eq!(found(&IPV6), Some((false, 0x86dd, 40)));
    }

    #[test]
    fn header_alone() {
        assert!(Head::of(&changed(IPV4, 3, 20)[..20]).is_some());
        assert!(Head::of(&changed(IPV6, 5, 0)[..40]).is_some());
    }

    #[test]
    fn options() {
        assert_eq!(found(&changed(IPV4, 0, 0x46)), Some((true, 0x0800, 24)));
        // All of the packet, and more than that.
        assert_eq!(found(&changed(IPV4, 0, 0x47)), Some((true, 0x0800, 28)));
        assert!(Head::of(&changed(IPV4, 0, 0x48)).is_none());
        // Less than a header.
        assert!(Head::of(&changed(IPV4, 0, 0x44)).is_none());
        assert!(Head::of(&changed(IPV4, 0, 0x40)).is_none());
    }

    #[test]
    fn other_versions() {
        for version in (0..16).filter(|version| ![4, 6].contains(version)) {
            assert!(Head::of(&changed(IPV4, 0, version << 4 | 5)).is_none());
            assert!(Head::of(&changed(IPV6, 0, version << 4)).is_none());
        }
        // The other version's header.
        assert!(Head::of(&changed(IPV4, 0, 0x65)).is_none());
        assert!(Head::of(&changed(IPV6, 0, 0x45)).is_none());
    }

    #[test]
    fn other_lengths() {
        for length in (0..=255).filter(|&length| length != 28) {
            assert!(Head::of(&changed(IPV4, 3, length)).is_none());
        }
        for length in (0..=255).filter(|&length| length != 8) {
            assert!(Head::of(&changed(IPV6, 5, length)).is_none());
        }
        // The high bytes count as well.
        assert!(Head::of(&changed(IPV4, 2, 1)).is_none());
        assert!(Head::of(&changed(IPV6, 4, 1)).is_none());
    }

    #[test]
    fn cut_off() {
        for len in 0..IPV4.len() {
            assert!(Head::of(&IPV4[..len]).is_none());
        }
        for len in 0..IPV6.len() {
            assert!(Head::of(&IPV6[..len]).is_none());
        }
    }

    #[test]
    fn no_source() {
        let mut ipv4 = IPV4;
        ipv4[12..16].fill(0);
        assert!(Head::of(&ipv4).is_none());
        let mut ipv6 = IPV6;
        ipv6[8..24].fill(0);
        assert!(Head::of(&ipv6).is_none());
        // Any byte will do.
        assert!(Head::of(&changed(ipv4, 15, 1)).is_some());
        assert!(Head::of(&changed(ipv6, 8, 0xfe)).is_some());
    }
}
