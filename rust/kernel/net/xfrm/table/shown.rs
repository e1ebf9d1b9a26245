// SPDX-License-Identifier: GPL-2.0

//! The live states of one direction by slot, for packets, which take no lock.
//!
//! The table changes it under its own lock. Each packet that the device must encrypt asks, on many CPUs at a time,
//! whether its state is still in the device: that follows no pointer. Received packets take a reference to the state
//! that the device names ([`Shown::get`]): its memory stays until all RCU sections have ended in which somebody may
//! have seen it.

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    bindings,
    net::xfrm::{
        handle::Handle,
        state::State, //
    }, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        SetOnce, //
    }, //
};

/// What is shown of a slot.
///
/// # Invariants
///
/// `state` is null, or a state that a device took or is taking. The memory of the state stays until an RCU grace
/// period after the place has forgotten it.
struct Place {
    /// Null for none.
    state: Atomic<*mut bindings::xfrm_state>,
    /// Of that state.
    generation: Atomic<u32>,
}

/// The number of places in the first part.
const FIRST: usize = 256;

/// The number of parts: that of the last one has room for all ids that are left.
const PARTS: usize = 25;

/// The places by id. A part has twice as many as the one before, and stays where it is.
pub(super) struct Shown([SetOnce<KVVec<Place>>; PARTS]);

/// The part with the place for an id, its number of places, and where in it the place is.
#[inline]
fn locate(id: u32) -> (usize, usize, usize) {
    let id = id as usize;
    let part = (id / FIRST).wrapping_add(1).ilog2() as usize;
    let first = ((1 << part) - 1) * FIRST;
    (part, FIRST << part, id.wrapping_sub(first))
}

impl Shown {
    pub(super) fn new() -> Self {
        Self([const { SetOnce::new() }; PARTS])
    }

    /// Makes a place for the slot `id`. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn make_room(&self, id: u32) -> Result {
        let (part, len, _) = locate(id);
        let part = self.0.get(part).ok_or(ENOMEM)?;
        if part.as_ref().is_some() {
            return Ok(());
        }
        let mut places = KVVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            // INVARIANT: It names no state.
            let nothing = Place {
                state: Atomic::new(null_mut()),
                generation: Atomic::new(0),
            };
            places.push_within_capacity(nothing).map_err(|_| ENOMEM)?;
        }
        // Somebody else may have been faster.
        let _ = part.populate(places);
        Ok(())
    }

    #[inline]
    fn at(&self, id: u32) -> Option<&Place> {
        let (part, _, index) = locate(id);
        self.0.get(part)?.as_ref()?.get(index)
    }

    /// Shows a state in a place that shows none. One call at a time for a slot.
    ///
    /// The state must be hidden while somebody has a reference to it, after which its last reference begins a grace
    /// period (`xfrm_state_gc_task()`), or such a period must end after that before it is freed.
    pub(super) fn show(&self, handle: Handle, x: &State) {
        if let Some(place) = self.at(handle.id) {
            // Who sees the generation sees that the state before is gone.
            place.generation.store(handle.generation.into(), Release);
            // INVARIANT: A device is taking it. The table keeps the promise.
            place.state.store(x.as_raw(), Release);
        }
    }

    /// Shows none. One call at a time for a slot.
    pub(super) fn hide(&self, handle: Handle) {
        if let Some(place) = self.at(handle.id) {
            place.state.store(null_mut(), Relaxed);
        }
    }

    /// The state that is shown with this slot and generation, unless its last reference is gone.
    pub(super) fn get(&self, id: u32, generation: u16) -> Option<ARef<State>> {
        let place = self.at(id)?;
        let _guard = rcu::read_lock();
        let state = place.state.load(Acquire);
        let is_wanted = place.generation.load(Acquire) == u32::from(generation);
        // The slot may have got another state, and generation, between the loads. It showed none in between.
        if !is_wanted || place.state.load(Relaxed) != state {
            return None;
        }
        // SAFETY: By the invariant the memory stays during this RCU section, in which the place showed it.
        unsafe { State::try_get(NonNull::new(state)?) }
    }

    /// Whether the state is shown under this name.
    #[inline]
    pub(super) fn has(&self, handle: Handle, x: &State) -> bool {
        // The generation is that with which the state was shown, or a later one, which is no packet's: the
        // state was hidden in between.
        self.at(handle.id).is_some_and(|place| {
            place.state.load(Acquire) == x.as_raw()
                && place.generation.load(Relaxed) == u32::from(handle.generation)
        })
    }
}
