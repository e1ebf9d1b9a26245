// SPDX-License-Identifier: GPL-2.0

//! Tests of handles and of the table of states.

use super::{
    Direction::{
        In,
        Out, //
    },
    Handle,
    State,
    StateTable,
    PART,
    RESTING, //
};
use crate::net::xfrm::create::fixture::{
    TestState,
    IPV4, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::aref::ARef, //
};

/// A table with room for two incoming and one outgoing state.
fn table() -> Result<Pin<KBox<StateTable<u32>>>> {
    let table = KBox::pin_init(StateTable::new(), GFP_KERNEL)?;
    table.set_limit(In, 2)?;
    table.set_limit(Out, 1)?;
    Ok(table)
}

fn is(state: &Option<ARef<State>>, x: &State) -> bool {
    state
        .as_ref()
        .is_some_and(|state| core::ptr::eq(&**state, x))
}

#[kunit_tests(espnic_xfrm_table)]
mod cases {
    use super::*;

    #[test]
    fn handles_are_numbers() {
        // Bits 0 to 31 slot, 32 direction, 33 always, 48 to 63 generation.
        let raw = |id, direction, generation| {
            Handle {
                id,
                direction,
                generation,
            }
            .to_raw()
        };
        assert_eq!(raw(0, In, 0), 0x0000_0002_0000_0000);
        assert_eq!(raw(0, Out, 0), 0x0000_0003_0000_0000);
        assert_eq!(raw(5, Out, 0xabcd), 0xabcd_0003_0000_0005);
        assert_eq!(raw(u32::MAX, In, u16::MAX), 0xffff_0002_ffff_ffff);
        // Larval states have what no handle is, and not zero.
        assert_eq!(Handle::LARVAL, 0x0000_0004_0000_0000);
    }

    #[test]
    fn numbers_are_handles() {
        let handle = Handle::from_raw(0xabcd_0003_0000_0005);
        assert!(handle.id == 5 && handle.direction == Out && handle.generation == 0xabcd);
        let handle = Handle::from_raw(0xffff_0002_ffff_fffe);
        assert!(handle.id == 0xffff_fffe && handle.direction == In && handle.generation == 0xffff);
        // What other drivers keep there is some handle as well.
        let handle = Handle::from_raw(0);
        assert!(handle.id == 0 && handle.direction == In && handle.generation == 0);
    }

    #[test]
    fn no_room_without_a_limit() -> Result {
        let x = TestState::new(&IPV4)?;
        let table = KBox::pin_init(StateTable::<u32>::new(), GFP_KERNEL)?;
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        Ok(())
    }

    #[test]
    fn slots_up_to_the_limit() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let (first, second) = (table.insert(&x, In)?, table.insert(&x, In)?);
        assert!(first.id == 0 && second.id == 1);
        assert!(first.generation == 1 && second.generation == 1);
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        // The other direction has slots of its own.
        assert_eq!(table.insert(&x, Out)?.id, 0);
        assert_eq!(table.insert(&x, Out).err(), Some(ENOSPC));
        Ok(())
    }

    #[test]
    fn limit_stays_once_used() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        table.set_limit(In, 1)?;
        let _ = table.insert(&x, In)?;
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        assert_eq!(table.set_limit(In, 5), Err(EBUSY));
        Ok(())
    }

    #[test]
    fn released_slot_has_a_new_generation() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let old = table.insert(&x, Out)?;
        table.release(old);
        assert!(table.get(old).is_none());
        let new = table.insert(&x, Out)?;
        assert!(new.id == old.id && new.generation == 2);
        // The old handle neither finds nor ends the new state.
        table.release(old);
        table.detach(old);
        assert!(table.get(old).is_none() && is(&table.get(new), &x));
        assert!(!table.is_outgoing(old, &x) && table.is_outgoing(new, &x));
        Ok(())
    }

    #[test]
    fn slots_rest_as_long_as_possible() -> Result {
        let x = TestState::new(&IPV4)?;
        let table = KBox::pin_init(StateTable::<u32>::new(), GFP_KERNEL)?;
        table.set_limit(In, 4)?;
        let (a, b) = (table.insert(&x, In)?, table.insert(&x, In)?);
        table.release(b);
        // Those that were never used come first, then those that were released, in that order.
        let (c, d) = (table.insert(&x, In)?, table.insert(&x, In)?);
        assert!(c.id == 2 && d.id == 3);
        for released in [d, a, d, b] {
            table.release(released);
        }
        let mut ids = [0; 3];
        for id in &mut ids {
            *id = table.insert(&x, In)?.id;
        }
        assert_eq!(ids, [1, 3, 0]);
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        Ok(())
    }

    #[test]
    fn walk_over_many_empty_slots() -> Result {
        let x = TestState::new(&IPV4)?;
        let table = KBox::pin_init(StateTable::<u32>::new(), GFP_KERNEL)?;
        table.set_limit(In, 1000)?;
        for _ in 0..999 {
            let handle = table.insert(&x, In)?;
            table.detach(handle);
        }
        assert!(table.next_live(In, 0).is_none());
        let last = table.insert(&x, In)?;
        for from in [0, 256, 998, 999] {
            assert!(table
                .next_live(In, from)
                .is_some_and(|found| found.0 == last));
        }
        assert!(table.next_live(In, 1000).is_none());
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        table.release_abandoned(In);
        for _ in 0..999 {
            let _ = table.insert(&x, In)?;
        }
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        Ok(())
    }

    #[test]
    fn generations_go_around() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        for _ in 0..65_535 {
            table.release(table.insert(&x, Out)?);
        }
        assert_eq!(table.insert(&x, Out)?.generation, 0);
        Ok(())
    }

    #[test]
    fn detached_slot_stays_taken() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let handle = table.insert(&x, Out)?;
        assert!(table.detach(handle));
        assert!(table.get(handle).is_none() && !table.is_outgoing(handle, &x));
        // Who detaches it once more need not wait for anybody.
        assert!(!table.detach(handle));
        assert_eq!(table.insert(&x, Out).err(), Some(ENOSPC));
        table.release(handle);
        assert!(table.insert(&x, Out).is_ok());
        Ok(())
    }

    #[test]
    fn found_state_has_a_reference() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let handle = table.insert(&x, In)?;
        // The table itself has none.
        assert_eq!(x.references(), 1);
        let found = table.get_incoming(handle.id, handle.generation);
        assert!(is(&found, &x));
        assert_eq!(x.references(), 2);
        drop(found);
        assert_eq!(x.references(), 1);
        table.detach(handle);
        Ok(())
    }

    #[test]
    fn incoming_by_id_and_generation() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let _ = table.insert(&x, Out)?;
        assert!(table.get_incoming(0, 1).is_none());
        let _ = table.insert(&x, In)?;
        assert!(is(&table.get_incoming(0, 1), &x));
        for (id, generation) in [(0, 0), (0, 2), (1, 1), (2, 1), (u32::MAX, 1)] {
            assert!(table.get_incoming(id, generation).is_none());
        }
        table.detach(Handle {
            id: 0,
            direction: In,
            generation: 1,
        });
        assert!(table.get_incoming(0, 1).is_none());
        Ok(())
    }

    #[test]
    fn outgoing_is_one_state() -> Result {
        let other = TestState::new(&IPV4)?;
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let handle = table.insert(&x, Out)?;
        assert!(table.is_outgoing(handle, &x) && !table.is_outgoing(handle, &other));
        let incoming = table.insert(&x, In)?;
        assert!(!table.is_outgoing(incoming, &x));
        Ok(())
    }

    #[test]
    fn data_of_a_slot() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let handle = table.insert(&x, In)?;
        assert_eq!(table.with_data(handle, |data| *data), None);
        table.set_data(handle, 7);
        assert_eq!(
            table.with_data(handle, |data| core::mem::replace(data, 8)),
            Some(7)
        );
        let stale = Handle {
            generation: 9,
            ..handle
        };
        table.set_data(stale, 99);
        assert_eq!(table.take_data(stale), None);
        assert_eq!(table.take_data(handle), Some(8));
        assert_eq!(table.take_data(handle), None);
        Ok(())
    }

    #[test]
    fn abandoned_slots_come_back() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let (dead, live) = (table.insert(&x, In)?, table.insert(&x, In)?);
        table.detach(dead);
        table.release_abandoned(Out);
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        table.set_data(dead, 1);
        table.release_abandoned(In);
        // It has data, so `state_free` is still to come.
        assert_eq!(table.insert(&x, In).err(), Some(ENOSPC));
        let _ = table.take_data(dead);
        table.release_abandoned(In);
        let new = table.insert(&x, In)?;
        assert!(new.id == dead.id && new.generation == 2);
        assert!(is(&table.get(live), &x));
        Ok(())
    }

    #[test]
    fn walk_over_live_states() -> Result {
        let other = TestState::new(&IPV4)?;
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        assert!(table.next_live(In, 0).is_none());
        let (first, second) = (table.insert(&x, In)?, table.insert(&other, In)?);
        let found = table.next_live(In, 0).ok_or(ENOENT)?;
        assert!(found.0 == first && core::ptr::eq(&*found.1, &*x));
        let found = table.next_live(In, 1).ok_or(ENOENT)?;
        assert!(found.0 == second && core::ptr::eq(&*found.1, &*other));
        assert!(table.next_live(In, 2).is_none() && table.next_live(Out, 0).is_none());
        table.detach(first);
        assert!(table
            .next_live(In, 0)
            .is_some_and(|found| found.0 == second));
        Ok(())
    }

    #[test]
    fn dropped_reservation_frees_the_slot() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let slot = table.reserve(&x, Out)?;
        let handle = slot.handle();
        assert!(is(&table.get(handle), &x));
        assert_eq!(table.reserve(&x, Out).err(), Some(ENOSPC));
        drop(slot);
        assert!(table.get(handle).is_none());
        assert!(table.reserve(&x, Out).is_ok());
        Ok(())
    }

    #[test]
    fn committed_slot_is_the_states() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let slot = table.reserve(&x, Out)?;
        let handle = slot.handle();
        let _ = slot.commit(5);
        assert!(is(&table.get(handle), &x));
        assert_eq!(table.with_data(handle, |data| *data), Some(5));
        table.detach(handle);
        let (slot, data) = table.retire(handle).ok_or(ENOENT)?;
        // While it is being freed, nobody else can free it.
        assert!(data == 5 && table.retire(handle).is_none());
        assert_eq!(table.reserve(&x, Out).err(), Some(ENOSPC));
        drop(slot);
        assert!(table.reserve(&x, Out).is_ok());
        Ok(())
    }

    #[test]
    fn leaked_slots_come_back_as_abandoned() -> Result {
        let (x, table) = (TestState::new(&IPV4)?, table()?);
        let slot = table.reserve(&x, Out)?;
        let handle = slot.handle();
        slot.leak();
        assert!(table.get(handle).is_none());
        assert_eq!(table.reserve(&x, Out).err(), Some(ENOSPC));
        table.release_abandoned(Out);
        let slot = table.reserve(&x, Out)?;
        let handle = slot.handle();
        let _ = slot.commit(1);
        table.detach(handle);
        let (slot, _) = table.retire(handle).ok_or(ENOENT)?;
        slot.leak();
        assert_eq!(table.reserve(&x, Out).err(), Some(ENOSPC));
        table.release_abandoned(Out);
        assert!(table.reserve(&x, Out).is_ok());
        Ok(())
    }

    #[test]
    fn memory_grows_with_the_states() -> Result {
        let x = TestState::new(&IPV4)?;
        let table = KBox::pin_init(StateTable::<u32>::new(), GFP_KERNEL)?;
        table.set_limit(In, 1 << 20)?;
        let parts = || table.incoming.lock().parts.len();
        assert_eq!(parts(), 0);
        let first = table.insert(&x, In)?;
        assert_eq!(parts(), 1);
        for _ in 1..PART {
            let _ = table.insert(&x, In)?;
        }
        assert_eq!(parts(), 1);
        let next = table.insert(&x, In)?;
        assert!(parts() == 2 && next.id as usize == PART);
        assert!(is(&table.get(first), &x) && is(&table.get(next), &x));
        // A part that is not needed is given back.
        let part = KVVec::with_capacity(PART, GFP_KERNEL)?;
        assert!(table.incoming.lock().add_part(part).is_some());
        assert_eq!(parts(), 2);
        Ok(())
    }

    #[test]
    fn slots_rest_and_are_used_again() -> Result {
        let x = TestState::new(&IPV4)?;
        let table = KBox::pin_init(StateTable::<u32>::new(), GFP_KERNEL)?;
        table.set_limit(In, 1 << 20)?;
        let live = table.insert(&x, In)?;
        for _ in 0..RESTING {
            let handle = table.insert(&x, In)?;
            assert_eq!(handle.generation, 1);
            table.release(handle);
        }
        // From now on the table does not grow.
        for _ in 0..RESTING {
            let handle = table.insert(&x, In)?;
            assert_eq!(handle.generation, 2);
            table.release(handle);
        }
        assert_eq!(table.incoming.lock().len, RESTING + 1);
        assert!(is(&table.get(live), &x));
        Ok(())
    }
}
