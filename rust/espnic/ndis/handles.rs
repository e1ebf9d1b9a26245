// SPDX-License-Identifier: GPL-2.0

//! OffloadHandles: numbers for all SAs of the NIC, also for those that `ip xfrm` made.
//!
//! A number is never used again. It consists of a serial number, the direction and the slot of the
//! driver's state table, so that one table access finds an SA.

#[cfg(espnic_kunit)]
mod tests;

use espnic_ndis::Handle;
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use kernel_net::{
    net::xfrm::{
        self,
        Direction, //
    },
    new_lock,
    sync::SpinLockBh, //
};

const SERIAL_SHIFT: u32 = 24;
const OUT: u64 = 1 << 23;
const SLOT: u64 = OUT - 1;

/// The next serial number, for all NICs, so that no number repeats when one is bound again.
static SERIAL: Atomic<u64> = Atomic::new(1);

/// The NDIS side of a slot of the state table.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Zero while no SA is alive in the slot.
    serial: u64,
    /// The open file that made the SA, 0 for none.
    owner: u32,
    /// The slot's generation.
    generation: u16,
    /// Deleted, but the NIC may still have its object.
    leaving: bool,
    /// The NIC has asked for the deletion.
    delete_requested: bool,
}

/// One SA of a walk through the table.
pub(super) struct Found {
    pub(super) number: Handle,
    pub(super) state: xfrm::Handle,
    pub(super) owner: u32,
    pub(super) delete_requested: bool,
}

/// The entries of one direction.
#[derive(Default)]
struct Entries {
    /// Has [`PART`] entries each. A part is there once one of its slots was used.
    parts: KVVec<Option<KVVec<Entry>>>,
    /// The number of slots; the last part may have entries for more.
    limit: u32,
}

/// The number of entries of a part, and of entries to look at before the lock is released for others.
const PART: usize = 256;

impl Entries {
    fn get(&self, id: u32) -> Option<&Entry> {
        let id = id as usize;
        self.parts.get(id / PART)?.as_ref()?.get(id % PART)
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        let id = id as usize;
        self.parts.get_mut(id / PART)?.as_mut()?.get_mut(id % PART)
    }

    /// The entry of `state`, unless its slot has gone to another SA.
    fn of(&mut self, state: xfrm::Handle) -> Option<&mut Entry> {
        self.get_mut(state.id)
            .filter(|entry| entry.generation == state.generation)
    }
}

/// The numbers of a NIC.
#[pin_data]
pub(super) struct Handles {
    #[pin]
    incoming: SpinLockBh<Entries>,
    #[pin]
    outgoing: SpinLockBh<Entries>,
    alive: Atomic<u32>,
    leaving: Atomic<u32>,
}

impl Handles {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            incoming <- new_lock!(Entries::default()),
            outgoing <- new_lock!(Entries::default()),
            alive: Atomic::new(0),
            leaving: Atomic::new(0),
        })
    }

    /// Allows so many slots of the state table. The memory for them is allocated as they are used. Before the
    /// first SA. Sleeps.
    pub(super) fn set_limit(&self, direction: Direction, limit: u32) -> Result {
        let limit = u32::try_from(u64::from(limit).min(SLOT)).map_err(|_| EINVAL)?;
        let count = (limit as usize).div_ceil(PART);
        let mut parts = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            parts.push(None, GFP_KERNEL)?;
        }
        let new = Entries { parts, limit };
        let old = core::mem::replace(&mut *self.list(direction).lock(), new);
        drop(old);
        Ok(())
    }

    /// Makes sure that a slot has an entry. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a slot beyond the limit; `ENOMEM`.
    fn make_room(&self, state: xfrm::Handle) -> Result {
        let list = self.list(state.direction);
        let entries = list.lock();
        if state.id >= entries.limit {
            return Err(EINVAL);
        }
        if entries.get(state.id).is_some() {
            return Ok(());
        }
        drop(entries);
        let mut part = KVVec::new();
        part.resize(PART, Entry::default(), GFP_KERNEL)?;
        let mut entries = list.lock();
        let place = entries
            .parts
            .get_mut(state.id as usize / PART)
            .ok_or(EINVAL)?;
        // Somebody else may have been faster.
        if place.is_none() {
            *place = Some(part);
        }
        Ok(())
    }

    fn list(&self, direction: Direction) -> &SpinLockBh<Entries> {
        match direction {
            Direction::In => &self.incoming,
            Direction::Out => &self.outgoing,
        }
    }

    fn number(direction: Direction, slot: u32, serial: u64) -> Option<Handle> {
        let direction = match direction {
            Direction::In => 0,
            Direction::Out => OUT,
        };
        let slot = u64::from(slot).checked_add(1)? & SLOT;
        Handle::new((serial << SERIAL_SHIFT) | direction | slot)
    }

    /// Gives a new SA its number. It has no owner yet. If there is no memory it has no number, and NDIS does not
    /// see it. Sleeps.
    pub(super) fn added(&self, state: xfrm::Handle) {
        if self.make_room(state).is_err() {
            return;
        }
        let serial = SERIAL.fetch_add(1, Relaxed);
        let mut list = self.list(state.direction).lock();
        if let Some(entry) = list.get_mut(state.id) {
            let new = Entry {
                serial,
                generation: state.generation,
                ..Entry::default()
            };
            // The slot may be released, and used again, shortly before `freed` is called for the old SA.
            let old = core::mem::replace(entry, new);
            if old.leaving {
                self.leaving.fetch_sub(1, Relaxed);
            }
            if old.serial == 0 {
                self.alive.fetch_add(1, Relaxed);
            }
        }
    }

    /// Ends the number of an SA that died.
    pub(super) fn deleted(&self, state: xfrm::Handle) {
        let mut list = self.list(state.direction).lock();
        if let Some(entry) = list.of(state).filter(|entry| entry.serial != 0) {
            entry.serial = 0;
            entry.leaving = true;
            self.alive.fetch_sub(1, Relaxed);
            self.leaving.fetch_add(1, Relaxed);
        }
    }

    /// Notes that the NIC has destroyed the SA's object.
    pub(super) fn freed(&self, state: xfrm::Handle) {
        self.deleted(state);
        let mut list = self.list(state.direction).lock();
        if let Some(entry) = list.of(state).filter(|entry| entry.leaving) {
            entry.leaving = false;
            self.leaving.fetch_sub(1, Relaxed);
        }
    }

    /// How many SAs are alive.
    pub(super) fn alive(&self) -> u32 {
        self.alive.load(Relaxed)
    }

    /// Whether the NIC is about to destroy objects, so that there will be room.
    pub(super) fn some_leave(&self) -> bool {
        self.leaving.load(Relaxed) != 0
    }

    /// Makes the open file `owner` the owner of an SA.
    pub(super) fn set_owner(&self, state: xfrm::Handle, owner: u32) {
        let mut list = self.list(state.direction).lock();
        if let Some(entry) = list.of(state) {
            entry.owner = owner;
        }
    }

    /// Notes that the NIC wants an SA deleted.
    pub(super) fn set_delete_requested(&self, state: xfrm::Handle) {
        let mut list = self.list(state.direction).lock();
        if let Some(entry) = list.of(state) {
            entry.delete_requested = true;
        }
    }

    /// The number of a live SA.
    pub(super) fn number_of(&self, state: xfrm::Handle) -> Option<Handle> {
        let mut list = self.list(state.direction).lock();
        let serial = list.of(state)?.serial;
        drop(list);
        if serial == 0 {
            return None;
        }
        Self::number(state.direction, state.id, serial)
    }

    /// The live SA with this number.
    pub(super) fn find(&self, number: Handle) -> Option<xfrm::Handle> {
        let number = number.get();
        let direction = match number & OUT {
            0 => Direction::In,
            _ => Direction::Out,
        };
        let id = u32::try_from((number & SLOT).checked_sub(1)?).ok()?;
        let list = self.list(direction).lock();
        let entry = list.get(id)?;
        (entry.serial != 0 && entry.serial == number >> SERIAL_SHIFT).then_some(xfrm::Handle {
            id,
            direction,
            generation: entry.generation,
        })
    }

    /// The first live SA in a slot from `from` on whose owner `wanted` accepts.
    pub(super) fn next(
        &self,
        direction: Direction,
        from: u32,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<Found> {
        let mut from = from as usize;
        loop {
            let list = self.list(direction).lock();
            let part = list.parts.get(from / PART)?;
            // Of a part that is not there, none.
            let mut entries = part.iter().flatten().enumerate().skip(from % PART);
            let fits = |entry: &Entry| entry.serial != 0 && wanted(entry.owner);
            if let Some((place, entry)) = entries.find(|(_, entry)| fits(entry)) {
                let id = u32::try_from(from - from % PART + place).ok()?;
                return Self::found(direction, id, entry);
            }
            from = from - from % PART + PART;
        }
    }

    fn found(direction: Direction, id: u32, entry: &Entry) -> Option<Found> {
        Some(Found {
            number: Self::number(direction, id, entry.serial)?,
            state: xfrm::Handle {
                id,
                direction,
                generation: entry.generation,
            },
            owner: entry.owner,
            delete_requested: entry.delete_requested,
        })
    }
}
