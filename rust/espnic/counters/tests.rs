// SPDX-License-Identifier: GPL-2.0

//! Tests of the declarations of counters.

use super::counters;
use kernel::prelude::*;

counters! {
    struct Inner {
        c: c"name_c",
    }
}

counters! {
    struct Outer {
        b: c"name_b",
        a: c"name_a",
    }
    with {
        inner: Inner,
    }
}

counters! {
    shared struct Shared {
        y: c"name_y",
        x: c"name_x",
    }
}

#[kunit_tests(espnic_counters)]
mod cases {
    use super::*;

    fn outer(a: u64, b: u64, c: u64) -> Outer {
        let outer = Outer::default();
        outer.a.add(a);
        outer.b.add(b);
        outer.inner.c.add(c);
        outer
    }

    #[test]
    fn names_and_values_have_one_order() {
        let outer = outer(1, 2, 3);
        assert!(Outer::NAMES == [c"name_b", c"name_a"] && outer.values() == [2, 1]);
        assert!(Inner::NAMES == [c"name_c"] && outer.inner.values() == [3]);
    }

    #[test]
    fn all_rows_are_added_up() {
        let one = outer(1, u64::MAX, 3);
        let sum = Outer::default();
        sum.add(&one);
        sum.add(&one);
        assert!(sum.values() == [u64::MAX - 1, 2] && sum.inner.values() == [6]);
    }

    #[test]
    fn shared_counters() {
        let shared = Shared::default();
        shared.x.add(5);
        shared.x.add(1);
        shared.y.add(2);
        assert!(Shared::NAMES == [c"name_y", c"name_x"] && shared.values() == [2, 6]);
    }
}
