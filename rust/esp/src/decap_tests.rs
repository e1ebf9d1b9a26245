// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What went in comes out again, and what is wrong does not.

use super::*;
use crate::checksum::{complete_ipv4, Sum};
use crate::ds::{CE, ECT_0, ECT_1};
use crate::encap::tests::{outer_v4, outer_v6, template, v4_packet, wrap, AEAD, CBC};
use crate::encap::{Field, Template, Tunnel};
use crate::upper::tests::{extension, fragment, ipv6 as v6_packet};
use proptest::prelude::*;

fn rules(tunnel: bool) -> Rules {
    Rules {
        tunnel,
        dscp: false,
        ecn: true,
        layout: AEAD,
    }
}

/// Takes an ESP packet apart and gives what was in it.
fn strip(rules: &Rules, packet: &[u8], esp: usize) -> Result<Vec<u8>, Error> {
    let mut buffer = packet.to_vec();
    let found = rules.strip(&mut buffer, esp)?;
    let inner = buffer[found.range].to_vec();
    assert_eq!(found.v6, inner[0] >> 4 == 6);
    Ok(inner)
}

/// An ESP packet in a tunnel, the outer class as given.
fn tunnelled(inner: &[u8], class: u8) -> (Vec<u8>, usize) {
    let tunnel = Tunnel {
        dscp: Field::Set(class >> 2),
        ecn: false,
        ..outer_v4()
    };
    let (plan, mut packet) = wrap(&template(Some(tunnel), false), inner).unwrap();
    assert!(ds::write(&mut packet, false, class));
    (packet, plan.esp)
}

/// Replaces the last byte of the text, and what the text ends with in front of it.
fn with_trailer(packet: &[u8], end: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let at = packet.len() - 16 - end.len();
    packet[at..at + end.len()].copy_from_slice(end);
    packet
}

#[test]
fn congestion_comes_out_of_the_tunnel() {
    for (outer, inner, expected) in [
        (CE, ECT_0, Ok(CE)),
        (CE, ECT_1, Ok(CE)),
        (CE, 0, Err(Error::Congestion)),
        (ECT_1, ECT_0, Ok(ECT_1)),
        (ECT_0, 0, Ok(0)),
        (0, CE, Ok(CE)),
    ] {
        for v6 in [false, true] {
            let mut original = v4_packet(0xb8 | inner, 0);
            if v6 {
                original = v6_packet(59, &[]);
                ds::write(&mut original, true, 0xb8 | inner);
            }
            let (packet, esp) = tunnelled(&original, 0x28 | outer);
            let out = strip(&rules(true), &packet, esp);
            let class = out.as_ref().map(|out| ds::read(out, v6).unwrap());
            let whole = expected.as_ref().map(|ecn| 0xb8 | *ecn);
            assert_eq!(class, whole);
            if let (Ok(out), false) = (out, v6) {
                assert_eq!(Sum::of(&out[..20]).folded(), 0xffff);
            }
            // An SA without ECN leaves it alone.
            let without = Rules {
                ecn: false,
                ..rules(true)
            };
            assert_eq!(strip(&without, &packet, esp), Ok(original));
        }
    }
}

#[test]
fn priority_comes_out_where_it_is_wanted() {
    let (packet, esp) = tunnelled(&v4_packet(0xb8 | ECT_0, 0), 0x28 | CE);
    for (dscp, ecn, expected) in [
        (true, false, 0x28 | ECT_0),
        (true, true, 0x28 | CE),
        (false, true, 0xb8 | CE),
    ] {
        let rules = Rules {
            dscp,
            ecn,
            ..rules(true)
        };
        let out = strip(&rules, &packet, esp).unwrap();
        assert_eq!(out[1], expected);
        assert_eq!(Sum::of(&out[..20]).folded(), 0xffff);
    }
}

#[test]
fn dummy_packets_are_told_apart() {
    let (packet, esp) = tunnelled(&v4_packet(0, 0), 0);
    let dummy = with_trailer(&packet, &[59]);
    for tunnel in [false, true] {
        assert_eq!(strip(&rules(tunnel), &dummy, esp), Err(Error::Dummy));
    }
}

#[test]
fn the_next_header_tells_the_version() {
    let (packet, esp) = tunnelled(&v4_packet(0, 0), 0);
    assert!(strip(&rules(true), &packet, esp).is_ok());
    for (next_header, error) in [
        (41, Error::Inner),
        (17, Error::NextHeader),
        (0, Error::NextHeader),
    ] {
        let other = with_trailer(&packet, &[next_header]);
        assert_eq!(strip(&rules(true), &other, esp), Err(error));
    }
    let (packet, esp) = tunnelled(&v6_packet(59, &[]), 0);
    assert!(strip(&rules(true), &packet, esp).is_ok());
    let other = with_trailer(&packet, &[4]);
    assert_eq!(strip(&rules(true), &other, esp), Err(Error::Inner));
}

#[test]
fn padding_counts_from_one() {
    // Two bytes of padding.
    let (packet, esp) = tunnelled(&v6_packet(59, &[]), 0);
    assert!(strip(&rules(true), &packet, esp).is_ok());
    for end in [[1, 3, 2, 41], [0, 2, 2, 41], [0, 0, 2, 41], [2, 1, 2, 41]] {
        let other = with_trailer(&packet, &end);
        assert_eq!(strip(&rules(true), &other, esp), Err(Error::Padding));
    }
    // Longer than the text; as long, with nothing left.
    for pad_len in [255, 43] {
        let other = with_trailer(&packet, &[pad_len, 41]);
        assert_eq!(strip(&rules(true), &other, esp), Err(Error::Padding));
    }
    let mut all = packet.clone();
    let text = esp + 16..all.len() - 16;
    for (byte, value) in all[text].iter_mut().zip(1..43) {
        *byte = value;
    }
    let all = with_trailer(&all, &[42, 41]);
    assert_eq!(strip(&rules(true), &all, esp), Err(Error::Inner));
}

#[test]
fn the_content_is_a_whole_packet_and_what_is_behind_it_is_left_out() {
    let inner = v4_packet(0, 0);
    let of = |len: u16| {
        let mut inner = inner.clone();
        inner[2..4].copy_from_slice(&len.to_be_bytes());
        complete_ipv4(&mut inner[..20]);
        let (packet, esp) = tunnelled(&v4_packet(0, 0), 0);
        let mut packet = packet;
        packet[esp + 16..][..38].copy_from_slice(&inner);
        strip(&rules(true), &packet, esp).map(|out| out.len())
    };
    assert_eq!(of(38), Ok(38));
    // Padding against traffic analysis.
    assert_eq!(of(30), Ok(30));
    assert_eq!(of(39), Err(Error::Inner));
    assert_eq!(of(19), Err(Error::Inner));
}

#[test]
fn short_packets_are_refused() {
    for tunnel in [false, true] {
        let outer = tunnel.then(outer_v4);
        let (plan, packet) = wrap(&template(outer, false), &v4_packet(0, 0)).unwrap();
        for len in 0..plan.esp + 8 + 8 + 2 + 16 {
            assert_eq!(
                strip(&rules(tunnel), &packet[..len], plan.esp),
                Err(Error::Headers),
                "{len}"
            );
        }
        assert_eq!(
            strip(&rules(tunnel), &packet, usize::MAX),
            Err(Error::Headers)
        );
    }
}

#[test]
fn transport_mode_needs_esp_where_the_headers_end() {
    let (plan, packet) = wrap(&template(None, false), &v4_packet(0, 0)).unwrap();
    assert_eq!(strip(&rules(false), &packet, plan.esp), Ok(v4_packet(0, 0)));
    // Another protocol, a fragment, ESP somewhere else.
    for (at, value) in [(9, 17), (9, 6), (6, 0x20), (7, 1), (0, 0x46), (0, 0x55)] {
        let mut other = packet.clone();
        other[at] = value;
        assert_eq!(
            strip(&rules(false), &other, plan.esp),
            Err(Error::Headers),
            "{at} {value}"
        );
    }
    let inner = v6_packet(17, &[5; 20]);
    let (plan, packet) = wrap(&template(None, false), &inner).unwrap();
    let part = [fragment(50, 8, false), packet[40..].to_vec()].concat();
    let part = v6_packet(44, &part);
    assert_eq!(
        strip(&rules(false), &part, plan.esp + 8),
        Err(Error::Headers)
    );
    let whole = [extension(50, 0), packet[40..].to_vec()].concat();
    let whole = v6_packet(60, &whole);
    let expected = v6_packet(60, &[extension(17, 0), vec![5; 20]].concat());
    assert_eq!(strip(&rules(false), &whole, plan.esp + 8), Ok(expected));
}

/// An IP packet whose checksum is right, with extension headers if wanted.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 8..300);
    (payload, any::<bool>(), any::<u8>(), 0u8..4, 0usize..4).prop_map(
        |(payload, v6, class, words, chain)| {
            if v6 {
                let chains = [vec![], vec![0], vec![60], vec![0, 43, 60]];
                let kinds = &chains[chain];
                let mut body = Vec::new();
                for (i, _) in kinds.iter().enumerate() {
                    body.extend(extension(*kinds.get(i + 1).unwrap_or(&17), words));
                }
                body.extend(payload);
                let mut packet = v6_packet(*kinds.first().unwrap_or(&17), &body);
                ds::write(&mut packet, true, class);
                return packet;
            }
            let mut packet = v4_packet(class, 0);
            packet.truncate(20);
            packet[0] = 0x45 + words;
            packet.resize(20 + 4 * usize::from(words), 1);
            let hlen = packet.len();
            let len = (hlen + payload.len()) as u16;
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            complete_ipv4(&mut packet);
            packet.extend(payload);
            packet
        },
    )
}

proptest! {
    #[test]
    fn there_and_back_nothing_changes(
        packet in packets(), mode in 0usize..3, udp: bool, cbc: bool
    ) {
        let layout = if cbc { CBC } else { AEAD };
        let tunnel = [None, Some(outer_v4()), Some(outer_v6())][mode];
        let template = Template { layout, ..template(tunnel, udp) };
        let (plan, mut wrapped) = wrap(&template, &packet).unwrap();
        let outer = Ip::whole(&wrapped, 0).unwrap();
        prop_assert_eq!(outer.end, wrapped.len());
        if !outer.v6 {
            prop_assert_eq!(Sum::of(&wrapped[..outer.transport]).folded(), 0xffff);
        }
        let rules = Rules { layout, ..rules(tunnel.is_some()) };
        let found = rules.strip(&mut wrapped, plan.esp).unwrap();
        prop_assert_eq!(&wrapped[found.range], &packet);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(
        packet in prop::collection::vec(any::<u8>(), 0..200), head in prop::sample::select(vec![0x45u8, 0x47, 0x60]),
        protocol in prop::sample::select(vec![0u8, 17, 50, 60]), tunnel: bool, esp in 0usize..100, pad_len in 0u8..4
    ) {
        let mut packet = packet;
        let named_at = if head == 0x60 { 6 } else { 9 };
        let end = packet.len();
        for (at, value) in [(0, head), (named_at, protocol), (end.wrapping_sub(18), pad_len)] {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(found) = rules(tunnel).strip(&mut packet, esp) {
            let ip = Ip::whole(&packet[found.range.clone()], 0).unwrap();
            prop_assert_eq!(ip.end, found.range.len());
            prop_assert_eq!(ip.v6, found.v6);
        }
    }
}
