// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ends of an SA: limits of packets and bytes, and the last sequence number (V79, V85, V126, V165).

use super::segments::big;
use super::*;
use espnic_wire::event::{Kind, MASK_ALL};
use std::collections::HashSet;

/// Limits of packets and of bytes, soft and hard.
fn with_limits(mut object: SaObject, packets: [u64; 2], bytes: [u64; 2]) -> SaObject {
    add_option(&mut object, cap::OPT_SA_LIFETIME);
    let base = &mut object.base;
    base.packets_soft_limit = packets[0].into();
    base.packets_hard_limit = packets[1].into();
    base.bytes_soft_limit = bytes[0].into();
    base.bytes_hard_limit = bytes[1].into();
    object
}

fn sender(object: SaObject) -> Engine {
    let a = ready(Backend::default());
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object), DONE);
    a
}

fn numbers(wires: &[Vec<u8>]) -> Vec<u32> {
    let number = |wire: &Vec<u8>| u32::from_be_bytes(wire[38..42].try_into().unwrap());
    wires.iter().map(number).collect()
}

#[test]
fn a_hard_limit_ends_to_the_packet() {
    let a = sender(with_limits(sa(OBJ_OUTB_SA, OVER_V4), [2, 3], [0, 0]));
    let (hdr, clear, _) = udp(false, b"one of three");
    let sent: Vec<_> = (0..5).map(|_| transmit(&a, &hdr, &clear)).collect();
    assert!(sent[..3].iter().all(Result::is_ok));
    assert!(sent[3..].iter().all(|sent| *sent == Err(TxDrop::Limit)));
    assert_eq!(counter(&a, "ipsec_tx_drop_limit"), 2);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 3);
}

#[test]
fn a_hard_limit_ends_in_the_middle_of_a_big_frame() {
    let a = sender(with_limits(sa(OBJ_OUTB_SA, OVER_V4), [0, 13], [0, 0]));
    let (hdr, clear) = big(false, 10_000, 1000);
    let first = transmit(&a, &hdr, &clear).unwrap();
    let second = transmit(&a, &hdr, &clear).unwrap();
    assert_eq!((first.len(), second.len()), (10, 3));
    assert_eq!(
        numbers(&[first, second].concat()),
        (1..=13).collect::<Vec<_>>()
    );
    assert_eq!(counter(&a, "ipsec_tx_drop_limit"), 7);
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Limit));
    assert_eq!(counter(&a, "ipsec_tx_drop_limit"), 17);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 13);
    assert_eq!(counter(&a, "ipsec_tx_gso"), 2);
}

#[test]
fn bytes_are_those_that_esp_carries() {
    // A tunnel carries 1040 bytes in each of these segments.
    for (limit, packets) in [
        (1, 1),
        (1040, 1),
        (1041, 2),
        (2080, 2),
        (9999, 10),
        (20_000, 10),
    ] {
        let a = sender(with_limits(sa(OBJ_OUTB_SA, OVER_V4), [0, 0], [0, limit]));
        let (hdr, clear) = big(false, 10_000, 1000);
        assert_eq!(
            transmit(&a, &hdr, &clear).unwrap().len(),
            packets,
            "{limit}"
        );
    }
    // Transport mode carries 1020.
    let path = Path::Transport { v6: false };
    let a = sender(with_limits(sa(OBJ_OUTB_SA, path), [0, 0], [0, 1021]));
    let (hdr, clear) = big(false, 10_000, 1000);
    assert_eq!(transmit(&a, &hdr, &clear).unwrap().len(), 2);
}

#[test]
fn numbers_end_to_the_packet() {
    let last = u64::from(u32::MAX);
    let a = sender(behind(sa(OBJ_OUTB_SA, OVER_V4), last - 3));
    let (hdr, clear) = big(false, 10_000, 1000);
    let sent = transmit(&a, &hdr, &clear).unwrap();
    assert_eq!(numbers(&sent), [u32::MAX - 2, u32::MAX - 1, u32::MAX]);
    assert_eq!(counter(&a, "ipsec_tx_drop_sequence"), 7);
    let (hdr, clear, _) = udp(false, b"too late");
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Sequence));
    assert_eq!(counter(&a, "ipsec_tx_drop_sequence"), 8);
    // Neither does a MODIFY bring numbers back.
    let object = behind(sa(OBJ_OUTB_SA, OVER_V4), 5);
    assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &object), DONE);
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Sequence));
}

/// What comes first ends the SA, and its counter says so.
#[test]
fn a_drop_is_counted_by_what_ended_the_sa() {
    let last = u64::from(u32::MAX);
    for (left, limit, counts) in [(3, 5, [7, 0]), (5, 3, [0, 7]), (3, 3, [0, 7])] {
        let object = with_limits(sa(OBJ_OUTB_SA, OVER_V4), [0, limit], [0, 0]);
        let a = sender(behind(object, last - left));
        let (hdr, clear) = big(false, 10_000, 1000);
        assert_eq!(transmit(&a, &hdr, &clear).unwrap().len(), 3);
        let names = ["ipsec_tx_drop_sequence", "ipsec_tx_drop_limit"];
        assert_eq!(
            names.map(|name| counter(&a, name)),
            counts,
            "{left} {limit}"
        );
        let (hdr, clear, _) = udp(false, b"too late");
        let end = match counts {
            [0, _] => TxDrop::Limit,
            _ => TxDrop::Sequence,
        };
        assert_eq!(transmit(&a, &hdr, &clear), Err(end));
    }
}

#[test]
fn numbers_may_go_on_with_new_ivs() {
    let last = u64::from(u32::MAX);
    let mut object = behind(sa(OBJ_OUTB_SA, OVER_V4), last - 2);
    set_flags(&mut object, super::super::wire::TAIL_MAY_WRAP, 0);
    let a = sender(object);
    let wires: Vec<_> = (0..4).map(|_| next(&a)).collect();
    assert_eq!(numbers(&wires), [u32::MAX - 1, u32::MAX, 0, 1]);
    let ivs: HashSet<_> = wires.iter().map(|wire| wire[42..50].to_vec()).collect();
    assert_eq!(ivs.len(), 4);
    // Extended ones have a high half that the receiver needs.
    let a = sender(behind(with_esn(sa(OBJ_OUTB_SA, OVER_V4)), last));
    assert_eq!(numbers(&[next(&a)]), [0]);
}

#[test]
fn modify_arms_the_limits_again_and_keeps_the_numbers() {
    let object = with_limits(sa(OBJ_OUTB_SA, OVER_V4), [0, 2], [0, 0]);
    let a = sender(object);
    let mut wires = vec![next(&a), next(&a)];
    let (hdr, clear, _) = udp(false, b"beyond");
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Limit));
    let more = with_limits(object, [0, 4], [0, 0]);
    assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &more), DONE);
    wires.extend([next(&a), next(&a)]);
    assert_eq!(numbers(&wires), [1, 2, 3, 4]);
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Limit));
    // Without limits, even without the option.
    assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &sa(OBJ_OUTB_SA, OVER_V4)), DONE);
    assert_eq!(numbers(&[next(&a)]), [5]);
}

#[test]
fn inbound_limits_warn_and_end() {
    let mut inbound = with_limits(sa(OBJ_INB_SA, OVER_V4), [2, 4], [0, 0]);
    inbound.base.replay_win_sz = 32.into();
    let (a, b) = connect(&sa(OBJ_OUTB_SA, OVER_V4), &inbound);
    let wires: Vec<_> = (0..6).map(|_| next(&a)).collect();
    let mut forged = wires[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(!passes(&b, &forged), "does not count");
    let warned = [0, 1, 2, 3].map(|n: usize| {
        let (hdr, frame) = by_rule(&b, &wires[n]);
        assert!(!frame.is_empty());
        hdr.has(hdr::F_SOFT_EXPIRY_WARN)
    });
    assert_eq!(warned, [false, true, true, true]);
    assert!(!passes(&b, &wires[4]));
    assert_eq!(counter(&b, "ipsec_rx_limit"), 1);
    // With another limit it goes on, and what was seen is known.
    let more = with_limits(inbound, [0, 5], [0, 0]);
    assert_eq!(modify(&b, OBJ_INB_SA, 2, &more), DONE);
    assert!(!passes(&b, &wires[3]) && passes(&b, &wires[4]));
    assert_eq!(counter(&b, "ipsec_rx_replay"), 1);
    assert!(!passes(&b, &wires[5]));
    assert_eq!(counter(&b, "ipsec_rx_limit"), 2);
}

#[test]
fn a_hard_limit_has_its_status() {
    let mut inbound = with_limits(sa(OBJ_INB_SA, OVER_V4), [0, 1], [0, 0]);
    set_flags(&mut inbound, super::super::wire::TAIL_DELIVER_ERR, 0);
    let (a, b) = connect(&sa(OBJ_OUTB_SA, OVER_V4), &inbound);
    assert!(passes(&b, &next(&a)));
    let wire = next(&a);
    let (hdr, frame) = by_rule(&b, &wire);
    assert_eq!((hdr.sec.sec_status, frame), (hdr::SEC_HARD_LIMIT, wire));
}

/// The events that wait: kind, object type and id, packets, number.
fn told(ipsec: &Engine) -> Vec<(u16, u16, u32, u64, u64)> {
    let event = || ipsec.events.pop();
    std::iter::from_fn(event)
        .map(|event| {
            (
                event.kind.get(),
                event.res_type.get(),
                event.id.get(),
                event.packets.get(),
                event.seq.get(),
            )
        })
        .collect()
}

const SOFT: u16 = Kind::SoftLimit as u16;
const HARD: u16 = Kind::HardLimit as u16;
const OVERFLOW: u16 = Kind::Overflow as u16;

/// V166: one event for each limit that is passed, on either side.
#[test]
fn each_end_is_reported_once() {
    let wants_all = |mut object: SaObject| {
        object.tail.event_mask = MASK_ALL.into();
        object
    };
    let outbound = wants_all(with_limits(sa(OBJ_OUTB_SA, OVER_V4), [12, 15], [0, 0]));
    let inbound = wants_all(with_limits(sa(OBJ_INB_SA, OVER_V4), [2, 3], [0, 0]));
    let (a, b) = connect(&outbound, &inbound);
    let (hdr, clear) = big(false, 10_000, 1000);
    let wires = transmit(&a, &hdr, &clear).unwrap();
    assert!(told(&a).is_empty());
    assert_eq!(transmit(&a, &hdr, &clear).unwrap().len(), 5);
    let both = [
        (SOFT, OBJ_OUTB_SA, 1, 15, 15),
        (HARD, OBJ_OUTB_SA, 1, 15, 15),
    ];
    assert_eq!(told(&a), both);
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Limit));
    assert!(told(&a).is_empty());
    for wire in &wires {
        by_rule(&b, wire);
    }
    let both = [(SOFT, OBJ_INB_SA, 2, 2, 2), (HARD, OBJ_INB_SA, 2, 3, 3)];
    assert_eq!(told(&b), both);
    // MODIFY arms them again; what is past already is reported with the next packet.
    let more = wants_all(with_limits(sa(OBJ_OUTB_SA, OVER_V4), [14, 17], [0, 0]));
    assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &more), DONE);
    next(&a);
    assert_eq!(told(&a), [(SOFT, OBJ_OUTB_SA, 1, 16, 16)]);
    next(&a);
    assert_eq!(told(&a), [(HARD, OBJ_OUTB_SA, 1, 17, 17)]);
    // Also inbound, where no packet passes any more.
    let less = wants_all(with_limits(sa(OBJ_INB_SA, OVER_V4), [1, 2], [0, 0]));
    assert_eq!(modify(&b, OBJ_INB_SA, 2, &less), DONE);
    by_rule(&b, &wires[5]);
    let both = [(SOFT, OBJ_INB_SA, 2, 3, 3), (HARD, OBJ_INB_SA, 2, 3, 3)];
    assert_eq!(told(&b), both);
    by_rule(&b, &wires[6]);
    assert!(told(&b).is_empty());
}

#[test]
fn the_last_number_is_reported_and_only_what_is_wanted() {
    let last = u64::from(u32::MAX);
    let mut object = behind(sa(OBJ_OUTB_SA, OVER_V4), last - 2);
    for (mask, wanted) in [
        (Kind::Overflow.mask(), true),
        (Kind::HardLimit.mask(), false),
    ] {
        object.tail.event_mask = mask.into();
        let a = sender(object);
        next(&a);
        assert!(told(&a).is_empty());
        next(&a);
        let overflow = [(OVERFLOW, OBJ_OUTB_SA, 1, 2, last)];
        assert_eq!(told(&a), overflow[..usize::from(wanted)]);
        // A reset forgets what waits.
        a.events.push(Default::default());
        a.reset();
        assert!(told(&a).is_empty());
    }
}

/// Several queues send under one SA.
#[test]
fn numbers_are_unique_over_all_threads() {
    let a = sender(with_limits(sa(OBJ_OUTB_SA, OVER_V4), [0, 1000], [0, 0]));
    let mut wires = Vec::new();
    std::thread::scope(|scope| {
        let send = || {
            let (hdr, clear) = big(false, 3000, 1000);
            let sent = (0..200).filter_map(|_| transmit(&a, &hdr, &clear).ok());
            sent.flatten().collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(send)).collect();
        // Meanwhile the SA is replaced again and again.
        let same = with_limits(sa(OBJ_OUTB_SA, OVER_V4), [0, 1000], [0, 0]);
        for _ in 0..20 {
            assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &same), DONE);
        }
        for thread in threads {
            wires.extend(thread.join().unwrap());
        }
    });
    let mut numbers = numbers(&wires);
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=1000));
}
