// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets that come twice, late, forged, or with something wrong inside.

use super::*;
use espnic_esp::engine::Transform;
use espnic_wire::state::OBJ_INB_STATE;

const WRAP: u64 = 1 << 32;

/// The receiver's SA has a window of this many packets.
fn pair_with(window: u32, change: fn(SaObject) -> SaObject) -> (Engine, Engine) {
    let mut inbound = change(sa(OBJ_INB_SA, OVER_V4));
    inbound.base.replay_win_sz = window.into();
    connect(&change(sa(OBJ_OUTB_SA, OVER_V4)), &inbound)
}

#[test]
fn a_packet_passes_once() {
    let (a, b) = pair_with(32, |object| object);
    let wires: Vec<_> = (0..40).map(|_| next(&a)).collect();
    assert!(passes(&b, &wires[5]) && passes(&b, &wires[3]));
    assert!(!passes(&b, &wires[5]) && !passes(&b, &wires[3]));
    assert_eq!(counter(&b, "ipsec_rx_replay"), 2);
    assert!(passes(&b, &wires[39]));
    // 8 is the lowest number in the window, which is that of packet 7 here.
    assert!(!passes(&b, &wires[7]) && passes(&b, &wires[8]));
    assert_eq!(counter(&b, "ipsec_rx_late"), 1);
    assert_eq!(counter(&b, "ipsec_rx_dropped"), 3);
    assert_eq!(counter(&b, "ipsec_rx_packets"), 4);
}

/// V125.
#[test]
fn without_a_window_nothing_is_a_replay() {
    let (a, b) = pair(OVER_V4);
    let wire = next(&a);
    assert!((0..3).all(|_| passes(&b, &wire)));
    assert_eq!(counter(&b, "ipsec_rx_replay"), 0);
}

#[test]
fn the_largest_window_is_whole() {
    let (a, b) = pair_with(4096, |object| object);
    let wires: Vec<_> = (0..4097).map(|_| next(&a)).collect();
    assert!(passes(&b, &wires[4096]));
    assert!(passes(&b, &wires[1]) && !passes(&b, &wires[0]));
    assert_eq!(counter(&b, "ipsec_rx_late"), 1);
}

#[test]
fn forged_packets_move_nothing() {
    let (a, b) = pair_with(32, |object| object);
    let wire = next(&a);
    for (at, value) in [(38, 0x7f), (39, 1), (45, 1), (60, 1), (wire.len() - 1, 1)] {
        let mut forged = wire.clone();
        forged[at] ^= value;
        assert!(!passes(&b, &forged), "{at}");
    }
    assert_eq!(counter(&b, "ipsec_rx_auth_fail"), 5);
    assert!(passes(&b, &wire));
}

#[test]
fn the_high_half_is_inferred_and_the_low_one_told() {
    let start = |object| behind(with_esn(object), 3 * WRAP - 3);
    let (a, b) = pair_with(64, start);
    let wires: Vec<_> = (0..6).map(|_| next(&a)).collect();
    // With another high half the ICV would be wrong.
    let halves = [0, 4, 1, 2, 3, 5].map(|n| {
        let (hdr, frame) = by_rule(&b, &wires[n]);
        assert!(!frame.is_empty(), "{n}");
        hdr.sec.seq_half.get()
    });
    assert_eq!(halves, [0xffff_fffe, 2, 0xffff_ffff, 0, 1, 3]);
    assert!(wires.iter().all(|wire| !passes(&b, wire)));
    assert_eq!(counter(&b, "ipsec_rx_replay"), 6);
}

#[test]
fn what_fails_is_delivered_as_it_came_on_request() {
    let (a, b) = pair_with(32, |mut object| {
        set_flags(&mut object, super::super::wire::TAIL_DELIVER_ERR, 0);
        object
    });
    let status_of = |wire: &[u8]| {
        let (hdr, frame) = by_rule(&b, wire);
        assert_eq!(frame, wire);
        assert_eq!(hdr.net.flags, F_SECURITY | F_SECURITY_ERR | F_X_SEC);
        assert_eq!(hdr.out.resource_id.get(), 2);
        assert_eq!(usize::from(hdr.sec.esp_offset.get()), testing::ESP);
        hdr.sec.sec_status
    };
    let wire = next(&a);
    let mut forged = wire.clone();
    forged[50] ^= 1;
    assert_eq!(status_of(&forged), hdr::SEC_AUTH);
    assert!(passes(&b, &wire));
    assert_eq!(status_of(&wire), hdr::SEC_REPLAY);
    let mut short = next(&a);
    short.truncate(short.len() - 1);
    short[17] -= 1;
    testing::correct(&mut short);
    assert_eq!(status_of(&short), hdr::SEC_LENGTH);
    assert_eq!(status_of(&sealed(3, b"no packet", 4)), hdr::SEC_FORMAT);
    assert_eq!(counter(&b, "ipsec_rx_dropped"), 0);
    // Dummy packets are for nobody.
    let dummy = sealed(4, b"nothing at all", 59);
    assert_eq!(by_rule(&b, &dummy), (NetHdr48::default(), vec![]));
}

/// Also with ESN, where the high half is authenticated: what is wrong inside is encrypted again.
#[test]
fn what_was_decrypted_in_vain_is_as_it_came() {
    let path = Path::Transport { v6: false };
    let start = |object| behind(with_esn(object), 3 * WRAP);
    let mut inbound = start(sa(OBJ_INB_SA, OVER_V4));
    inbound.tail.dst[..4].copy_from_slice(&[10, 0, 0, 2]);
    set_flags(&mut inbound, super::super::wire::TAIL_DELIVER_ERR, 0);
    let (a, b) = connect(&start(sa(OBJ_OUTB_SA, path)), &inbound);
    let wire = next(&a);
    // It is no tunnel.
    let (hdr, frame) = by_rule(&b, &wire);
    assert_eq!((hdr.sec.sec_status, frame), (hdr::SEC_FORMAT, wire));
}

/// An authentic ESP packet with this number, content and next header.
fn sealed(seq: u32, content: &[u8], next_header: u8) -> Vec<u8> {
    with_trailer(seq, content, &trailer(content.len(), next_header))
}

fn trailer(len: usize, next_header: u8) -> Vec<u8> {
    let pad_len = (4 - (len + 2) % 4) % 4;
    let mut trailer: Vec<u8> = (1..=pad_len as u8).collect();
    trailer.extend([pad_len as u8, next_header]);
    trailer
}

fn with_trailer(seq: u32, content: &[u8], trailer: &[u8]) -> Vec<u8> {
    let mut esp = [SPI.to_be_bytes(), seq.to_be_bytes(), [0; 4], [7; 4]].concat();
    esp.extend(content);
    esp.extend(trailer);
    esp.extend([0; 16]);
    let keys = crate::crypto::Keys {
        cipher: &[0x42; 16],
        auth: &[],
        salt: [9, 8, 7, 6],
    };
    let suite = crate::crypto::Suite::AesGcm { icv_len: 16 };
    let cipher = IpsecConfig::default().libraries.transform(suite, &keys);
    cipher.unwrap().seal(None, &mut esp).unwrap();
    let mut frame = ip(false, 50, &esp);
    frame[26..34].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    testing::correct(&mut frame);
    frame
}

#[test]
fn what_is_wrong_inside_is_dropped() {
    let (_, b) = pair(OVER_V4);
    let (_, _, whole) = udp(false, b"inner");
    let packet = &whole[IP..];
    assert!(passes(&b, &sealed(1, packet, 4)));
    // Another version than the next header says, something else, a packet that is cut off.
    for (content, next_header) in [
        (packet, 41),
        (packet, 17),
        (&packet[..packet.len() - 1], 4),
        (&packet[..19], 4),
        (&[][..], 4),
    ] {
        assert!(!passes(&b, &sealed(1, content, next_header)));
    }
    assert_eq!(counter(&b, "ipsec_rx_inner_fail"), 5);
    // Padding that is not 1, 2, 3, and a pad length beyond the packet.
    let mut wrong = trailer(packet.len(), 4);
    assert!(wrong.len() > 2);
    wrong[0] ^= 1;
    assert!(!passes(&b, &with_trailer(1, packet, &wrong)));
    assert!(!passes(&b, &with_trailer(1, &[0; 8], &[0, 0, 255, 4])));
    assert_eq!(counter(&b, "ipsec_rx_format_fail"), 2);
    // A dummy packet is dropped without a complaint, also of the SA.
    let complaints = || state::read(&b, OBJ_INB_STATE, 2).0.format_fail.get();
    assert_eq!(complaints(), 7);
    assert!(!passes(&b, &sealed(1, b"nothing at all", 59)));
    assert_eq!(complaints(), 7);
    assert_eq!(counter(&b, "ipsec_rx_dummy"), 1);
    assert_eq!(counter(&b, "ipsec_rx_dropped"), 8);
    // Padding against traffic analysis is left out.
    let padded = [packet, &[0xee; 100]].concat();
    assert_eq!(by_rule(&b, &sealed(1, &padded, 4)).1, whole);
}

/// V77, and that only rules lead to SAs of the standard.
#[test]
fn without_a_rule_or_an_sa_esp_is_left_alone() {
    let (a, b) = pair(OVER_V4);
    let mut wire = next(&a);
    assert_eq!(received(&b, &mut wire), None);
    let mut elsewhere = wire.clone();
    elsewhere[33] ^= 1;
    testing::correct(&mut elsewhere);
    let mut unknown = wire.clone();
    unknown[37] ^= 1;
    for other in [&elsewhere, &unknown] {
        assert_eq!(by_rule(&b, other), (NetHdr48::default(), other.clone()));
    }
    assert_eq!(counter(&b, "ipsec_rx_no_sa"), 3);
    // Nor is what is no ESP.
    let (_, _, plain) = udp(false, b"clear");
    assert_eq!(by_rule(&b, &plain), (NetHdr48::default(), plain.clone()));
    assert!(passes(&b, &wire));
    // The standard finds SAs by the SPI alone.
    let mut anywhere = sa(OBJ_INB_SA, OVER_V4);
    set_flags(&mut anywhere, 0, super::super::wire::TAIL_MATCH_ADDR);
    assert_eq!(create(&b, OBJ_INB_SA, 3, &anywhere), DONE);
    assert_eq!(by_rule(&b, &elsewhere).0.out.resource_id.get(), 3);
}
