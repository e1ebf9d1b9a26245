// SPDX-License-Identifier: GPL-2.0

//! Tests of where ESP is found in frames.

use super::{
    is_sum_right,
    EspPlace,
    Family, //
};
use crate::net::skbuff::{
    tests::packet,
    RxSkb, //
};
use kernel::prelude::*;

/// ESP over IPv4: 14 bytes of Ethernet, 20 of IPv4 (RFC 791), total length 100.
const IPV4: [u8; 34] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // addresses, type
    0x45, 0x00, 0x00, 0x64, 0x12, 0x34, 0x40, 0x00, // don't fragment
    0x40, 50, 0x00, 0x00, 192, 0, 2, 1, 198, 51, 100, 2,
];

/// ESP over IPv6: 40 bytes of IPv6 (RFC 8200), payload length 80.
const IPV6: [u8; 54] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, // addresses, type
    0x60, 0x00, 0x00, 0x00, 0x00, 0x50, 50, 0x40, // version, length, next header, hops
    0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
    0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // destination
];

/// The header that RFC 1071's readers know: its sum is 0xb861.
const SUMMED: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
    0xc0, 0xa8, 0x00, 0xc7,
];

fn changed<const N: usize>(mut frame: [u8; N], at: usize, byte: u8) -> [u8; N] {
    frame[at] = byte;
    frame
}

#[kunit_tests(espnic_xfrm_input)]
mod cases {
    use super::*;

    #[test]
    fn esp_over_ipv4() -> Result {
        let place = EspPlace::find(&IPV4).ok_or(ENOENT)?;
        assert!(place.family() == Family::V4 && !place.in_udp);
        assert_eq!((place.offset(), place.len), (34, 100));
        let address = [198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(place.destination(&IPV4), Some(address));
        Ok(())
    }

    #[test]
    fn esp_in_udp() -> Result {
        let place = EspPlace::find(&changed(IPV4, 23, 17)).ok_or(ENOENT)?;
        assert!(place.family() == Family::V4 && place.in_udp);
        assert_eq!(place.offset(), 42);
        Ok(())
    }

    #[test]
    fn esp_over_ipv6() -> Result {
        let place = EspPlace::find(&IPV6).ok_or(ENOENT)?;
        assert!(place.family() == Family::V6 && !place.in_udp);
        assert_eq!((place.offset(), place.len), (54, 120));
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(place.destination(&IPV6), Some(address));
        Ok(())
    }

    #[test]
    fn jumbo_length_does_not_overflow() -> Result {
        let longest = changed(changed(IPV6, 18, 0xff), 19, 0xff);
        let place = EspPlace::find(&longest).ok_or(ENOENT)?;
        assert_eq!(place.len, 65_575);
        Ok(())
    }

    #[test]
    fn other_protocols() {
        for protocol in [0, 1, 6, 51, 108, 255] {
            assert!(EspPlace::find(&changed(IPV4, 23, protocol)).is_none());
            assert!(EspPlace::find(&changed(IPV6, 20, protocol)).is_none());
        }
        // No UDP over IPv6.
        assert!(EspPlace::find(&changed(IPV6, 20, 17)).is_none());
    }

    #[test]
    fn other_types() {
        // A VLAN tag, ARP, and the other version's header.
        assert!(EspPlace::find(&changed(changed(IPV4, 12, 0x81), 13, 0x00)).is_none());
        assert!(EspPlace::find(&changed(IPV4, 13, 0x06)).is_none());
        assert!(EspPlace::find(&changed(IPV4, 14, 0x65)).is_none());
        assert!(EspPlace::find(&changed(IPV6, 14, 0x45)).is_none());
    }

    #[test]
    fn options_and_fragments() {
        assert!(EspPlace::find(&changed(IPV4, 14, 0x46)).is_none());
        // More fragments; a later fragment.
        assert!(EspPlace::find(&changed(IPV4, 20, 0x20)).is_none());
        assert!(EspPlace::find(&changed(IPV4, 21, 0x01)).is_none());
        // Without "don't fragment" it is a whole packet, too.
        assert!(EspPlace::find(&changed(IPV4, 20, 0x00)).is_some());
    }

    #[test]
    fn short_frames() -> Result {
        for len in 0..34 {
            assert!(EspPlace::find(&IPV4[..len]).is_none());
        }
        for len in 0..54 {
            assert!(EspPlace::find(&IPV6[..len]).is_none());
        }
        // A place says nothing about other frames.
        let place = EspPlace::find(&IPV6).ok_or(ENOENT)?;
        assert_eq!(place.destination(&IPV6[..53]), None);
        Ok(())
    }

    #[test]
    fn header_sums() {
        assert!(is_sum_right(&SUMMED));
        for (at, byte) in SUMMED.iter().enumerate() {
            assert!(!is_sum_right(&changed(SUMMED, at, byte ^ 0x10)));
        }
        assert!(!is_sum_right(&[0; 20]));
    }

    /// A frame with [`SUMMED`] as its IP header and so many bytes in all, and the place of ESP in one like it.
    fn summed(len: usize) -> Result<(RxSkb, EspPlace)> {
        let mut frame = [0; 160];
        frame[12] = 8;
        frame[14..34].copy_from_slice(&SUMMED);
        let place = EspPlace::find(&frame).ok_or(ENOENT)?;
        Ok((RxSkb::of(packet(&frame[..len])?), place))
    }

    #[test]
    fn padding_is_taken_off() -> Result {
        // The IP packet has 0x73 bytes.
        for len in [129, 130, 160] {
            let (mut skb, place) = summed(len)?;
            assert!(skb.trim_esp(place));
            assert_eq!((skb.len(), place.end()), (129, 129));
        }
        Ok(())
    }

    #[test]
    fn incomplete_packets_are_not_for_xfrm() -> Result {
        for len in [20, 34, 128] {
            let (mut skb, place) = summed(len)?;
            assert!(!skb.trim_esp(place));
        }
        // A wrong sum.
        let (_, place) = summed(129)?;
        assert!(!RxSkb::of(packet(&[0; 129])?).trim_esp(place));
        Ok(())
    }
}
