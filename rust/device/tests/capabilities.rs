// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities that a driver accepts, field by field, through both queues of commands (V144 and V145 of the
//! checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::testing;
use espnic_device::testing::filter as build;
use espnic_wire::admin::Command;
use espnic_wire::cap;
use espnic_wire::filter::{
    Action, CAP_ACTIONS, CAP_LIMITS, CAP_SELECTORS, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE,
};
use espnic_wire::sa::OBJ_INB_SA;
use support::driver::{ADMIN, CTRL};
use support::fields::*;
use zerocopy::IntoBytes;

/// What was accepted before still holds: a rule and an SA that need all of it can be created.
fn has_everything(nic: &mut Nic) {
    let parts = build::esp(true, 7);
    let rule = build::rule_hdr(15, 63, 254, Action::IpsecAgain as u8);
    let sa = sa(OBJ_INB_SA, cap::MODE_ESP_TUNNEL);
    for (obj_type, id, object) in [
        (OBJ_GROUP, 15, build::group(1)),
        (OBJ_CLASSIFIER, 63, build::classifier(&parts)),
        (OBJ_RULE, 1023, build::rule(rule, &parts)),
        (OBJ_INB_SA, 0, sa.as_bytes().to_vec()),
    ] {
        assert_eq!(nic.create(obj_type, id, &object), DONE, "{obj_type:#x}");
    }
}

/// V144, V145: a driver accepts what is offered, or less, in every field.
#[test]
fn capabilities() {
    let all = u64::MAX;
    let limit = |most: u64| {
        field("limit", 4)
            .wrong([most + 1, 0xffff_ffff])
            .fine([0, most])
    };
    let list = |count: u64| {
        [
            field("count", 1).wrong([count + 1, 255]).fine([0]),
            ignored(7),
        ]
    };
    let limits = [limit(16), limit(64), limit(1024), limit(1024)];
    let rest = [
        field("last_rule_priority", 1).fine([0, 255]),
        field("selectors_per_classifier_limit", 1)
            .wrong([5, 255])
            .fine([1, 4]),
        ignored(2),
    ];
    let selector = [
        field("type", 1).wrong([0, 2, 7, 0xff]),
        field("flags", 1).fine([0, 1]),
        ignored(2),
        field("length", 1).wrong([0, 13, 15]),
        ignored(3),
        field("mask", 14).fine([0, 5]),
    ];
    let action = |other: &[u64]| {
        let mut action = field("action", 1);
        action.wrong = other.iter().map(|&number| vec![number as u8]).collect();
        action
    };
    let actions = [
        action(&[0, 2, 5]),
        action(&[0, 1, 3, 5]),
        action(&[2, 4]),
        action(&[3, 5, 255]),
    ];
    let mode = [
        field("mode", 1).wrong([0, 3, 255]),
        ignored(3),
        field("max_replay_win_sz", 4).wrong([4097]).fine([0, 4096]),
        field("options", 4)
            .wrong([1 << 7, 1 << 31, all])
            .fine([0, 0x7f]),
        ignored(4),
        field("cipher_algo", 8).wrong([all, 1 << 4]).fine([0]),
        field("hmac_algo", 8).wrong([all, 1 << 1]).fine([0]),
        field("aead_algo", 4).wrong([all, 1 << 2]).fine([0]),
        field("max_cipher_key_len", 4).wrong([33, all]).fine([0]),
        field("max_auth_key_len", 4).wrong([65, all]).fine([0]),
    ];
    let entry = [
        field("mode", 1).wrong([0, 3, 255]),
        field("kind", 1).wrong([0, 4, 255]),
        field("flags", 2).wrong([4, 1 << 15]).fine([0, 3]),
        field("algo", 2).wrong([9, 0xffff]),
        field("mac", 2).wrong([9, 0xffff]),
        field("key_lens", 4).wrong([all]).fine([0]),
        field("icv_lens", 4).wrong([all]).fine([0]),
    ];
    for queue in [CTRL, ADMIN] {
        let mut nic = Nic::new(queue);
        let data = |nic: &mut Nic, id| nic.run(&testing::bytes(Command::DeviceCapGet(id))).1;
        let entries = u64::from(data(&mut nic, cap::X_IPSEC_SA)[0]);
        let [inb, outb] = [0, 4].map(|at| {
            let limits = data(&mut nic, cap::IPSEC_RESOURCE);
            u32::from_le_bytes(*limits[at..].first_chunk().unwrap()).into()
        });
        let chain =
            |a: &[Field], b: &[Field]| a.iter().chain(b).map(Field::copy).collect::<Vec<_>>();
        nic.try_capability(CAP_LIMITS, &chain(&limits, &rest));
        nic.try_capability(CAP_SELECTORS, &chain(&list(7), &selector));
        nic.try_capability(CAP_ACTIONS, &chain(&list(4), &actions));
        nic.try_capability(cap::IPSEC_RESOURCE, &[limit(inb), limit(outb)]);
        nic.try_capability(cap::IPSEC_SA, &chain(&list(2), &mode));
        nic.try_capability(cap::X_IPSEC_SA, &chain(&list(entries), &entry));
        for id in [0, 0x07ff, 0x0805, 0x0fc1, 0xffff] {
            assert_eq!(nic.status(Command::DeviceCapGet(id)), MISSING);
            assert_eq!(nic.status(Command::DriverCapSet { id, data: &[] }), MISSING);
        }
        has_everything(&mut nic);
    }
}
