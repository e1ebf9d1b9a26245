// SPDX-License-Identifier: GPL-2.0

//! The long form of a state's sequence numbers and replay window.

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
/// under the lock of its state. Here single fields are read and, under that lock, written, by volatile
/// accesses.
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

    /// Sets what was received.
    ///
    /// # Safety
    ///
    /// The caller holds the state's lock.
    pub(super) unsafe fn set_received(&self, top: u64, extended: bool, bitmap: &[u8]) {
        let esn = self.0.as_ptr();
        // SAFETY: The lock keeps other writers out; readers without it read with one access for each half.
        unsafe {
            (&raw mut (*esn).seq).write_volatile(top as u32);
            if extended {
                (&raw mut (*esn).seq_hi).write_volatile((top >> 32) as u32);
            }
        }
        // SAFETY: By the contract.
        let words = unsafe { self.words() };
        for (word, bytes) in words.zip(bitmap.chunks_exact(size_of::<u32>())) {
            let bytes = bytes.first_chunk().copied().unwrap_or_default();
            // SAFETY: Part of the bitmap, whose readers and writers have the lock.
            unsafe { word.write_volatile(u32::from_le_bytes(bytes)) };
        }
    }

    /// Sets the number that was sent last.
    ///
    /// # Safety
    ///
    /// The caller holds the state's lock.
    pub(super) unsafe fn set_last_sent(&self, number: u64, extended: bool) {
        let esn = self.0.as_ptr();
        // SAFETY: The lock keeps other writers out; readers without it read with one access for each half.
        unsafe {
            (&raw mut (*esn).oseq).write_volatile(number as u32);
            if extended {
                (&raw mut (*esn).oseq_hi).write_volatile((number >> 32) as u32);
            }
        }
    }

    /// The words of the bitmap that belong to the window; none if the stack has fewer than that.
    ///
    /// # Safety
    ///
    /// As long as they are used the caller holds the state's lock.
    pub(super) unsafe fn words(&self) -> impl Iterator<Item = *mut u32> {
        let esn = self.0.as_ptr();
        // SAFETY: Valid for reads by the type invariant.
        let words = unsafe { (&raw const (*esn).bmp_len).read_volatile() };
        let needed = Some(self.window().div_ceil(u32::BITS)).filter(|&needed| needed <= words);
        // SAFETY: The bitmap begins here. The pointer comes from that to all of the allocation, not from a
        // reference to the structure without its bitmap.
        let bitmap: *mut u32 = unsafe { &raw mut (*esn).bmp }.cast();
        // SAFETY: The bitmap has `bmp_len` words, by which the stack allocated the structure.
        (0..needed.unwrap_or(0)).map(move |index| unsafe { bitmap.add(index as usize) })
    }
}
