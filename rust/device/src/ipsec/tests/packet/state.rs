// SPDX-License-Identifier: GPL-2.0 OR MIT

//! State objects, and what MODIFY, destruction and reset leave.

use super::*;
use espnic_wire::admin::{ENXIO, Q_INVALID_OPCODE};
use espnic_wire::state::{SaState, OBJ_INB_STATE, OBJ_OUTB_STATE};

const MISSING: (u16, u16) = (ENXIO, Q_INVALID_FIELD);
const INVALID_OPCODE: (u16, u16) = (EINVAL, Q_INVALID_OPCODE);

/// The state of an SA: its fixed part, and the bits that are set in the window.
pub(super) fn read(ipsec: &Engine, obj_type: u16, id: u32) -> (SaState, Vec<u16>) {
    let (got, object) = run(ipsec, Command::ObjQuery { obj_type, id });
    assert_eq!(got, DONE);
    let (state, bitmap) = SaState::parse(&object).unwrap();
    let bits = (0..bitmap.len() as u16 * 8).filter(|&bit| espnic_wire::bitmap::get(bitmap, bit));
    (state, bits.collect())
}

#[test]
fn counters_and_window_are_readable_at_any_time() {
    let mut inbound = sa(OBJ_INB_SA, OVER_V4);
    inbound.base.replay_win_sz = 40.into();
    let (a, b) = connect(&sa(OBJ_OUTB_SA, OVER_V4), &inbound);
    let empty = (SaState::default(), vec![]);
    assert_eq!(read(&a, OBJ_OUTB_STATE, 1), empty);
    let wires: Vec<_> = (0..100).map(|_| next(&a)).collect();
    let (sent, _) = read(&a, OBJ_OUTB_STATE, 1);
    // 28 bytes of headers, 15 of data.
    let counted = (sent.packets.get(), sent.bytes.get(), sent.seq.get());
    assert_eq!(counted, (100, 100 * 43, 100));
    assert_eq!((sent.limit_drop.get(), sent.window.get()), (0, 0));

    for n in [98, 96, 90] {
        assert!(passes(&b, &wires[n]));
    }
    let mut forged = wires[99].clone();
    forged[60] ^= 1;
    for wire in [&wires[98], &wires[20], &wires[19], &forged] {
        assert!(!passes(&b, wire));
    }
    let (seen, bits) = read(&b, OBJ_INB_STATE, 2);
    let counted = (seen.packets.get(), seen.bytes.get(), seen.seq.get());
    assert_eq!(counted, (3, 3 * 43, 99));
    let refused = [
        seen.auth_fail,
        seen.replay_drop,
        seen.replay_late,
        seen.format_fail,
    ];
    assert_eq!(refused.map(|count| count.get()), [1, 1, 2, 0]);
    // Bit n - 1, modulo the size, for number n.
    // Of the numbers 91, 97 and 99.
    assert_eq!(
        (seen.window.get(), bits),
        (40, vec![90 % 40, 96 % 40, 98 % 40])
    );
}

/// What is too short, and what comes after a hard limit, in either direction.
#[test]
fn what_is_refused_for_its_form_or_a_limit_is_counted() {
    let limited = |mut object: SaObject| {
        add_option(&mut object, cap::OPT_SA_LIFETIME);
        object.base.packets_hard_limit = 2.into();
        object
    };
    let outbound = limited(sa(OBJ_OUTB_SA, OVER_V4));
    let (a, b) = connect(&outbound, &limited(sa(OBJ_INB_SA, OVER_V4)));
    let wires = [next(&a), next(&a)];
    let (hdr, clear, _) = udp(false, b"beyond");
    for _ in 0..3 {
        assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Limit));
    }
    let (sent, _) = read(&a, OBJ_OUTB_STATE, 1);
    assert_eq!((sent.packets.get(), sent.limit_drop.get()), (2, 3));
    let mut short = wires[0].clone();
    short.truncate(short.len() - 1);
    short[17] -= 1;
    testing::correct(&mut short);
    assert!(!passes(&b, &short));
    assert!(wires.iter().all(|wire| passes(&b, wire)));
    assert!(!passes(&b, &wires[0]));
    let (seen, _) = read(&b, OBJ_INB_STATE, 2);
    let refused = [seen.auth_fail, seen.format_fail, seen.limit_drop];
    assert_eq!(refused.map(|count| count.get()), [0, 1, 1]);
}

/// What was read goes into a new object, on the same NIC or another one.
#[test]
fn a_window_can_be_taken_over() {
    for window in [33, 64, 4096] {
        let mut inbound = with_esn(sa(OBJ_INB_SA, OVER_V4));
        inbound.base.replay_win_sz = window.into();
        let (a, b) = connect(&with_esn(sa(OBJ_OUTB_SA, OVER_V4)), &inbound);
        let wires: Vec<_> = (0..90).map(|_| next(&a)).collect();
        assert!([60, 70, 88].iter().all(|&n: &usize| passes(&b, &wires[n])));
        let query = Command::ObjQuery {
            obj_type: OBJ_INB_STATE,
            id: 2,
        };
        let state = run(&b, query).1;
        let (counted, bitmap) = SaState::parse(&state).unwrap();

        let mut next_one = behind(inbound, counted.seq.get());
        set_flags(&mut next_one, super::super::wire::TAIL_BITMAP_VALID, 0);
        next_one.tail.tail_len = (144 + bitmap.len() as u16).into();
        let object = [next_one.as_bytes(), bitmap].concat();
        let create = Command::ObjCreate {
            obj_type: OBJ_INB_SA,
            id: 1,
            object: &object,
        };
        let c = ready(Backend::default());
        assert_eq!(status(&c, create), DONE);
        assert!([60, 70, 88].iter().all(|&n: &usize| !passes(&c, &wires[n])));
        assert!([59, 61, 89].iter().all(|&n: &usize| passes(&c, &wires[n])));
        // Not with less tail than that, nor without the highest number.
        let bad: [fn(&mut SaObject); 2] = [
            |object| object.tail.tail_len = 147.into(),
            |object| set_flags(object, 0, super::super::wire::TAIL_SEQ_VALID),
        ];
        for change in bad {
            let mut object = next_one;
            change(&mut object);
            let object = [object.as_bytes(), bitmap].concat();
            let create = Command::ObjCreate {
                obj_type: OBJ_INB_SA,
                id: 2,
                object: &object,
            };
            assert_eq!(status(&c, create), INVALID_FIELD);
        }
    }
}

#[test]
fn state_objects_can_only_be_read() {
    let (a, _) = pair(OVER_V4);
    let object = [0; 68];
    for obj_type in [OBJ_OUTB_STATE, OBJ_INB_STATE] {
        for id in [1, 3] {
            let create = Command::ObjCreate {
                obj_type,
                id,
                object: &object,
            };
            let modify = Command::ObjModify {
                obj_type,
                id,
                object: &object,
            };
            for command in [create, modify, Command::ObjDestroy { obj_type, id }] {
                assert_eq!(status(&a, command), INVALID_OPCODE);
            }
        }
    }
    let query = |obj_type, id| status(&a, Command::ObjQuery { obj_type, id });
    assert_eq!(query(OBJ_OUTB_STATE, 1), DONE);
    assert_eq!(query(OBJ_OUTB_STATE, 3), MISSING);
    assert_eq!(query(OBJ_INB_STATE, 1), MISSING);
    // Crypto-only SAs count nothing.
    let crypto = super::super::object(OBJ_OUTB_SA);
    assert_eq!(create(&a, OBJ_OUTB_SA, 3, &crypto), DONE);
    assert_eq!(query(OBJ_OUTB_STATE, 3), MISSING);
    assert_eq!(destroy(&a, OBJ_OUTB_SA, 1), DONE);
    assert_eq!(query(OBJ_OUTB_STATE, 1), MISSING);
}

#[test]
fn modify_keeps_what_was_counted() {
    let mut inbound = sa(OBJ_INB_SA, OVER_V4);
    inbound.base.replay_win_sz = 64.into();
    let outbound = sa(OBJ_OUTB_SA, OVER_V4);
    let (a, b) = connect(&outbound, &inbound);
    let wires: Vec<_> = (0..5).map(|_| next(&a)).collect();
    assert!(wires.iter().all(|wire| passes(&b, wire)));
    let before = (read(&a, OBJ_OUTB_STATE, 1), read(&b, OBJ_INB_STATE, 2));
    // Another tunnel, with other numbers, which do not count.
    let mut moved = behind(outbound, 1);
    tunnel(true).put(&mut moved.base);
    assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &moved), DONE);
    let mut followed = behind(inbound, 0);
    followed.tail.family = 6;
    followed.tail.dst = [0x22; 16];
    assert_eq!(modify(&b, OBJ_INB_SA, 2, &followed), DONE);
    let after = (read(&a, OBJ_OUTB_STATE, 1), read(&b, OBJ_INB_STATE, 2));
    assert_eq!(before, after);
    assert_eq!(by_rule(&b, &wires[0]).1, wires[0], "not to that address");
    assert!(passes(&b, &next(&a)));
    let (seen, bits) = read(&b, OBJ_INB_STATE, 2);
    assert_eq!((seen.seq.get(), bits), (6, vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn modify_changes_nothing_else() {
    let (a, _) = pair(OVER_V4);
    let changes: [fn(&mut SaObject); 10] = [
        |object| object.base.spi = 9.into(),
        |object| object.base.mode = cap::MODE_ESP_TRANSPORT,
        |object| object.base.salt[0] ^= 1,
        |object| object.base.cipher_key.data[3] ^= 1,
        |object| object.base.options = u64::from(cap::OPT_ESN).into(),
        |object| object.tail.icv_len = 12,
        |object| object.tail.generation = 8.into(),
        |object| object.tail.iv_xor = 1.into(),
        |object| set_flags(object, super::super::wire::TAIL_MAY_WRAP, 0),
        |object| {
            set_flags(object, super::super::wire::TAIL_CRYPTO_ONLY, 0);
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut object = sa(OBJ_OUTB_SA, OVER_V4);
        change(&mut object);
        let got = modify(&a, OBJ_OUTB_SA, 1, &object);
        assert_eq!(got, INVALID_FIELD, "{n}");
    }
    assert_eq!(next(&a)[38..42], [0, 0, 0, 1]);
}

/// A MAC's key is as fixed as a cipher's, also where it has the cipher's place (V150).
#[test]
fn modify_does_not_change_a_mac_key() {
    for algorithms in super::super::ciphers::Algorithms::all() {
        let object = algorithms.object(OBJ_OUTB_SA, false);
        if object.base.auth_key.length.get() == 0 {
            continue;
        }
        for object in [object, convert(object, OVER_V4)] {
            let a = ready(Backend::default());
            assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object), DONE);
            assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &object), DONE);
            let mut other = object;
            other.base.auth_key.data[5] ^= 1;
            assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &other), INVALID_FIELD);
        }
    }
}

/// V86, V119: after destruction and reset nothing is sent or opened, and nothing goes out in the clear.
#[test]
fn without_the_sa_nothing_is_sent() {
    let (a, b) = pair(OVER_V4);
    let (hdr, clear, _) = udp(false, b"protected");
    let wire = next(&a);
    assert_eq!(destroy(&a, OBJ_OUTB_SA, 1), DONE);
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::NoSa));
    // V117: a new one takes its place and starts anew.
    let mut object = sa(OBJ_OUTB_SA, OVER_V4);
    object.tail.generation = 8.into();
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object), DONE);
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::Stale));
    a.reset();
    assert_eq!(transmit(&a, &hdr, &clear), Err(TxDrop::NoSa));
    b.reset();
    assert_eq!(by_rule(&b, &wire).1, wire);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 1);
}
