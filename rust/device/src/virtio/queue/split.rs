// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The rings of a split virtqueue (VIRTIO 1.4 section 2.7): descriptor table, available ring, used ring.
//!
//! `virtio-queue` checks addresses and asks for notifications; what is done for every chain is here. The
//! driver's index is read again when all chains that were seen are taken, and the used entries of a batch
//! become visible together.

use std::num::Wrapping;
use std::sync::atomic::{fence, Ordering};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::super::chain::{self, Chain, Descriptor, Head, Kind, Table};
use super::super::error::RingError;
use super::{offset, Places, QueueSetup, MAX_QUEUE_SIZE};
use crate::memory::GuestMap;

/// Where the entries of the available and of the used ring begin, and the length of one, in bytes (2.7.6, 2.7.8).
const AVAIL_RING: usize = 4;
const AVAIL_ENTRY: usize = 2;
const USED_RING: usize = 4;
const USED_ENTRY: usize = 8;

/// The rings.
pub(super) struct Rings {
    ring: Queue,
    setup: QueueSetup,
    /// Available index of the next chain to be taken, and the driver's when it was last read.
    next: Wrapping<u16>,
    avail: Wrapping<u16>,
    /// Used index of the next entry, the one that the driver can see, and the one of the last decision on an
    /// interrupt.
    used: Wrapping<u16>,
    shown: Wrapping<u16>,
    settled: Wrapping<u16>,
}

/// Descriptors refer to each other by their index.
struct Form;

impl chain::Form for Form {
    const MIXES: bool = true;

    #[inline]
    fn read(addr: u64, half: u64) -> Descriptor {
        let (flags, next) = ((half >> 32) as u16, (half >> 48) as u16);
        Descriptor::new(addr, half as u32, flags, next)
    }

    #[inline]
    fn is_indirect(_table: &Table<'_>, desc: &Descriptor) -> bool {
        desc.has(chain::INDIRECT)
    }

    #[inline]
    fn next(_table: &Table<'_>, _index: u32, desc: &Descriptor) -> Option<u32> {
        desc.has(chain::NEXT).then_some(desc.word().into())
    }
}

impl Rings {
    /// Fails if the rings are misaligned or not in `mem`.
    pub(super) fn new(setup: &QueueSetup, mem: &GuestMap) -> Result<Self, RingError> {
        let mut ring = Queue::new(MAX_QUEUE_SIZE).map_err(|_| RingError::Ring)?;
        ring.try_set_size(setup.size).map_err(|_| RingError::Ring)?;
        ring.try_set_desc_table_address(GuestAddress(setup.desc))
            .map_err(|_| RingError::Ring)?;
        ring.try_set_avail_ring_address(GuestAddress(setup.driver))
            .map_err(|_| RingError::Ring)?;
        ring.try_set_used_ring_address(GuestAddress(setup.device))
            .map_err(|_| RingError::Ring)?;
        ring.set_event_idx(setup.event_idx);
        ring.set_ready(true);
        if !ring.is_valid(mem) {
            return Err(RingError::Ring);
        }
        Ok(Self {
            ring,
            setup: *setup,
            next: Wrapping(0),
            avail: Wrapping(0),
            used: Wrapping(0),
            shown: Wrapping(0),
            settled: Wrapping(0),
        })
    }

    pub(super) fn is_in(&self, mem: &GuestMap) -> bool {
        self.ring.is_valid(mem)
    }

    #[inline(always)]
    pub(super) fn places<'a>(&self, mem: &'a GuestMap) -> Places<'a> {
        let QueueSetup {
            size,
            desc,
            driver,
            device,
            indirect,
            ..
        } = self.setup;
        let entries = usize::from(size);
        Places {
            mem,
            table: Table::new(mem, desc, size.into(), Kind::Queue { indirect }),
            avail: mem.stretch(driver, AVAIL_RING + AVAIL_ENTRY * entries),
            used: mem.writable_stretch(device, USED_RING + USED_ENTRY * entries),
        }
    }

    #[inline(always)]
    pub(super) fn pop(
        &mut self,
        places: &Places<'_>,
        chain: &mut Chain,
    ) -> Result<bool, RingError> {
        if self.avail == self.next {
            self.avail = self.avail_idx(places.mem)?;
            if self.avail == self.next {
                return Ok(false);
            }
        }
        if (self.avail - self.next).0 > self.setup.size {
            return Err(RingError::Index);
        }
        let id = self.slot(places, self.next)?;
        let first = places.table.load::<Form>(id.into())?;
        chain.walk::<Form>(&places.table, id.into(), first)?;
        chain.set_head(Head { id, slots: 1 });
        self.next += 1;
        Ok(true)
    }

    /// Takes the next chain if `find` finds what its first descriptor stands for.
    #[inline(always)]
    pub(super) fn pop_only<T>(
        &mut self,
        places: &Places<'_>,
        find: impl FnOnce(&Descriptor) -> Option<T>,
    ) -> Option<(Head, T)> {
        if self.avail == self.next {
            self.avail = self.avail_idx(places.mem).ok()?;
        }
        if !(1..=self.setup.size).contains(&(self.avail - self.next).0) {
            return None;
        }
        let id = self.slot(places, self.next).ok()?;
        let found = find(&places.table.load::<Form>(id.into()).ok()?)?;
        self.next += 1;
        Some((Head { id, slots: 1 }, found))
    }

    pub(super) fn unpop(&mut self, slots: u16) {
        self.next -= slots;
    }

    pub(super) fn has_work(&self, mem: &GuestMap) -> Result<bool, RingError> {
        Ok(self.avail_idx(mem)? != self.next)
    }

    #[inline(always)]
    pub(super) fn push(&mut self, places: &Places<'_>, id: u32, len: u32) -> Result<(), RingError> {
        let at = USED_RING + USED_ENTRY * self.place(self.used);
        let element = (u64::from(id) | (u64::from(len) << 32)).to_le();
        let written = match &places.used {
            Some(used) => used.put(at, element),
            None => self.put_far(places.mem, at, element),
        };
        written.ok_or(RingError::Ring)?;
        self.used += 1;
        Ok(())
    }

    #[cold]
    fn put_far(&self, mem: &GuestMap, at: usize, element: u64) -> Option<()> {
        let addr = self.setup.device.checked_add(at as u64)?;
        mem.put(addr, element).ok()
    }

    pub(super) fn overrun(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        self.used += 1;
        self.show(mem).map(drop)
    }

    pub(super) fn waiting(
        &self,
        mem: &GuestMap,
        mut action: impl FnMut(u16),
    ) -> Result<(), RingError> {
        let (avail, places) = (self.avail_idx(mem)?, self.places(mem));
        for at in 0..(avail - self.next).0.min(self.setup.size) {
            action(self.slot(&places, self.next + Wrapping(at))?);
        }
        Ok(())
    }

    pub(super) fn show(&mut self, mem: &GuestMap) -> Result<u16, RingError> {
        let new = self.used - self.shown;
        if new.0 > 0 {
            let index = offset(self.setup.device, 2)?;
            mem.store_at(index, self.used.0.to_le(), Ordering::Release)
                .map_err(|_| RingError::Ring)?;
            self.shown = self.used;
        }
        Ok(new.0)
    }

    /// The rules are those of 2.7.7.1 and 2.7.10.
    pub(super) fn wants_interrupt(&mut self, mem: &GuestMap) -> bool {
        let (old, new) = (self.settled, self.shown);
        if old == new {
            return false;
        }
        self.settled = new;
        // The index must be visible before the event is read, or a driver that re-enables
        // interrupts in between would miss this one.
        fence(Ordering::SeqCst);
        let at = match self.setup.event_idx {
            true => 4 + 2 * u64::from(self.setup.size),
            false => 0,
        };
        let Ok(wanted) = self.load(mem, at) else {
            // What is visible must not be told of never; the next access finds the error.
            return true;
        };
        match self.setup.event_idx {
            true => new - Wrapping(wanted) - Wrapping(1) < new - old,
            false => u32::from(wanted) & VRING_AVAIL_F_NO_INTERRUPT == 0,
        }
    }

    pub(super) fn enable_kicks(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        self.ring.set_next_avail(self.next.0);
        self.ring
            .enable_notification(mem)
            .map_err(|_| RingError::Ring)
    }

    pub(super) fn disable_kicks(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        self.ring
            .disable_notification(mem)
            .map_err(|_| RingError::Ring)
    }

    /// The index behind the last chain that the driver has made available.
    fn avail_idx(&self, mem: &GuestMap) -> Result<Wrapping<u16>, RingError> {
        let index = mem.load_at(offset(self.setup.driver, 2)?, Ordering::Acquire);
        index
            .map(|index| Wrapping(u16::from_le(index)))
            .map_err(|_| RingError::Ring)
    }

    /// Where an index is in the rings, whose size is a power of two (2.7).
    #[inline(always)]
    fn place(&self, index: Wrapping<u16>) -> usize {
        (index.0 & self.setup.size.wrapping_sub(1)).into()
    }

    /// The entry of the available ring with this index.
    #[inline(always)]
    fn slot(&self, places: &Places<'_>, index: Wrapping<u16>) -> Result<u16, RingError> {
        let at = AVAIL_RING + AVAIL_ENTRY * self.place(index);
        match &places.avail {
            Some(avail) => avail.get(at).map(u16::from_le).ok_or(RingError::Ring),
            None => self.load(places.mem, at as u64),
        }
    }

    /// A word of the available ring.
    fn load(&self, mem: &GuestMap, at: u64) -> Result<u16, RingError> {
        mem.get(offset(self.setup.driver, at)?)
            .map(u16::from_le)
            .map_err(|_| RingError::Ring)
    }
}
