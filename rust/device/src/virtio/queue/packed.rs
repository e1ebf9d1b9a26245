// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ring of a packed virtqueue (VIRTIO 1.4 section 2.8): one ring of descriptors, which the driver makes
//! available and the device overwrites when it has used them, and two words that suppress notifications.
//!
//! The flags of a descriptor say whose it is. They are read once, before the rest, and written last. Of the
//! used descriptors of a batch the first is written last: the driver looks at them in their order, so it sees
//! them all together.

mod place;

use std::sync::atomic::{fence, Ordering};

use virtio_bindings::bindings::virtio_ring::{
    VRING_PACKED_EVENT_FLAG_DESC, VRING_PACKED_EVENT_FLAG_DISABLE, VRING_PACKED_EVENT_FLAG_ENABLE,
};

use super::super::chain::{self, Chain, Descriptor, Head, Kind, Table};
use super::super::error::RingError;
use super::{offset, Places, QueueSetup, MAX_QUEUE_SIZE};
use crate::memory::GuestMap;
use place::Place;

/// Alignment and size of the areas, in bytes (2.8.10.1).
const DESCRIPTOR: u64 = 16;
const EVENT: u64 = 4;
/// Where the second half of a descriptor begins, in bytes.
const HALF: usize = 8;
/// The flags of an event are two bits of its second half; the rest is reserved.
const EVENT_FLAGS: u32 = 3;

/// The ring.
pub(super) struct Ring {
    setup: QueueSetup,
    /// Where the next chain is to be found.
    next: Place,
    /// Where the next used descriptor is written, the one that the driver waits for, and the one of the last
    /// decision on an interrupt.
    used: Place,
    shown: Place,
    settled: Place,
    /// Descriptors that the device has taken and not given back. See [`Place`] for its size.
    taken: u32,
    /// The first used descriptor since the driver was shown any: address and content of its second half.
    first: Option<(u64, u64)>,
}

/// Descriptors follow each other; those of an indirect table have no flag but `WRITE` (2.8.7).
struct Form;

impl chain::Form for Form {
    const MIXES: bool = false;

    #[inline]
    fn read(addr: u64, half: u64) -> Descriptor {
        Descriptor::new(addr, half as u32, flags(half), (half >> 32) as u16)
    }

    #[inline]
    fn is_indirect(table: &Table<'_>, desc: &Descriptor) -> bool {
        table.kind != Kind::Indirect && desc.has(chain::INDIRECT)
    }

    #[inline]
    fn next(table: &Table<'_>, index: u32, desc: &Descriptor) -> Option<u32> {
        let next = index + 1;
        match table.kind {
            Kind::Indirect => (next < table.entries).then_some(next),
            Kind::Queue { .. } if desc.has(chain::NEXT) => match next < table.entries {
                true => Some(next),
                false => Some(0),
            },
            Kind::Queue { .. } => None,
        }
    }
}

impl Ring {
    /// Fails if the areas are misaligned or not in `mem`.
    pub(super) fn new(setup: &QueueSetup, mem: &GuestMap) -> Result<Self, RingError> {
        let aligned =
            setup.desc % DESCRIPTOR == 0 && setup.driver % EVENT == 0 && setup.device % EVENT == 0;
        let start = Place::default();
        let ring = Self {
            setup: *setup,
            next: start,
            used: start,
            shown: start,
            settled: start,
            taken: 0,
            first: None,
        };
        if !aligned || !(1..=MAX_QUEUE_SIZE).contains(&setup.size) || !ring.is_in(mem) {
            return Err(RingError::Ring);
        }
        Ok(ring)
    }

    pub(super) fn is_in(&self, mem: &GuestMap) -> bool {
        let QueueSetup {
            desc,
            driver,
            device,
            size,
            ..
        } = self.setup;
        let len = usize::from(size) * DESCRIPTOR as usize;
        mem.has(desc, len, true)
            && mem.has(driver, EVENT as usize, false)
            && mem.has(device, EVENT as usize, true)
    }

    #[inline(always)]
    pub(super) fn places<'a>(&self, mem: &'a GuestMap) -> Places<'a> {
        let QueueSetup {
            size,
            desc,
            indirect,
            ..
        } = self.setup;
        Places {
            mem,
            table: Table::new(mem, desc, size.into(), Kind::Queue { indirect }),
            avail: None,
            used: mem.writable_stretch(desc, DESCRIPTOR as usize * usize::from(size)),
        }
    }

    #[inline(always)]
    pub(super) fn pop(
        &mut self,
        places: &Places<'_>,
        chain: &mut Chain,
    ) -> Result<bool, RingError> {
        let (size, table) = (self.setup.size, &places.table);
        let index = u32::from(self.next.slot(size));
        let half = table.acquire(index)?;
        if !self.next.is_available(flags(half), size) {
            return Ok(false);
        }
        let first = <Form as chain::Form>::read(table.address(index)?, half);
        let chain::InRing { count, last } = chain.walk::<Form>(table, index, first)?;
        let slots = count as u16;
        if count > u32::from(size).saturating_sub(self.taken) {
            // The device still has some of them.
            return Err(RingError::Index);
        }
        chain.set_head(Head {
            id: last.word(),
            slots,
        });
        self.next = self.next.forward(slots, size);
        self.taken += count;
        Ok(true)
    }

    /// Takes the next chain if `find` finds what its first descriptor stands for.
    #[inline(always)]
    pub(super) fn pop_only<T>(
        &mut self,
        places: &Places<'_>,
        find: impl FnOnce(&Descriptor) -> Option<T>,
    ) -> Option<(Head, T)> {
        let (size, table) = (self.setup.size, &places.table);
        let index = u32::from(self.next.slot(size));
        let half = table.acquire(index).ok()?;
        if !self.next.is_available(flags(half), size) || self.taken >= size.into() {
            return None;
        }
        let desc = <Form as chain::Form>::read(table.address(index).ok()?, half);
        let found = find(&desc)?;
        self.next = self.next.forward(1, size);
        self.taken += 1;
        let (id, slots) = (desc.word(), 1);
        Some((Head { id, slots }, found))
    }

    pub(super) fn unpop(&mut self, slots: u16) {
        self.next = self.next.back(slots, self.setup.size);
        self.taken = self.taken.saturating_sub(slots.into());
    }

    pub(super) fn has_work(&self, mem: &GuestMap) -> Result<bool, RingError> {
        let half = self.load(mem, self.next)?;
        Ok(self.next.is_available(flags(half), self.setup.size))
    }

    #[inline(always)]
    pub(super) fn push(
        &mut self,
        places: &Places<'_>,
        id: u32,
        slots: u16,
        len: u32,
    ) -> Result<(), RingError> {
        let size = self.setup.size;
        let written = if len > 0 { chain::WRITE } else { 0 };
        let flags = self.used.used_flags(size) | written;
        let half = u64::from(len) | (u64::from(id as u16) << 32) | (u64::from(flags) << 48);
        if self.first.is_none() {
            self.first = Some((self.second_half(self.used)?, half));
        } else {
            self.put(places, half)?;
        }
        self.used = self.used.forward(slots, size);
        self.taken = self.taken.saturating_sub(slots.into());
        Ok(())
    }

    /// Writes the second half of the next used descriptor.
    #[inline(always)]
    fn put(&self, places: &Places<'_>, half: u64) -> Result<(), RingError> {
        let Some(ring) = &places.used else {
            let addr = self.second_half(self.used)?;
            return store(places.mem, addr, half, Ordering::Relaxed);
        };
        let at = usize::from(self.used.slot(self.setup.size)) * DESCRIPTOR as usize + HALF;
        let stored = ring.store_at(at, half.to_le(), Ordering::Relaxed);
        stored.ok_or(RingError::Ring)
    }

    /// Marks the next descriptor as used, whatever it is.
    pub(super) fn overrun(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        let id = (self.load(mem, self.used)? >> 32) as u16;
        self.push(&self.places(mem), id.into(), 1, 0)?;
        self.show(mem).map(drop)
    }

    pub(super) fn waiting(
        &self,
        mem: &GuestMap,
        mut action: impl FnMut(u16),
    ) -> Result<(), RingError> {
        let (size, mut at) = (self.setup.size, self.next);
        for _ in 0..size {
            let half = self.load(mem, at)?;
            if !at.is_available(flags(half), size) {
                break;
            }
            if flags(half) & chain::NEXT == 0 {
                action((half >> 32) as u16);
            }
            at = at.forward(1, size);
        }
        Ok(())
    }

    pub(super) fn show(&mut self, mem: &GuestMap) -> Result<u16, RingError> {
        let Some((addr, half)) = self.first else {
            return Ok(0);
        };
        store(mem, addr, half, Ordering::Release)?;
        self.first = None;
        let new = self.used.behind(self.shown, self.setup.size);
        self.shown = self.used;
        Ok(new)
    }

    /// The rules are those of 2.8.10 and 2.8.22.
    pub(super) fn wants_interrupt(&mut self, mem: &GuestMap) -> bool {
        let (old, new) = (self.settled, self.shown);
        if old == new {
            return false;
        }
        self.settled = new;
        // The flags must be visible before the event is read, or a driver that re-enables interrupts in
        // between would miss this one.
        fence(Ordering::SeqCst);
        let Ok(event) = mem.load_at(self.setup.driver, Ordering::Acquire) else {
            // What is visible must not be told of never; the next access finds the error.
            return true;
        };
        let event = u32::from_le(event);
        match (event >> 16) & EVENT_FLAGS {
            VRING_PACKED_EVENT_FLAG_DISABLE => false,
            VRING_PACKED_EVENT_FLAG_DESC if self.setup.event_idx => {
                let size = self.setup.size;
                Place::of_event(event as u16, size).is_between(old, new, size)
            }
            // Also for the value that is reserved: one interrupt too many does no harm.
            _ => true,
        }
    }

    pub(super) fn enable_kicks(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        let event = match self.setup.event_idx {
            true => {
                let place = self.next.event(self.setup.size);
                u32::from(place) | (VRING_PACKED_EVENT_FLAG_DESC << 16)
            }
            false => VRING_PACKED_EVENT_FLAG_ENABLE << 16,
        };
        self.suppress(mem, event)?;
        // The event must be visible before the ring is read, or the driver would not tell of a chain that
        // it makes available in between.
        fence(Ordering::SeqCst);
        self.has_work(mem)
    }

    pub(super) fn disable_kicks(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        self.suppress(mem, VRING_PACKED_EVENT_FLAG_DISABLE << 16)
    }

    /// Writes the device's event: both halves at once, so that they fit together.
    fn suppress(&self, mem: &GuestMap, event: u32) -> Result<(), RingError> {
        mem.store_at(self.setup.device, event.to_le(), Ordering::Release)
            .map_err(|_| RingError::Ring)
    }

    /// Where the second half of a descriptor is: length, id, flags.
    fn second_half(&self, place: Place) -> Result<u64, RingError> {
        let slot = u64::from(place.slot(self.setup.size));
        offset(self.setup.desc, DESCRIPTOR * slot + HALF as u64)
    }

    fn load(&self, mem: &GuestMap, place: Place) -> Result<u64, RingError> {
        mem.load_at(self.second_half(place)?, Ordering::Acquire)
            .map(u64::from_le)
            .map_err(|_| RingError::Ring)
    }
}

fn store(mem: &GuestMap, addr: u64, half: u64, order: Ordering) -> Result<(), RingError> {
    mem.store_at(addr, half.to_le(), order)
        .map_err(|_| RingError::Ring)
}

/// The flags in the second half of a descriptor.
fn flags(half: u64) -> u16 {
    (half >> 48) as u16
}
