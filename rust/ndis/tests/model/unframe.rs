// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is inside of framed packets.

use crate::fixture::*;
use crate::frame::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::model::unframe::unframe;
use espnic_ndis::model::{Lookup, Mode, Offloaded};
use espnic_ndis::oob::SendHeader;
use espnic_ndis::sa::build;
use espnic_ndis::sa::UdpEsp;

const IPV6: u8 = 41;

fn sa(mode: Mode, udp_esp: UdpEsp) -> Offloaded {
    let table = Table::new(8);
    let associations = [gcm(0x100)];
    let bundle = build::Bundle {
        udp_esp,
        ..outbound(&associations)
    };
    let handle = add(&table, &bundle, mode);
    table.by_handle(handle).unwrap()
}

fn esp(sa: &Offloaded, payload: &[u8], next: u8) -> Vec<u8> {
    framed(&sa.esp.unwrap(), payload, next)
}

/// What is inside of a packet whose ESP is at `at`.
fn inside(mut packet: Vec<u8>, sa: &Offloaded, at: usize) -> Option<Vec<u8>> {
    let icv = sa.esp.unwrap().icv;
    let [pad_length, next_header] = *packet[..packet.len() - icv].last_chunk().unwrap();
    let header = SendHeader {
        next_header,
        pad_length,
        ..SendHeader::default()
    };
    let found = unframe(&mut packet, sa, header, at)?;
    Some(packet[found].to_vec())
}

#[test]
fn a_transport_payload_gets_its_ip_header_back() {
    rules(&[95, 101]);
    let sa = sa(Mode::Transport, UdpEsp::NONE);
    for length in 0..70 {
        let payload = vec![7; length];
        let esp = esp(&sa, &payload, TCP);
        assert_eq!(
            inside(ipv4(ESP, &esp), &sa, 20).unwrap(),
            ipv4(TCP, &payload)
        );
        let options = inside(ipv4_options(ESP, &esp), &sa, 24).unwrap();
        assert_eq!(options, ipv4_options(TCP, &payload));
        assert_eq!(
            inside(ipv6(&[], ESP, &esp), &sa, 40).unwrap(),
            ipv6(&[], TCP, &payload)
        );
    }
}

#[test]
fn the_udp_header_of_the_encapsulation_goes() {
    let transport = sa(Mode::Transport, UdpEsp::TRANSPORT);
    let packet = ipv4(UDP, &udp(4500, &esp(&transport, &[7; 9], TCP)));
    assert_eq!(inside(packet, &transport, 28).unwrap(), ipv4(TCP, &[7; 9]));
    let tunnel = sa(Mode::Tunnel, UdpEsp::TUNNEL);
    let inner = ipv4(TCP, &[7; 9]);
    let packet = ipv4(UDP, &udp(4500, &esp(&tunnel, &inner, IPV4)));
    assert_eq!(inside(packet, &tunnel, 28).unwrap(), inner);
}

#[test]
fn what_is_in_a_tunnel_is_left_as_it_is() {
    let sa = sa(Mode::Tunnel, UdpEsp::NONE);
    for (inner, protocol) in [
        (ipv4_options(UDP, &[7; 31]), IPV4),
        (ipv6(&[(0, &[0; 7])], TCP, &[7; 31]), IPV6),
    ] {
        let framed = esp(&sa, &inner, protocol);
        assert_eq!(inside(ipv4(ESP, &framed), &sa, 20).unwrap(), inner);
        assert_eq!(inside(ipv6(&[], ESP, &framed), &sa, 40).unwrap(), inner);
        // Something else than it says, and no IP at all.
        for wrong in [IPV4 ^ IPV6 ^ protocol, TCP, 59] {
            let framed = esp(&sa, &inner, wrong);
            assert_eq!(inside(ipv4(ESP, &framed), &sa, 20), None);
        }
    }
    let framed = esp(&sa, &[], IPV4);
    assert_eq!(inside(ipv4(ESP, &framed), &sa, 20), None);
}

#[test]
fn what_cannot_be_taken_apart_is_left_alone() {
    let transport = sa(Mode::Transport, UdpEsp::NONE);
    let framed = esp(&transport, &[7; 9], TCP);
    let extended = ipv6(&[(0, &[0; 7])], ESP, &framed);
    assert_eq!(inside(extended, &transport, 48), None);
    let packet = ipv4(ESP, &framed);
    assert_eq!(
        inside(packet.clone(), &sa(Mode::ByPacket, UdpEsp::NONE), 20),
        None
    );
    for length in 0..packet.len() {
        let header = SendHeader {
            pad_length: 255,
            ..SendHeader::default()
        };
        let mut short = packet[..length].to_vec();
        assert_eq!(unframe(&mut short, &transport, header, 20), None);
    }
    let mut packet = packet;
    for at in [packet.len(), usize::MAX] {
        let header = SendHeader::default();
        assert_eq!(unframe(&mut packet, &transport, header, at), None);
    }
}
