// SPDX-License-Identifier: GPL-2.0

//! The table that turns handles into states.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    handle::{
        Direction,
        Handle, //
    },
    state::State, //
};
use crate::{
    bindings,
    new_lock,
    sync::SpinLockBh, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::aref::ARef, //
};

/// One slot of a table.
///
/// # Invariants
///
/// `state` points to a state that a device took or is taking, and whose memory stays while the slot
/// names it. Its reference count may be zero already.
struct Slot<D> {
    /// The state while it may be used.
    state: Option<NonNull<bindings::xfrm_state>>,
    generation: u16,
    taken: bool,
    /// The slot that was released after this one, while both are free.
    next_free: Option<u32>,
    /// The driver's own data.
    data: Option<D>,
}

/// The slots of one direction, by id.
///
/// # Invariants
///
/// Only reached under the table's lock, which is also held while a slot forgets its state. So what
/// [`Slot`] promises is true as long as the lock is held.
struct Slots<D> {
    /// The slots, [`PART`] to a part. All parts but the last one are full. There is room for those that the
    /// limit allows.
    parts: KVVec<Part<D>>,
    /// The number of slots that were used.
    len: usize,
    limit: usize,
    /// The free slots that were released first and last.
    free: Option<(u32, u32)>,
    /// The number of free slots that were used.
    resting: usize,
}

/// A part of a table. Parts are added as they are needed and stay where they are, so that nothing is moved
/// with softirqs off.
type Part<D> = KVVec<Slot<D>>;

/// The number of slots of a part, and of slots to look at before the lock is released for others.
const PART: usize = 256;

/// With so many free slots or more, those are used again. With fewer, new ones are used, so that a slot rests
/// for a while: packets under way may still name the state before.
const RESTING: usize = 4096;

/// What [`Slots::take_free`] finds.
enum Free<'a, D> {
    Slot(u32, &'a mut Slot<D>),
    /// A part must be added first.
    NeedsPart,
    /// All slots are taken.
    Nothing,
}

// SAFETY: A state belongs to no thread. The pointers are compared, or used to take references, both
// under the table's lock.
unsafe impl<D: Send> Send for Slots<D> {}

impl<D> Slots<D> {
    fn new() -> Self {
        Self {
            parts: KVVec::new(),
            len: 0,
            limit: 0,
            free: None,
            resting: 0,
        }
    }

    /// The slot with this id, if it was ever used.
    fn at(&self, id: usize) -> Option<&Slot<D>> {
        self.parts.get(id / PART)?.get(id % PART)
    }

    fn at_mut(&mut self, id: usize) -> Option<&mut Slot<D>> {
        self.parts.get_mut(id / PART)?.get_mut(id % PART)
    }

    /// Takes a free slot: a new one, or the one that was released first. Does not allocate.
    fn take_free(&mut self) -> Free<'_, D> {
        let is_new = self.len < self.limit && self.resting < RESTING;
        if is_new && self.parts.len() <= self.len / PART {
            return Free::NeedsPart;
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
    fn add_part(&mut self, part: Part<D>) -> Option<Part<D>> {
        if self.parts.len() > self.len / PART {
            return Some(part);
        }
        self.parts
            .push_within_capacity(part)
            .err()
            .map(|error| error.0)
    }

    /// Frees a taken slot and forgets its state.
    fn release(&mut self, id: u32) {
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

    fn get(&mut self, id: u32, generation: u16) -> Option<&mut Slot<D>> {
        self.at_mut(id as usize)
            .filter(|s| s.taken && s.generation == generation)
    }
}

/// The states that the driver took, by slot and generation.
///
/// `D` is what the driver keeps for each of them.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Direction,
///     StateTable, //
/// };
///
/// let states = KBox::pin_init(StateTable::<u32>::new(), GFP_KERNEL)?;
/// states.set_limit(Direction::In, 1024)?;
/// assert!(states.next_live(Direction::In, 0).is_none());
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct StateTable<D> {
    #[pin]
    incoming: SpinLockBh<Slots<D>>,
    #[pin]
    outgoing: SpinLockBh<Slots<D>>,
}

impl<D> StateTable<D> {
    /// Makes a table without slots.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: There are no slots yet, and no way to them but by the locks.
        pin_init!(Self {
            incoming <- new_lock!(Slots::new()),
            outgoing <- new_lock!(Slots::new()),
        })
    }

    /// Allows `limit` states of one direction; only while there are none. The memory for them is allocated as
    /// they are added. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` if a slot was used already.
    pub fn set_limit(&self, direction: Direction, limit: u32) -> Result {
        let limit = limit as usize;
        let parts = KVVec::with_capacity(limit.div_ceil(PART), GFP_KERNEL)?;
        let mut slots = self.slots(direction).lock();
        if slots.len != 0 {
            return Err(EBUSY);
        }
        let old = core::mem::replace(&mut slots.parts, parts);
        slots.limit = limit;
        drop(slots);
        drop(old);
        Ok(())
    }

    fn slots(&self, direction: Direction) -> &SpinLockBh<Slots<D>> {
        match direction {
            Direction::In => &self.incoming,
            Direction::Out => &self.outgoing,
        }
    }

    /// Reserves a free slot for `x`, which can be found from now on. Only for the add callback, whose
    /// counterparts detach the state, and which itself does so if the add fails.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is no free slot, `ENOMEM`.
    pub(super) fn reserve(&self, x: &State, direction: Direction) -> Result<Reservation<'_, D>> {
        let handle = self.insert(x, direction)?;
        Ok(Reservation(Owned {
            table: self,
            handle,
        }))
    }

    /// Takes the slot of a dead state back, with the driver's data; `None` if there is no data, so that
    /// somebody else has it. No sleeping.
    pub fn retire(&self, handle: Handle) -> Option<(Retired<'_, D>, D)> {
        let data = self.take_data(handle)?;
        let owned = Owned {
            table: self,
            handle,
        };
        Some((Retired(owned), data))
    }

    /// Puts `x` into a free slot, see [`Self::reserve`]. Sleeps.
    fn insert(&self, x: &State, direction: Direction) -> Result<Handle> {
        loop {
            if let Some(handle) = self.try_insert(x, direction)? {
                return Ok(handle);
            }
            let part = KVVec::with_capacity(PART, GFP_KERNEL)?;
            // Somebody else may have been faster; what is too much is freed without the lock.
            let _unused = self.slots(direction).lock().add_part(part);
        }
    }

    /// Puts `x` into a free slot; `None` if the table needs a part for that.
    fn try_insert(&self, x: &State, direction: Direction) -> Result<Option<Handle>> {
        let mut slots = self.slots(direction).lock();
        let (id, slot) = match slots.take_free() {
            Free::Slot(id, slot) => (id, slot),
            Free::NeedsPart => return Ok(None),
            Free::Nothing => return Err(ENOSPC),
        };
        // INVARIANT: The caller has a reference to `x`, and its counterparts `state_delete` and
        // `state_free` detach it: XFRM calls one of them before it frees a state, or the add fails.
        // `HasStates` promises that they find this table.
        slot.state = NonNull::new(x.as_raw());
        Ok(Some(Handle {
            id,
            direction,
            generation: slot.generation,
        }))
    }

    /// Forgets the state; the slot stays taken.
    pub(super) fn detach(&self, handle: Handle) {
        let mut slots = self.slots(handle.direction).lock();
        if let Some(slot) = slots.get(handle.id, handle.generation) {
            slot.state = None;
        }
    }

    /// Stores the driver's data for `handle`.
    fn set_data(&self, handle: Handle, data: D) {
        let mut slots = self.slots(handle.direction).lock();
        if let Some(slot) = slots.get(handle.id, handle.generation) {
            slot.data = Some(data);
        }
    }

    /// Takes the driver's data of `handle` out.
    fn take_data(&self, handle: Handle) -> Option<D> {
        let mut slots = self.slots(handle.direction).lock();
        slots.get(handle.id, handle.generation)?.data.take()
    }

    /// Runs `f` on the driver's data of `handle`, under the table's lock. No sleeping.
    pub fn with_data<R>(&self, handle: Handle, f: impl FnOnce(&mut D) -> R) -> Option<R> {
        let mut slots = self.slots(handle.direction).lock();
        slots
            .get(handle.id, handle.generation)?
            .data
            .as_mut()
            .map(f)
    }

    /// Frees the slot for another state. The device must not know the old one any more. Also forgets the
    /// state, because a refused add releases its slot before it is detached.
    fn release(&self, handle: Handle) {
        let mut slots = self.slots(handle.direction).lock();
        if slots.get(handle.id, handle.generation).is_some() {
            slots.release(handle.id);
        }
    }

    /// Frees the slots of one direction that have neither state nor data. They were kept because the
    /// device may have had the object of a dead state; now it has none. Not while a state is being added
    /// or freed.
    pub fn release_abandoned(&self, direction: Direction) {
        let mut from = 0usize;
        loop {
            let mut slots = self.slots(direction).lock();
            for id in from..from.saturating_add(PART) {
                let Some(slot) = slots.at(id) else {
                    return;
                };
                // CAST: The limit is a `u32`.
                if slot.taken && slot.state.is_none() && slot.data.is_none() {
                    slots.release(id as u32);
                }
            }
            from = from.saturating_add(PART);
        }
    }

    /// The incoming state behind `id` and `generation`, unless it is deleted. No sleeping.
    pub fn get_incoming(&self, id: u32, generation: u16) -> Option<ARef<State>> {
        let mut slots = self.incoming.lock();
        let state = slots.get(id, generation)?.state?;
        // SAFETY: By the type invariant of `Slot` its memory stays while we hold the lock.
        unsafe { State::try_get(state) }
    }

    /// The state behind `handle`, unless it is deleted. No sleeping.
    pub fn get(&self, handle: Handle) -> Option<ARef<State>> {
        let mut slots = self.slots(handle.direction).lock();
        let state = slots.get(handle.id, handle.generation)?.state?;
        // SAFETY: By the type invariant of `Slot` its memory stays while we hold the lock.
        unsafe { State::try_get(state) }
    }

    /// The live state in the slot `id`, whatever its generation, with its handle. No sleeping.
    pub fn live(&self, direction: Direction, id: u32) -> Option<(Handle, ARef<State>)> {
        let slots = self.slots(direction).lock();
        let slot = slots.at(id as usize)?;
        // SAFETY: By the type invariant of `Slot` its memory stays while we hold the lock.
        let state = unsafe { State::try_get(slot.state?) }?;
        let handle = Handle {
            id,
            direction,
            generation: slot.generation,
        };
        Some((handle, state))
    }

    /// The first live state with an id from `from` on, for a walk over all states.
    pub fn next_live(&self, direction: Direction, from: u32) -> Option<(Handle, ARef<State>)> {
        let mut from = from as usize;
        loop {
            let slots = self.slots(direction).lock();
            for index in from..from.saturating_add(PART) {
                let slot = slots.at(index)?;
                let Some(state) = slot.state else {
                    continue;
                };
                // SAFETY: By the type invariant of `Slot` its memory stays while we hold the lock.
                if let Some(state) = unsafe { State::try_get(state) } {
                    let handle = Handle {
                        id: u32::try_from(index).ok()?,
                        direction,
                        generation: slot.generation,
                    };
                    return Some((handle, state));
                }
            }
            from = from.saturating_add(PART);
        }
    }

    /// Whether `handle` names the live outgoing state `x` of this device. No sleeping.
    pub fn is_outgoing(&self, handle: Handle, x: &State) -> bool {
        if handle.direction != Direction::Out {
            return false;
        }
        let mut slots = self.outgoing.lock();
        slots
            .get(handle.id, handle.generation)
            .is_some_and(|s| s.state == NonNull::new(x.as_raw()))
    }
}

/// A slot that has no other owner: neither a state that XFRM has taken for offloaded, nor the list of free
/// slots. Dropping it frees the slot, and has the table forget the state.
struct Owned<'a, D> {
    table: &'a StateTable<D>,
    handle: Handle,
}

impl<D> Owned<'_, D> {
    /// Has the table forget the state, and keeps the slot.
    fn leak(self) {
        self.table.detach(self.handle);
        core::mem::forget(self);
    }
}

impl<D> Drop for Owned<'_, D> {
    fn drop(&mut self) {
        self.table.release(self.handle);
    }
}

/// The slot of a state that is being added. Dropping it frees the slot: the add is refused, and the device
/// has no object of this name.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Committed,
///     Reservation, //
/// };
///
/// fn add<'a>(
///     slot: Reservation<'a, u32>,
///     create: impl FnOnce(u32) -> Result,
/// ) -> Result<Committed<'a>> {
///     match create(slot.handle().id) {
///         Ok(()) => Ok(slot.commit(0)),
///         Err(ETIMEDOUT) => {
///             // The device may have the object.
///             slot.leak();
///             Err(ETIMEDOUT)
///         }
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[must_use = "dropping it frees the slot"]
pub struct Reservation<'a, D>(Owned<'a, D>);

impl<'a, D> Reservation<'a, D> {
    /// The name of the state, for the device.
    pub fn handle(&self) -> Handle {
        self.0.handle
    }

    /// Stores the driver's data. From now on the slot is the state's, until [`StateTable::retire`].
    pub fn commit(self, data: D) -> Committed<'a> {
        self.0.table.set_data(self.0.handle, data);
        core::mem::forget(self.0);
        Committed(PhantomData)
    }

    /// Refuses the add, and keeps the slot, because the device may have an object of this name: until
    /// [`StateTable::release_abandoned`].
    pub fn leak(self) {
        self.0.leak();
    }
}

/// Proof that a [`Reservation`] was committed in this call.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Committed,
///     Reservation, //
/// };
///
/// fn accept<'a>(slot: Reservation<'a, u32>) -> Committed<'a> {
///     slot.commit(0)
/// }
/// ```
pub struct Committed<'a>(PhantomData<&'a ()>);

/// The slot of a state that is being freed. Dropping it frees the slot: the device has no object of this
/// name any more.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Handle,
///     StateTable, //
/// };
///
/// fn free(states: &StateTable<u32>, handle: Handle, destroyed: bool) {
///     match states.retire(handle) {
///         Some((slot, _data)) if destroyed => drop(slot),
///         Some((slot, _data)) => slot.leak(),
///         None => {}
///     }
/// }
/// ```
#[must_use = "dropping it frees the slot"]
pub struct Retired<'a, D>(Owned<'a, D>);

impl<D> Retired<'_, D> {
    /// Keeps the slot, because the device may still have the object: until
    /// [`StateTable::release_abandoned`].
    pub fn leak(self) {
        self.0.leak();
    }
}
