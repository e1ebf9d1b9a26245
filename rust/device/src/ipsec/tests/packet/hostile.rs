// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a guest may do to hurt others or itself: SAs that end while packets are in flight, events without
//! end, an SA within an SA.

use super::*;
use espnic_wire::event::Kind;
use std::sync::atomic::{AtomicBool, Ordering};

/// Packets of two queues go on while the SA comes and goes: each of them is encrypted under the SA that it
/// names, or dropped, and opens under that SA only (V86, V117).
#[test]
fn sas_go_while_packets_are_in_flight() {
    const ROUNDS: u16 = 200;
    let (a, b) = pair(OVER_V4);
    let ended = AtomicBool::new(false);
    let send = || {
        let (mut hdr, clear, _) = udp(false, b"in flight");
        let mut sent = 0u64;
        let mut tries = 0u64;
        while !ended.load(Ordering::Relaxed) || tries < 100 {
            hdr.sec.generation = (tries as u16 % ROUNDS).into();
            tries += 1;
            match transmit(&a, &hdr, &clear) {
                Ok(wires) => {
                    sent += 1;
                    // The key is the same under every generation.
                    let _ = by_rule(&b, &wires[0]);
                }
                Err(drop) => assert!(matches!(drop, TxDrop::NoSa | TxDrop::Stale), "{drop}"),
            }
        }
        [sent, tries]
    };
    let change = || {
        for generation in 0..ROUNDS {
            let mut object = sa(OBJ_OUTB_SA, OVER_V4);
            object.tail.generation = generation.into();
            assert_eq!(destroy(&a, OBJ_OUTB_SA, 1), DONE);
            assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object), DONE);
            assert_eq!(destroy(&b, OBJ_INB_SA, 2), DONE);
            assert_eq!(create(&b, OBJ_INB_SA, 2, &sa(OBJ_INB_SA, OVER_V4)), DONE);
        }
        ended.store(true, Ordering::Relaxed);
    };
    let [one, two] = std::thread::scope(|scope| {
        let queues = [(); 2].map(|()| scope.spawn(send));
        change();
        queues.map(|queue| queue.join().unwrap())
    });
    let [sent, tries] = [one[0] + two[0], one[1] + two[1]];
    assert_eq!(counter(&a, "ipsec_tx_packets"), sent);
    let dropped = ["ipsec_tx_drop_no_sa", "ipsec_tx_drop_stale"].map(|name| counter(&a, name));
    assert_eq!(dropped.iter().sum::<u64>(), tries - sent);
    assert_eq!(counter(&b, "ipsec_rx_auth_fail"), 0);
}

/// Limits that are set again after each packet make an event for each; few of them wait.
#[test]
fn events_do_not_pile_up() {
    let mut object = sa(OBJ_OUTB_SA, OVER_V4);
    add_option(&mut object, cap::OPT_SA_LIFETIME);
    object.tail.event_mask = Kind::SoftLimit.mask().into();
    let (a, _) = connect(&object, &sa(OBJ_INB_SA, OVER_V4));
    for n in 1..=1000u64 {
        object.base.packets_soft_limit = n.into();
        assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &object), DONE);
        next(&a);
    }
    let kinds: Vec<_> = std::iter::from_fn(|| a.events.pop())
        .map(|event| Kind::of(event.kind.get()))
        .collect();
    assert_eq!((kinds.len(), kinds[0]), (257, Some(Kind::Lost)));
    assert!(kinds[1..].iter().all(|&kind| kind == Some(Kind::SoftLimit)));
}

/// What comes out of one SA and is ESP for another is not opened in the same pass: its cost has a bound.
#[test]
fn an_sa_within_an_sa_is_opened_once() {
    let (a, b) = pair(OVER_V4);
    let mut inner = sa(OBJ_OUTB_SA, Path::Transport { v6: false });
    inner.base.spi = 0x2002.into();
    assert_eq!(create(&a, OBJ_OUTB_SA, 5, &inner), DONE);
    let mut within = sa(OBJ_INB_SA, Path::Transport { v6: false });
    within.base.spi = 0x2002.into();
    assert_eq!(create(&b, OBJ_INB_SA, 5, &within), DONE);
    let (mut hdr, clear, whole) = udp(false, b"deep");
    hdr.out.resource_id = 5.into();
    let once = one(&a, &hdr, &clear);
    let twice = one(&a, &plain_hdr(), &once);
    let (hdr, opened) = by_rule(&b, &twice);
    assert_eq!((hdr.out.resource_id.get(), &opened), (2, &once));
    assert_eq!(counter(&b, "ipsec_rx_packets"), 1);
    assert_eq!(by_rule(&b, &opened).1, whole, "on a way of its own");
}

/// The padding is wrong, and only that.
#[test]
fn padding_that_is_wrong_is_found() {
    for (change, seq) in [
        (with_esn as fn(SaObject) -> SaObject, 0x4_ffff_fffe),
        (|object| object, 5),
        (in_udp, 5),
    ] {
        for path in [OVER_V4, Path::Transport { v6: false }] {
            let outbound = behind(change(sa(OBJ_OUTB_SA, path)), seq);
            let mut inbound = behind(change(sa(OBJ_INB_SA, path)), seq);
            inbound.base.replay_win_sz = 64.into();
            let (a, b) = connect(&outbound, &inbound);
            assert!(passes(&b, &next(&a)));
            a.faults.corrupt_padding(2);
            let wrong = [next(&a), next(&a)];
            assert!(wrong.iter().all(|wire| !passes(&b, wire)));
            assert!(passes(&b, &next(&a)));
            // They are authentic, so they cannot come twice.
            assert!(wrong.iter().all(|wire| !passes(&b, wire)));
            let failed = [
                "ipsec_rx_format_fail",
                "ipsec_rx_auth_fail",
                "ipsec_rx_replay",
            ];
            assert_eq!(failed.map(|name| counter(&b, name)), [2, 0, 2], "{path:?}");
            assert_eq!(counter(&a, "ipsec_faults"), 2);
        }
    }
}

/// The ICV does not cover the outer header, and transport mode would give the packet a right checksum.
#[test]
fn an_outer_header_with_a_wrong_checksum_is_dropped() {
    for path in PATHS.into_iter().filter(|path| !path.v6()) {
        let mut inbound = sa(OBJ_INB_SA, path);
        set_flags(&mut inbound, super::super::wire::TAIL_DELIVER_ERR, 0);
        let (a, b) = connect(&sa(OBJ_OUTB_SA, path), &inbound);
        let wire = next(&a);
        // All that the stack would read of the header and that says nothing to the NIC.
        let damaged = [1, 4, 6, 8, 10, 11, 12, 15];
        for (count, at) in damaged.into_iter().enumerate() {
            let mut wire = wire.clone();
            wire[IP + at] ^= if at == 6 { 0x40 } else { 0x10 };
            assert_eq!(by_rule(&b, &wire), (NetHdr48::default(), vec![]), "{at}");
            let counts = ["ipsec_rx_header_fail", "ipsec_rx_dropped"];
            assert_eq!(counts.map(|name| counter(&b, name)), [1 + count as u64; 2]);
        }
        assert!(passes(&b, &wire));
        assert_eq!(counter(&b, "ipsec_rx_auth_fail"), 0);
    }
}
