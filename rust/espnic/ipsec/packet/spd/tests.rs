// SPDX-License-Identifier: GPL-2.0

//! Tests of which policy is for a packet.

use super::{
    super::{
        policy::{
            fixture::{
                flow,
                kill,
                of,
                transport, //
            },
            Action, //
        }, //
    },
    Found,
    Policies, //
};
use espnic_esp::selector::Selector;
use kernel::prelude::*;
use kernel_net::net::xfrm::Direction;

#[kunit_tests(espnic_ipsec_spd)]
mod cases {
    use super::*;

    #[test]
    fn what_counts_when_policies_die() -> Result {
        let policy = |priority, action| of(Direction::Out, priority, Selector::default(), action);
        let (first, last) = (
            policy(2, Action::Protect(transport(7)))?,
            policy(4, Action::Hole)?,
        );
        let policies = Policies::new(&[first.clone(), last.clone()])?;
        let flow = flow(6);
        let priority = || match policies.find(&flow) {
            Found::Policy(policy) => policy.priority,
            _ => 0,
        };
        assert_eq!(priority(), 2);
        kill(&first);
        assert_eq!(priority(), 4);
        kill(&last);
        assert_eq!(priority(), 0);
        Ok(())
    }

    #[test]
    fn many_come_one_by_one() -> Result {
        const COUNT: u32 = 700;
        let mut policies = Policies::new(&[])?;
        for priority in 0..COUNT {
            // Of two that are next to each other the younger one has the lower number.
            let policy = of(
                Direction::Out,
                priority ^ 1,
                Selector::default(),
                Action::Hole,
            )?;
            policies = policies.with(policy)?;
        }
        assert_eq!(policies.0.len(), COUNT as usize);
        for priority in 0..COUNT {
            let found = policies.find(&flow(6));
            assert!(matches!(found, Found::Policy(first) if first.priority == priority));
            if let Found::Policy(first) = found {
                kill(first);
            }
        }
        Ok(())
    }
}
