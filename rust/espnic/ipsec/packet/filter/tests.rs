// SPDX-License-Identifier: GPL-2.0

//! Tests of the rules, which are read as a NIC would.

use super::{
    classifier,
    is_possible,
    rule,
    CLASSIFIER_ROOM,
    RULES,
    RULE_ROOM, //
};
use espnic_wire::{
    filter::{
        selector::{
            Kind,
            Selector,
            Selectors,
            MAX_LEN, //
        },
        Action,
        Actions,
        Frame,
        Limits,
        Rule, //
    },
    U32, //
};
use kernel::prelude::*;

/// Just enough for the rules.
fn limits() -> Limits {
    Limits {
        groups: U32::new(1),
        classifiers: U32::new(4),
        rules: U32::new(4),
        rules_per_group: U32::new(4),
        last_rule_priority: 4,
        selectors_per_classifier: 3,
        ..Limits::default()
    }
}

/// A NIC with all selectors of these kinds.
fn selectors(kinds: &[Kind]) -> Result<Selectors> {
    let all = [0xff; MAX_LEN];
    kinds
        .iter()
        .try_fold(Selectors::EMPTY, |list, &kind| {
            list.with(Selector::new(kind, false, all.get(..kind.len())?)?)
        })
        .ok_or(EINVAL)
}

const NEEDED: [Kind; 5] = [Kind::Eth, Kind::Ipv4, Kind::Ipv6, Kind::Udp, Kind::Esp];

fn actions() -> Actions {
    Actions::default().with(Action::Ipsec)
}

#[kunit_tests(espnic_ipsec_filter)]
mod cases {
    use super::*;

    #[test]
    fn a_nic_with_just_enough_takes_all_rules() -> Result {
        let (limits, all) = (limits(), selectors(&NEEDED)?);
        assert!(is_possible(&limits, &all, actions()));
        for number in 0..RULES {
            let mut room = [0; CLASSIFIER_ROOM];
            let object = classifier(number, &mut room).ok_or(EINVAL)?;
            let classifier = Selectors::parse_classifier(object, &all, 3).map_err(|_| EINVAL)?;
            let frame = Frame {
                limits: &limits,
                actions: actions(),
                classifier: &classifier,
            };
            let mut room = [0; RULE_ROOM];
            let object = rule(number, &mut room).ok_or(EINVAL)?;
            let rule = Rule::parse(object, &frame, |_| false).map_err(|_| EINVAL)?;
            assert_eq!(rule.action, Action::Ipsec);
            assert_eq!((rule.group_id, rule.classifier_id), (0, number.into()));
            // V104: none has that of another.
            assert_eq!(rule.priority, number);
        }
        Ok(())
    }

    #[test]
    fn keys_name_esp_and_the_port_of_nat_t() -> Result {
        let kinds = [(0, 34, 50), (1, 54, 50), (2, 34, 17), (3, 54, 17)];
        for (number, upper, protocol) in kinds {
            let mut room = [0; RULE_ROOM];
            let keys = rule(number, &mut room).and_then(|rule| rule.get(16..));
            let keys = keys.ok_or(EINVAL)?;
            let at = if number & 1 == 0 { 14 + 9 } else { 14 + 6 };
            assert_eq!(keys.get(at), Some(&protocol));
            let port = if protocol == 17 { [0x11, 0x94] } else { [0, 0] };
            assert_eq!(keys.get(upper + 2..upper + 4), Some(&port[..]));
        }
        Ok(())
    }

    #[test]
    fn less_is_not_enough() -> Result {
        let all = selectors(&NEEDED)?;
        for missing in NEEDED {
            let mut kinds = KVec::new();
            let others = NEEDED.iter().filter(|&&kind| kind != missing);
            for &kind in others {
                kinds.push(kind, GFP_KERNEL)?;
            }
            assert!(!is_possible(&limits(), &selectors(&kinds)?, actions()));
        }
        assert!(!is_possible(&limits(), &all, Actions::default()));
        let small = [
            Limits {
                groups: U32::new(0),
                ..limits()
            },
            Limits {
                classifiers: U32::new(3),
                ..limits()
            },
            Limits {
                rules: U32::new(3),
                ..limits()
            },
            Limits {
                rules_per_group: U32::new(3),
                ..limits()
            },
            Limits {
                last_rule_priority: 3,
                ..limits()
            },
            Limits {
                selectors_per_classifier: 2,
                ..limits()
            },
        ];
        assert!(small
            .iter()
            .all(|limits| !is_possible(limits, &all, actions())));
        Ok(())
    }
}
