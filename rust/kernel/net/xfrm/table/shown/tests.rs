// SPDX-License-Identifier: GPL-2.0

//! Tests of the places of states.

use super::{
    locate,
    Handle,
    Shown,
    PARTS, //
};
use crate::net::xfrm::{
    create::fixture::{
        TestState,
        IPV4, //
    },
    Direction, //
};
use kernel::prelude::*;

#[kunit_tests(espnic_xfrm_shown)]
mod cases {
    use super::*;

    #[test]
    fn every_id_has_a_place() {
        assert_eq!(locate(0), (0, 256, 0));
        assert_eq!(locate(255), (0, 256, 255));
        assert_eq!(locate(256), (1, 512, 0));
        assert_eq!(locate(767), (1, 512, 511));
        assert_eq!(locate(768), (2, 1024, 0));
        let (part, len, index) = locate(u32::MAX);
        assert!(part < PARTS && index < len);
    }

    #[test]
    fn shown_by_its_name() -> Result {
        let (x, other) = (TestState::new(&IPV4)?, TestState::new(&IPV4)?);
        let shown = KBox::new(Shown::new(), GFP_KERNEL)?;
        let name = |id, generation| Handle {
            id,
            direction: Direction::Out,
            generation,
        };
        // Without a place nothing is shown.
        shown.show(name(300, 1), &x);
        assert!(!shown.has(name(300, 1), &x));
        shown.make_room(300)?;
        shown.make_room(300)?;
        shown.show(name(300, 1), &x);
        assert!(shown.has(name(300, 1), &x) && !shown.has(name(300, 1), &other));
        assert!(!shown.has(name(300, 2), &x) && !shown.has(name(301, 1), &x));
        shown.hide(name(300, 1));
        assert!(!shown.has(name(300, 1), &x));
        shown.show(name(300, 2), &other);
        assert!(shown.has(name(300, 2), &other) && !shown.has(name(300, 1), &other));
        Ok(())
    }
    #[test]
    fn taken_by_its_name() -> Result {
        let (x, other) = (TestState::new(&IPV4)?, TestState::new(&IPV4)?);
        let shown = KBox::new(Shown::new(), GFP_KERNEL)?;
        let name = |generation| Handle {
            id: 5,
            direction: Direction::In,
            generation,
        };
        assert!(shown.get(5, 1).is_none());
        shown.make_room(5)?;
        assert!(shown.get(5, 0).is_none());
        shown.show(name(1), &x);
        let found = shown.get(5, 1).ok_or(ENOENT)?;
        assert!(core::ptr::eq(&*found, &*x));
        // The place itself has no reference.
        assert_eq!(x.references(), 2);
        drop(found);
        assert_eq!(x.references(), 1);
        for (id, generation) in [(5, 0), (5, 2), (4, 1), (261, 1), (u32::MAX, 1)] {
            assert!(shown.get(id, generation).is_none());
        }
        shown.hide(name(1));
        assert!(shown.get(5, 1).is_none());
        shown.show(name(2), &other);
        assert!(shown.get(5, 1).is_none());
        let found = shown.get(5, 2).ok_or(ENOENT)?;
        assert!(core::ptr::eq(&*found, &*other));
        Ok(())
    }
}
