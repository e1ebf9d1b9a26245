// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The way of received packets through the NIC.

use crate::fixture::*;
use crate::frame::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::flow;
use espnic_ndis::model::packet::{classify, classify_head, may_coalesce, parse, Class, Plain};
use espnic_ndis::model::{Backend, Capabilities, Check, Lookup, Mode, Report, Work};
use espnic_ndis::sa::build::{self, Addresses};

const PAYLOAD: [u8; 50] = [7; 50];
const SHA: Authentication = Authentication::SHA_1;

fn good(mode: Mode) -> Work {
    let check = Check::Good;
    Work::Single { mode, check }
}

fn bad(mode: Mode, check: Check) -> Work {
    Work::Single { mode, check }
}

/// The packet with its last byte changed.
fn spoilt(mut packet: Vec<u8>) -> Vec<u8> {
    *packet.last_mut().unwrap() ^= 1;
    packet
}

#[test]
fn nothing_is_processed_before_an_sa_was_added() {
    rules(&[66, 114]);
    let (other, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let packet = ipv4(ESP, &esp_of(&other, handle, &PAYLOAD, TCP));
    let mut seen = packet.clone();
    let report = receive_with(&EVERYTHING, &Table::new(8), &mut seen);
    assert_eq!(report.record(), Default::default());
    assert_eq!(seen, packet);
    assert_eq!(receive(&other, packet).work, good(Mode::Transport));
}

#[test]
fn a_packet_is_indicated_whatever_its_check_said() {
    rules(&[111, 122, 124]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let packet = spoilt(ipv4(ESP, &esp_of(&table, handle, &PAYLOAD, TCP)));
    let mut seen = packet.clone();
    // There is a report for every packet, and no way to say that one is dropped.
    let report: Report = receive_with(&EVERYTHING, &table, &mut seen);
    assert_eq!(report.work, bad(Mode::Transport, Check::EspFailed));
    assert_eq!(report.record().ipsec, 0x0003_0002);
    assert_eq!(report.record().v1, 0x0003_0002);
    assert_eq!(seen, packet);
}

#[test]
fn without_offload_set_up_nothing_is_processed() {
    rules(&[112, 15]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let packet = ipv4(ESP, &esp_of(&table, handle, &PAYLOAD, TCP));
    let mut adapter = adapter(EVERYTHING);
    for turn_on in [false, true] {
        if turn_on {
            let on = encapsulate(espnic_ndis::encapsulation::Set::ON, 2);
            adapter.set(espnic_ndis::Oid::ENCAPSULATION, &on);
        }
        let mut seen = packet.clone();
        let config = adapter.processed();
        let report = flow::receive(
            adapter.processing(),
            &config,
            &mut seen,
            &table,
            &Nic(&table),
        );
        let expected = if turn_on {
            good(Mode::Transport)
        } else {
            Work::None
        };
        assert_eq!(report.work, expected);
        assert_eq!(seen == packet, !turn_on);
    }
}

#[test]
fn the_sa_is_found_by_spi_and_destination() {
    rules(&[113, 61]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let esp = esp_of(&table, handle, &PAYLOAD, TCP);
    assert_eq!(receive(&table, ipv4(ESP, &esp)).work, good(Mode::Transport));
    let elsewhere = ipv4_between(SOURCE, [9, 9, 9, 9], ESP, &esp);
    assert_eq!(receive(&table, elsewhere).work, Work::None);
    let mut other_spi = esp.clone();
    other_spi[3] ^= 1;
    assert_eq!(receive(&table, ipv4(ESP, &other_spi)).work, Work::None);
    // An SA that leaves its addresses open takes the packet at any.
    let open = Table::new(8);
    let sa = [gcm(0x100)];
    let any = build::Bundle {
        addresses: Addresses::V4 {
            source: [0; 4],
            destination: [0; 4],
        },
        ..inbound(&sa)
    };
    add(&open, &any, Mode::Transport);
    let elsewhere = ipv4_between([1, 1, 1, 1], [9, 9, 9, 9], ESP, &esp);
    assert_eq!(receive(&open, elsewhere).work, good(Mode::Transport));
    // An outbound SA receives nothing.
    let out = Table::new(8);
    add(&out, &outbound(&sa), Mode::Transport);
    assert_eq!(receive(&out, ipv4(ESP, &esp)).work, Work::None);
}

#[test]
fn a_tunnel_sa_has_the_addresses_of_the_tunnel() {
    rules(&[62, 113]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Tunnel);
    let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let inner = ipv4_between(one, other, TCP, &PAYLOAD);
    let esp = esp_of(&table, handle, &inner, IPV4);
    assert_eq!(receive(&table, ipv4(ESP, &esp)).work, good(Mode::Tunnel));
    // Outside there are not the addresses of what is inside.
    let packet = ipv4_between(one, other, ESP, &esp);
    assert_eq!(receive(&table, packet), Report::NONE);
    let packet = ipv4_between(SOURCE, other, ESP, &esp);
    assert_eq!(receive(&table, packet), Report::NONE);
}

#[test]
fn what_the_capabilities_do_not_cover_is_left_alone() {
    rules(&[115]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let esp = esp_of(&table, handle, &PAYLOAD, TCP);
    let sa = [gcm(0x100)];
    let v6 = build::Bundle {
        addresses: Addresses::V6 {
            source: [1; 16],
            destination: [2; 16],
        },
        ..inbound(&sa)
    };
    add(&table, &v6, Mode::Transport);
    let hop = [0u8, 1, 4, 0, 0, 0, 0];
    let no_options = Capabilities {
        ipv4_options: false,
        ..EVERYTHING
    };
    let no_extensions = Capabilities {
        ipv6_extension_headers: false,
        ..EVERYTHING
    };
    let no_ipv6 = Capabilities {
        ipv6: false,
        ..EVERYTHING
    };
    for (packet, without) in [
        (ipv4_options(ESP, &esp), no_options),
        (ipv6(&[(0, &hop)], ESP, &esp), no_extensions),
        (ipv6(&[(60, &hop), (43, &hop)], ESP, &esp), no_extensions),
        (ipv6(&[], ESP, &esp), no_ipv6),
    ] {
        let mut seen = packet.clone();
        assert_eq!(receive_with(&without, &table, &mut seen), Report::NONE);
        assert_eq!(seen, packet);
        assert_eq!(receive(&table, packet).work, good(Mode::Transport));
    }
}

#[test]
fn every_matching_packet_is_processed() {
    rules(&[116]);
    for cipher in [
        Encryption::NONE,
        Encryption::DES_CBC,
        Encryption::AES_CBC_256,
    ] {
        let (table, handle) = with_inbound(&[esp(0x100, cipher, SHA)], Mode::Transport);
        for length in 0..200 {
            let packet = ipv4(ESP, &esp_of(&table, handle, &vec![3; length], UDP));
            let report = receive(&table, packet);
            assert_eq!(report.work, good(Mode::Transport));
            let (next, pad) = report.trailer.unwrap();
            assert_eq!(next, UDP);
            let alignment = cipher.alignment();
            assert_eq!((length + 2 + usize::from(pad)) % alignment, 0);
            assert!(usize::from(pad) < alignment);
        }
    }
}

#[test]
fn one_payload_good_and_bad() {
    rules(&[117, 119, 122]);
    let inner = ipv4(TCP, &PAYLOAD);
    for (mode, payload, next) in [
        (Mode::Transport, &PAYLOAD[..], TCP),
        (Mode::Tunnel, &inner, IPV4),
    ] {
        // The mode is the SA's, or for one that has none, the packet's.
        for named in [mode, Mode::ByPacket] {
            let (table, handle) = with_inbound(&[gcm(0x100)], named);
            let packet = ipv4(ESP, &esp_of(&table, handle, payload, next));
            assert_eq!(receive(&table, packet.clone()).work, good(mode));
            assert_eq!(
                receive(&table, spoilt(packet)).work,
                bad(named, Check::EspFailed)
            );
            let (table, handle) = with_inbound(&[ah(0x200, SHA)], named);
            let packet = ipv4(AH, &ah_of(&table, handle, payload, next));
            assert_eq!(receive(&table, packet.clone()).work, good(mode));
            assert_eq!(
                receive(&table, spoilt(packet)).work,
                bad(named, Check::AhFailed)
            );
        }
    }
}

#[test]
fn of_a_pair_ah_is_verified_first() {
    rules(&[54, 75, 117]);
    let pair = [gcm(0x100), ah(0x200, SHA)];
    let (table, handle) = with_inbound(&pair, Mode::Transport);
    let esp = esp_of(&table, handle, &PAYLOAD, TCP);
    let packet = |esp: &[u8]| ipv4(AH, &ah_of(&table, handle, esp, ESP));
    assert_eq!(receive(&table, packet(&esp)).work, good(Mode::Transport));
    let broken = bad(Mode::Transport, Check::AhFailed);
    assert_eq!(receive(&table, spoilt(packet(&esp))).work, broken);
    let inside = bad(Mode::Transport, Check::EspFailed);
    assert_eq!(receive(&table, packet(&spoilt(esp))).work, inside);
}

#[test]
fn the_other_protocol_is_an_error_of_its_own() {
    rules(&[120, 113]);
    let (esp_only, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let esp = esp_of(&esp_only, handle, &PAYLOAD, TCP);
    let (ah_only, handle) = with_inbound(&[ah(0x100, SHA)], Mode::Tunnel);
    let with_ah = ah_of(&ah_only, handle, &PAYLOAD, TCP);
    let wrong = |mode| bad(mode, Check::Protocol);
    assert_eq!(
        receive(&esp_only, ipv4(AH, &with_ah)).work,
        wrong(Mode::Transport)
    );
    assert_eq!(receive(&ah_only, ipv4(ESP, &esp)).work, wrong(Mode::Tunnel));
    // A pair's packet with AH around something other than its ESP.
    let pair = [gcm(0x300), ah(0x100, SHA)];
    let (table, handle) = with_inbound(&pair, Mode::Transport);
    let packet = ipv4(AH, &ah_of(&table, handle, &PAYLOAD, TCP));
    assert_eq!(receive(&table, packet).work, wrong(Mode::Transport));
    // Its own ESP, but AH says that something else follows.
    let own = esp_of(&table, handle, &PAYLOAD, TCP);
    let packet = |next| ipv4(AH, &ah_of(&table, handle, &own, next));
    assert_eq!(receive(&table, packet(ESP)).work, good(Mode::Transport));
    assert_eq!(receive(&table, packet(TCP)).work, wrong(Mode::Transport));
    let foreign = ipv4(AH, &ah_of(&table, handle, &esp, ESP));
    assert_eq!(receive(&table, foreign).work, wrong(Mode::Transport));
}

#[test]
fn a_length_that_does_not_fit_is_a_syntax_error() {
    rules(&[120, 122]);
    let syntax = bad(Mode::Transport, Check::Syntax);
    let forged = bad(Mode::Transport, Check::EspFailed);
    for sa in [gcm(0x100), esp(0x100, Encryption::AES_CBC_128, SHA)] {
        let (table, handle) = with_inbound(&[sa], Mode::Transport);
        let shape = table.by_handle(handle).unwrap().esp.unwrap();
        let whole = esp_of(&table, handle, &[7; 30], TCP);
        // From the SPI alone to one byte less than the whole.
        for length in 4..whole.len() {
            let packet = ipv4(ESP, &whole[..length]);
            // With a length that the SA can have, it is the integrity value that is wrong.
            let body = length.checked_sub(8 + shape.iv + shape.icv);
            let fits = body.is_some_and(|body| body >= 2 && body % shape.alignment == 0);
            let expected = if fits { forged } else { syntax };
            assert_eq!(receive(&table, packet).work, expected, "{length}");
        }
        assert_eq!(receive(&table, ipv4(ESP, &whole[..12])).work, syntax);
    }
    let (table, handle) = with_inbound(&[ah(0x100, SHA)], Mode::Transport);
    let whole = ah_of(&table, handle, &[], TCP);
    for length in 8..whole.len() {
        assert_eq!(receive(&table, ipv4(AH, &whole[..length])).work, syntax);
    }
    for words in [0, 3, 200] {
        let mut packet = whole.clone();
        packet[1] = words;
        assert_eq!(receive(&table, ipv4(AH, &packet)).work, syntax);
    }
    // Without an SPI there is no SA to speak of.
    assert_eq!(receive(&table, ipv4(AH, &whole[..7])).work, Work::None);
}

#[test]
fn padding_longer_than_the_payload_is_a_syntax_error() {
    rules(&[120]);
    let (table, handle) = with_inbound(&[esp(0x100, Encryption::NONE, SHA)], Mode::Transport);
    let shape = table.by_handle(handle).unwrap().esp.unwrap();
    // The integrity value is right each time.
    for (pad, check) in [
        (0, Check::Good),
        (2, Check::Good),
        (3, Check::Syntax),
        (255, Check::Syntax),
    ] {
        let packet = ipv4(ESP, &sealed_body(&shape, &[9, 9, pad, TCP]));
        assert_eq!(receive(&table, packet).work, bad(Mode::Transport, check));
    }
}

#[test]
fn replay_is_not_the_nics_business() {
    rules(&[123]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let packet = ipv4(ESP, &esp_of(&table, handle, &PAYLOAD, TCP));
    let first = receive(&table, packet.clone());
    for _ in 0..3 {
        assert_eq!(receive(&table, packet.clone()), first);
    }
    assert_eq!(first.work, good(Mode::Transport));
    assert_eq!(table.offloaded(), 1);
}

#[test]
fn fragments_are_never_processed() {
    rules(&[126]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let esp = esp_of(&table, handle, &PAYLOAD, TCP);
    for (flags, offset) in [(0x20, 0), (0, 5), (0x20, 9)] {
        let mut packet = ipv4(ESP, &esp);
        (packet[6], packet[7]) = (flags, offset);
        assert_eq!(receive(&table, packet), Report::NONE);
    }
    // "Do not fragment" is no fragment.
    let mut packet = ipv4(ESP, &esp);
    packet[6] = 0x40;
    assert_eq!(receive(&table, packet).work, good(Mode::Transport));
    let sa = [gcm(0x100)];
    let v6 = build::Bundle {
        addresses: Addresses::V6 {
            source: [0; 16],
            destination: [0; 16],
        },
        ..inbound(&sa)
    };
    add(&table, &v6, Mode::Transport);
    assert_eq!(
        receive(&table, ipv6(&[], ESP, &esp)).work,
        good(Mode::Transport)
    );
    let fragment = ipv6(&[(44, &[0, 0, 1, 0, 0, 0, 9])], ESP, &esp);
    assert_eq!(receive(&table, fragment), Report::NONE);
}

#[test]
fn what_ipsec_protects_is_not_coalesced() {
    rules(&[127]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let esp = esp_of(&table, handle, &PAYLOAD, TCP);
    let (with_ah, handle) = with_inbound(&[ah(0x100, SHA)], Mode::Transport);
    let ah = ah_of(&with_ah, handle, &PAYLOAD, TCP);
    for packet in [
        ipv4(ESP, &esp),
        ipv4(AH, &ah),
        ipv4(UDP, &udp(4500, &esp)),
        ipv6(&[], ESP, &esp),
        ipv6(&[(0, &[0, 1, 4, 0, 0, 0, 0])], AH, &ah),
    ] {
        assert!(!may_coalesce(&packet));
    }
    assert!(may_coalesce(&ipv4(TCP, &PAYLOAD)));
    assert!(may_coalesce(&ipv6(&[], TCP, &PAYLOAD)));
}

#[test]
fn the_trailer_of_what_was_opened_is_reported() {
    rules(&[125]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let packet = ipv4(ESP, &esp_of(&table, handle, &[7; 45], TCP));
    assert_eq!(receive(&table, packet.clone()).record().header, 0x0001_0106);
    assert_eq!(receive(&table, spoilt(packet)).record().header, 0);
    // AH has no trailer.
    let (table, handle) = with_inbound(&[ah(0x100, SHA)], Mode::Transport);
    let packet = ipv4(AH, &ah_of(&table, handle, &PAYLOAD, TCP));
    assert_eq!(receive(&table, packet).record().header, 0);
}

#[test]
fn the_head_of_a_large_packet_says_what_it_is() {
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let esp = esp_of(&table, handle, &[7; 3950], TCP);
    let class = |packet: &[u8], head: usize| {
        let whole = classify(packet);
        assert!(matches!(whole, Class::Protected(_)));
        assert_eq!(classify_head(packet, packet.len()), whole);
        // With padding behind the packet, and with a byte missing at its end.
        let head = &packet[..head];
        assert_eq!(classify_head(head, packet.len() + 6), whole);
        let short = classify_head(head, packet.len() - 1);
        assert_eq!(short, Class::Plain(Plain::Short));
        classify_head(head, packet.len()) == whole
    };
    for (packet, headers) in [
        (ipv4(ESP, &esp), 24),
        (ipv4(UDP, &udp(4500, &esp)), 36),
        (ipv6(&[(60, &[0, 1, 4, 0, 0, 0, 0])], ESP, &esp), 52),
    ] {
        assert!(packet.len() > 3990);
        assert!(class(&packet, 100) && class(&packet, headers));
        let cut = classify_head(&packet[..headers - 1], packet.len());
        assert_eq!(cut, Class::Plain(Plain::Short));
    }
    // A head that ends behind the first byte is no keep-alive.
    let mut packet = ipv4(UDP, &udp(4500, &esp));
    packet[28] = 0xff;
    let cut = classify_head(&packet[..29], packet.len());
    assert_eq!(cut, Class::Plain(Plain::Short));
}

#[test]
fn rubbish_is_no_packet() {
    rules(&[111, 114]);
    let (table, handle) = with_inbound(&[gcm(0x100)], Mode::Transport);
    let packet = ipv4(ESP, &esp_of(&table, handle, &PAYLOAD, TCP));
    for length in 0..packet.len() {
        // The header promises more than there is.
        assert_eq!(receive(&table, packet[..length].to_vec()), Report::NONE);
        assert_eq!(parse(&packet[..length]), None);
    }
    for version in [0x05, 0x44, 0x55, 0xf5] {
        let mut odd = packet.clone();
        odd[0] = version;
        assert_eq!(parse(&odd), None);
        assert_eq!(receive(&table, odd), Report::NONE);
    }
    // Bytes behind the packet, as Ethernet padding leaves them, do not count.
    let mut padded = packet.clone();
    padded.extend([0; 6]);
    assert_eq!(receive(&table, padded).work, good(Mode::Transport));
}
