// SPDX-License-Identifier: GPL-2.0

//! Tests of how a reset is tried again.

use super::{
    pause_after,
    Recovery, //
};
use kernel::prelude::*;

#[kunit_tests(espnic_recovery)]
mod cases {
    use super::*;

    #[test]
    fn first_attempt_is_known() {
        let recovery = Recovery::new();
        assert!(recovery.begin());
        assert!(!recovery.begin() && !recovery.begin());
        assert!(!recovery.end());
        assert!(recovery.begin());
    }

    #[test]
    fn failures_in_a_row() {
        let recovery = Recovery::new();
        assert_eq!(recovery.failures(), 0);
        assert_eq!((recovery.fail(), recovery.fail()), (1, 2));
        assert_eq!(recovery.failures(), 2);
        // It says that there were some, and forgets them.
        assert!(recovery.end());
        assert_eq!(recovery.failures(), 0);
        assert!(!recovery.end());
        assert_eq!(recovery.fail(), 1);
    }

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let pauses = [1, 2, 3, 4, 5, 6, 7, 8].map(pause_after);
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
    }

    #[test]
    fn pauses_after_very_many_failures() {
        assert_eq!([17, 18, 33, u32::MAX].map(pause_after), [10_000; 4]);
        assert_eq!(pause_after(0), 100);
    }
}
