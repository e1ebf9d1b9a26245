// SPDX-License-Identifier: GPL-2.0

//! The sequence numbers of a state.

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// The long form of a state's replay state.
///
/// # Invariants
///
/// The pointer is to a `struct xfrm_replay_state_esn` that lives during `'a`. The stack writes to it
/// under the lock of its state; nothing but volatile reads of single fields is done here.
pub(super) struct ReplayEsn<'a>(
    NonNull<bindings::xfrm_replay_state_esn>,
    PhantomData<&'a ()>,
);

impl ReplayEsn<'_> {
    /// # Safety
    ///
    /// `esn` is the replay state of a state, and lives during `'a`.
    pub(super) unsafe fn from_raw(esn: NonNull<bindings::xfrm_replay_state_esn>) -> Self {
        // INVARIANT: By the contract.
        Self(esn, PhantomData)
    }

    /// The replay window in packets.
    pub(super) fn window(&self) -> u32 {
        // SAFETY: Valid for reads by the type invariant; a volatile read of an aligned word may race.
        unsafe { (&raw const (*self.0.as_ptr()).replay_window).read_volatile() }
    }

    /// The highest 64-bit number that was received; under the state's lock the halves belong together.
    pub(super) fn highest_seen(&self) -> u64 {
        let esn = self.0.as_ptr();
        // SAFETY: Valid for reads by the type invariant; volatile reads of aligned words may race.
        let (high, low) = unsafe {
            (
                (&raw const (*esn).seq_hi).read_volatile(),
                (&raw const (*esn).seq).read_volatile(),
            )
        };
        (u64::from(high) << 32) | u64::from(low)
    }

    /// The 64-bit number that was sent last; under the state's lock the halves belong together.
    pub(super) fn last_sent(&self) -> u64 {
        let esn = self.0.as_ptr();
        // SAFETY: Valid for reads by the type invariant; volatile reads of aligned words may race.
        let (high, low) = unsafe {
            (
                (&raw const (*esn).oseq_hi).read_volatile(),
                (&raw const (*esn).oseq).read_volatile(),
            )
        };
        (u64::from(high) << 32) | u64::from(low)
    }
}
