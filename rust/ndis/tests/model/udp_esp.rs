// SPDX-License-Identifier: GPL-2.0 OR MIT

//! UDP-encapsulated ESP, and transport over tunnel in its three forms.

use crate::fixture::*;
use crate::frame::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::model::packet::{classify, Class, Plain};
use espnic_ndis::model::{Backend, Capabilities, Check, Mode, Report, Work};
use espnic_ndis::sa::build::{self, Addresses};
use espnic_ndis::sa::UdpEsp;
use espnic_ndis::Handle;

const INNER: ([u8; 4], [u8; 4]) = ([10, 0, 0, 1], [10, 0, 0, 2]);
const DATA: [u8; 30] = [7; 30];

/// An inbound SA with a UDP subtype, for the outer or for the inner addresses.
fn sa(table: &Table, spi: u32, udp_esp: UdpEsp, mode: Mode, inner: bool) -> Handle {
    let associations = [gcm(spi)];
    let (source, destination) = if inner { INNER } else { (SOURCE, DESTINATION) };
    let bundle = build::Bundle {
        udp_esp,
        addresses: Addresses::V4 {
            source,
            destination,
        },
        ..inbound(&associations)
    };
    add(table, &bundle, mode)
}

fn inner(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_between(INNER.0, INNER.1, protocol, payload)
}

/// ESP in IPv4 between two addresses, with or without UDP in front.
fn wrapped_in(addresses: &([u8; 4], [u8; 4]), in_udp: bool, esp: &[u8]) -> Vec<u8> {
    let (source, destination) = *addresses;
    match in_udp {
        true => ipv4_between(source, destination, UDP, &udp(4500, esp)),
        false => ipv4_between(source, destination, ESP, esp),
    }
}

fn single(mode: Mode, check: Check) -> Work {
    Work::Single { mode, check }
}

fn nested(tunnel: Check, transport: Check) -> Work {
    let transport = Some(transport);
    Work::Nested { tunnel, transport }
}

/// The packet with one byte changed, counted from its end.
fn spoilt(mut packet: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = packet.len() - from_end;
    packet[at] ^= 1;
    packet
}

#[test]
fn the_destination_port_is_4500() {
    rules(&[129]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, UdpEsp::TRANSPORT, Mode::ByPacket, false);
    let esp = esp_of(&table, handle, &DATA, TCP);
    let good = single(Mode::Transport, Check::Good);
    assert_eq!(receive(&table, ipv4(UDP, &udp(4500, &esp))).work, good);
    for port in [0, 500, 4499, 4501, 0x9411] {
        let packet = ipv4(UDP, &udp(port, &esp));
        assert_eq!(classify(&packet), Class::Plain(Plain::NoIpsec));
        assert_eq!(receive(&table, packet), Report::NONE);
    }
    // Where it comes from does not matter.
    let mut packet = ipv4(UDP, &udp(4500, &esp));
    packet[20] = 0xff;
    assert_eq!(receive(&table, packet).work, good);
}

#[test]
fn four_zero_bytes_are_ike() {
    rules(&[130]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, UdpEsp::TRANSPORT, Mode::ByPacket, false);
    let esp = esp_of(&table, handle, &DATA, TCP);
    for payload in [vec![0; 4], vec![0; 40], [&[0; 4], &esp[..]].concat()] {
        let packet = ipv4(UDP, &udp(4500, &payload));
        assert_eq!(classify(&packet), Class::Plain(Plain::Ike));
        assert_eq!(receive(&table, packet).record(), Default::default());
    }
    // One bit makes it ESP.
    let packet = ipv4(UDP, &udp(4500, &[0, 0, 0, 1, 0, 0, 0, 1]));
    assert!(matches!(classify(&packet), Class::Protected(found) if found.spi.get() == 1));
}

#[test]
fn a_keep_alive_is_nothing() {
    rules(&[130, 131]);
    let table = Table::new(8);
    sa(&table, 0x100, UdpEsp::TRANSPORT, Mode::ByPacket, false);
    let alive = ipv4(UDP, &udp(4500, &[0xff]));
    assert_eq!(classify(&alive), Class::Plain(Plain::KeepAlive));
    assert_eq!(receive(&table, alive), Report::NONE);
    for short in [
        &[][..],
        &[0],
        &[0, 0, 1],
        &[0, 0, 1, 0],
        &[0, 0, 1, 0, 0, 0, 0],
    ] {
        let packet = ipv4(UDP, &udp(4500, short));
        assert_eq!(classify(&packet), Class::Plain(Plain::Short));
        assert_eq!(receive(&table, packet), Report::NONE);
    }
}

#[test]
fn without_an_offloaded_sa_it_passes() {
    rules(&[131, 137]);
    let table = Table::new(8);
    let plain = sa(&table, 0x100, UdpEsp::NONE, Mode::ByPacket, false);
    let wrapped = sa(&table, 0x200, UdpEsp::TRANSPORT, Mode::ByPacket, false);
    let (esp, in_udp) = (
        esp_of(&table, plain, &DATA, TCP),
        esp_of(&table, wrapped, &DATA, TCP),
    );
    let good = single(Mode::Transport, Check::Good);
    // The subtype is part of the SA: with and without UDP are different things.
    assert_eq!(receive(&table, ipv4(ESP, &esp)).work, good);
    assert_eq!(receive(&table, ipv4(UDP, &udp(4500, &in_udp))).work, good);
    assert_eq!(receive(&table, ipv4(UDP, &udp(4500, &esp))), Report::NONE);
    assert_eq!(receive(&table, ipv4(ESP, &in_udp)), Report::NONE);
    // Of the nested forms the tunnel alone may be offloaded, or nothing.
    for (subtype, outside, inside) in [
        (UdpEsp::TRANSPORT_OVER_UDP_TUNNEL, true, false),
        (UdpEsp::UDP_TRANSPORT_OVER_TUNNEL, false, true),
    ] {
        let both = Table::new(8);
        let tunnel = sa(&both, 0x300, subtype, Mode::Tunnel, false);
        let transport = sa(&both, 0x400, subtype, Mode::Transport, true);
        let esp = esp_of(&both, transport, &DATA, TCP);
        let esp = esp_of(&both, tunnel, &wrapped_in(&INNER, inside, &esp), IPV4);
        let packet = wrapped_in(&(SOURCE, DESTINATION), outside, &esp);
        assert_eq!(
            receive(&both, packet.clone()).work,
            nested(Check::Good, Check::Good)
        );
        Backend::remove(&both, transport).unwrap();
        assert_eq!(
            receive(&both, packet.clone()).work,
            single(Mode::Tunnel, Check::Good)
        );
        Backend::remove(&both, tunnel).unwrap();
        let mut seen = packet.clone();
        assert_eq!(
            receive_with(&EVERYTHING, &both, &mut seen).record(),
            Default::default()
        );
        assert_eq!(seen, packet);
    }
    let mut unknown = in_udp.clone();
    unknown[2] = 9;
    assert_eq!(
        receive(&table, ipv4(UDP, &udp(4500, &unknown))),
        Report::NONE
    );
}

#[test]
fn udp_encapsulated_transport() {
    rules(&[132]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, UdpEsp::TRANSPORT, Mode::ByPacket, false);
    // IP, UDP, ESP, TCP, data, trailer, ICV.
    let packet = ipv4(UDP, &udp(4500, &esp_of(&table, handle, &DATA, TCP)));
    let report = receive(&table, packet.clone());
    assert_eq!(report.work, single(Mode::Transport, Check::Good));
    assert_eq!(report.trailer, Some((TCP, 0)));
    let bad = receive(&table, spoilt(packet, 1));
    assert_eq!(bad.work, single(Mode::Transport, Check::EspFailed));
    assert_eq!(bad.record().ipsec, 0x0003_0002);
}

#[test]
fn udp_encapsulated_tunnel() {
    rules(&[133]);
    let table = Table::new(8);
    let handle = sa(&table, 0x100, UdpEsp::TUNNEL, Mode::ByPacket, false);
    // IP(tunnel), UDP, ESP, IP(transport), TCP, data, trailer, ICV.
    let payload = inner(TCP, &DATA);
    let packet = ipv4(UDP, &udp(4500, &esp_of(&table, handle, &payload, IPV4)));
    let report = receive(&table, packet.clone());
    assert_eq!(report.work, single(Mode::Tunnel, Check::Good));
    let bad = receive(&table, spoilt(packet, 1));
    assert_eq!(bad.work, single(Mode::Tunnel, Check::EspFailed));
    assert_eq!(bad.record().ipsec, 0x0005_0002);
    // Under this subtype the transport part is not ESP of ours, even if an SA would fit.
    let transport = sa(&table, 0x200, UdpEsp::NONE, Mode::Transport, true);
    let payload = inner(ESP, &esp_of(&table, transport, &DATA, TCP));
    let packet = ipv4(UDP, &udp(4500, &esp_of(&table, handle, &payload, IPV4)));
    assert_eq!(
        receive(&table, packet).work,
        single(Mode::Tunnel, Check::Good)
    );
}

#[test]
fn transport_over_udp_encapsulated_tunnel() {
    rules(&[134, 118]);
    let table = Table::new(8);
    let subtype = UdpEsp::TRANSPORT_OVER_UDP_TUNNEL;
    let tunnel = sa(&table, 0x100, subtype, Mode::Tunnel, false);
    let transport = sa(&table, 0x200, subtype, Mode::Transport, true);
    // IP(tunnel), UDP, ESP, IP(transport), ESP, TCP, data, and both trailers and ICVs.
    let esp = esp_of(&table, transport, &DATA, TCP);
    let wrap = |esp: &[u8]| {
        let payload = inner(ESP, esp);
        ipv4(UDP, &udp(4500, &esp_of(&table, tunnel, &payload, IPV4)))
    };
    let report = receive(&table, wrap(&esp));
    assert_eq!(report.work, nested(Check::Good, Check::Good));
    assert_eq!(report.record().ipsec, 6);
    let bad = receive(&table, wrap(&spoilt(esp.clone(), 1)));
    assert_eq!(bad.work, nested(Check::Good, Check::EspFailed));
    assert_eq!(bad.record().ipsec, 0x0003_0006);
    // A bad tunnel hides what is inside.
    let bad = receive(&table, spoilt(wrap(&esp), 1));
    assert_eq!(bad.work, single(Mode::Tunnel, Check::EspFailed));
    assert_eq!(bad.record().ipsec, 0x0005_0002);
    // Without UDP in front it is another form.
    let payload = inner(ESP, &esp);
    let bare = ipv4(ESP, &esp_of(&table, tunnel, &payload, IPV4));
    assert_eq!(receive(&table, bare), Report::NONE);
}

#[test]
fn udp_encapsulated_transport_over_tunnel() {
    rules(&[135, 136, 118, 122]);
    let table = Table::new(8);
    let subtype = UdpEsp::UDP_TRANSPORT_OVER_TUNNEL;
    let tunnel = sa(&table, 0x100, subtype, Mode::Tunnel, false);
    let transport = sa(&table, 0x200, subtype, Mode::Transport, true);
    // IP(tunnel), ESP, IP(transport), UDP, ESP, TCP, data, and both trailers and ICVs.
    let esp = esp_of(&table, transport, &DATA, TCP);
    let wrap = |esp: &[u8]| {
        let payload = inner(UDP, &udp(4500, esp));
        ipv4(ESP, &esp_of(&table, tunnel, &payload, IPV4))
    };
    let packet = wrap(&esp);
    let mut seen = packet.clone();
    let report = receive_with(&EVERYTHING, &table, &mut seen);
    assert_eq!(report.work, nested(Check::Good, Check::Good));
    // First the outer, then the inner: the data stands in the clear where both were taken off.
    assert!(seen.windows(DATA.len()).any(|window| window == DATA));
    // A bad inner part stays as it came, behind the outer ESP that was taken off.
    let foul = spoilt(esp.clone(), 1);
    let mut seen = wrap(&foul);
    let bad = receive_with(&EVERYTHING, &table, &mut seen);
    assert_eq!(bad.work, nested(Check::Good, Check::EspFailed));
    let open = 20 + 8 + 8;
    let expected = inner(UDP, &udp(4500, &foul));
    assert_eq!(seen[open..open + expected.len()], expected);
    // With the outer bad, the inner is not even looked at.
    let mut broken = spoilt(packet, 1);
    let before = broken.clone();
    let report = receive_with(&EVERYTHING, &table, &mut broken);
    assert_eq!(report.work, single(Mode::Tunnel, Check::EspFailed));
    assert_eq!(broken, before);
    // IKE inside of the tunnel passes with the tunnel alone processed.
    let payload = inner(UDP, &udp(4500, &[0; 20]));
    let ike = ipv4(ESP, &esp_of(&table, tunnel, &payload, IPV4));
    assert_eq!(receive(&table, ike).work, single(Mode::Tunnel, Check::Good));
}

#[test]
fn each_subtype_has_its_udp_header_in_its_own_place() {
    rules(&[63, 132, 133, 134, 135]);
    let none = (UdpEsp::NONE, false, false);
    // Subtypes of the outer and of the inner SA, UDP in front of the outer and of the inner ESP.
    for ((outer, udp_outside, udp_inside), inner_sa, both) in [
        (none, UdpEsp::NONE, true),
        (none, UdpEsp::TRANSPORT, false),
        ((UdpEsp::NONE, false, true), UdpEsp::TRANSPORT, false),
        (
            (UdpEsp::NONE, false, true),
            UdpEsp::UDP_TRANSPORT_OVER_TUNNEL,
            true,
        ),
        (
            (UdpEsp::NONE, false, false),
            UdpEsp::UDP_TRANSPORT_OVER_TUNNEL,
            false,
        ),
        ((UdpEsp::TUNNEL, true, false), UdpEsp::NONE, false),
        (
            (UdpEsp::TRANSPORT_OVER_UDP_TUNNEL, true, false),
            UdpEsp::TRANSPORT_OVER_UDP_TUNNEL,
            true,
        ),
        (
            (UdpEsp::TRANSPORT_OVER_UDP_TUNNEL, true, true),
            UdpEsp::TRANSPORT_OVER_UDP_TUNNEL,
            false,
        ),
        // UDP in both parts, each of which would be right alone.
        (
            (UdpEsp::TRANSPORT_OVER_UDP_TUNNEL, true, true),
            UdpEsp::UDP_TRANSPORT_OVER_TUNNEL,
            false,
        ),
    ] {
        let table = Table::new(8);
        let tunnel = sa(&table, 0x100, outer, Mode::Tunnel, false);
        let mode = Mode::Transport;
        let transport = sa(&table, 0x200, inner_sa, mode, true);
        let esp = esp_of(&table, transport, &DATA, TCP);
        let payload = wrapped_in(&INNER, udp_inside, &esp);
        let esp = esp_of(&table, tunnel, &payload, IPV4);
        let packet = wrapped_in(&(SOURCE, DESTINATION), udp_outside, &esp);
        let expected = match both {
            true => nested(Check::Good, Check::Good),
            false => single(Mode::Tunnel, Check::Good),
        };
        assert_eq!(receive(&table, packet).work, expected, "{outer} {inner_sa}");
    }
    // The last subtype's outer ESP has no UDP in front.
    let table = Table::new(8);
    let subtype = UdpEsp::UDP_TRANSPORT_OVER_TUNNEL;
    let tunnel = sa(&table, 0x100, subtype, Mode::Tunnel, false);
    let esp = esp_of(&table, tunnel, &inner(TCP, &DATA), IPV4);
    assert_eq!(receive(&table, ipv4(UDP, &udp(4500, &esp))), Report::NONE);
}

#[test]
fn ip_in_ip_of_a_transport_sa_is_no_tunnel() {
    rules(&[118]);
    let table = Table::new(8);
    let outer = sa(&table, 0x100, UdpEsp::NONE, Mode::Transport, false);
    let transport = sa(&table, 0x200, UdpEsp::NONE, Mode::Transport, true);
    let payload = inner(ESP, &esp_of(&table, transport, &DATA, TCP));
    let packet = ipv4(ESP, &esp_of(&table, outer, &payload, IPV4));
    assert_eq!(
        receive(&table, packet).work,
        single(Mode::Transport, Check::Good)
    );
}

#[test]
fn a_tunnel_inside_of_a_tunnel_is_no_transport_payload() {
    rules(&[118]);
    // IP, ESP, IP, ESP, IP: the second tunnel is left to the transport, bytes and all.
    let table = Table::new(8);
    let outer = sa(&table, 0x100, UdpEsp::NONE, Mode::Tunnel, false);
    let second = sa(&table, 0x200, UdpEsp::NONE, Mode::Tunnel, true);
    let payload = inner(ESP, &esp_of(&table, second, &ipv4(TCP, &DATA), IPV4));
    let mut seen = ipv4(ESP, &esp_of(&table, outer, &payload, IPV4));
    let report = receive_with(&EVERYTHING, &table, &mut seen);
    assert_eq!(report.work, single(Mode::Tunnel, Check::Good));
    assert_eq!(report.record().ipsec, 2);
    assert!(seen.windows(payload.len()).any(|window| window == payload));
    // An SA that leaves its mode open is used for a transport payload there, whatever is in it.
    let table = Table::new(8);
    let outer = sa(&table, 0x100, UdpEsp::NONE, Mode::Tunnel, false);
    let open = sa(&table, 0x200, UdpEsp::NONE, Mode::ByPacket, true);
    let esp = esp_of(&table, open, &ipv4(TCP, &DATA), IPV4);
    for (esp, check, word) in [
        (esp.clone(), Check::Good, 6),
        (spoilt(esp, 1), Check::EspFailed, 0x0003_0006),
    ] {
        let packet = ipv4(ESP, &esp_of(&table, outer, &inner(ESP, &esp), IPV4));
        let report = receive(&table, packet);
        assert_eq!(report.work, nested(Check::Good, check));
        assert_eq!(report.record().ipsec, word);
    }
}

#[test]
fn transport_over_tunnel_without_udp() {
    rules(&[118, 117]);
    let table = Table::new(8);
    let tunnel = sa(&table, 0x100, UdpEsp::NONE, Mode::ByPacket, false);
    let transport = sa(&table, 0x200, UdpEsp::NONE, Mode::ByPacket, true);
    let esp = esp_of(&table, transport, &DATA, TCP);
    let payload = inner(ESP, &esp);
    let packet = ipv4(ESP, &esp_of(&table, tunnel, &payload, IPV4));
    let report = receive(&table, packet.clone());
    assert_eq!(report.work, nested(Check::Good, Check::Good));
    assert_eq!(report.record().ipsec, 6);
    // An adapter that cannot combine them checks the tunnel only: CryptoDone without the next.
    let apart = Capabilities {
        transport_tunnel_combined: false,
        ..EVERYTHING
    };
    let mut seen = packet;
    let report = receive_with(&apart, &table, &mut seen);
    assert_eq!(report.work, single(Mode::Tunnel, Check::Good));
    assert_eq!(report.record().ipsec, 2);
    // So it is if the transport SA is not offloaded.
    let alone = Table::new(8);
    let tunnel = sa(&alone, 0x100, UdpEsp::NONE, Mode::ByPacket, false);
    let packet = ipv4(ESP, &esp_of(&alone, tunnel, &payload, IPV4));
    assert_eq!(
        receive(&alone, packet).work,
        single(Mode::Tunnel, Check::Good)
    );
}
