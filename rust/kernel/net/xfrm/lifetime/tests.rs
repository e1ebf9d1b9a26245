// SPDX-License-Identifier: GPL-2.0

//! Tests of limits and counters. A hard limit of a state that the stack does not have is not tried: the
//! stack would delete it.

use super::{
    Failures,
    Limits, //
};
use crate::net::xfrm::create::fixture::{
    Change,
    TestState,
    IPV4, //
};
use kernel::prelude::*;

const NONE: u64 = u64::MAX;

#[kunit_tests(espnic_xfrm_lifetime)]
mod cases {
    use super::*;

    #[test]
    fn no_limits() -> Result {
        let none = Limits {
            soft_packets: None,
            hard_packets: None,
            soft_bytes: None,
            hard_bytes: None,
        };
        assert_eq!(TestState::new(&IPV4)?.limits(), none);
        Ok(())
    }

    #[test]
    fn each_limit_by_itself() -> Result {
        let x = TestState::changed(&IPV4, Change::Limits([1, NONE - 1, 0, NONE]))?;
        let expected = Limits {
            soft_packets: Some(1),
            hard_packets: Some(NONE - 1),
            soft_bytes: Some(0),
            hard_bytes: None,
        };
        assert_eq!(x.limits(), expected);
        let x = TestState::changed(&IPV4, Change::Limits([NONE, NONE, NONE, 9]))?;
        assert_eq!(x.limits().hard_bytes, Some(9));
        Ok(())
    }

    #[test]
    fn usage_adds_up() -> Result {
        let x = TestState::changed(&IPV4, Change::Usage(3, 4200))?;
        x.add_usage(2, 3000);
        x.add_usage(0, 0);
        assert_eq!(x.usage(), (5, 7200));
        x.add_usage(1 << 40, 1 << 50);
        assert_eq!(x.usage(), ((1 << 40) + 5, (1 << 50) + 7200));
        Ok(())
    }

    #[test]
    fn failures_by_reason() -> Result {
        let x = TestState::new(&IPV4)?;
        x.add_failures(&Failures::default());
        assert_eq!(x.counted(), (0, 0, 0, false));
        let some = Failures {
            auth_fail: 1,
            format_fail: 2,
            replay_drop: 3,
            replay_late: 4,
        };
        x.add_failures(&some);
        x.add_failures(&some);
        assert_eq!(x.counted(), (6, 8, 2, false));
        assert_eq!(x.usage(), (0, 0));
        Ok(())
    }

    #[test]
    fn a_state_below_its_limits_goes_on() -> Result {
        let x = TestState::changed(&IPV4, Change::Valid)?;
        x.add_usage(1_000_000, 1_000_000_000);
        assert!(!x.check_expire());
        let (.., used) = x.counted();
        assert!(used);
        Ok(())
    }

    #[test]
    fn a_state_that_is_not_alive_is_left_alone() -> Result {
        let x = TestState::changed(&IPV4, Change::Limits([0, 0, 0, 0]))?;
        assert!(x.check_expire());
        let (.., used) = x.counted();
        assert!(!used);
        Ok(())
    }
}
