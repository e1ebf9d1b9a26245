// SPDX-License-Identifier: GPL-2.0

//! The table that turns handles into states.

mod shown;
mod slots;
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
use shown::Shown;
#[cfg(espnic_kunit)]
use slots::RESTING;
use slots::{
    Free,
    Slots,
    PART, //
};

/// What [`StateTable::try_insert`] did.
enum Inserted {
    As(Handle),
    /// A part must be added first, for this id.
    NeedsPart(u32),
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
    /// The states of `incoming`, for the path of packets.
    shown_incoming: Shown,
    /// The states of `outgoing`, for the path of packets.
    shown_outgoing: Shown,
}

impl<D> StateTable<D> {
    /// Makes a table without slots.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: There are no slots yet, and no way to them but by the locks.
        pin_init!(Self {
            incoming <- new_lock!(Slots::new()),
            outgoing <- new_lock!(Slots::new()),
            shown_incoming: Shown::new(),
            shown_outgoing: Shown::new(),
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

    fn shown(&self, direction: Direction) -> &Shown {
        match direction {
            Direction::In => &self.shown_incoming,
            Direction::Out => &self.shown_outgoing,
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
            let id = match self.try_insert(x, direction)? {
                Inserted::As(handle) => return Ok(handle),
                Inserted::NeedsPart(id) => id,
            };
            let part = KVVec::with_capacity(PART, GFP_KERNEL)?;
            self.shown(direction).make_room(id)?;
            // Somebody else may have been faster; what is too much is freed without the lock.
            let _unused = self.slots(direction).lock().add_part(part);
        }
    }

    /// Puts `x` into a free slot, if there is one without a new part.
    fn try_insert(&self, x: &State, direction: Direction) -> Result<Inserted> {
        let mut slots = self.slots(direction).lock();
        let (id, slot) = match slots.take_free() {
            Free::Slot(id, slot) => (id, slot),
            Free::NeedsPart(id) => return Ok(Inserted::NeedsPart(id)),
            Free::Nothing => return Err(ENOSPC),
        };
        // INVARIANT: The caller has a reference to `x`, and its counterparts `state_delete` and
        // `state_free` detach it: XFRM calls one of them before it frees a state, or the add fails.
        // `HasStates` promises that they find this table.
        slot.state = NonNull::new(x.as_raw());
        let handle = Handle {
            id,
            direction,
            generation: slot.generation,
        };
        self.shown(direction).show(handle, x);
        Ok(Inserted::As(handle))
    }

    /// Forgets the state; the slot stays taken. True if the table had the state until now: if nobody has a
    /// reference to it, its memory must stay until an RCU grace period has ended.
    pub(super) fn detach(&self, handle: Handle) -> bool {
        let mut slots = self.slots(handle.direction).lock();
        let Some(slot) = slots.get(handle.id, handle.generation) else {
            return false;
        };
        self.shown(handle.direction).hide(handle);
        slot.state.take().is_some()
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
            self.shown(handle.direction).hide(handle);
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

    /// The incoming state behind `id` and `generation`, unless it is deleted. Takes no lock: in any context.
    #[inline]
    pub fn get_incoming(&self, id: u32, generation: u16) -> Option<ARef<State>> {
        self.shown_incoming.get(id, generation)
    }

    /// The state behind `handle`, unless it is deleted. Takes no lock: in any context.
    #[inline]
    pub fn get(&self, handle: Handle) -> Option<ARef<State>> {
        self.shown(handle.direction)
            .get(handle.id, handle.generation)
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

    /// Whether `handle` names the live outgoing state `x` of this device. Takes no lock: in any context.
    #[inline]
    pub fn is_outgoing(&self, handle: Handle, x: &State) -> bool {
        handle.direction == Direction::Out && self.shown_outgoing.has(handle, x)
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
