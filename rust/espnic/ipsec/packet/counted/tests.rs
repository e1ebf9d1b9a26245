// SPDX-License-Identifier: GPL-2.0

//! Tests of what the stack is told of the NIC's counters.

use super::{
    Counted,
    Numbers, //
};
use espnic_wire::{
    state::SaState,
    U64, //
};
use kernel::prelude::*;

/// What a NIC says that has counted so many of everything.
fn state(packets: u64) -> SaState {
    SaState {
        packets: U64::new(packets),
        bytes: U64::new(packets * 100),
        auth_fail: U64::new(packets + 1),
        format_fail: U64::new(packets + 2),
        replay_drop: U64::new(packets + 3),
        replay_late: U64::new(packets + 4),
        ..SaState::default()
    }
}

#[kunit_tests(espnic_ipsec_counted)]
mod cases {
    use super::*;

    #[test]
    fn news_are_told_once() {
        let mut counted = Counted::default();
        counted.set(&state(5));
        let news = counted.take();
        assert_eq!((news.packets, news.bytes), (5, 500));
        let failures = news.failures;
        assert_eq!((failures.auth_fail, failures.format_fail), (6, 7));
        assert_eq!((failures.replay_drop, failures.replay_late), (8, 9));
        assert_eq!(counted.take(), Numbers::default());
        counted.set(&state(7));
        let news = counted.take();
        assert_eq!((news.packets, news.bytes), (2, 200));
        assert_eq!(news.failures.auth_fail, 2);
    }

    #[test]
    fn a_new_object_counts_from_zero() {
        let mut counted = Counted::default();
        counted.set(&state(5));
        counted.take();
        counted.restart();
        counted.set(&state(1));
        assert_eq!(counted.take().packets, 1);
    }

    #[test]
    fn counters_that_fall_tell_nothing() {
        let mut counted = Counted::default();
        counted.set(&state(5));
        counted.take();
        counted.set(&state(4));
        assert_eq!(counted.take(), Numbers::default());
    }
}
