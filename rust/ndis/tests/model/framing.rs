// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets to send whose framing or words almost fit: each fails for one reason alone.

use crate::fixture::*;
use crate::frame::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::Authentication;
use espnic_ndis::model::send::check;
use espnic_ndis::model::{Capabilities, Lookup, Mode, SendSlots, Verdict};
use espnic_ndis::oob::{LargeSend, SendHeader};
use espnic_ndis::sa::build::{self, Addresses};
use espnic_ndis::{Handle, Status};

const PAYLOAD: [u8; 45] = [7; 45];
const FAIL: Verdict = Verdict::Fail(Status::FAILURE);

fn slots(handle: Handle, pad_length: u8, ah: u16, esp: u16) -> SendSlots {
    let header = SendHeader {
        next_header: TCP,
        pad_length,
        ah_offset: ah,
        esp_offset: esp,
    };
    SendSlots {
        ipsec: handle.get(),
        header: header.word().unwrap(),
        ..SendSlots::default()
    }
}

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

fn framed_of(table: &Table, handle: Handle, payload: &[u8], next: u8) -> Vec<u8> {
    framed(
        &table.by_handle(handle).unwrap().esp.unwrap(),
        payload,
        next,
    )
}

/// A transport payload inside a tunnel payload.
fn nested(table: &Table, transport: Handle, tunnel: Handle) -> Vec<u8> {
    let inner = ipv4(ESP, &framed_of(table, transport, &PAYLOAD, TCP));
    ipv4(ESP, &framed_of(table, tunnel, &inner, IPV4))
}

/// Where the transport ESP of [`nested`] starts: IP, ESP, IV, IP.
const INNER_ESP: u16 = 20 + 8 + 8 + 20;

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
            ..slots(transport, 1, 0, INNER_ESP)
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
            ..slots(transport, 1, 0, INNER_ESP)
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
    assert!(fits(&table, &slots(one, 1, 0, 20), &packet));
    assert!(!fits(&table, &slots(one, 1, 0, 24), &packet));
    // The sequence number of AH stands inside of AH.
    let pair = [gcm(1), ah(0x200, Authentication::SHA_1)];
    let pair = add(&table, &outbound(&pair), Mode::Transport);
    let esp = framed_of(&table, pair, &PAYLOAD, TCP);
    let packet = ipv4(AH, &ah_of(&table, pair, &esp, ESP));
    assert!(fits(&table, &slots(pair, 1, 20, 44), &packet));
    assert!(!fits(&table, &slots(pair, 1, 20, 28), &packet));
    // The source address, in front of every IPsec header.
    let address = sa(&table, u32::from_be_bytes(SOURCE), Mode::Transport);
    let tunnel = sa(&table, 0x300, Mode::Tunnel);
    let packet = nested(&table, address, tunnel);
    for (offset, good) in [(INNER_ESP, true), (12, false)] {
        let slots = SendSlots {
            tunnel: tunnel.get(),
            ..slots(address, 1, 0, offset)
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
    assert!(fits(&table, &slots(handle, 2, 0, 20), &packet));
    let at = packet.len() - 16 - 2;
    for pad in [3, 20] {
        packet[at] = pad;
        assert!(!fits(&table, &slots(handle, pad, 0, 20), &packet));
    }
}

#[test]
fn nothing_stands_behind_the_packet() {
    rules(&[101]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, Mode::Transport);
    let whole = ipv4(ESP, &framed_of(&table, handle, &PAYLOAD, TCP));
    assert!(fits(&table, &slots(handle, 1, 0, 20), &whole));
    // What IP counts ends earlier than what the trailer is read from.
    let mut packet = whole.clone();
    packet[2..4].copy_from_slice(&(whole.len() as u16 - 4).to_be_bytes());
    assert!(!fits(&table, &slots(handle, 1, 0, 20), &packet));
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
    let bare = (ipv6(&[], ESP, &esp), slots(handle, 1, 0, 40));
    let extended = (
        ipv6(&[(60, &[0, 1, 4, 0, 0, 0, 0])], ESP, &esp),
        slots(handle, 1, 0, 48),
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
    let large = LargeSend::V2 {
        mss: 100,
        tcp_header_offset: 50,
        ipv6: false,
    };
    let alone = SendSlots {
        large_send: large.word().unwrap(),
        ..slots(transport, 0, 0, 20)
    };
    assert!(fits(&table, &alone, &inner));
    let packet = ipv4(ESP, &framed_of(&table, tunnel, &inner, IPV4));
    let around = SendSlots {
        tunnel: tunnel.get(),
        large_send: large.word().unwrap(),
        ..slots(transport, 0, 0, INNER_ESP)
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
        ..slots(transport, 1, 0, esp)
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
    assert!(fits(&table, &slots(handle, 0, 20, 0), &packet));
    assert!(!fits(&table, &slots(handle, 0, 20, 1020), &packet));
}
