// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities and objects: V90, V92 to V96, V101, V105, V107 and V108 of the checklist.

use super::*;
use espnic_wire::bitmap;
use espnic_wire::filter::selector::{Selector, Selectors};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

const TYPES: [u16; 3] = [OBJ_GROUP, OBJ_CLASSIFIER, OBJ_RULE];

fn limits(rig: &Rig) -> Limits {
    let data = rig.execute(Command::DeviceCapGet(CAP_LIMITS)).unwrap();
    Limits::read_from_prefix(&data).unwrap().0
}

/// V90.
#[test]
fn the_capabilities_show_together() {
    for ipsec in [false, true] {
        let rig = Rig::new(Terms { ipsec, ..TERMS });
        let ids = rig.execute(Command::CapIdListQuery).unwrap();
        let listed: Vec<u16> = (0..0x0fff).filter(|&id| bitmap::get(&ids, id)).collect();
        assert_eq!(listed, build::CAPABILITIES);
        assert_eq!(build::set_up(|command| rig.execute(command)), Ok(()));
        for obj_type in TYPES {
            assert_eq!(rig.query(obj_type, 0), Err(MISSING));
            assert_eq!(rig.destroy(obj_type, 0), MISSING);
            assert_eq!(rig.modify(obj_type, 0, &[]), MISSING);
        }
        assert_eq!(rig.create(OBJ_GROUP, 0, &build::group(1)), DONE);
    }
}

/// V92.
#[test]
fn objects_need_all_three_capabilities() {
    for left_out in build::CAPABILITIES {
        let rig = Rig::new(TERMS);
        for id in build::CAPABILITIES.into_iter().filter(|&id| id != left_out) {
            let data = rig.execute(Command::DeviceCapGet(id)).unwrap();
            assert_eq!(rig.set(id, &data), DONE);
        }
        for obj_type in TYPES {
            assert_eq!(rig.create(obj_type, 0, &[]), OPCODE);
            assert_eq!(rig.modify(obj_type, 0, &[]), OPCODE);
            assert_eq!(rig.query(obj_type, 0), Err(OPCODE));
            assert_eq!(rig.destroy(obj_type, 0), OPCODE);
        }
    }
}

/// V105.
#[test]
fn selectors_and_actions_are_in_order() {
    for (ipsec, kinds, actions) in [
        ([false, false], &[1, 2, 3, 4, 5, 6][..], &[1, 2][..]),
        ([true, false], &[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4]),
        ([true, true], &[1, 2, 3, 4, 5, 6, 0xf0], &[1, 2, 3, 4]),
    ] {
        let [ipsec, x_ipsec] = ipsec;
        let rig = Rig::new(Terms {
            ipsec,
            x_ipsec,
            ..TERMS
        });
        let data = rig.execute(Command::DeviceCapGet(CAP_SELECTORS)).unwrap();
        let selectors = Selectors::parse_capability(&data).unwrap();
        let found: Vec<u8> = selectors.iter().map(|one| one.kind() as u8).collect();
        assert_eq!(found, kinds);
        let lengths: Vec<usize> = selectors.iter().map(|one| one.mask().len()).collect();
        assert_eq!(lengths[..6], [14, 20, 40, 20, 8, 8]);
        let data = rig.execute(Command::DeviceCapGet(CAP_ACTIONS)).unwrap();
        let listed = &data[8..8 + actions.len()];
        assert_eq!((usize::from(data[0]), listed), (actions.len(), actions));
    }
}

#[test]
fn the_driver_takes_no_more_than_is_offered() {
    let rig = Rig::new(Terms {
        ipsec: false,
        x_ipsec: false,
        ..TERMS
    });
    let mut more = limits(&rig);
    more.groups = (more.groups.get() + 1).into();
    assert_eq!(rig.set(CAP_LIMITS, more.as_bytes()), FIELD);
    // IPsec is not there, so neither META nor the actions.
    let meta = build::classifier(&[Part::new(Kind::XMeta)]);
    assert_eq!(rig.set(CAP_SELECTORS, &meta), FIELD);
    assert_eq!(rig.set(CAP_ACTIONS, &[1, 0, 0, 0, 0, 0, 0, 0, 3]), FIELD);
    assert_eq!(rig.set(CAP_ACTIONS, &[1, 0, 0, 0, 0, 0, 0, 0, 1]), DONE);
    assert_eq!(rig.set(0x0803, &[]), MISSING);
    // Not with objects.
    let rig = Rig::ready();
    rig.group(0, 1);
    for id in build::CAPABILITIES {
        assert_eq!(rig.set(id, &[]), BUSY);
    }
    assert_eq!(rig.destroy(OBJ_GROUP, 0), DONE);
    assert_eq!(rig.set(CAP_LIMITS, &[]), DONE);
    assert_eq!(rig.create(OBJ_GROUP, 0, &build::group(1)), FULL);
}

/// V93.
#[test]
fn groups_have_different_priorities() {
    let rig = Rig::ready();
    rig.group(0, 5);
    assert_eq!(rig.create(OBJ_GROUP, 1, &build::group(5)), FIELD);
    rig.group(1, 6);
    assert_eq!(rig.modify(OBJ_GROUP, 1, &build::group(5)), FIELD);
    assert_eq!(rig.modify(OBJ_GROUP, 1, &build::group(6)), DONE);
    assert_eq!(rig.modify(OBJ_GROUP, 1, &build::group(7)), DONE);
    rig.group(2, 6);
}

/// V94.
#[test]
fn there_is_room_up_to_the_limits() {
    let rig = Rig::ready();
    let mut limits = limits(&rig);
    limits.groups = 2.into();
    limits.classifiers = 1.into();
    limits.rules = 3.into();
    limits.rules_per_group = 2.into();
    assert_eq!(rig.set(CAP_LIMITS, limits.as_bytes()), DONE);
    rig.group(1, 1);
    assert_eq!(rig.create(OBJ_GROUP, 1, &build::group(9)), EXISTS);
    assert_eq!(rig.create(OBJ_GROUP, 2, &build::group(2)), FIELD);
    rig.group(0, 2);
    assert_eq!(rig.create(OBJ_GROUP, 2, &build::group(3)), FULL);
    let parts = build::esp(false, 1);
    let classifier = build::classifier(&parts);
    assert_eq!(rig.create(OBJ_CLASSIFIER, 1, &classifier), FIELD);
    rig.classifier(0, &parts);
    assert_eq!(rig.create(OBJ_CLASSIFIER, 1, &classifier), FULL);
    rig.rule(0, hdr(0, 0, 1, Action::Drop), &parts);
    rig.rule(1, hdr(0, 0, 1, Action::Drop), &parts);
    let one = build::rule(hdr(1, 0, 1, Action::Drop), &parts);
    // The standard compares an id with both limits.
    assert_eq!(rig.create(OBJ_RULE, 2, &one), FIELD);
    assert_eq!(rig.destroy(OBJ_RULE, 0), DONE);
    assert_eq!(rig.create(OBJ_RULE, 0, &one), DONE);
    // In its own place it is not one too many.
    assert_eq!(rig.modify(OBJ_RULE, 0, &one), DONE);
}

/// V95.
#[test]
fn what_has_rules_stays() {
    let rig = esp_rig();
    let parts = build::esp(false, 7);
    rig.rule(3, hdr(0, 0, 1, Action::Drop), &parts);
    for obj_type in [OBJ_GROUP, OBJ_CLASSIFIER] {
        let same = rig.query(obj_type, 0).unwrap();
        assert_eq!(rig.destroy(obj_type, 0), BUSY);
        assert_eq!(rig.modify(obj_type, 0, &same), BUSY);
    }
    assert_eq!(rig.destroy(OBJ_RULE, 3), DONE);
    assert_eq!(rig.destroy(OBJ_RULE, 3), MISSING);
    for obj_type in [OBJ_GROUP, OBJ_CLASSIFIER] {
        assert_eq!(rig.destroy(obj_type, 0), DONE);
    }
}

/// V96 and V108, one field at a time.
#[test]
fn a_rule_with_a_wrong_field_is_refused() {
    let rig = esp_rig();
    let parts = build::esp(false, 7);
    let good = build::rule(hdr(0, 0, 1, Action::Queue), &parts);
    let mut bad = vec![good.clone(); 9];
    bad[0][0] = 1; // no such group
    bad[1][4] = 1; // no such classifier
    bad[2][8] = 255; // priority
    bad[3][9] -= 1; // key length
    bad[4][9] += 1;
    bad[5][10] = 5; // action
    bad[6][12] = 4; // queue
    bad[7][12] = 1; // that is a transmit queue
    bad[8][16 + 12] = 0x86; // the keys are not about IPv4
    for (n, data) in bad.iter().enumerate() {
        assert_eq!(rig.create(OBJ_RULE, 1, data), FIELD, "{n}");
    }
    assert_eq!(rig.create(OBJ_RULE, 1024, &good), FIELD);
    assert_eq!(rig.create(OBJ_RULE, 1, &good), DONE);
    for (n, data) in bad.iter().enumerate() {
        assert_eq!(rig.modify(OBJ_RULE, 1, data), FIELD, "{n}");
        assert_eq!(rig.query(OBJ_RULE, 1), Ok(answer(good.clone())));
    }
    // A queue counts only where it is used.
    let mut drop = good;
    (drop[10], drop[12]) = (Action::Drop as u8, 4);
    assert_eq!(rig.create(OBJ_RULE, 2, &drop), DONE);
}

#[test]
fn queues_are_those_that_were_negotiated() {
    let rig = esp_rig();
    rig.filter.start(Terms { pairs: 1, ..TERMS });
    let parts = build::esp(false, 7);
    let mut one = hdr(0, 0, 1, Action::Queue);
    assert_eq!(rig.create(OBJ_RULE, 0, &build::rule(one, &parts)), DONE);
    one.vq_index = 2.into();
    assert_eq!(rig.create(OBJ_RULE, 1, &build::rule(one, &parts)), FIELD);
    // No more than the NIC has.
    rig.filter.start(Terms { pairs: 9, ..TERMS });
    assert_eq!(rig.create(OBJ_RULE, 1, &build::rule(one, &parts)), DONE);
    one.vq_index = 4.into();
    assert_eq!(rig.create(OBJ_RULE, 2, &build::rule(one, &parts)), FIELD);
}

/// The bytes of a command with these flags.
fn flagged(command: Command<'_>, flags: u8) -> Vec<u8> {
    let mut bytes = testing::bytes(command);
    bytes[32] = flags;
    bytes
}

/// V101.
#[test]
fn only_classifiers_have_a_flag() {
    let rig = Rig::ready();
    let [eth, ip] = build::ip(false, 6);
    let parts = [
        eth,
        ip.masked(12, &[10, 0, 0, 0x80], &[255, 255, 255, 0xc0]),
    ];
    let object = build::classifier(&parts);
    let create = |id| Command::ObjCreate {
        obj_type: OBJ_CLASSIFIER,
        id,
        object: &object,
    };
    assert_eq!(rig.run(&flagged(create(0), 1)).0, DONE);
    assert_eq!(rig.run(&flagged(create(1), 2)).0, FIELD);
    let modify = Command::ObjModify {
        obj_type: OBJ_CLASSIFIER,
        id: 0,
        object: &object,
    };
    assert_eq!(rig.run(&flagged(modify, 1)).0, DONE);
    let query = Command::ObjQuery {
        obj_type: OBJ_CLASSIFIER,
        id: 0,
    };
    assert_eq!(rig.run(&flagged(query, 1)).0, FIELD);
    let group = Command::ObjCreate {
        obj_type: OBJ_GROUP,
        id: 0,
        object: &[1, 0],
    };
    assert_eq!(rig.run(&flagged(group, 1)).0, FIELD);
    assert_eq!(rig.run(&flagged(group, 0)).0, DONE);
}

/// V107: without partial masks in the capability, fields are selected as a whole.
#[test]
fn without_partial_masks_fields_are_whole() {
    let rig = Rig::ready();
    let data = rig.execute(Command::DeviceCapGet(CAP_SELECTORS)).unwrap();
    let offered = Selectors::parse_capability(&data).unwrap();
    let whole = offered.iter().fold(Selectors::EMPTY, |list, one| {
        let one = Selector::new(one.kind(), false, one.mask()).unwrap();
        list.with(one).unwrap()
    });
    let mut data = [0; 256];
    let len = whole.write(&mut data).unwrap();
    assert_eq!(rig.set(CAP_SELECTORS, &data[..len]), DONE);
    let [eth, ip] = build::ip(false, 6);
    let part = [eth.clone(), ip.clone().masked(6, &[0x40], &[0x40])];
    let classifier = build::classifier(&part);
    assert_eq!(rig.create(OBJ_CLASSIFIER, 0, &classifier), FIELD);
    let whole = [eth, ip.masked(6, &[0x40], &[0xe0])];
    let classifier = build::classifier(&whole);
    assert_eq!(rig.create(OBJ_CLASSIFIER, 0, &classifier), DONE);
}

/// V108: keys are as long as the selectors. What is missing in the command reads as zero.
#[test]
fn query_gives_back_what_was_given() {
    let rig = esp_rig();
    let parts = build::esp(false, 0x0102_0304);
    let rule = hdr(0, 0, 200, Action::IpsecAgain);
    let data = build::rule(rule, &parts);
    assert_eq!(data.len(), 16 + 14 + 20 + 8);
    rig.rule(5, rule, &parts);
    assert_eq!(rig.query(OBJ_RULE, 5), Ok(answer(data.clone())));
    assert_eq!(rig.query(OBJ_GROUP, 0), Ok(answer(build::group(10))));
    let classifier = build::classifier(&parts);
    assert_eq!(rig.query(OBJ_CLASSIFIER, 0), Ok(answer(classifier)));
    let long = [&data[..], &[7; 30]].concat();
    assert_eq!(rig.modify(OBJ_RULE, 5, &long), DONE);
    assert_eq!(rig.query(OBJ_RULE, 5), Ok(answer(data.clone())));
    assert_eq!(rig.modify(OBJ_RULE, 5, &data[..data.len() - 4]), DONE);
    assert_eq!(rig.query(OBJ_RULE, 5), Ok(answer(data)));
}

#[test]
fn a_reset_forgets_everything() {
    let rig = esp_rig();
    let parts = build::esp(false, 7);
    rig.rule(0, hdr(0, 0, 1, Action::Drop), &parts);
    let frame = ipv4(50, &esp_header(7));
    // The classifier selects the whole SPI.
    assert_eq!(rig.verdict(&frame), Verdict::Drop);
    rig.filter.start(Terms {
        ipsec: false,
        x_ipsec: false,
        pairs: 1,
    });
    rig.admin.reset(&rig.table());
    assert!(rig.filter.current().is_none());
    assert_eq!(rig.verdict(&frame), Verdict::Pass);
    assert_eq!(rig.status(Command::ListUse(&OPS_ALL.to_le_bytes())), DONE);
    assert_eq!(rig.create(OBJ_GROUP, 0, &build::group(1)), OPCODE);
    let actions = rig.execute(Command::DeviceCapGet(CAP_ACTIONS)).unwrap();
    assert_eq!(actions[0], 4, "what was negotiated is forgotten, too");
}

proptest! {
    /// Whatever a guest sends: nothing panics, and a command that fails changes nothing.
    #[test]
    fn hostile_objects_change_nothing(
        commands in prop::collection::vec(
            (0usize..3, 0u32..4, 0u8..4, prop::collection::vec(any::<u8>(), 0..120), any::<bool>()),
            1..60,
        ),
    ) {
        let rig = esp_rig();
        let parts = build::esp(false, 7);
        rig.rule(0, hdr(0, 0, 1, Action::Drop), &parts);
        for (kind, id, what, mut object, near) in commands {
            let obj_type = TYPES[kind];
            if near {
                let spoil = usize::from(object.first().copied().unwrap_or(0));
                object = match obj_type {
                    OBJ_GROUP => build::group(id as u16),
                    OBJ_CLASSIFIER => build::classifier(&parts),
                    _ => build::rule(hdr(0, 0, 1, Action::Drop), &parts),
                };
                if let Some(byte) = object.get_mut(spoil) {
                    *byte ^= 1;
                }
            }
            let before = rig.query(obj_type, id);
            let status = match what {
                0 | 1 => rig.create(obj_type, id, &object),
                2 => rig.modify(obj_type, id, &object),
                _ => rig.destroy(obj_type, id),
            };
            if status != DONE {
                prop_assert_eq!(before, rig.query(obj_type, id));
            }
            rig.verdict(&object);
        }
    }
}
