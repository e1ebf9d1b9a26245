// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A virtqueue as the device sees it, in one of two forms: split or packed. The form is chosen when the queue
//! is enabled; whoever uses the queue need not know it.
//!
//! A chain is checked to its end before any byte of it is used, and what was used becomes visible to the
//! driver for a whole batch.

mod packed;
mod places;
mod split;

pub use places::Places;

use super::chain::{self, Chain, Descriptor, Head};
use super::error::RingError;
use crate::memory::{GuestMap, Stretch, WritableStretch};

/// Largest queue size that the device offers.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// The driver's configuration of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueSetup {
    /// Number of descriptors.
    pub size: u16,
    /// Guest address of the descriptor table or ring.
    pub desc: u64,
    /// Guest address of the available ring, or of the driver's event suppression.
    pub driver: u64,
    /// Guest address of the used ring, or of the device's event suppression.
    pub device: u64,
    /// `RING_PACKED` was negotiated.
    pub packed: bool,
    /// `INDIRECT_DESC` was negotiated.
    pub indirect: bool,
    /// `EVENT_IDX` was negotiated.
    pub event_idx: bool,
}

/// Whether a queue may have `size` descriptors (2.7, 2.8.10.1).
pub fn is_valid_size(size: u16, packed: bool) -> bool {
    (1..=MAX_QUEUE_SIZE).contains(&size) && (packed || size.is_power_of_two())
}

/// The rings in memory.
enum Form {
    Split(split::Rings),
    Packed(packed::Ring),
}

/// Does the same in both forms.
macro_rules! each {
    ($form:expr, $rings:ident => $action:expr) => {
        match $form {
            Form::Split($rings) => $action,
            Form::Packed($rings) => $action,
        }
    };
}

/// A running queue.
pub struct VirtQueue {
    form: Form,
    size: u16,
    kicks_enabled: bool,
}

impl VirtQueue {
    /// Starts a queue; fails if the rings are misaligned or not in `mem`.
    pub fn start(setup: &QueueSetup, mem: &GuestMap) -> Result<Self, RingError> {
        let form = match setup.packed {
            true => Form::Packed(packed::Ring::new(setup, mem)?),
            false => Form::Split(split::Rings::new(setup, mem)?),
        };
        Ok(Self {
            form,
            size: setup.size,
            kicks_enabled: true,
        })
    }

    /// Whether all of its rings are in `mem`.
    pub fn is_in(&self, mem: &GuestMap) -> bool {
        each!(&self.form, rings => rings.is_in(mem))
    }

    /// Where its rings are in `mem`, which is used for [`Self::pop_at`] and [`Self::push_at`].
    #[inline(always)]
    pub fn places<'a>(&self, mem: &'a GuestMap) -> Places<'a> {
        each!(&self.form, rings => rings.places(mem))
    }

    /// Takes the next available chain. `false` if there is none.
    #[inline]
    pub fn pop(&mut self, mem: &GuestMap, chain: &mut Chain) -> Result<bool, RingError> {
        self.pop_at(&self.places(mem), chain)
    }

    /// The same for one of several chains.
    #[inline(always)]
    pub fn pop_at(&mut self, places: &Places<'_>, chain: &mut Chain) -> Result<bool, RingError> {
        each!(&mut self.form, rings => rings.pop(places, chain))
    }

    /// Takes the next available chain if it is a single buffer that can be written, in one map, as receive buffers
    /// nearly always are. `None`, and nothing is taken, in all other cases: [`Self::pop_at`] tells which.
    #[inline(always)]
    pub fn pop_writable<'a>(&mut self, places: &Places<'a>) -> Option<(Head, WritableStretch<'a>)> {
        self.pop_only(places, chain::WRITE, GuestMap::writable_stretch)
    }

    /// The same for a buffer that can be read.
    #[inline(always)]
    pub fn pop_readable<'a>(&mut self, places: &Places<'a>) -> Option<(Head, Stretch<'a>)> {
        self.pop_only(places, 0, GuestMap::stretch)
    }

    /// Takes the next chain if it is only one descriptor with these flags, whose buffer is found.
    #[inline(always)]
    fn pop_only<'a, T>(
        &mut self,
        places: &Places<'a>,
        flags: u16,
        find: impl FnOnce(&'a GuestMap, u64, usize) -> Option<T>,
    ) -> Option<(Head, T)> {
        let find = |desc: &Descriptor| match desc.is_only(flags) {
            true => find(places.mem, desc.addr, desc.len() as usize),
            false => None,
        };
        each!(&mut self.form, rings => rings.pop_only(places, find))
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Gives the last chains that were popped back, which have so many slots together; they will be popped
    /// again.
    pub fn unpop(&mut self, slots: u16) {
        each!(&mut self.form, rings => rings.unpop(slots));
    }

    /// Whether chains are available.
    pub fn has_work(&self, mem: &GuestMap) -> Result<bool, RingError> {
        each!(&self.form, rings => rings.has_work(mem))
    }

    /// Whether there is nothing to do before the driver's next notification.
    pub fn is_idle(&self, mem: &GuestMap) -> Result<bool, RingError> {
        Ok(self.kicks_enabled && !self.has_work(mem)?)
    }

    /// Marks a chain as used; the driver sees it after [`Self::publish`]. `len` counts bytes written to the
    /// writable part from its start.
    #[inline]
    pub fn push_used(&mut self, mem: &GuestMap, head: Head, len: u32) -> Result<(), RingError> {
        self.push_entry(mem, head, head.id.into(), len)
    }

    /// Marks a chain as used like [`Self::push_used`], with an id that may be wrong on purpose.
    #[inline]
    pub fn push_entry(
        &mut self,
        mem: &GuestMap,
        head: Head,
        id: u32,
        len: u32,
    ) -> Result<(), RingError> {
        self.push_entry_at(&self.places(mem), head, id, len)
    }

    /// [`Self::push_used`] for one of several chains.
    #[inline(always)]
    pub fn push_at(&mut self, places: &Places<'_>, head: Head, len: u32) -> Result<(), RingError> {
        self.push_entry_at(places, head, head.id.into(), len)
    }

    #[inline(always)]
    fn push_entry_at(
        &mut self,
        places: &Places<'_>,
        head: Head,
        id: u32,
        len: u32,
    ) -> Result<(), RingError> {
        match &mut self.form {
            Form::Split(rings) => rings.push(places, id, len),
            Form::Packed(ring) => ring.push(places, id, head.slots, len),
        }
    }

    /// Lets the driver see that one more is used, which is not so.
    pub fn overrun(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        each!(&mut self.form, rings => rings.overrun(mem))
    }

    /// The id of a chain that the device does not have: neither `head`, which it has just popped, nor one
    /// that waits. `None` if the device has all ids.
    pub fn absent(&self, mem: &GuestMap, head: Head) -> Result<Option<u16>, RingError> {
        let mut present = vec![false; usize::from(self.size)];
        let mut mark = |id: u16| {
            if let Some(present) = present.get_mut(usize::from(id)) {
                *present = true;
            }
        };
        mark(head.id);
        each!(&self.form, rings => rings.waiting(mem, mark))?;
        // The last one is least likely to be popped and not yet returned.
        Ok((0..self.size).rev().find(|&id| {
            let present = present.get(usize::from(id));
            present == Some(&false)
        }))
    }

    /// Makes all used chains visible and says whether the driver wants an interrupt for them.
    pub fn publish(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        self.show(mem)?;
        Ok(self.wants_interrupt(mem))
    }

    /// Makes all used chains visible, and returns how many places in the ring that are. Sooner or later
    /// [`Self::wants_interrupt`] must follow, before the ring has turned twice.
    #[inline]
    pub fn show(&mut self, mem: &GuestMap) -> Result<u16, RingError> {
        each!(&mut self.form, rings => rings.show(mem))
    }

    /// Whether the driver wants an interrupt for what has become visible since the last call.
    #[inline]
    pub fn wants_interrupt(&mut self, mem: &GuestMap) -> bool {
        each!(&mut self.form, rings => rings.wants_interrupt(mem))
    }

    /// Asks the driver for notifications. `true` if chains are available already: the caller goes on
    /// instead of waiting.
    pub fn enable_kicks(&mut self, mem: &GuestMap) -> Result<bool, RingError> {
        self.kicks_enabled = true;
        each!(&mut self.form, rings => rings.enable_kicks(mem))
    }

    /// Tells the driver that notifications are not needed.
    pub fn disable_kicks(&mut self, mem: &GuestMap) -> Result<(), RingError> {
        if self.kicks_enabled {
            self.kicks_enabled = false;
            each!(&mut self.form, rings => rings.disable_kicks(mem))?;
        }
        Ok(())
    }
}

fn offset(base: u64, at: u64) -> Result<u64, RingError> {
    base.checked_add(at).ok_or(RingError::Ring)
}
