// SPDX-License-Identifier: GPL-2.0

//! Tests of the numbers of SAs.

use super::{
    Handle,
    Handles, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    self,
    Direction::{
        self,
        In,
        Out, //
    }, //
};

/// The numbers of a NIC with four SAs in each direction.
fn handles() -> Result<Pin<KBox<Handles>>> {
    let handles = KBox::pin_init(Handles::new(), GFP_KERNEL)?;
    handles.set_limit(In, 4)?;
    handles.set_limit(Out, 4)?;
    Ok(handles)
}

fn sa(direction: Direction, id: u32, generation: u16) -> xfrm::Handle {
    xfrm::Handle {
        id,
        direction,
        generation,
    }
}

fn number(value: u64) -> Result<Handle> {
    Handle::new(value).ok_or(EINVAL)
}

#[kunit_tests(espnic_ndis_handles)]
mod cases {
    use super::*;

    #[test]
    fn numbers_are_serial_direction_and_slot() {
        // Bits 0 to 22 slot from 1, 23 outbound, 24 to 63 serial.
        let value = |direction, slot, serial| {
            Handles::number(direction, slot, serial).map_or(0, |number| number.get())
        };
        assert_eq!(value(In, 0, 1), 0x0000_0000_0100_0001);
        assert_eq!(value(Out, 0, 1), 0x0000_0000_0180_0001);
        assert_eq!(value(Out, 0x1234, 0xab_cdef), 0x0000_abcd_ef80_1235);
        assert_eq!(value(In, 0x7f_fffe, 1), 0x0000_0000_017f_ffff);
        assert_eq!(value(In, u32::MAX, 1), 0x0000_0000_0100_0000);
    }

    #[test]
    fn there_and_back() -> Result {
        let handles = handles()?;
        for x in [sa(In, 0, 1), sa(Out, 0, 1), sa(In, 3, 77)] {
            handles.added(x);
            let number = handles.number_of(x).ok_or(ENOENT)?;
            assert!(handles.find(number) == Some(x));
        }
        assert_eq!(handles.alive(), 3);
        Ok(())
    }

    #[test]
    fn no_number_comes_again() -> Result {
        let handles = handles()?;
        handles.added(sa(In, 0, 1));
        let old = handles.number_of(sa(In, 0, 1)).ok_or(ENOENT)?;
        handles.freed(sa(In, 0, 1));
        assert!(handles.find(old).is_none());
        // Nor where the generation has gone around.
        handles.added(sa(In, 0, 1));
        let new = handles.number_of(sa(In, 0, 1)).ok_or(ENOENT)?;
        assert!(new != old && handles.find(old).is_none());
        assert!(handles.find(new) == Some(sa(In, 0, 1)));
        Ok(())
    }

    #[test]
    fn numbers_of_nobody() -> Result {
        let handles = handles()?;
        handles.added(sa(In, 2, 1));
        let found = handles.number_of(sa(In, 2, 1)).ok_or(ENOENT)?.get();
        // The other direction, other slots, other serials, no slot at all.
        for value in [
            found ^ (1 << 23),
            found + 1,
            found - 1,
            found + (1 << 24),
            found - (1 << 24),
            1 << 24,
            u64::MAX,
            1,
        ] {
            assert!(handles.find(number(value)?).is_none());
        }
        assert!(handles.number_of(sa(In, 2, 2)).is_none());
        assert!(handles.number_of(sa(Out, 2, 1)).is_none());
        assert!(handles.number_of(sa(In, 9, 1)).is_none());
        Ok(())
    }

    #[test]
    fn deleted_and_freed() -> Result {
        let handles = handles()?;
        let x = sa(Out, 1, 5);
        handles.added(x);
        let number = handles.number_of(x).ok_or(ENOENT)?;
        assert!(handles.alive() == 1 && !handles.some_leave());
        handles.deleted(x);
        assert!(handles.number_of(x).is_none() && handles.find(number).is_none());
        assert!(handles.alive() == 0 && handles.some_leave());
        handles.deleted(x);
        assert_eq!(handles.alive(), 0);
        handles.freed(x);
        assert!(!handles.some_leave());
        handles.freed(x);
        assert!(handles.alive() == 0 && !handles.some_leave());
        Ok(())
    }

    #[test]
    fn slot_given_away_before_it_was_freed() -> Result {
        let handles = handles()?;
        handles.added(sa(In, 0, 1));
        handles.deleted(sa(In, 0, 1));
        handles.added(sa(In, 0, 2));
        assert!(handles.alive() == 1 && !handles.some_leave());
        // The old SA's end is not the new one's.
        handles.freed(sa(In, 0, 1));
        assert!(handles.alive() == 1 && handles.number_of(sa(In, 0, 2)).is_some());
        Ok(())
    }

    #[test]
    fn beyond_the_limit() -> Result {
        let handles = handles()?;
        handles.added(sa(In, 4, 1));
        assert!(handles.alive() == 0 && handles.number_of(sa(In, 4, 1)).is_none());
        handles.deleted(sa(In, 4, 1));
        handles.freed(sa(In, 4, 1));
        assert!(handles.alive() == 0 && !handles.some_leave());
        Ok(())
    }

    #[test]
    fn owners_and_wishes() -> Result {
        let handles = handles()?;
        handles.added(sa(In, 0, 1));
        handles.added(sa(In, 2, 1));
        handles.set_owner(sa(In, 2, 1), 7);
        // Of an SA that is gone.
        handles.set_owner(sa(In, 0, 9), 7);
        let found = handles.next(In, 0, |owner| owner == 7).ok_or(ENOENT)?;
        assert!(found.state == sa(In, 2, 1) && found.owner == 7 && !found.delete_requested);
        handles.set_delete_requested(sa(In, 2, 1));
        handles.set_delete_requested(sa(In, 0, 9));
        let found = handles.next(In, 0, |owner| owner == 7).ok_or(ENOENT)?;
        assert!(found.delete_requested);
        assert!(handles.next(In, 3, |owner| owner == 7).is_none());
        let found = handles.next(In, 0, |_| true).ok_or(ENOENT)?;
        assert!(found.state == sa(In, 0, 1) && !found.delete_requested && found.owner == 0);
        assert!(handles.next(Out, 0, |_| true).is_none());
        Ok(())
    }

    #[test]
    fn memory_grows_with_the_slots() -> Result {
        let handles = KBox::pin_init(Handles::new(), GFP_KERNEL)?;
        handles.set_limit(In, 1 << 20)?;
        let parts = || handles.incoming.lock().parts.iter().flatten().count();
        assert_eq!(parts(), 0);
        let last = (1 << 20) - 1;
        for id in [0, 1, 70_000, last] {
            handles.added(sa(In, id, 1));
        }
        assert_eq!(parts(), 3);
        // A walk passes the parts that are not there.
        let mut from = 0;
        for id in [0, 1, 70_000, last] {
            let found = handles.next(In, from, |_| true).ok_or(ENOENT)?;
            assert!(
                found.state == sa(In, id, 1) && handles.find(found.number) == Some(found.state)
            );
            from = id.saturating_add(1);
        }
        assert!(handles.next(In, from, |_| true).is_none());
        // There is no such slot, so it gets no number.
        handles.added(sa(In, 1 << 20, 1));
        assert!(handles.number_of(sa(In, 1 << 20, 1)).is_none());
        assert_eq!(handles.alive(), 4);
        Ok(())
    }
}
