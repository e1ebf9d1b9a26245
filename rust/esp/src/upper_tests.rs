// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Chains of extension headers, whole and cut, and fragments.

use super::*;
use proptest::prelude::*;

/// An extension header of `units` + 1 times eight bytes.
pub(crate) fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![next, units];
    header.resize(8 * (usize::from(units) + 1), 0);
    header
}

/// A fragment header.
pub(crate) fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let [hi, lo] = (offset | u16::from(more)).to_be_bytes();
    vec![next, 99, hi, lo, 1, 2, 3, 4]
}

pub(crate) fn ipv6(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([first, 64]);
    packet.extend([0xfd; 16]);
    packet.extend([0xfe; 16]);
    packet.extend(payload);
    packet
}

fn ipv4(flags: u16) -> Vec<u8> {
    let mut packet = vec![0x46, 0, 0, 32, 0, 1];
    packet.extend(flags.to_be_bytes());
    packet.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1]);
    packet.extend([0; 8]);
    packet
}

fn find(packet: &[u8]) -> Option<Upper> {
    Upper::find(packet, &Ip::at(packet, 0)?)
}

fn gap(packet: &[u8]) -> Option<(u8, usize, usize)> {
    let gap = Gap::find(packet, &Ip::at(packet, 0)?)?;
    Some((gap.protocol, gap.at, gap.named_at))
}

#[test]
fn ipv4_may_be_a_fragment() {
    for (flags, fragment) in [
        (0, Fragment::No),
        (0x4000, Fragment::No),
        (0x2000, Fragment::First),
        (0x2001, Fragment::Later),
        (1, Fragment::Later),
        (0x1fff, Fragment::Later),
    ] {
        let upper = find(&ipv4(flags)).unwrap();
        assert_eq!((upper.protocol, upper.at, upper.named_at), (17, 24, 9));
        assert_eq!(upper.fragment, fragment, "{flags:#x}");
        let whole = (fragment == Fragment::No).then_some((17, 24, 9));
        assert_eq!(gap(&ipv4(flags)), whole);
    }
}

#[test]
fn extension_headers_are_looked_through() {
    let chain = [extension(43, 1), extension(60, 0), extension(17, 2)].concat();
    for (first, payload, upper, where_esp_goes) in [
        (6, vec![], (6, 40), (6, 40, 6)),
        (0, extension(6, 0), (6, 48), (6, 48, 40)),
        (60, extension(6, 0), (6, 48), (60, 40, 6)),
        // Hop-by-hop, routing, then destination options, which ESP protects.
        (0, chain, (17, 40 + 16 + 8 + 24), (60, 64, 56)),
        // Destination options in front of a routing header are not protected.
        (
            60,
            [extension(43, 0), extension(6, 0)].concat(),
            (6, 56),
            (6, 56, 48),
        ),
        // ESP and AH are no extension headers here.
        (51, extension(6, 0), (51, 40), (51, 40, 6)),
        (50, vec![1; 8], (50, 40), (50, 40, 6)),
    ] {
        let packet = ipv6(first, &payload);
        let found = find(&packet).unwrap();
        assert_eq!((found.protocol, found.at), upper);
        assert_eq!(found.fragment, Fragment::No);
        assert_eq!(gap(&packet), Some(where_esp_goes));
    }
}

#[test]
fn ipv6_fragments_have_a_header() {
    let of = |offset, more, behind: &[u8]| {
        let payload = [&fragment(60, offset, more)[..], behind].concat();
        let packet = ipv6(44, &payload);
        assert_eq!(gap(&packet), None);
        find(&packet).map(|upper| (upper.protocol, upper.at, upper.fragment))
    };
    let options = extension(17, 0);
    // All in one fragment.
    assert_eq!(of(0, false, &options), Some((17, 56, Fragment::No)));
    assert_eq!(of(0, true, &options), Some((17, 56, Fragment::First)));
    // What is behind is not read, whatever it looks like.
    assert_eq!(of(8, true, &options), Some((60, 48, Fragment::Later)));
    assert_eq!(of(8, false, &[]), Some((60, 48, Fragment::Later)));
    assert_eq!(of(0, true, &[]), None);
    // The reserved bits say nothing.
    assert_eq!(of(6, false, &options), Some((17, 56, Fragment::No)));
}

#[test]
fn what_is_cut_or_too_long_is_not_read() {
    let chain = [extension(44, 1), fragment(60, 0, false), extension(17, 2)].concat();
    let packet = ipv6(0, &chain);
    assert!(find(&packet).is_some());
    for len in 40..packet.len() {
        assert_eq!(find(&packet[..len]), None, "{len}");
    }
    let many = |count: usize| {
        let mut payload = extension(60, 0).repeat(count);
        let last = payload.len() - 8;
        payload[last] = 6;
        ipv6(60, &payload)
    };
    assert_eq!(find(&many(8)).unwrap().at, 40 + 64);
    assert_eq!(find(&many(9)), None);
    assert_eq!(gap(&many(9)), None);
}

proptest! {
    #[test]
    fn what_is_found_lies_in_the_packet(first in prop::sample::select(vec![0u8, 43, 44, 60, 17]), payload in prop::collection::vec(prop_oneof![Just(0u8), Just(43), Just(44), Just(60), any::<u8>()], 0..200)) {
        let packet = ipv6(first, &payload);
        if let Some(upper) = find(&packet) {
            prop_assert!((40..=packet.len()).contains(&upper.at));
            prop_assert!(upper.named_at < upper.at && packet[upper.named_at] == upper.protocol);
        }
        if let Some((protocol, at, named_at)) = gap(&packet) {
            prop_assert!(at <= find(&packet).unwrap().at);
            prop_assert!(named_at < at && packet[named_at] == protocol);
        }
    }
}
