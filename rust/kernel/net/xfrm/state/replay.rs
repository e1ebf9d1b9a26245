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

/// The `count` lowest bits, of 32.
fn lowest(count: u32) -> u32 {
    1u32.checked_shl(count)
        .map_or(u32::MAX, |bit| bit.wrapping_sub(1))
}

/// The bits of the word that begins with the place `first` whose places are from `start` to before `end`.
fn span(first: u32, start: u32, end: u32) -> u32 {
    let count = |place: u32| place.saturating_sub(first).min(u32::BITS);
    lowest(count(end)) & !lowest(count(start))
}

/// The bits of the word that begins with the place `first` that stand for the `by` highest numbers of a window
/// that ends with `top`; `by` is at most the window.
fn newest(first: u32, top: u32, by: u32, window: u32) -> u32 {
    let Some(place) = top.wrapping_sub(1).checked_rem(window) else {
        return 0;
    };
    let end = place.saturating_add(1);
    // The numbers before the first place are at the end.
    let around = by.saturating_sub(end);
    span(first, end.saturating_sub(by), end) | span(first, window.saturating_sub(around), window)
}

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
        // SAFETY: By the contract.
        let words = unsafe {
            self.set_top(top, extended);
            self.words()
        };
        for (word, bytes) in words.zip(bitmap.chunks_exact(size_of::<u32>())) {
            let bytes = bytes.first_chunk().copied().unwrap_or_default();
            // SAFETY: Part of the bitmap, whose readers and writers have the lock.
            unsafe { word.write_volatile(u32::from_le_bytes(bytes)) };
        }
    }

    /// Sets the highest number that was received to `top`, which is `by` more than it was; those in between count
    /// as received.
    ///
    /// # Safety
    ///
    /// The caller holds the state's lock.
    pub(super) unsafe fn raise_received(&self, top: u64, by: u64, extended: bool) {
        // SAFETY: By the contract.
        let words = unsafe {
            self.set_top(top, extended);
            self.words()
        };
        let window = self.window();
        // CAST: It fits, or all of the window counts as received. The low half of the number has its place.
        let (by, top) = (by.min(window.into()) as u32, top as u32);
        for (first, word) in (0..).step_by(u32::BITS as usize).zip(words) {
            let mask = newest(first, top, by, window);
            // SAFETY: Part of the bitmap, whose readers and writers have the lock.
            unsafe { word.write_volatile(word.read_volatile() | mask) };
        }
    }

    /// Sets the highest number that was received.
    ///
    /// # Safety
    ///
    /// The caller holds the state's lock.
    unsafe fn set_top(&self, top: u64, extended: bool) {
        let esn = self.0.as_ptr();
        // SAFETY: The lock keeps other writers out; readers without it read with one access for each half.
        unsafe {
            (&raw mut (*esn).seq).write_volatile(top as u32);
            if extended {
                (&raw mut (*esn).seq_hi).write_volatile((top >> 32) as u32);
            }
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
