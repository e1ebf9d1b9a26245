// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets of every kind, whole, cut and in fragments, against selectors.

use super::*;
use crate::upper::tests::{extension, fragment, ipv6};
use proptest::prelude::*;

fn ipv4_part(flags: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(flags.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2]);
    packet.extend(payload);
    packet
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_part(0x4000, protocol, payload)
}

/// Ports 0x1234 and 0x0050, and what else a header has.
const TCP: [u8; 20] = [
    0x12, 0x34, 0x00, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0,
];

fn ports(src: u16, dst: u16) -> Seen {
    Seen::Ports(Ports { src, dst })
}

fn seen(packet: &[u8]) -> Seen {
    Flow::of(packet).unwrap().ports
}

#[test]
fn a_flow_is_read_from_either_family() {
    let flow = Flow::of(&ipv4(6, &TCP)).unwrap();
    assert_eq!(
        (flow.src.family, &flow.src.bytes[..5]),
        (4, &[10, 1, 0, 1, 0][..])
    );
    assert_eq!(
        (flow.dst.family, &flow.dst.bytes[..5]),
        (4, &[10, 2, 0, 2, 0][..])
    );
    assert_eq!((flow.protocol, flow.ports), (Some(6), ports(0x1234, 80)));
    assert_eq!(flow.fragment, Fragment::No);
    let flow = Flow::of(&ipv6(0, &[extension(17, 1), TCP.to_vec()].concat())).unwrap();
    assert_eq!((flow.src.bytes, flow.dst.bytes), ([0xfd; 16], [0xfe; 16]));
    assert_eq!((flow.protocol, flow.ports), (Some(17), ports(0x1234, 80)));
    for packet in [&[][..], &[0x45; 19], &[0x60; 39], &[0x50; 60]] {
        assert_eq!(Flow::of(packet), None);
    }
}

#[test]
fn each_protocol_has_its_own_ports() {
    for protocol in [6, 17, 132, 136] {
        assert_eq!(seen(&ipv4(protocol, &TCP[..4])), ports(0x1234, 80));
        assert_eq!(seen(&ipv4(protocol, &TCP[..3])), Seen::Nothing);
    }
    assert_eq!(seen(&ipv4(1, &[8, 3])), ports(8, 3));
    assert_eq!(seen(&ipv4(1, &[8])), Seen::Nothing);
    assert_eq!(seen(&ipv6(58, &[135, 0])), ports(135, 0));
    assert_eq!(seen(&ipv6(135, &[59, 0, 5, 0])), ports(5, 0));
    assert_eq!(seen(&ipv6(135, &[59, 0, 5])), Seen::Nothing);
    for protocol in [50, 51, 33, 89] {
        assert_eq!(seen(&ipv4(protocol, &TCP)), ports(0, 0));
    }
}

#[test]
fn the_ports_of_gre_are_its_key() {
    let gre = |packet: &[u8]| seen(&ipv4(47, packet));
    assert_eq!(gre(&[0x20, 0, 8, 0, 1, 2, 3, 4]), ports(0x0102, 0x0304));
    assert_eq!(
        gre(&[0xa0, 0, 8, 0, 9, 9, 9, 9, 1, 2, 3, 4]),
        ports(0x0102, 0x0304)
    );
    assert_eq!(gre(&[0x80, 0, 8, 0, 1, 2, 3, 4]), ports(0, 0));
    assert_eq!(gre(&[0x20, 0, 8, 0, 1, 2, 3]), Seen::Nothing);
    assert_eq!(gre(&[0xa0, 0, 8, 0, 1, 2, 3, 4]), Seen::Nothing);
    // Of another version, as PPTP has it, nothing is known.
    assert_eq!(gre(&[0x20, 1, 0x88, 0x0b, 1, 2, 3, 4]), Seen::Nothing);
    assert_eq!(gre(&[0x20]), Seen::Nothing);
}

#[test]
fn fragments_show_ports_in_their_first_part_only() {
    for (flags, of, expected) in [
        (0x2000, Fragment::First, ports(0x1234, 80)),
        (0x2003, Fragment::Later, Seen::Nothing),
        (0x0003, Fragment::Later, Seen::Nothing),
    ] {
        for protocol in [6, 17] {
            let flow = Flow::of(&ipv4_part(flags, protocol, &TCP)).unwrap();
            assert_eq!((flow.fragment, flow.ports), (of, expected));
            assert_eq!(flow.protocol, Some(protocol));
        }
    }
    for protocol in [1, 47] {
        let flow = Flow::of(&ipv4_part(3, protocol, &TCP)).unwrap();
        assert_eq!(flow.ports, Seen::Nothing);
    }
    // A protocol without ports has none in any part.
    assert_eq!(seen(&ipv4_part(3, 50, &TCP)), ports(0, 0));
    let later = ipv6(44, &[fragment(17, 64, false), TCP.to_vec()].concat());
    let flow = Flow::of(&later).unwrap();
    assert_eq!((flow.protocol, flow.ports), (Some(17), Seen::Nothing));
    assert_eq!(flow.fragment, Fragment::Later);
}

#[test]
fn only_bytes_of_the_packet_count() {
    // Behind the end that the header names.
    let mut packet = ipv4(17, &TCP[..2]);
    packet.extend([0; 20]);
    assert_eq!(seen(&packet), Seen::Nothing);
    let mut packet = ipv6(17, &TCP[..2]);
    packet.extend([0; 20]);
    assert_eq!(seen(&packet), Seen::Nothing);
    // Still to be segmented, and without a length therefore.
    let mut packet = ipv4(6, &TCP);
    packet[2..4].fill(0);
    assert_eq!(seen(&packet), ports(0x1234, 80));
    let mut packet = ipv6(6, &TCP);
    packet[4..6].fill(0);
    assert_eq!(seen(&packet), ports(0x1234, 80));
    // Only the head is at hand.
    assert_eq!(seen(&ipv4(6, &TCP)[..24]), ports(0x1234, 80));
    // A length within the header.
    let mut packet = ipv4(6, &TCP);
    packet[3] = 19;
    assert_eq!(Flow::of(&packet), None);
}

/// TCP from 10.1.0.0/16 to 10.2.0.2 port 80.
fn narrow() -> Selector {
    let address = |a, b, c, d| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[a, b, c, d]);
        bytes
    };
    Selector {
        family: 4,
        src: address(10, 1, 99, 99),
        src_len: 16,
        dst: address(10, 2, 0, 2),
        dst_len: 32,
        protocol: 6,
        src_port: PortMask::default(),
        dst_port: PortMask {
            port: 80,
            mask: 0xffff,
        },
    }
}

fn flow() -> Flow {
    Flow::of(&ipv4(6, &TCP)).unwrap()
}

#[test]
fn the_default_selector_is_for_every_packet() {
    let all = Selector::default();
    for packet in [
        ipv4(6, &TCP),
        ipv4(6, &[]),
        ipv4_part(3, 17, &TCP),
        ipv6(0, &[]),
    ] {
        assert_eq!(all.matches(&Flow::of(&packet).unwrap()), Match::Yes);
    }
}

#[test]
fn every_part_of_a_selector_counts() {
    assert_eq!(narrow().matches(&flow()), Match::Yes);
    let mut others = [narrow(); 7];
    others[0].family = 6;
    others[1].src[1] = 3;
    others[2].dst[3] = 3;
    others[3].protocol = 17;
    others[4].dst_port.port = 81;
    others[5].src_port = PortMask {
        port: 0x1235,
        mask: 1,
    };
    others[6].src_len = 33;
    for (i, other) in others.iter().enumerate() {
        assert_eq!(other.matches(&flow()), Match::No, "{i}");
    }
    let mut masked = narrow();
    masked.src_port = PortMask {
        port: 0x12ff,
        mask: 0xff00,
    };
    assert_eq!(masked.matches(&flow()), Match::Yes);
}

#[test]
fn what_is_not_shown_is_unclear_unless_something_speaks_against_it() {
    let later = Flow::of(&ipv4_part(3, 6, &TCP)).unwrap();
    assert_eq!(narrow().matches(&later), Match::Unclear);
    let mut without_ports = narrow();
    without_ports.dst_port.mask = 0;
    assert_eq!(without_ports.matches(&later), Match::Yes);
    without_ports.protocol = 17;
    assert_eq!(without_ports.matches(&later), Match::No);
    let mut elsewhere = narrow();
    elsewhere.dst[0] = 11;
    assert_eq!(elsewhere.matches(&later), Match::No);
    // Extension headers that end in the middle.
    let cut = Flow::of(&ipv6(60, &[6, 1, 0, 0])).unwrap();
    assert_eq!((cut.protocol, cut.ports), (None, Seen::Nothing));
    let of = |protocol, mask| {
        Selector {
            protocol,
            src_port: PortMask { port: 1, mask },
            ..Selector::default()
        }
        .matches(&cut)
    };
    assert_eq!(of(0, 0), Match::Yes);
    assert_eq!(of(6, 0), Match::Unclear);
    assert_eq!(of(0, 0xffff), Match::Unclear);
    assert_eq!(of(6, 1), Match::Unclear);
}

#[test]
fn icmp_is_selected_by_type_and_code() {
    let echo = |kind, code| {
        Selector {
            protocol: 1,
            src_port: PortMask {
                port: kind,
                mask: 0xffff,
            },
            dst_port: PortMask {
                port: code,
                mask: 0xffff,
            },
            ..Selector::default()
        }
        .matches(&Flow::of(&ipv4(1, &[8, 0, 0, 0])).unwrap())
    };
    assert_eq!(
        [echo(8, 0), echo(0, 0), echo(8, 1)],
        [Match::Yes, Match::No, Match::No]
    );
}

#[test]
fn answers_come_the_other_way() {
    let back = flow().reversed();
    assert_eq!((back.src, back.dst), (flow().dst, flow().src));
    assert_eq!(back.ports, ports(80, 0x1234));
    assert_eq!(back.reversed(), flow());
    // Type and code stay what they are.
    let echo = Flow::of(&ipv4(1, &[8, 1])).unwrap();
    assert_eq!(echo.reversed().ports, ports(8, 1));
}

/// Bit by bit.
fn prefix(address: &[u8; 16], prefix: &[u8; 16], len: u8) -> bool {
    let bit = |bytes: &[u8; 16], i: usize| (bytes[i / 8] >> (7 - i % 8)) & 1;
    (0..usize::from(len)).all(|i| bit(address, i) == bit(prefix, i))
}

proptest! {
    #[test]
    fn prefixes_are_compared_to_the_bit(address: [u8; 16], flip in prop::option::of(0usize..128), len: u8, v6: bool) {
        let most: u8 = if v6 { 128 } else { 32 };
        let mut bytes = address;
        if !v6 {
            bytes[4..].fill(0);
        }
        let mut other = bytes;
        if let Some(flip) = flip {
            other[flip / 8] ^= 0x80 >> (flip % 8);
        }
        let family = if v6 { 6 } else { 4 };
        let expected = len <= most && prefix(&bytes, &other, len);
        prop_assert_eq!(is_in(&Address { family, bytes }, &other, len), expected);
    }

    #[test]
    fn any_bytes_are_read(packet in prop::collection::vec(any::<u8>(), 0..120), first in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60]), protocol in prop::sample::select(vec![0u8, 6, 17, 43, 44, 47, 60])) {
        let mut packet = packet;
        for (at, value) in [(0, first), (if first == 0x60 { 6 } else { 9 }, protocol)] {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        if let Some(flow) = Flow::of(&packet) {
            prop_assert_eq!(Selector::default().matches(&flow), Match::Yes);
            // Asking for more never makes a yes of a no.
            let asks = Selector { protocol: 6, src_port: PortMask { port: 1, mask: 1 }, ..Selector::default() };
            let less = Selector { protocol: 6, ..Selector::default() };
            prop_assert!(asks.matches(&flow) != Match::Yes || less.matches(&flow) == Match::Yes);
        }
    }
}
