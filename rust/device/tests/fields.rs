// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Objects with one field that is wrong, field by field, through both queues of commands: the status is the
//! one that the standard names, and nothing has changed (V93, V96, V102, V103, V108, V114, V115, V123, V132,
//! V150 and V161 of the checklist).
//!
//! The tables have every byte of each object, so no field can be forgotten.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::testing;
use espnic_device::testing::filter as build;
use espnic_wire::admin::Command;
use espnic_wire::cap;
use espnic_wire::filter::{Action, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE};
use espnic_wire::sa::{self, SaObject, OBJ_INB_SA, OBJ_OUTB_SA};
use espnic_wire::state::{OBJ_INB_STATE, OBJ_OUTB_STATE};
use support::driver::{ADMIN, CTRL};
use support::fields::*;
use zerocopy::IntoBytes;

/// The 196 bytes of the standard.
fn base_fields(object: &SaObject) -> Vec<Field> {
    let (mode, direction) = (
        u64::from(object.base.mode),
        u64::from(object.base.direction),
    );
    let options = object.base.options.get();
    let inbound = object.base.direction == sa::DIR_IN;
    let tunnel = object.base.mode == cap::MODE_ESP_TUNNEL;
    let with = |option: u32| options | u64::from(option);
    let not_here = match (tunnel, inbound) {
        (true, false) => 1 << 7,
        _ => cap::OPT_DEC_TTL,
    };
    let other = if tunnel { cap::OPT_ECN } else { 0 };
    let windows = match inbound {
        true => field("replay_win_sz", 4).wrong([0, 4097]).fine([1, 4096]),
        false => field("replay_win_sz", 4).wrong([4097]).fine([1, 4096]),
    };
    let mut fields = vec![
        field("mode", 1)
            .wrong([0, 3, 4, 5, 255])
            .fine([3 - mode])
            .fixed(),
        field("direction", 1)
            .wrong([0, 3 - direction, 3, 255])
            .fixed(),
        ignored(2),
        field("obj_id", 4).fine([0, 77]),
        field("spi", 4).wrong([0]).fine([1, 0xffff_ffff]).fixed(),
        field("salt", 4).fine([1]).fixed(),
        field("options", 8)
            .wrong([
                with(1 << 7),
                with(1 << 31),
                options | (1 << 40),
                options & !u64::from(cap::OPT_UDP_ENCAP),
                // The limits are still there.
                options & !u64::from(cap::OPT_SA_LIFETIME),
                with(not_here),
            ])
            .fine([with(other)]),
    ];
    if other != 0 {
        fields.last_mut().unwrap().fixed = true;
    }
    fields.extend(match tunnel && !inbound {
        true => param_fields(),
        false => vec![field("param", 44).fine([u64::MAX])],
    });
    let port = |name| match inbound {
        true => field(name, 2).fine([0, 7]),
        false => field(name, 2).wrong([0]).fine([7]),
    };
    fields.extend([
        port("udp_sport"),
        port("udp_dport"),
        windows.fixed(),
        field("cipher_algo", 8).wrong([3, 4, 99, 1 << 63]).fixed(),
        field("cipher_key.length", 2)
            .wrong([0, 15, 20, 33, 64, 0xffff])
            .fine([24, 32])
            .fixed(),
        ignored(2),
        field("cipher_key.data", 32).fine([0x42_4243]).fixed(),
        field("auth_algo", 8).wrong([2, 41, 99, 1 << 63]).fixed(),
        field("auth_key.length", 2).wrong([20, 0xffff]).fixed(),
        ignored(2),
        field("auth_key.data", 32).fine([1]).fixed(),
        field("packets_soft_limit", 8)
            .wrong([1000, 1001, u64::MAX])
            .fine([0, 999]),
        field("bytes_soft_limit", 8)
            .wrong([100_000, u64::MAX])
            .fine([0, 99_999]),
        field("packets_hard_limit", 8)
            .wrong([1, 500])
            .fine([0, 501, u64::MAX]),
        field("bytes_hard_limit", 8)
            .wrong([1, 50_000])
            .fine([0, 50_001, u64::MAX]),
    ]);
    fields
}

/// The outer header of an outbound tunnel over IPv4.
fn param_fields() -> Vec<Field> {
    vec![
        field("param.type", 1).wrong([0, 1, 5, 6, 255]),
        ignored(3),
        field("src_ip", 4).fine([7]),
        field("dst_ip", 4).fine([7]),
        field("dscp", 1).wrong([64, 255]).fine([63]),
        field("df", 1).wrong([2, 255]).fine([0]),
        field("ttl", 1).wrong([0]).fine([1, 255]),
        ignored(29),
    ]
}

/// The padding and the tail.
fn tail_fields(object: &SaObject) -> Vec<Field> {
    let flags = u64::from(object.tail.tail_flags.get());
    let seq = match object.base.direction {
        // With ESN.
        sa::DIR_IN => field("seq", 8).fine([0, 1 << 32, u64::MAX]),
        _ => field("seq", 8)
            .wrong([1 << 32, u64::MAX])
            .fine([0, 0xffff_ffff]),
    };
    vec![
        ignored(4),
        field("tail_len", 2).wrong([0, 143]).fine([145, 656]),
        field("tail_flags", 2)
            .wrong([
                flags | 0x80,
                flags | 0x8000,
                flags | u64::from(sa::TAIL_BITMAP_VALID),
                flags | u64::from(sa::TAIL_CRYPTO_ONLY),
            ])
            .fine([flags | u64::from(sa::TAIL_DELIVER_ERR)])
            .fixed(),
        field("aead_algo", 4).wrong([0, 2, 3, 4, 1 << 31]).fixed(),
        field("icv_len", 1)
            .wrong([0, 7, 9, 15, 17, 255])
            .fine([8, 12])
            .fixed(),
        field("family", 1).wrong([0, 5, 255]).fine([6]),
        field("encap_mode", 1).wrong([0, 2, 255]).fixed(),
        iv_mode(object),
        field("generation", 2).fine([8]).fixed(),
        ignored(2),
        seq,
        field("iv_xor", 8).fine([9]).fixed(),
        field("event_mask", 8)
            .wrong([1, 1 << 5, 1 << 63])
            .fine([0, 0x1e]),
        field("dst", 16).fine([9]),
        field("src", 16).fine([9]),
        field("auth_key_ext", 32).fine([1]).fixed(),
        field("cipher_key_ext", 32).fine([1]).fixed(),
        field("keepalive_s", 4).wrong([1, 20]),
        ignored(4),
    ]
}

fn iv_mode(object: &SaObject) -> Field {
    let other = 1 - u64::from(object.tail.iv_mode);
    field("iv_mode", 1).wrong([2, 255]).fine([other]).fixed()
}

#[test]
fn sa_objects() {
    for queue in [CTRL, ADMIN] {
        let mut nic = Nic::new(queue);
        for obj_type in [OBJ_OUTB_SA, OBJ_INB_SA] {
            for mode in [cap::MODE_ESP_TUNNEL, cap::MODE_ESP_TRANSPORT] {
                let object = sa(obj_type, mode);
                let mut fields = base_fields(&object);
                fields.extend(tail_fields(&object));
                nic.try_all(obj_type, object.as_bytes(), &fields);
            }
        }
    }
}

/// State objects exist with their SA and can only be read, whatever is in the command.
#[test]
fn state_objects() {
    for queue in [CTRL, ADMIN] {
        let mut nic = Nic::new(queue);
        for (obj_type, state) in [(OBJ_OUTB_SA, OBJ_OUTB_STATE), (OBJ_INB_SA, OBJ_INB_STATE)] {
            let object = sa(obj_type, cap::MODE_ESP_TUNNEL);
            assert_eq!(nic.create(obj_type, KEPT, object.as_bytes()), DONE);
            let before = nic.query(state, KEPT);
            assert_eq!(before.0, DONE);
            for id in [KEPT, TRIED] {
                for data in [&[][..], &[0xff; 68], &before.1] {
                    assert_eq!(nic.create(state, id, data), OPCODE);
                    assert_eq!(nic.modify(state, id, data), OPCODE);
                }
                assert_eq!(nic.destroy(state, id), OPCODE);
            }
            let query = |id, flags| {
                let command = Command::ObjQuery {
                    obj_type: state,
                    id,
                };
                let mut bytes = testing::bytes(command);
                bytes[32] = flags;
                bytes
            };
            assert_eq!(nic.run(&query(KEPT, 1)).0, FIELD);
            assert_eq!(nic.run(&query(TRIED, 0)).0, MISSING);
            assert_eq!(nic.run(&query(KEPT, 0)), before);
        }
    }
}

/// A selector: its header, and its mask in `parts`.
fn selector(kind: u64, others: &'static [u64], len: u64, parts: Vec<Field>) -> Vec<Field> {
    let mut kinds = field("type", 1).wrong([0, 0xff]);
    kinds
        .wrong
        .extend(others.iter().map(|&other| vec![other as u8]));
    let mut fields = vec![
        kinds.fine([kind]),
        field("flags", 1).fine([1]),
        ignored(2),
        field("length", 1).wrong([0, len - 1, len + 1, 255]),
        ignored(3),
    ];
    fields.extend(parts);
    fields
}

#[test]
fn filter_objects() {
    for queue in [CTRL, ADMIN] {
        let mut nic = Nic::new(queue);
        let other = build::group(7);
        assert_eq!(nic.create(OBJ_GROUP, 0, &other), DONE);
        let priority = field("group_priority", 2).wrong([7]).fine([0, 0xffff]);
        nic.try_all(OBJ_GROUP, &build::group(1), &[priority]);

        let parts = build::esp(false, 7);
        let classifier = build::classifier(&parts);
        let any = |len| field("mask", len).fine([0x55, u64::MAX]);
        let mut fields = vec![
            field("count", 1).wrong([0, 4, 5, 255]).fine([1, 2]),
            ignored(7),
        ];
        // A selector without its mask of what follows, in part or not at all.
        let next = |len| field("mask of what follows", len).wrong([0, 0xff7f, 0x7fff, 1]);
        fields.extend(selector(1, &[2, 3, 6, 7, 0xf0], 14, vec![any(12), next(2)]));
        let ip = vec![any(9), field("protocol", 1).wrong([0, 0x7f, 0xfe]), any(10)];
        fields.extend(selector(2, &[1, 3, 4, 6, 0xf0], 20, ip));
        fields.extend(selector(6, &[1, 2, 3, 4, 0xf0], 8, vec![any(8)]));
        nic.try_all(OBJ_CLASSIFIER, &classifier, &fields);

        assert_eq!(nic.create(OBJ_CLASSIFIER, 0, &classifier), DONE);
        let v6 = build::classifier(&build::esp(true, 7));
        assert_eq!(nic.create(OBJ_CLASSIFIER, 1, &v6), DONE);
        let rule = build::rule(build::rule_hdr(0, 0, 1, Action::Queue as u8), &parts);
        let fields = [
            field("group_id", 4).wrong([1, 0xffff_ffff]),
            field("classifier_id", 4).wrong([1, 2, 0xffff_ffff]),
            field("rule_priority", 1).wrong([255]).fine([0, 254]),
            field("key_length", 1).wrong([0, 41, 43, 255]),
            field("action", 1).wrong([0, 5, 255]).fine([1, 3, 4]),
            ignored(1),
            field("vq_index", 2).wrong([1, 2, 3, 0xffff]),
            ignored(2),
            field("key of the addresses", 12).fine([5]),
            field("key of the EtherType", 2).wrong([0, 0xdd86, 8 << 8]),
            field("key of IPv4", 9).fine([5]),
            field("key of the protocol", 1).wrong([0, 6, 17, 51]),
            field("key of IPv4", 10).fine([5]),
            field("key of ESP", 8).fine([5]),
        ];
        nic.try_all(OBJ_RULE, &rule, &fields);
    }
}
