// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Large send offload of IPsec packets.

use crate::fixture::*;
use crate::frame::{self, *};
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{IEEE_802_3, IEEE_802_3_P_AND_Q};
use espnic_ndis::model::segment::{Limits, Segment, Segments};
use espnic_ndis::model::send::{check, check_list, check_within};
use espnic_ndis::model::{Capabilities, Lookup, Mode, SendSlots, Verdict};
use espnic_ndis::offload::{two_bits, Offload};
use espnic_ndis::oob::LargeSend;
use espnic_ndis::sa::build::{self, Addresses};
use espnic_ndis::{Handle, Status, U32};

/// A large packet: ESP header and IV, TCP header with options, payload, `tail` bytes of padding.
fn large(table: &Table, handle: Handle, payload: usize, tail: usize) -> Vec<u8> {
    let shape = table.by_handle(handle).unwrap().esp.unwrap();
    let mut esp = framed(&shape, &[], TCP)[..8 + shape.iv].to_vec();
    let mut tcp = vec![0; 32];
    tcp[12] = 8 << 4;
    esp.extend(tcp);
    esp.extend(vec![7; payload]);
    esp.extend(vec![0; tail]);
    ipv4(ESP, &esp)
}

fn slots(handle: Handle, large: LargeSend, pad_length: u8) -> SendSlots {
    SendSlots {
        large_send: large.word().unwrap(),
        ..frame::slots(handle, TCP, pad_length, 0, 20)
    }
}

/// Where TCP starts in the frames of [`large`] under AES-GCM: Ethernet, IPv4, ESP, IV.
const TCP_OFFSET: u32 = 14 + 20 + 8 + 8;

fn v2(mss: u32) -> LargeSend {
    v2_at(mss, TCP_OFFSET)
}

fn v2_at(mss: u32, tcp_header_offset: u32) -> LargeSend {
    LargeSend::V2 {
        mss,
        tcp_header_offset,
        ipv6: false,
    }
}

fn v1(mss: u32) -> LargeSend {
    LargeSend::V1 {
        mss,
        tcp_header_offset: TCP_OFFSET,
    }
}

fn segments(verdict: Verdict) -> Segments {
    match verdict {
        Verdict::Crypto(job) => job.segments.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_nic_builds_a_trailer_for_each_segment() {
    rules(&[102, 103, 99, 98]);
    for (cipher, iv) in [
        (Encryption::AES_CBC_128, 16),
        (Encryption::NONE, 0),
        (Encryption::DES_CBC, 8),
    ] {
        let sa = [esp(0x100, cipher, Authentication::SHA_256)];
        let (table, handle) = with_outbound(&sa, Mode::Transport);
        for (payload, tail) in [(1, 0), (1000, 0), (1001, 3), (5432, 15), (3000, 255)] {
            // No trailer at the end: with one, it would be a packet without LSO.
            let packet = large(&table, handle, payload, tail);
            let plan = segments(verdict(
                &table,
                &slots(handle, v2_at(1000, 14 + 20 + 8 + iv), tail as u8),
                &packet,
            ));
            // What the transport left at the end is dropped.
            assert_eq!(plan.payload, payload);
            assert_eq!(plan.next_header, TCP);
            let cut: Vec<Segment> = plan.iter().collect();
            assert_eq!(cut.len(), payload.div_ceil(1000));
            assert_eq!(cut.iter().map(|one| one.payload).sum::<usize>(), payload);
            let mut at = plan.start;
            for one in &cut {
                assert_eq!(one.start, at);
                at += one.payload;
                let body = 32 + one.payload + one.pad_length + 2;
                assert_eq!(body % cipher.alignment(), 0);
                assert!(one.pad_length < cipher.alignment());
            }
            assert_eq!(at + tail, packet.len());
        }
    }
}

#[test]
fn lso_is_for_tcp_alone() {
    rules(&[98]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = large(&table, handle, 4500, 0);
    let mut slots = slots(handle, v2(1000), 0);
    for (next, good) in [(TCP, true), (0, false), (UDP, false), (ESP, false)] {
        slots.header = (slots.header & !0xff) | u64::from(next);
        let verdict = verdict(&table, &slots, &packet);
        assert_eq!(matches!(verdict, Verdict::Crypto(_)), good, "{next}");
    }
}

#[test]
fn the_offset_of_tcp_counts_from_the_start_of_the_frame() {
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = large(&table, handle, 4500, 0);
    let tagged = Capabilities {
        encapsulation: IEEE_802_3 | IEEE_802_3_P_AND_Q,
        ..EVERYTHING
    };
    // From the IP header, no place at all, a word too far, far behind.
    for offset in [TCP_OFFSET - 14, 0, TCP_OFFSET + 8, TCP_OFFSET - 4, 1000] {
        let slots = slots(handle, v2_at(1000, offset), 0);
        assert_eq!(verdict(&table, &slots, &packet), FAIL, "{offset}");
        assert_eq!(check(true, &tagged, &slots, &packet, &table), FAIL);
    }
    // A tag moves it, where such frames were reported.
    let slots = slots(handle, v2_at(1000, TCP_OFFSET + 4), 0);
    assert_eq!(verdict(&table, &slots, &packet), FAIL);
    let with_tag = check(true, &tagged, &slots, &packet, &table);
    assert_eq!(segments(with_tag).start, 36 + 32);
}

#[test]
fn segments_count_on_from_the_packets_sequence_number() {
    // The one case in which the NIC numbers packets; else the transport does.
    rules(&[102]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = large(&table, handle, 4500, 0);
    let plan = segments(verdict(&table, &slots(handle, v2(1000), 0), &packet));
    let numbers: Vec<u32> = plan.iter().map(|one| one.sequence).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[test]
fn the_type_bit_tells_the_versions_apart() {
    rules(&[110]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = large(&table, handle, 4500, 0);
    let version = |large| segments(verdict(&table, &slots(handle, large, 0), &packet)).version;
    assert_eq!(version(v1(1000)), 1);
    assert_eq!(version(v2(1000)), 2);
    // The word says the IP version; an IPv4 packet is no IPv6 one.
    let ipv6 = LargeSend::V2 {
        mss: 1000,
        tcp_header_offset: TCP_OFFSET,
        ipv6: true,
    };
    assert_eq!(verdict(&table, &slots(handle, ipv6, 0), &packet), FAIL);
}

#[test]
fn version_2_alone_knows_ipv6() {
    rules(&[110, 24]);
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
    let packet = ipv6(&[], ESP, &large(&table, handle, 4500, 0)[20..]);
    let tcp_header_offset = TCP_OFFSET + 20;
    let mss = 1000;
    let v2 = |ipv6| LargeSend::V2 {
        mss,
        tcp_header_offset,
        ipv6,
    };
    let v1 = LargeSend::V1 {
        mss,
        tcp_header_offset,
    };
    let verdict = |large| {
        let mut slots = slots(handle, large, 0);
        slots.header = (slots.header & !0xff00_0000) | 0x0a00_0000;
        verdict(&table, &slots, &packet)
    };
    let plan = segments(verdict(v2(true)));
    assert_eq!((plan.version, plan.iter().count()), (2, 5));
    assert_eq!(verdict(v2(false)), FAIL);
    assert_eq!(verdict(v1), FAIL);
    // An adapter with large sends for IPv4 alone.
    let mut image = *adapter(EVERYTHING).current();
    let mut slots = slots(handle, v2(true), 0);
    slots.header = (slots.header & !0xff00_0000) | 0x0a00_0000;
    let within = |image: &Offload| {
        let limits = Some(Limits::of(image));
        check_within(true, &EVERYTHING, limits.as_ref(), &slots, &packet, &table)
    };
    assert_eq!(within(&image), FAIL);
    image.lso_v2.ipv6 = image.lso_v2.ipv4;
    assert_eq!(within(&image), FAIL);
    // With options of TCP, too.
    image.lso_v2.ipv6_bits = U32::new(two_bits(2, true));
    assert_eq!(segments(within(&image)), plan);
}

#[test]
fn a_list_has_a_single_packet() {
    rules(&[143]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = large(&table, handle, 4500, 0);
    let words = slots(handle, v2(1000), 0);
    let ends = |count: usize| {
        let list = vec![&packet[..]; count];
        check_list(true, &EVERYTHING, &words, list, &table)
    };
    assert_eq!(ends(1), Status::SUCCESS);
    assert_eq!(ends(2), Status::FAILURE);
    assert_eq!(ends(3), Status::FAILURE);
}

#[test]
fn lso_is_never_combined_with_a_tunnel() {
    rules(&[104]);
    let (table, tunnel) = with_outbound(&[gcm(0x100)], Mode::Tunnel);
    let packet = large(&table, tunnel, 4500, 0);
    assert_eq!(verdict(&table, &slots(tunnel, v2(1000), 0), &packet), FAIL);
    // Nor if only the packet says that it is one, nor over a second SA.
    let open = add(&table, &outbound(&[gcm(0x200)]), Mode::ByPacket);
    let packet = large(&table, open, 4500, 0);
    let mut inner_ip = slots(open, v2(1000), 0);
    assert!(matches!(
        verdict(&table, &inner_ip, &packet),
        Verdict::Crypto(_)
    ));
    inner_ip.header = (inner_ip.header & !0xff) | u64::from(IPV4);
    assert_eq!(verdict(&table, &inner_ip, &packet), FAIL);
    let nested = SendSlots {
        tunnel: tunnel.get(),
        ..slots(open, v2(1000), 0)
    };
    assert_eq!(verdict(&table, &nested, &packet), FAIL);
}

#[test]
fn lso_needs_the_capability() {
    rules(&[24]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    let packet = large(&table, handle, 4500, 0);
    let slots = slots(handle, v2(1000), 0);
    let without = Capabilities {
        lso: false,
        ..EVERYTHING
    };
    assert_eq!(check(true, &without, &slots, &packet, &table), FAIL);
    assert!(matches!(
        verdict(&table, &slots, &packet),
        Verdict::Crypto(_)
    ));
}

#[test]
fn the_limits_of_large_sends_hold_for_ipsec() {
    rules(&[24]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    // The fixture's adapter offers version 2 for IPv4, and nothing else.
    let adapter = adapter(EVERYTHING);
    let fits = |image: &Offload, large, packet: &[u8], config: &Capabilities| {
        let slots = slots(handle, large, 0);
        let limits = Limits::of(image);
        let verdict = check_within(true, config, Some(&limits), &slots, packet, &table);
        assert!(matches!(verdict, Verdict::Crypto(_)) || verdict == FAIL);
        verdict != FAIL
    };
    let config = adapter.snapshot().config;
    let packet = large(&table, handle, 4500, 0);
    let mut image = *adapter.current();
    assert!(fits(&image, v2(1000), &packet, &config));
    assert!(!fits(&image, v1(1000), &packet, &config));
    // MaxOffLoadSize is of the TCP payload, MinSegmentCount of the five segments.
    for (size, segments, good) in [(4500, 5, true), (4499, 5, false), (4500, 6, false)] {
        image.lso_v2.ipv4.max_offload_size = U32::new(size);
        image.lso_v2.ipv4.min_segment_count = U32::new(segments);
        assert_eq!(fits(&image, v2(1000), &packet, &config), good);
    }
    // Frames with a tag, which IPsec takes, but not large sends.
    let tagged = Capabilities {
        encapsulation: IEEE_802_3 | IEEE_802_3_P_AND_Q,
        ..config
    };
    let with_tag = v2_at(1000, TCP_OFFSET + 4);
    let mut image = *adapter.current();
    assert!(!fits(&image, with_tag, &packet, &tagged));
    image.lso_v2.ipv4.encapsulation = U32::new(IEEE_802_3 | IEEE_802_3_P_AND_Q);
    assert!(fits(&image, with_tag, &packet, &tagged));
    // The packet has options of TCP, of which version 1 says whether it takes them.
    image.lso_v1.ipv4 = image.lso_v2.ipv4;
    for supported in [false, true] {
        image.lso_v1.bits = U32::new(two_bits(0, supported));
        assert_eq!(fits(&image, v1(1000), &packet, &config), supported);
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    rules(&[103, 94]);
    let (table, handle) = with_outbound(&[gcm(0x100)], Mode::Transport);
    // No payload, padding longer than the payload, no whole TCP header.
    for (payload, pad) in [(0, 0), (10, 10), (10, 200)] {
        let packet = large(&table, handle, payload, 0);
        assert_eq!(
            verdict(&table, &slots(handle, v2(1000), pad), &packet),
            FAIL
        );
    }
    let mut packet = large(&table, handle, 100, 0);
    packet[20 + 16 + 12] = 0xf0;
    assert!(matches!(
        verdict(&table, &slots(handle, v2(9), 0), &packet),
        Verdict::Crypto(_)
    ));
    packet[20 + 16 + 12] = 0x40;
    assert_eq!(verdict(&table, &slots(handle, v2(9), 0), &packet), FAIL);
    // AH alone has no trailer to make.
    let (table, handle) = with_outbound(&[ah(0x200, Authentication::SHA_1)], Mode::Transport);
    let packet = ipv4(AH, &ah_of(&table, handle, &[0; 60], TCP));
    let mut only_ah = slots(handle, v2(1000), 0);
    only_ah.header = 0x0005_0006;
    assert_eq!(verdict(&table, &only_ah, &packet), FAIL);
    only_ah.large_send = 0;
    assert!(matches!(
        verdict(&table, &only_ah, &packet),
        Verdict::Crypto(_)
    ));
}
