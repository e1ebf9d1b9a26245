// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A split virtqueue (VIRTIO 1.4 section 2.7) as the device sees it.
//!
//! `virtio-queue` checks addresses and asks for notifications. What is done for every chain is here: a chain
//! is checked to its end before any byte of it is used, the driver's index is read again when all chains
//! that were seen are taken, and the used entries of a batch become visible together.

use std::num::Wrapping;
use std::sync::atomic::{fence, Ordering};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::chain::{self, Chain};
use super::error::RingError;
use crate::memory::GuestMap;

/// Largest queue size that the device offers.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// The driver's configuration of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueSetup {
    /// Number of descriptors.
    pub size: u16,
    /// Guest address of the descriptor table.
    pub desc: u64,
    /// Guest address of the available ring.
    pub driver: u64,
    /// Guest address of the used ring.
    pub device: u64,
    /// `INDIRECT_DESC` was negotiated.
    pub indirect: bool,
    /// `EVENT_IDX` was negotiated.
    pub event_idx: bool,
}

/// A running queue.
pub struct VirtQueue {
    ring: Queue,
    setup: QueueSetup,
    /// Available index of the next chain to be taken, and the driver's when it was last read.
    next: Wrapping<u16>,
    avail: Wrapping<u16>,
    /// Used index of the next entry, and the one that the driver can see.
    used: Wrapping<u16>,
    published: Wrapping<u16>,
    kicks_enabled: bool,
}

impl VirtQueue {
    /// Starts a queue; fails if the rings are misaligned or not in `mem`.
    pub fn start(setup: &QueueSetup, mem: &GuestMap) -> Result<Self, RingError> {
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
            published: Wrapping(0),
            kicks_enabled: true,
        })
    }

    /// Whether all of its rings are in `mem`.
    pub fn is_in(&self, mem: &GuestMap) -> bool {
        self.ring.is_valid(mem)
    }

    /// Takes the next available chain. `false` if there is none.
    pub fn pop(&mut self, mem: &GuestMap, chain: &mut Chain) -> Result<bool, RingError> {
        if self.avail == self.next {
            self.avail = self.avail_idx(mem)?;
            if self.avail == self.next {
                return Ok(false);
            }
        }
        if (self.avail - self.next).0 > self.setup.size {
            return Err(RingError::Index);
        }
        let head = self.slot(mem, self.next)?;
        let table = chain::Table {
            addr: self.setup.desc,
            entries: u32::from(self.setup.size),
            indirect: self.setup.indirect,
        };
        chain.walk(mem, &table, head)?;
        self.next += 1;
        Ok(true)
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.setup.size
    }

    /// Gives the last `count` popped chains back; they will be popped again.
    pub fn unpop(&mut self, count: u16) {
        self.next -= count;
    }

    /// Whether chains are available.
    pub fn has_work(&self, mem: &GuestMap) -> Result<bool, RingError> {
        Ok(self.avail_idx(mem)? != self.next)
    }

    /// Whether there is nothing to do before the driver's next notification.
    pub fn is_idle(&self, mem: &GuestMap) -> Result<bool, RingError> {
        Ok(self.kicks_enabled && !self.has_work(mem)?)
    }

    /// Writes one used entry; the driver sees it after [`Self::publish`]. `len` counts bytes written
    /// to the writable part from its start.
    pub fn push_used(&mut self, mem: &GuestMap, head: u16, len: u32) -> Result<(), RingError> {
        self.push_entry(mem, head.into(), len)
    }

    /// Writes one used entry like [`Self::push_used`], with an id that may be wrong on purpose.
    pub fn push_entry(&mut self, mem: &GuestMap, id: u32, len: u32) -> Result<(), RingError> {
        let slot = u64::from(self.used.0 % self.setup.size);
        let addr = offset(self.setup.device, 4 + 8 * slot)?;
        let element = u64::from(id) | (u64::from(len) << 32);
        mem.put(addr, element.to_le())
            .map_err(|_| RingError::Ring)?;
        self.used += 1;
        Ok(())
    }

    /// Moves the used index that the driver sees by one, without an entry.
    pub fn overrun(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        self.used += 1;
        self.publish(mem).map(drop)
    }

    /// The id of a chain that the device does not have: neither `head`, which it has just popped, nor one
    /// that waits. `None` if the device has all ids.
    pub fn absent(&self, mem: &GuestMap, head: u16) -> Result<Option<u16>, RingError> {
        let size = self.setup.size;
        let mut present = vec![false; usize::from(size)];
        let mut mark = |id: u16| {
            if let Some(present) = present.get_mut(usize::from(id)) {
                *present = true;
            }
        };
        mark(head);
        let avail = self.avail_idx(mem)?;
        for at in 0..(avail - self.next).0.min(size) {
            mark(self.slot(mem, self.next + Wrapping(at))?);
        }
        // The last one is least likely to be popped and not yet returned.
        Ok((0..size).rev().find(|&id| {
            let present = present.get(usize::from(id));
            present == Some(&false)
        }))
    }

    /// Makes all used entries visible and says whether the driver wants an interrupt for them
    /// (2.7.7.1, 2.7.10).
    pub fn publish(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        let (old, new) = (self.published, self.used);
        if old == new {
            return Ok(false);
        }
        let index = offset(self.setup.device, 2)?;
        mem.store_at(index, new.0.to_le(), Ordering::Release)
            .map_err(|_| RingError::Ring)?;
        self.published = new;
        // The index must be visible before the event is read, or a driver that re-enables
        // interrupts in between would miss this one.
        fence(Ordering::SeqCst);
        if self.setup.event_idx {
            let event = Wrapping(self.load(mem, 4 + 2 * u64::from(self.setup.size))?);
            return Ok(new - event - Wrapping(1) < new - old);
        }
        let flags = u32::from(self.load(mem, 0)?);
        Ok(flags & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks the driver for notifications. `true` if chains are available already: the caller goes on
    /// instead of waiting.
    pub fn enable_kicks(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        self.kicks_enabled = true;
        self.ring.set_next_avail(self.next.0);
        self.ring
            .enable_notification(mem)
            .map_err(|_| RingError::Ring)
    }

    /// Tells the driver that notifications are not needed.
    pub fn disable_kicks(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        if self.kicks_enabled {
            self.kicks_enabled = false;
            self.ring
                .disable_notification(mem)
                .map_err(|_| RingError::Ring)?;
        }
        Ok(())
    }

    /// The index behind the last chain that the driver has made available.
    fn avail_idx(&self, mem: &GuestMap) -> Result<Wrapping<u16>, RingError> {
        let index = mem.load_at(offset(self.setup.driver, 2)?, Ordering::Acquire);
        index
            .map(|index| Wrapping(u16::from_le(index)))
            .map_err(|_| RingError::Ring)
    }

    /// The entry of the available ring with this index.
    fn slot(&self, mem: &GuestMap, index: Wrapping<u16>) -> Result<u16, RingError> {
        self.load(mem, 4 + 2 * u64::from(index.0 % self.setup.size))
    }

    /// A word of the available ring.
    fn load(&self, mem: &GuestMap, at: u64) -> Result<u16, RingError> {
        mem.get(offset(self.setup.driver, at)?)
            .map(u16::from_le)
            .map_err(|_| RingError::Ring)
    }
}

fn offset(base: u64, at: u64) -> Result<u64, RingError> {
    base.checked_add(at).ok_or(RingError::Ring)
}
