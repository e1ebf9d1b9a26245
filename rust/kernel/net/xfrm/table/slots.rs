// SPDX-License-Identifier: GPL-2.0

//! The slots of one direction of a table: which are free, and what is in the others.

use crate::bindings;
use core::ptr::NonNull;
use kernel::alloc::KVVec;

/// One slot of a table.
///
/// # Invariants
///
/// `state` points to a state that a device took or is taking, and whose memory stays while the slot
/// names it. Its reference count may be zero already.
pub(super) struct Slot<D> {
    /// The state while it may be used.
    pub(super) state: Option<NonNull<bindings::xfrm_state>>,
    pub(super) generation: u16,
    pub(super) taken: bool,
    /// The slot that was released after this one, while both are free.
    next_free: Option<u32>,
    /// The driver's own data.
    pub(super) data: Option<D>,
}

/// The slots of one direction, by id.
///
/// # Invariants
///
/// Only reached under the table's lock, which is also held while a slot forgets its state. So what
/// [`Slot`] promises is true as long as the lock is held.
pub(super) struct Slots<D> {
    /// The slots, [`PART`] to a part. All parts but the last one are full. There is room for those that the
    /// limit allows.
    pub(super) parts: KVVec<Part<D>>,
    /// The number of slots that were used.
    pub(super) len: usize,
    pub(super) limit: usize,
    /// The free slots that were released first and last.
    free: Option<(u32, u32)>,
    /// The number of free slots that were used.
    resting: usize,
}

/// A part of a table. Parts are added as they are needed and stay where they are, so that nothing is moved
/// with softirqs off.
pub(super) type Part<D> = KVVec<Slot<D>>;

/// The number of slots of a part, and of slots to look at before the lock is released for others.
pub(super) const PART: usize = 256;

/// With so many free slots or more, those are used again. With fewer, new ones are used, so that a slot rests
/// for a while: packets under way may still name the state before.
pub(super) const RESTING: usize = 4096;

/// What [`Slots::take_free`] finds.
pub(super) enum Free<'a, D> {
    Slot(u32, &'a mut Slot<D>),
    /// A part must be added first, for this id.
    NeedsPart(u32),
    /// All slots are taken.
    Nothing,
}

// SAFETY: A state belongs to no thread. The pointers are compared, or used to take references, both
// under the table's lock.
unsafe impl<D: Send> Send for Slots<D> {}

impl<D> Slots<D> {
    pub(super) fn new() -> Self {
        Self {
            parts: KVVec::new(),
            len: 0,
            limit: 0,
            free: None,
            resting: 0,
        }
    }

    /// The slot with this id, if it was ever used.
    pub(super) fn at(&self, id: usize) -> Option<&Slot<D>> {
        self.parts.get(id / PART)?.get(id % PART)
    }

    fn at_mut(&mut self, id: usize) -> Option<&mut Slot<D>> {
        self.parts.get_mut(id / PART)?.get_mut(id % PART)
    }

    /// Takes a free slot: a new one, or the one that was released first. Does not allocate.
    pub(super) fn take_free(&mut self) -> Free<'_, D> {
        let is_new = self.len < self.limit && self.resting < RESTING;
        if is_new && self.parts.len() <= self.len / PART {
            // CAST: The limit is a `u32`.
            return Free::NeedsPart(self.len as u32);
        }
        let id = if is_new {
            self.push()
        } else {
            self.pop_resting()
        };
        let slot = id.and_then(|id| Some((id, self.at_mut(id as usize)?)));
        let Some((id, slot)) = slot else {
            return Free::Nothing;
        };
        slot.taken = true;
        slot.generation = slot.generation.wrapping_add(1);
        Free::Slot(id, slot)
    }

    /// Makes a new slot; the last part must have room.
    fn push(&mut self) -> Option<u32> {
        let id = u32::try_from(self.len).ok()?;
        // INVARIANT: The slot names no state.
        let slot = Slot {
            state: None,
            generation: 0,
            taken: false,
            next_free: None,
            data: None,
        };
        let part = self.parts.get_mut(self.len / PART)?;
        part.push_within_capacity(slot).ok()?;
        self.len = self.len.saturating_add(1);
        Some(id)
    }

    /// Takes the slot that was released first off the list.
    fn pop_resting(&mut self) -> Option<u32> {
        let (first, last) = self.free?;
        let next = self.at_mut(first as usize)?.next_free.take();
        self.free = next.map(|next| (next, last));
        self.resting = self.resting.saturating_sub(1);
        Some(first)
    }

    /// Adds a part without slots if it is still needed. Gives it back otherwise. Does not allocate.
    pub(super) fn add_part(&mut self, part: Part<D>) -> Option<Part<D>> {
        if self.parts.len() > self.len / PART {
            return Some(part);
        }
        self.parts
            .push_within_capacity(part)
            .err()
            .map(|error| error.0)
    }

    /// Frees a taken slot and forgets its state.
    pub(super) fn release(&mut self, id: u32) {
        let Some(slot) = self.at_mut(id as usize) else {
            return;
        };
        slot.state = None;
        slot.taken = false;
        let first = self.free.map_or(id, |(first, _)| first);
        if let Some((_, last)) = self.free {
            if let Some(last) = self.at_mut(last as usize) {
                last.next_free = Some(id);
            }
        }
        self.free = Some((first, id));
        self.resting = self.resting.saturating_add(1);
    }

    pub(super) fn get(&mut self, id: u32, generation: u16) -> Option<&mut Slot<D>> {
        self.at_mut(id as usize)
            .filter(|s| s.taken && s.generation == generation)
    }
}
