// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A split virtqueue (VIRTIO 1.4 section 2.7) as the device sees it.
//!
//! `virtio-queue` keeps addresses, indices and the driver's notification suppression. The walk of a
//! chain and the publication of used entries are here: a chain is checked to its end before any byte
//! of it is used, and the used entries of a batch become visible together.

use std::num::Wrapping;
use std::sync::atomic::{fence, Ordering};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

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
    indirect: bool,
    /// Used index that the driver can see.
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
            indirect: setup.indirect,
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
        let next = Wrapping(self.ring.next_avail());
        let avail = self
            .ring
            .avail_idx(mem, Ordering::Acquire)
            .map_err(|_| RingError::Ring)?;
        if avail == next {
            return Ok(false);
        }
        if (avail - next).0 > self.ring.size() {
            return Err(RingError::Index);
        }
        let slot = u64::from(next.0 % self.ring.size());
        let head = self.load(mem, self.ring.avail_ring(), 4 + 2 * slot)?;
        let table = chain::Table {
            addr: self.ring.desc_table(),
            entries: u32::from(self.ring.size()),
            indirect: self.indirect,
        };
        chain.walk(mem, &table, head)?;
        self.ring.set_next_avail((next + Wrapping(1)).0);
        Ok(true)
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Gives the last `count` popped chains back; they will be popped again.
    pub fn unpop(&mut self, count: u16) {
        self.ring
            .set_next_avail((Wrapping(self.ring.next_avail()) - Wrapping(count)).0);
    }

    /// Whether chains are available.
    pub fn has_work(&self, mem: &GuestMap) -> Result<bool, RingError> {
        let avail = self
            .ring
            .avail_idx(mem, Ordering::Acquire)
            .map_err(|_| RingError::Ring)?;
        Ok(avail.0 != self.ring.next_avail())
    }

    /// Writes one used entry; the driver sees it after [`Self::publish`]. `len` counts bytes written
    /// to the writable part from its start.
    pub fn push_used(&mut self, mem: &GuestMap, head: u16, len: u32) -> Result<(), RingError> {
        self.push_entry(mem, head.into(), len)
    }

    /// Writes one used entry like [`Self::push_used`], with an id that may be wrong on purpose.
    pub fn push_entry(&mut self, mem: &GuestMap, id: u32, len: u32) -> Result<(), RingError> {
        let slot = u64::from(self.ring.next_used() % self.ring.size());
        let addr = offset(self.ring.used_ring(), 4 + 8 * slot)?;
        let element = u64::from(id) | (u64::from(len) << 32);
        mem.write_slice(&element.to_le_bytes(), addr)
            .map_err(|_| RingError::Ring)?;
        self.ring
            .set_next_used((Wrapping(self.ring.next_used()) + Wrapping(1)).0);
        Ok(())
    }

    /// Moves the used index that the driver sees by one, without an entry.
    pub fn overrun(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        self.ring
            .set_next_used((Wrapping(self.ring.next_used()) + Wrapping(1)).0);
        self.publish(mem).map(drop)
    }

    /// The id of a chain that the device does not have: neither `head`, which it has just popped, nor one
    /// that waits. `None` if the device has all ids.
    pub fn absent(&self, mem: &GuestMap, head: u16) -> Result<Option<u16>, RingError> {
        let size = self.ring.size();
        let mut present = vec![false; usize::from(size)];
        let mut mark = |id: u16| {
            if let Some(present) = present.get_mut(usize::from(id)) {
                *present = true;
            }
        };
        mark(head);
        let next = Wrapping(self.ring.next_avail());
        let avail = self
            .ring
            .avail_idx(mem, Ordering::Acquire)
            .map_err(|_| RingError::Ring)?;
        for at in 0..(avail - next).0.min(size) {
            let slot = (next + Wrapping(at)).0 % size;
            mark(self.load(mem, self.ring.avail_ring(), 4 + 2 * u64::from(slot))?);
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
        let (old, new) = (self.published, Wrapping(self.ring.next_used()));
        if old == new {
            return Ok(false);
        }
        mem.store(
            new.0.to_le(),
            offset(self.ring.used_ring(), 2)?,
            Ordering::Release,
        )
        .map_err(|_| RingError::Ring)?;
        self.published = new;
        // The index must be visible before the event is read, or a driver that re-enables
        // interrupts in between would miss this one.
        fence(Ordering::SeqCst);
        let avail = self.ring.avail_ring();
        if self.ring.event_idx_enabled() {
            let event = Wrapping(self.load(mem, avail, 4 + 2 * u64::from(self.ring.size()))?);
            return Ok(new - event - Wrapping(1) < new - old);
        }
        let flags = u32::from(self.load(mem, avail, 0)?);
        Ok(flags & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks the driver for notifications. `true` if chains are available already: the caller goes on
    /// instead of waiting.
    pub fn enable_kicks(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        self.kicks_enabled = true;
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

    fn load(&self, mem: &GuestMap, base: u64, at: u64) -> Result<u16, RingError> {
        mem.load(offset(base, at)?, Ordering::Relaxed)
            .map(u16::from_le)
            .map_err(|_| RingError::Ring)
    }
}

fn offset(base: u64, at: u64) -> Result<GuestAddress, RingError> {
    base.checked_add(at)
        .map(GuestAddress)
        .ok_or(RingError::Ring)
}
