// SPDX-License-Identifier: GPL-2.0

//! Tests of the list of policies.

use super::{
    super::{
        Action,
        Checked,
        Policy, //
    },
    List, //
};
use espnic_esp::selector::Selector;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::xfrm::Direction;

fn checked(direction: Direction) -> Checked {
    Checked {
        direction,
        selector: Selector::default(),
        priority: 0,
        action: Action::Hole,
    }
}

#[kunit_tests(espnic_ipsec_policy_list)]
mod cases {
    use super::*;

    #[test]
    fn the_list() -> Result {
        let list = KBox::pin_init(List::new(), GFP_KERNEL)?;
        for id in 1..=40 {
            list.add(id, &checked(Direction::Out), None)?;
        }
        assert_eq!(list.living(Direction::Out)?.len(), 40);
        assert!(list.living(Direction::In)?.is_empty());
        assert!(list.kill(7) && list.kill(40) && list.kill(40) && !list.kill(41));
        let are_right = |living: &[Arc<Policy>]| {
            living.len() == 38 && living.iter().all(|one| one.id != 7 && one.id != 40)
        };
        assert!(are_right(&list.living(Direction::Out)?));
        list.sweep()?;
        assert!(are_right(&list.living(Direction::Out)?));
        assert!(!list.kill(7) && list.kill(1));
        Ok(())
    }

    #[test]
    fn most_are_dead() -> Result {
        const COUNT: u64 = 600;
        let list = KBox::pin_init(List::new(), GFP_KERNEL)?;
        let mut id = 0..;
        for (direction, count) in [(Direction::Out, COUNT), (Direction::In, 1)] {
            for id in id.by_ref().take(count as usize) {
                list.add(id, &checked(direction), None)?;
            }
        }
        assert!(!list.is_mostly_dead());
        // The only one of its direction.
        assert!(list.kill(COUNT) && list.is_mostly_dead());
        list.sweep()?;
        for id in 0..COUNT / 2 {
            assert!(!list.is_mostly_dead() && list.kill(id));
        }
        assert!(!list.is_mostly_dead() && list.kill(COUNT / 2) && list.is_mostly_dead());
        list.sweep()?;
        assert!(!list.is_mostly_dead());
        assert_eq!(list.living(Direction::Out)?.len() as u64, COUNT / 2 - 1);
        Ok(())
    }
}
