// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Limits, actions, groups and rules: what is taken, and each way in which one can be wrong.

use super::selector::tests::{full, list};
use super::*;
use zerocopy::IntoBytes;

fn limits() -> Limits {
    Limits {
        groups: U32::new(2),
        classifiers: U32::new(3),
        rules: U32::new(10),
        rules_per_group: U32::new(5),
        last_rule_priority: 8,
        selectors_per_classifier: 3,
        reserved: [0; 2],
    }
}

#[test]
fn limits_have_the_offsets_of_the_standard() {
    let expected = [2, 0, 0, 0, 3, 0, 0, 0, 10, 0, 0, 0, 5, 0, 0, 0, 8, 3, 0, 0];
    assert_eq!(limits().as_bytes(), expected);
}

#[test]
fn a_driver_sets_no_more_than_the_device_has() {
    assert!(limits().is_within(&limits()) && Limits::default().is_within(&limits()));
    let mut wider = [limits(); 6];
    wider[0].groups = U32::new(3);
    wider[1].classifiers = U32::new(4);
    wider[2].rules = U32::new(11);
    wider[3].rules_per_group = U32::new(6);
    wider[4].last_rule_priority = 9;
    wider[5].selectors_per_classifier = 4;
    for one in wider {
        assert!(
            !one.is_within(&limits()) && limits().is_within(&one),
            "{one:?}"
        );
    }
}

#[test]
fn no_more_objects_than_the_limits_say() {
    let limits = limits();
    assert_eq!(limits.admit_group(1, 1), Ok(()));
    assert_eq!(limits.admit_group(2, 1), Err(Refusal::FIELD));
    assert_eq!(limits.admit_group(1, 2), Err(Refusal::FULL));
    assert_eq!(limits.admit_classifier(2, 2), Ok(()));
    assert_eq!(limits.admit_classifier(3, 0), Err(Refusal::FIELD));
    assert_eq!(limits.admit_classifier(0, 3), Err(Refusal::FULL));
    assert_eq!(limits.admit_rule(4, 9, 4), Ok(()));
    assert_eq!(limits.admit_rule(5, 0, 0), Err(Refusal::FIELD));
    assert_eq!(limits.admit_rule(4, 10, 0), Err(Refusal::FULL));
    assert_eq!(limits.admit_rule(4, 9, 5), Err(Refusal::FULL));
    let nothing = Limits::default();
    assert_eq!(nothing.admit_group(0, 0), Err(Refusal::FULL));
}

const ALL: [Action; 4] = [
    Action::Drop,
    Action::Queue,
    Action::Ipsec,
    Action::IpsecAgain,
];

#[test]
fn actions_have_the_numbers_of_the_standard() {
    assert_eq!(ALL.map(|action| action as u8), [1, 2, 3, 4]);
    assert_eq!(ALL.map(|action| Action::of(action as u8)), ALL.map(Some));
    assert_eq!([0, 5, 255].map(Action::of), [None; 3]);
}

#[test]
fn actions_are_an_ascending_list() {
    let set = Actions::default().with(Action::Ipsec).with(Action::Drop);
    let (data, len) = set.data();
    assert_eq!(data[..len], [2, 0, 0, 0, 0, 0, 0, 0, 1, 3]);
    assert_eq!(Actions::parse(&data[..len]), Ok(set));
    assert_eq!(
        ALL.map(|action| set.has(action)),
        [true, false, true, false]
    );
    let all = ALL.into_iter().fold(Actions::default(), Actions::with);
    assert_eq!(all.data(), ([4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 12));
    assert!(set.is_within(all) && !all.is_within(set) && set.is_within(set));
    assert_eq!(Actions::parse(&[]), Ok(Actions::default()));
    let bad: [&[u8]; 4] = [&[1, 1], &[2, 1], &[5], &[0]];
    for list in bad {
        let mut data = [0; 8].to_vec();
        data[0] = list.len() as u8;
        data.extend(list);
        assert_eq!(Actions::parse(&data), Err(Refusal::FIELD), "{list:?}");
    }
    // Missing bytes are zeroes, and zero is no action.
    assert_eq!(Actions::parse(&[1]), Err(Refusal::FIELD));
    let more = [3, 0, 0, 0, 0, 0, 0, 0, 1, 9, 3];
    assert_eq!(Actions::known(&more), set);
    assert_eq!(Actions::known(&[255]), Actions::default());
}

#[test]
fn groups_have_different_priorities() {
    let group = Group {
        priority: U16::new(0x0102),
    };
    assert_eq!(group.as_bytes(), [2, 1]);
    assert_eq!(Group::parse(&[2, 1, 9], [0x0101, 0x0103]), Ok(group));
    assert_eq!(Group::parse(&[2, 1], [0, 0x0102]), Err(Refusal::FIELD));
    assert_eq!(Group::parse(&[], []), Ok(Group::default()));
    assert_eq!(Group::parse(&[], [0]), Err(Refusal::FIELD));
}

/// A rule about TCP over IPv4 as its bytes, and its classifier.
fn rule() -> (Vec<u8>, Selectors) {
    let classifier = list(&[Kind::Eth, Kind::Ipv4, Kind::Tcp]);
    let hdr = RuleHdr {
        group_id: U32::new(1),
        classifier_id: U32::new(2),
        rule_priority: 7,
        key_length: 54,
        action: Action::Ipsec as u8,
        vq_index: U16::new(2),
        ..RuleHdr::default()
    };
    let mut data = hdr.as_bytes().to_vec();
    data.resize(16 + 54, 0);
    data[16 + 12..16 + 14].copy_from_slice(&[8, 0]);
    data[16 + 14 + 9] = 6;
    (data, classifier)
}

fn parse(data: &[u8], classifier: &Selectors) -> Result<Rule, Refusal> {
    let limits = limits();
    let frame = Frame {
        limits: &limits,
        actions: Actions::default().with(Action::Queue).with(Action::Ipsec),
        classifier,
    };
    Rule::parse(data, &frame, |queue| queue == 2)
}

#[test]
fn a_rule_that_fits_its_classifier_is_taken() {
    let (mut data, classifier) = rule();
    assert_eq!(
        data[..16],
        [1, 0, 0, 0, 2, 0, 0, 0, 7, 54, 3, 0, 2, 0, 0, 0]
    );
    let hdr = RuleHdr::read(&data);
    assert_eq!((hdr.group_id.get(), hdr.classifier_id.get()), (1, 2));
    let parsed = parse(&data, &classifier).unwrap();
    assert_eq!((parsed.group_id, parsed.classifier_id), (1, 2));
    assert_eq!((parsed.priority, parsed.action), (7, Action::Ipsec));
    assert_eq!(parsed.keys(), &data[16..]);
    // Reserved fields are ignored, and so is what follows the keys.
    data[11] = 9;
    data[14..16].fill(9);
    data.extend([1, 2, 3]);
    assert_eq!(parse(&data, &classifier), Ok(parsed));
}

#[test]
fn every_wrong_field_of_a_rule_is_refused() {
    let (good, classifier) = rule();
    // Priority, lengths of the keys, actions that are not known or were not set.
    for (at, value) in [
        (8, 8),
        (9, 53),
        (9, 55),
        (9, 0),
        (10, 0),
        (10, 5),
        (10, 1),
        (10, 4),
    ] {
        let mut data = good.clone();
        data[at] = value;
        assert_eq!(
            parse(&data, &classifier),
            Err(Refusal::FIELD),
            "{at} {value}"
        );
    }
}

#[test]
fn the_queue_counts_only_where_packets_go_to_it() {
    let (mut data, classifier) = rule();
    data[12] = 3;
    assert!(parse(&data, &classifier).is_ok());
    data[10] = Action::Queue as u8;
    assert_eq!(parse(&data, &classifier), Err(Refusal::FIELD));
    data[12] = 2;
    assert_eq!(parse(&data, &classifier).unwrap().queue, 2);
}

#[test]
fn keys_name_the_headers_of_the_selectors() {
    let eth = |kind: u16, rest: &[Kind], next: (usize, u8)| {
        let mut kinds = vec![Kind::Eth];
        kinds.extend(rest);
        let classifier = list(&kinds);
        let len = classifier.key_len();
        let (mut data, _) = rule();
        data.truncate(16);
        data[9] = len as u8;
        data.resize(16 + len, 0);
        data[28..30].copy_from_slice(&kind.to_be_bytes());
        data[next.0] = next.1;
        parse(&data, &classifier).is_ok()
    };
    let (v4, v6) = (16 + 14 + 9, 16 + 14 + 6);
    assert!(eth(0x1234, &[], (16, 0)));
    assert!(eth(0x0800, &[Kind::Ipv4], (v4, 99)));
    assert!(!eth(0x86dd, &[Kind::Ipv4], (v4, 99)));
    assert!(eth(0x86dd, &[Kind::Ipv6], (v6, 99)));
    assert!(!eth(0x0800, &[Kind::Ipv6], (v6, 99)));
    for (kind, number) in [(Kind::Tcp, 6), (Kind::Udp, 17), (Kind::Esp, 50)] {
        for wrong in [6, 17, 50, 0] {
            let right = wrong == number;
            assert_eq!(eth(0x0800, &[Kind::Ipv4, kind], (v4, wrong)), right);
            assert_eq!(eth(0x86dd, &[Kind::Ipv6, kind], (v6, wrong)), right);
        }
    }
    // Across META.
    let meta = [Kind::XMeta, Kind::Ipv4, Kind::Udp];
    assert!(eth(0x0800, &meta, (v4 + 8, 17)));
    assert!(!eth(0x0800, &meta, (v4 + 8, 6)));
    assert!(!eth(0x86dd, &meta, (v4 + 8, 17)));
    assert!(eth(0x86dd, &[Kind::XMeta], (16, 0)));
}

#[test]
fn short_rules_read_as_if_zeroes_followed() {
    let (data, classifier) = rule();
    // Without the last byte of the TCP key, which is zero anyway.
    let whole = parse(&data, &classifier);
    assert_eq!(parse(&data[..69], &classifier), whole);
    // Without what names TCP.
    assert_eq!(parse(&data[..39], &classifier), Err(Refusal::FIELD));
    for len in 0..16 {
        assert_eq!(parse(&data[..len], &classifier), Err(Refusal::FIELD));
    }
}

#[test]
fn the_longest_keys_fit() {
    let kinds = [Kind::Eth, Kind::XMeta, Kind::Ipv6, Kind::Tcp];
    assert_eq!(list(&kinds).key_len(), MAX_KEYS);
    assert_eq!(full(Kind::Ipv6, false).mask().len(), MAX_LEN);
}

#[test]
fn only_classifiers_have_a_flag() {
    use admin::{OP_OBJ_CREATE, OP_OBJ_MODIFY, OP_OBJ_QUERY};
    for op in [OP_OBJ_CREATE, OP_OBJ_MODIFY] {
        assert!(flags_are_known(op, OBJ_CLASSIFIER, 1) && flags_are_known(op, OBJ_RULE, 0));
        assert!(!flags_are_known(op, OBJ_CLASSIFIER, 3));
        assert!(!flags_are_known(op, OBJ_GROUP, 1) && !flags_are_known(op, OBJ_RULE, 1));
    }
    assert!(!flags_are_known(OP_OBJ_QUERY, OBJ_CLASSIFIER, 1));
    assert!(flags_are_known(OP_OBJ_QUERY, OBJ_CLASSIFIER, 0));
}
