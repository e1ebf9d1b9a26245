// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The checks before a packet is sent.

use crate::fixture::*;
use crate::frame::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::send::{check, check_list};
use espnic_ndis::model::table::IvSource;
use espnic_ndis::model::{Capabilities, Job, Lookup, Mode, SendSlots, Verdict};
use espnic_ndis::sa::build::{self, Addresses};
use espnic_ndis::{Handle, Status};

const PAYLOAD: [u8; 45] = [7; 45];

fn job(verdict: Verdict) -> Job {
    match verdict {
        Verdict::Crypto(job) => job,
        other => panic!("{other:?}"),
    }
}

/// A table with an AES-GCM SA, its handle, a packet and the slots that fit it.
fn good() -> (Table, Handle, Vec<u8>, SendSlots) {
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = ipv4(ESP, &framed_of(&table, handle, &PAYLOAD, TCP));
    (table, handle, packet, slots(handle, TCP, 1, 0, 20))
}

#[test]
fn handle_zero_means_no_offload() {
    rules(&[92, 93, 74]);
    let (table, _, packet, _) = good();
    for processing in [false, true] {
        for packet in [ipv4(TCP, &PAYLOAD), packet.clone(), vec![]] {
            let verdict = check(
                processing,
                &EVERYTHING,
                &SendSlots::default(),
                &packet,
                &table,
            );
            assert_eq!(verdict, Verdict::Plain);
        }
    }
}

#[test]
fn with_a_handle_nothing_leaves_in_the_clear() {
    // The documentation would send the packet without the service when the hardware is not set
    // up; it is framed for ESP but not encrypted, so it fails instead.
    rules(&[92]);
    let (table, _, packet, slots) = good();
    assert_eq!(check(false, &EVERYTHING, &slots, &packet, &table), FAIL);
    assert!(matches!(
        verdict(&table, &slots, &packet),
        Verdict::Crypto(_)
    ));
    let tunnel_only = SendSlots {
        ipsec: 0,
        tunnel: slots.ipsec,
        ..slots
    };
    assert_eq!(verdict(&table, &tunnel_only, &packet), FAIL);
    assert_eq!(verdict(&table, &slots, &ipv4(TCP, &PAYLOAD)), FAIL);
}

#[test]
fn a_handle_without_an_sa_fails() {
    rules(&[94, 76]);
    let (table, handle, packet, slots) = good();
    let unknown = SendSlots {
        ipsec: 0x7777,
        ..slots
    };
    assert_eq!(verdict(&table, &unknown, &packet), FAIL);
    // An inbound SA is none for sending.
    let inbound = add(&table, &inbound(&[gcm(0x100)]), Mode::Transport);
    let wrong_way = SendSlots {
        ipsec: inbound.get(),
        ..slots
    };
    assert_eq!(verdict(&table, &wrong_way, &packet), FAIL);
    espnic_ndis::model::Backend::remove(&table, handle).unwrap();
    assert_eq!(verdict(&table, &slots, &packet), FAIL);
}

#[test]
fn slot_1_is_the_sa_of_a_single_payload() {
    rules(&[95, 97, 101]);
    let (table, handle, packet, slots) = good();
    let transport = job(verdict(&table, &slots, &packet));
    assert_eq!((transport.handle, transport.tunnel), (handle, None));
    assert_eq!((transport.esp, transport.ah), (Some(20), None));
    assert_eq!(transport.segments, None);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Tunnel);
    let inner = ipv4(TCP, &PAYLOAD);
    let packet = ipv4(ESP, &framed_of(&table, handle, &inner, IPV4));
    let pad = packet[packet.len() - 18];
    let tunnel = job(verdict(
        &table,
        &self::slots(handle, IPV4, pad, 0, 20),
        &packet,
    ));
    assert_eq!((tunnel.handle, tunnel.tunnel), (handle, None));
}

#[test]
fn transport_over_tunnel_has_its_tunnel_in_slot_11() {
    rules(&[96, 95]);
    let table = Table::new(8);
    let transport = add(&table, &outbound(&[gcm(0x100)]), Mode::Transport);
    let tunnel = add(&table, &outbound(&[gcm(0x200)]), Mode::Tunnel);
    let inner = ipv4(ESP, &framed_of(&table, transport, &PAYLOAD, TCP));
    let packet = ipv4(ESP, &framed_of(&table, tunnel, &inner, IPV4));
    // Outer IP, ESP with IV, inner IP: there the transport ESP starts.
    let slots = SendSlots {
        tunnel: tunnel.get(),
        ..slots(transport, TCP, 1, 0, 20 + 16 + 20)
    };
    let good = job(verdict(&table, &slots, &packet));
    assert_eq!((good.handle, good.tunnel), (transport, Some(tunnel)));
    assert_eq!(good.esp, Some(56));
    let swapped = SendSlots {
        ipsec: tunnel.get(),
        tunnel: transport.get(),
        ..slots
    };
    assert_eq!(verdict(&table, &swapped, &packet), FAIL);
    let unknown = SendSlots {
        tunnel: 0x7777,
        ..slots
    };
    assert_eq!(verdict(&table, &unknown, &packet), FAIL);
    // The trailer that slot 12 describes is the transport's.
    let wrong_pad = SendSlots {
        header: self::slots(transport, TCP, 2, 0, 56).header,
        ..slots
    };
    assert_eq!(verdict(&table, &wrong_pad, &packet), FAIL);
    let apart = Capabilities {
        transport_tunnel_combined: false,
        ..EVERYTHING
    };
    assert_eq!(check(true, &apart, &slots, &packet, &table), FAIL);
}

#[test]
fn offsets_count_four_bytes_from_the_ip_header() {
    rules(&[97]);
    let pair = [gcm(0x100), ah(0x200, Authentication::SHA_1)];
    let (table, handle) = with_outbound(&pair, Mode::Transport);
    let esp = framed_of(&table, handle, &PAYLOAD, TCP);
    let packet = ipv4(AH, &ah_of(&table, handle, &esp, ESP));
    let right = slots(handle, TCP, 1, 20, 44);
    // The word of the reference's example, but for the padding.
    assert_eq!(right.header, 0x0b05_0106);
    let both = job(verdict(&table, &right, &packet));
    assert_eq!((both.ah, both.esp), (Some(20), Some(44)));
    for (ah, esp) in [
        (20, 0),
        (0, 44),
        (44, 20),
        (24, 44),
        (20, 48),
        (0, 0),
        (0, 20),
        (20, 1020),
    ] {
        let wrong = slots(handle, TCP, 1, ah, esp);
        assert_eq!(verdict(&table, &wrong, &packet), FAIL, "{ah} {esp}");
    }
    // An SA without AH has no AH offset.
    let (table, handle, packet, _) = good();
    assert_eq!(
        verdict(&table, &slots(handle, TCP, 1, 20, 20), &packet),
        FAIL
    );
    assert_eq!(
        verdict(&table, &slots(handle, TCP, 1, 0, 24), &packet),
        FAIL
    );
    // UDP in front, IPv6 and options move the header.
    let udp_sa = [gcm(0x300)];
    let mut bundle = outbound(&udp_sa);
    bundle.udp_esp = espnic_ndis::sa::UdpEsp::TRANSPORT;
    let handle = add(&table, &bundle, Mode::Transport);
    let packet = ipv4(UDP, &udp(4500, &framed_of(&table, handle, &PAYLOAD, TCP)));
    assert_eq!(
        job(verdict(&table, &slots(handle, TCP, 1, 0, 28), &packet)).esp,
        Some(28)
    );
    let packet = ipv4(ESP, &framed_of(&table, handle, &PAYLOAD, TCP));
    assert_eq!(
        verdict(&table, &slots(handle, TCP, 1, 0, 20), &packet),
        FAIL
    );
}

#[test]
fn next_header_and_pad_length_are_those_of_the_trailer() {
    rules(&[98, 99, 101]);
    for cipher in [Encryption::AES_CBC_128, Encryption::NONE] {
        let (table, handle) = with_outbound(
            &[esp(0x100, cipher, Authentication::SHA_256)],
            Mode::Transport,
        );
        for length in 0..40 {
            let packet = ipv4(ESP, &framed_of(&table, handle, &vec![1; length], UDP));
            let pad = packet[packet.len() - 16 - 2];
            let right = slots(handle, UDP, pad, 0, 20);
            assert!(matches!(
                verdict(&table, &right, &packet),
                Verdict::Crypto(_)
            ));
            for wrong in [
                slots(handle, TCP, pad, 0, 20),
                slots(handle, UDP, pad ^ 1, 0, 20),
                slots(handle, UDP, 200, 0, 20),
            ] {
                assert_eq!(verdict(&table, &wrong, &packet), FAIL);
            }
        }
    }
}

#[test]
fn the_words_hold_for_every_packet_of_the_list() {
    rules(&[100]);
    let (table, handle, packet, slots) = good();
    let other = ipv4(ESP, &framed_of(&table, handle, &[9; 61], TCP));
    let list =
        |packets: &[&[u8]]| check_list(true, &EVERYTHING, &slots, packets.iter().copied(), &table);
    assert_eq!(list(&[&packet, &other, &packet]), Status::SUCCESS);
    // One packet with other padding does not go with these words, and so neither does the list.
    let unlike = ipv4(ESP, &framed_of(&table, handle, &[9; 60], TCP));
    assert_eq!(list(&[&packet, &unlike]), Status::FAILURE);
    assert_eq!(list(&[&unlike]), Status::FAILURE);
    assert_eq!(list(&[]), Status::SUCCESS);
}

#[test]
fn the_transport_frames_and_the_nic_only_encrypts() {
    rules(&[101, 108]);
    let (table, handle, packet, slots) = good();
    // The packet goes in as bytes that cannot be changed; what comes out names places in them.
    assert!(matches!(
        verdict(&table, &slots, &packet),
        Verdict::Crypto(_)
    ));
    // No header, no SPI, no trailer: nothing that the NIC would add.
    let payload_only = ipv4(TCP, &PAYLOAD);
    assert_eq!(verdict(&table, &slots, &payload_only), FAIL);
    let mut other_spi = packet.clone();
    other_spi[23] ^= 1;
    assert_eq!(verdict(&table, &slots, &other_spi), FAIL);
    for length in 20..packet.len() {
        let mut cut = packet[..length].to_vec();
        cut[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        assert_eq!(verdict(&table, &slots, &cut), FAIL, "{length}");
    }
    // The sequence number is the transport's, and any will do.
    let mut later = packet.clone();
    later[24..28].copy_from_slice(&[0xff; 4]);
    assert!(matches!(
        verdict(&table, &slots, &later),
        Verdict::Crypto(_)
    ));
    assert_eq!(job(verdict(&table, &slots, &packet)).handle, handle);
}

#[test]
fn a_fragment_is_not_sent() {
    rules(&[105]);
    let (table, _, mut packet, right) = good();
    // More fragments, an offset, both; "do not fragment" is none.
    for (flags, offset, sent) in [
        (0x20, 0, false),
        (0, 1, false),
        (0x1f, 0xff, false),
        (0x20, 5, false),
        (0x40, 0, true),
    ] {
        (packet[6], packet[7]) = (flags, offset);
        let verdict = verdict(&table, &right, &packet);
        assert_eq!(matches!(verdict, Verdict::Crypto(_)), sent);
    }
    let v6 = [gcm(0x200)];
    let v6 = build::Bundle {
        addresses: Addresses::V6 {
            source: [1; 16],
            destination: [2; 16],
        },
        ..outbound(&v6)
    };
    let v6 = add(&table, &v6, Mode::Transport);
    let esp = framed_of(&table, v6, &PAYLOAD, TCP);
    let whole = ipv6(&[], ESP, &esp);
    assert_eq!(
        job(verdict(&table, &slots(v6, TCP, 1, 0, 40), &whole)).esp,
        Some(40)
    );
    // The Fragment header, also of a packet that is a single fragment.
    for fields in [[0, 0, 0, 0, 0, 0, 9], [0, 0, 1, 0, 0, 0, 9]] {
        let fragment = ipv6(&[(44, &fields)], ESP, &esp);
        let right = slots(v6, TCP, 1, 0, 48);
        assert_eq!(verdict(&table, &right, &fragment), FAIL);
    }
}

#[test]
fn something_always_authenticates() {
    rules(&[106]);
    // ESP without authentication gets in only with AH beside it.
    let mut alone = esp(0x100, Encryption::AES_CBC_128, Authentication::SHA_1);
    alone.authentication = None;
    let refused = try_add(&snapshot(EVERYTHING), &Table::new(8), &outbound(&[alone]));
    assert_eq!(refused.unwrap_err().status, Status::INVALID_DATA);
    let pair = [alone, ah(0x200, Authentication::SHA_1)];
    let (table, handle) = with_outbound(&pair, Mode::Transport);
    let shape = table.by_handle(handle).unwrap();
    assert!(shape.authenticates());
    assert_eq!(shape.esp.unwrap().icv, 0);
    // Whatever a table might hold, such an SA sends nothing.
    struct Unsafe(espnic_ndis::model::Offloaded);
    impl Lookup for Unsafe {
        fn by_handle(&self, _: Handle) -> Option<espnic_ndis::model::Offloaded> {
            Some(self.0)
        }
        fn find(
            &self,
            _: impl Fn(&espnic_ndis::model::Offloaded) -> bool,
        ) -> Option<(Handle, espnic_ndis::model::Offloaded)> {
            None
        }
    }
    let naked = espnic_ndis::model::Offloaded { ah: None, ..shape };
    let packet = ipv4(ESP, &framed(&shape.esp.unwrap(), &PAYLOAD, TCP));
    let pad = packet[packet.len() - 2];
    let slots = slots(handle, TCP, pad, 0, 20);
    assert_eq!(
        check(true, &EVERYTHING, &slots, &packet, &Unsafe(naked)),
        FAIL
    );
}

#[test]
fn the_nic_makes_the_initialisation_vector() {
    rules(&[107]);
    let sha = Authentication::SHA_1;
    for (sa, expected) in [
        (esp(0x100, Encryption::DES_CBC, sha), IvSource::Random),
        (
            esp(0x100, Encryption::TRIPLE_DES_CBC, sha),
            IvSource::Random,
        ),
        (esp(0x100, Encryption::AES_CBC_192, sha), IvSource::Random),
        (gcm(0x100), IvSource::Sequence),
        (esp(0x100, Encryption::NONE, sha), IvSource::None),
        // AES-GMAC has one without encrypting anything (RFC 4543 section 3).
        (
            esp(0x100, Encryption::NONE, Authentication::AES_GCM_192),
            IvSource::Sequence,
        ),
    ] {
        let (table, handle) = with_outbound(&[sa], Mode::Transport);
        let shape = table.by_handle(handle).unwrap().esp.unwrap();
        let mut packet = ipv4(ESP, &framed(&shape, &PAYLOAD, TCP));
        let pad = packet[packet.len() - shape.icv - 2];
        let right = slots(handle, TCP, pad, 0, 20);
        let first = verdict(&table, &right, &packet);
        assert_eq!(job(first).iv, expected);
        assert_eq!(shape.iv > 0, expected != IvSource::None);
        // What the transport left in its place does not matter.
        for byte in [0, 0x32, 0xff] {
            packet[28..28 + shape.iv].fill(byte);
            assert_eq!(verdict(&table, &right, &packet), first);
        }
    }
}

#[test]
fn what_the_capabilities_do_not_cover_is_not_sent() {
    rules(&[28]);
    let (table, handle, _, _) = good();
    let packet = ipv4_options(ESP, &framed_of(&table, handle, &PAYLOAD, TCP));
    let slots = slots(handle, TCP, 1, 0, 24);
    assert_eq!(job(verdict(&table, &slots, &packet)).esp, Some(24));
    let without = Capabilities {
        ipv4_options: false,
        ..EVERYTHING
    };
    assert_eq!(check(true, &without, &slots, &packet, &table), FAIL);
}
