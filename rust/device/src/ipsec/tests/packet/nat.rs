// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Peers behind a NAT whose address or port changes.

use super::*;
use espnic_wire::event::{Kind, Mapping};

/// Offsets of the addresses and of the UDP source port in a frame over IPv4.
const SRC: usize = IP + 12;
const PORT: usize = IP + 20;

/// A sender and a receiver, which knows the peer and reports that it has moved.
fn natted(mode: Path) -> (Engine, Engine) {
    natted_with(mode, 64)
}

/// The same with a window of this size.
fn natted_with(mode: Path, window: u32) -> (Engine, Engine) {
    let mut inbound = in_udp(sa(OBJ_INB_SA, mode));
    inbound.base.replay_win_sz = window.into();
    inbound.tail.event_mask = Kind::NatMapping.mask().into();
    inbound.tail.src[..4].copy_from_slice(&[192, 0, 2, 1]);
    connect(&in_udp(sa(OBJ_OUTB_SA, mode)), &inbound)
}

/// The packet as it comes from behind another NAT.
fn from(wire: &[u8], src: [u8; 4], port: u16) -> Vec<u8> {
    let mut wire = wire.to_vec();
    wire[SRC..SRC + 4].copy_from_slice(&src);
    wire[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes());
    testing::correct(&mut wire);
    wire
}

/// The events so far: where the peer of SA 2 is now.
fn moves(b: &Engine) -> Vec<([u8; 4], u16)> {
    let next = || {
        let mapping = Mapping::of(&b.events.pop()?).unwrap();
        let sa = (mapping.res_type.get(), mapping.id.get());
        assert_eq!((sa, mapping.family), ((OBJ_INB_SA, 2), 4));
        assert_eq!(mapping.src[4..], [0; 12]);
        Some((*mapping.src.first_chunk().unwrap(), mapping.port.get()))
    };
    std::iter::from_fn(next).collect()
}

const HOME: [u8; 4] = [192, 0, 2, 1];
const AWAY: [u8; 4] = [198, 51, 100, 7];

#[test]
fn each_move_is_reported_once() {
    let (a, b) = natted(OVER_V4);
    let comes = |src, port| assert!(passes(&b, &from(&next(&a), src, port)));
    comes(HOME, 4500);
    assert_eq!(moves(&b), []);
    comes(HOME, 61000);
    comes(HOME, 61000);
    comes(AWAY, 61000);
    comes(HOME, 4500);
    let places = [(HOME, 61000), (AWAY, 61000), (HOME, 4500)];
    assert_eq!(moves(&b), places);
}

/// Nobody moves the peer without its key, and nothing old moves it back.
#[test]
fn only_authentic_and_new_packets_move_the_peer() {
    let (a, b) = natted(OVER_V4);
    let [first, second, third] = [(); 3].map(|()| next(&a));
    let mut forged = from(&third, AWAY, 1);
    *forged.last_mut().unwrap() ^= 1;
    assert!(!passes(&b, &forged));
    assert!(passes(&b, &from(&second, AWAY, 2)));
    assert!(!passes(&b, &from(&second, AWAY, 3)), "a replay");
    assert!(passes(&b, &from(&first, HOME, 4)), "overtaken");
    assert_eq!(moves(&b), [(AWAY, 2)]);
    assert!(passes(&b, &from(&third, AWAY, 2)));
    assert_eq!(moves(&b), []);
}

/// Without a window replays pass, but they do not move the peer, not even that of the newest packet.
#[test]
fn without_a_window_only_new_numbers_move_the_peer() {
    let (a, b) = natted_with(OVER_V4, 0);
    let [first, second, third] = [(); 3].map(|()| next(&a));
    let comes = |wire: &[u8], src, port| assert!(passes(&b, &from(wire, src, port)));
    comes(&first, HOME, 4500);
    comes(&second, AWAY, 2);
    assert_eq!(moves(&b), [(AWAY, 2)]);
    comes(&second, AWAY, 3);
    comes(&first, HOME, 4500);
    assert_eq!(moves(&b), []);
    comes(&third, HOME, 4500);
    assert_eq!(moves(&b), [(HOME, 4500)]);
}

#[test]
fn the_driver_says_what_it_knows_and_wants() {
    let (a, b) = natted(OVER_V4);
    assert!(passes(&b, &from(&next(&a), AWAY, 61000)));
    assert_eq!(moves(&b), [(AWAY, 61000)]);
    // It has followed.
    let mut object = in_udp(sa(OBJ_INB_SA, OVER_V4));
    object.base.replay_win_sz = 64.into();
    object.tail.event_mask = Kind::NatMapping.mask().into();
    object.tail.src[..4].copy_from_slice(&AWAY);
    object.base.udp_sport = 61000.into();
    assert_eq!(modify(&b, OBJ_INB_SA, 2, &object), DONE);
    assert!(passes(&b, &from(&next(&a), AWAY, 61000)));
    assert_eq!(moves(&b), []);
    // It does not know: the first packet tells, and is no news.
    object.base.udp_sport = 0.into();
    assert_eq!(modify(&b, OBJ_INB_SA, 2, &object), DONE);
    assert!(passes(&b, &from(&next(&a), HOME, 1)));
    assert_eq!(moves(&b), []);
    assert!(passes(&b, &from(&next(&a), HOME, 2)));
    assert_eq!(moves(&b), [(HOME, 2)]);
    // It does not want to know.
    object.tail.event_mask = Kind::HardLimit.mask().into();
    assert_eq!(modify(&b, OBJ_INB_SA, 2, &object), DONE);
    assert!(passes(&b, &from(&next(&a), AWAY, 3)));
    assert!(b.events.is_empty());
}

#[test]
fn a_peer_over_ipv6_moves_too() {
    let over_v6 = Path::Tunnel { v6: true };
    let mut inbound = in_udp(sa(OBJ_INB_SA, over_v6));
    inbound.tail.event_mask = Kind::NatMapping.mask().into();
    inbound.tail.src = [0x11; 16];
    let (a, b) = connect(&in_udp(sa(OBJ_OUTB_SA, over_v6)), &inbound);
    assert!(passes(&b, &next(&a)));
    let mut wire = next(&a);
    wire[IP + 8..IP + 24].fill(0x33);
    wire[IP + 40..IP + 42].copy_from_slice(&7u16.to_be_bytes());
    assert!(passes(&b, &wire));
    let mapping = Mapping::of(&b.events.pop().unwrap()).unwrap();
    assert_eq!(
        (mapping.family, mapping.src, mapping.port.get()),
        (6, [0x33; 16], 7)
    );
    assert!(b.events.is_empty());
}
