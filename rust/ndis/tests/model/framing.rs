// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets to send whose framing or words almost fit: each fails for one reason alone.

use crate::fixture::*;
use crate::frame::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::Authentication;
use espnic_ndis::model::send::check;
use espnic_ndis::model::{Capabilities, Mode, SendSlots, Verdict};
use espnic_ndis::oob::LargeSend;
use espnic_ndis::sa::build::{self, Addresses};
use espnic_ndis::sa::UdpEsp;
use espnic_ndis::Handle;

const PAYLOAD: [u8; 45] = [7; 45];

fn passes(config: &Capabilities, table: &Table, slots: &SendSlots, packet: &[u8]) -> bool {
    match check(true, config, slots, packet, table) {
        Verdict::Crypto(_) => true,
        other => {
            assert_eq!(other, FAIL);
            false
        }
    }
}

fn fits(table: &Table, slots: &SendSlots, packet: &[u8]) -> bool {
    passes(&EVERYTHING, table, slots, packet)
}

fn sa(table: &Table, spi: u32, mode: Mode) -> Handle {
    add(table, &outbound(&[gcm(spi)]), mode)
}

/// A transport payload inside a tunnel payload.
fn nested(table: &Table, transport: Handle, tunnel: Handle) -> Vec<u8> {
    let inner = ipv4(ESP, &framed_of(table, transport, &PAYLOAD, TCP));
    ipv4(ESP, &framed_of(table, tunnel, &inner, IPV4))
}

/// Where the transport ESP of [`nested`] starts: IP, ESP, IV, IP.
const INNER_ESP: u16 = 20 + 8 + 8 + 20;

/// The slots of [`nested`], but for another place of the transport ESP.
fn nested_slots(transport: Handle, tunnel: Handle, esp: u16) -> SendSlots {
    SendSlots {
        tunnel: tunnel.get(),
        ..slots(transport, TCP, 1, 0, esp)
    }
}

#[test]
fn each_subtype_is_sent_with_its_udp_header_in_its_own_place() {
    rules(&[63, 97, 133, 134, 135]);
    let wrap = |in_udp: bool, esp: &[u8]| match in_udp {
        true => ipv4(UDP, &udp(4500, esp)),
        false => ipv4(ESP, esp),
    };
    // Subtypes of the tunnel and of the transport SA, UDP in front of the outer and the inner ESP.
    for (outer, inner, udp_outside, udp_inside, good) in [
        (0, 0, false, false, true),
        (0, 0, false, true, false),
        (0, 0, true, false, false),
        // Only the form with UDP outside.
        (4, 4, true, false, true),
        (4, 4, true, true, false),
        (4, 4, false, false, false),
        (4, 4, false, true, false),
        // Only the form with UDP inside.
        (8, 8, false, true, true),
        (8, 8, false, false, false),
        (8, 8, true, true, false),
        // The forms with a single ESP are no part of another; UDP in both parts is none at all.
        (0, 1, false, true, false),
        (0, 2, false, true, false),
        (1, 0, true, false, false),
        (2, 0, true, false, false),
        (2, 1, true, true, false),
        (4, 1, true, true, false),
        (4, 8, true, true, false),
    ] {
        let table = Table::new(8);
        let sa = |spi, subtype| {
            let associations = [gcm(spi)];
            let bundle = build::Bundle {
                udp_esp: UdpEsp(subtype),
                ..outbound(&associations)
            };
            add(&table, &bundle, Mode::ByPacket)
        };
        let (tunnel, transport) = (sa(0x200, outer), sa(0x100, inner));
        let payload = wrap(udp_inside, &framed_of(&table, transport, &PAYLOAD, TCP));
        let packet = wrap(udp_outside, &framed_of(&table, tunnel, &payload, IPV4));
        let offset = INNER_ESP + 8 * (u16::from(udp_outside) + u16::from(udp_inside));
        let slots = nested_slots(transport, tunnel, offset);
        let case = (outer, inner, udp_outside, udp_inside);
        assert_eq!(fits(&table, &slots, &packet), good, "{case:?}");
    }
}

#[test]
fn the_inner_packet_is_one_of_the_transport_sa() {
    rules(&[96, 97, 105]);
    let table = Table::new(8);
    let transport = sa(&table, 0x100, Mode::Transport);
    let tunnel = sa(&table, 0x200, Mode::Tunnel);
    let slots = nested_slots(transport, tunnel, INNER_ESP);
    let wrap = |inner: &[u8], next| ipv4(ESP, &framed_of(&table, tunnel, inner, next));
    let inner = ipv4(ESP, &framed_of(&table, transport, &PAYLOAD, TCP));
    assert!(fits(&table, &slots, &wrap(&inner, IPV4)));
    // The tunnel's trailer says that no IP packet is inside.
    assert!(!fits(&table, &slots, &wrap(&inner, TCP)));
    // What stands at the offset looks like ESP, but IP says TCP; or is a fragment; or is cut.
    let changed = |at: usize, byte: u8| {
        let mut inner = inner.clone();
        inner[at] = byte;
        wrap(&inner, IPV4)
    };
    for (at, byte) in [(9, TCP), (6, 0x20), (7, 1), (3, 1), (0, 0x55)] {
        assert!(!fits(&table, &slots, &changed(at, byte)), "{at}");
    }
    // The inner header is covered by the configuration, or the packet is not sent.
    let options = ipv4_options(ESP, &framed_of(&table, transport, &PAYLOAD, TCP));
    let behind = nested_slots(transport, tunnel, INNER_ESP + 4);
    let no_options = Capabilities {
        ipv4_options: false,
        ..EVERYTHING
    };
    let packet = wrap(&options, IPV4);
    assert!(passes(&EVERYTHING, &table, &behind, &packet));
    assert!(!passes(&no_options, &table, &behind, &packet));
}

#[test]
fn an_spi_in_the_payload_is_no_header() {
    rules(&[97]);
    let table = Table::new(8);
    let transport = sa(&table, 0x100, Mode::Transport);
    let tunnel = sa(&table, 0x200, Mode::Tunnel);
    let spi = 0x100u32.to_be_bytes();
    let payload: Vec<u8> = spi.into_iter().cycle().take(PAYLOAD.len()).collect();
    let inner = ipv4(ESP, &framed_of(&table, transport, &payload, TCP));
    let packet = ipv4(ESP, &framed_of(&table, tunnel, &inner, IPV4));
    for (offset, good) in [(0, true), (16, false), (24, false), (40, false)] {
        let slots = nested_slots(transport, tunnel, INNER_ESP + offset);
        assert_eq!(fits(&table, &slots, &packet), good, "{offset}");
    }
    // Nor behind the AH of the same SA.
    let pair = [gcm(0x100), ah(0x300, Authentication::SHA_1)];
    let pair = add(&table, &outbound(&pair), Mode::Transport);
    let esp = framed_of(&table, pair, &payload, TCP);
    let packet = |next| ipv4(AH, &ah_of(&table, pair, &esp, next));
    assert!(fits(&table, &slots(pair, TCP, 1, 20, 44), &packet(ESP)));
    assert!(!fits(&table, &slots(pair, TCP, 1, 20, 60), &packet(ESP)));
    // AH says that something else follows.
    assert!(!fits(&table, &slots(pair, TCP, 1, 20, 44), &packet(TCP)));
}

#[test]
fn a_tunnel_of_ah_alone() {
    rules(&[96, 97]);
    let table = Table::new(8);
    let transport = sa(&table, 0x100, Mode::Transport);
    let only_ah = [ah(0x200, Authentication::SHA_1)];
    let tunnel = add(&table, &outbound(&only_ah), Mode::Tunnel);
    let inner = ipv4(ESP, &framed_of(&table, transport, &PAYLOAD, TCP));
    // IP, AH, IP.
    let slots = nested_slots(transport, tunnel, 20 + 24 + 20);
    for (next, good) in [(IPV4, true), (ESP, false)] {
        let packet = ipv4(AH, &ah_of(&table, tunnel, &inner, next));
        assert_eq!(fits(&table, &slots, &packet), good);
    }
}

#[test]
fn both_sas_of_a_nested_packet_have_their_own_mode() {
    rules(&[96]);
    for (inner, outer, good) in [
        (Mode::Transport, Mode::Tunnel, true),
        (Mode::ByPacket, Mode::ByPacket, true),
        (Mode::Tunnel, Mode::Tunnel, false),
        (Mode::Transport, Mode::Transport, false),
    ] {
        let table = Table::new(8);
        let (transport, tunnel) = (sa(&table, 0x100, inner), sa(&table, 0x200, outer));
        let slots = SendSlots {
            tunnel: tunnel.get(),
            ..slots(transport, TCP, 1, 0, INNER_ESP)
        };
        assert_eq!(
            fits(&table, &slots, &nested(&table, transport, tunnel)),
            good
        );
    }
}

#[test]
fn the_outer_header_is_that_of_the_tunnel_sa() {
    rules(&[96, 94]);
    let table = Table::new(8);
    let transport = sa(&table, 0x100, Mode::Transport);
    let (tunnel, other) = (
        sa(&table, 0x200, Mode::Tunnel),
        sa(&table, 0x300, Mode::Tunnel),
    );
    let packet = nested(&table, transport, tunnel);
    for (handle, good) in [(tunnel, true), (other, false)] {
        let slots = SendSlots {
            tunnel: handle.get(),
            ..slots(transport, TCP, 1, 0, INNER_ESP)
        };
        assert_eq!(fits(&table, &slots, &packet), good);
    }
}

#[test]
fn an_offset_where_the_spi_stands_by_chance() {
    rules(&[97]);
    // The sequence number is 1, and so is the SPI.
    let table = Table::new(8);
    let one = sa(&table, 1, Mode::Transport);
    let packet = ipv4(ESP, &framed_of(&table, one, &PAYLOAD, TCP));
    assert!(fits(&table, &slots(one, TCP, 1, 0, 20), &packet));
    assert!(!fits(&table, &slots(one, TCP, 1, 0, 24), &packet));
    // The sequence number of AH stands inside of AH.
    let pair = [gcm(1), ah(0x200, Authentication::SHA_1)];
    let pair = add(&table, &outbound(&pair), Mode::Transport);
    let esp = framed_of(&table, pair, &PAYLOAD, TCP);
    let packet = ipv4(AH, &ah_of(&table, pair, &esp, ESP));
    assert!(fits(&table, &slots(pair, TCP, 1, 20, 44), &packet));
    assert!(!fits(&table, &slots(pair, TCP, 1, 20, 28), &packet));
    // The source address, in front of every IPsec header.
    let address = sa(&table, u32::from_be_bytes(SOURCE), Mode::Transport);
    let tunnel = sa(&table, 0x300, Mode::Tunnel);
    let packet = nested(&table, address, tunnel);
    for (offset, good) in [(INNER_ESP, true), (12, false)] {
        let slots = SendSlots {
            tunnel: tunnel.get(),
            ..slots(address, TCP, 1, 0, offset)
        };
        assert_eq!(fits(&table, &slots, &packet), good);
    }
}

#[test]
fn padding_does_not_reach_before_the_payload() {
    rules(&[99]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, Mode::Transport);
    let mut packet = ipv4(ESP, &framed_of(&table, handle, &[], TCP));
    assert!(fits(&table, &slots(handle, TCP, 2, 0, 20), &packet));
    let at = packet.len() - 16 - 2;
    for pad in [3, 20] {
        packet[at] = pad;
        assert!(!fits(&table, &slots(handle, TCP, pad, 0, 20), &packet));
    }
}

#[test]
fn nothing_stands_behind_the_packet() {
    rules(&[101]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, Mode::Transport);
    let whole = ipv4(ESP, &framed_of(&table, handle, &PAYLOAD, TCP));
    assert!(fits(&table, &slots(handle, TCP, 1, 0, 20), &whole));
    // What IP counts ends earlier than what the trailer is read from.
    let mut packet = whole.clone();
    packet[2..4].copy_from_slice(&(whole.len() as u16 - 4).to_be_bytes());
    assert!(!fits(&table, &slots(handle, TCP, 1, 0, 20), &packet));
}

#[test]
fn ipv6_is_sent_as_far_as_it_was_reported() {
    rules(&[28, 97]);
    let table = Table::new(8);
    let associations = [gcm(0x100)];
    let bundle = build::Bundle {
        addresses: Addresses::V6 {
            source: [1; 16],
            destination: [2; 16],
        },
        ..outbound(&associations)
    };
    let handle = add(&table, &bundle, Mode::Transport);
    let esp = framed_of(&table, handle, &PAYLOAD, TCP);
    let bare = (ipv6(&[], ESP, &esp), slots(handle, TCP, 1, 0, 40));
    let extended = (
        ipv6(&[(60, &[0, 1, 4, 0, 0, 0, 0])], ESP, &esp),
        slots(handle, TCP, 1, 0, 48),
    );
    let no_ipv6 = Capabilities {
        ipv6: false,
        ..EVERYTHING
    };
    let no_extensions = Capabilities {
        ipv6_extension_headers: false,
        ..EVERYTHING
    };
    for ((packet, slots), config, good) in [
        (&bare, EVERYTHING, true),
        (&bare, no_ipv6, false),
        (&bare, no_extensions, true),
        (&extended, EVERYTHING, true),
        (&extended, no_extensions, false),
    ] {
        assert_eq!(passes(&config, &table, slots, packet), good);
    }
}

#[test]
fn lso_is_not_combined_with_a_tunnel_around() {
    rules(&[104]);
    let table = Table::new(8);
    let transport = sa(&table, 0x100, Mode::Transport);
    let tunnel = sa(&table, 0x200, Mode::Tunnel);
    // Headers, no trailer: a large packet but for the tunnel.
    let mut tcp = vec![0; 20];
    tcp[12] = 5 << 4;
    tcp.extend([7; 500]);
    let mut esp = framed_of(&table, transport, &[], TCP)[..16].to_vec();
    esp.extend(&tcp);
    let inner = ipv4(ESP, &esp);
    let large = |tcp_header_offset| {
        let large = LargeSend::V2 {
            mss: 100,
            tcp_header_offset,
            ipv6: false,
        };
        large.word().unwrap()
    };
    // Ethernet, IP, ESP, IV.
    let alone = SendSlots {
        large_send: large(14 + 20 + 8 + 8),
        ..slots(transport, TCP, 0, 0, 20)
    };
    assert!(fits(&table, &alone, &inner));
    let packet = ipv4(ESP, &framed_of(&table, tunnel, &inner, IPV4));
    let around = SendSlots {
        tunnel: tunnel.get(),
        large_send: large(14 + u32::from(INNER_ESP) + 8 + 8),
        ..slots(transport, TCP, 0, 0, INNER_ESP)
    };
    assert!(!fits(&table, &around, &packet));
}

#[test]
fn a_tunnel_with_ah_has_its_ah_outside() {
    rules(&[96]);
    let table = Table::new(8);
    let transport = sa(&table, 0x100, Mode::Transport);
    let pair = [gcm(0x200), ah(0x201, Authentication::SHA_1)];
    let tunnel = add(&table, &outbound(&pair), Mode::Tunnel);
    let slots = |esp| SendSlots {
        tunnel: tunnel.get(),
        ..slots(transport, TCP, 1, 0, esp)
    };
    let inner = ipv4(ESP, &framed_of(&table, transport, &PAYLOAD, TCP));
    let esp = framed_of(&table, tunnel, &inner, IPV4);
    let whole = ipv4(AH, &ah_of(&table, tunnel, &esp, ESP));
    assert!(fits(&table, &slots(INNER_ESP + 24), &whole));
    assert!(!fits(&table, &slots(INNER_ESP), &ipv4(ESP, &esp)));
}

#[test]
fn an_offset_outside_of_the_packet() {
    rules(&[97]);
    let table = Table::new(8);
    let associations = [ah(0x200, Authentication::SHA_1)];
    let handle = add(&table, &outbound(&associations), Mode::Transport);
    let packet = ipv4(AH, &ah_of(&table, handle, &PAYLOAD, TCP));
    assert!(fits(&table, &slots(handle, TCP, 0, 20, 0), &packet));
    assert!(!fits(&table, &slots(handle, TCP, 0, 20, 1020), &packet));
}
