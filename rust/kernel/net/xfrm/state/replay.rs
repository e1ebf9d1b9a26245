// SPDX-License-Identifier: GPL-2.0

//! The sequence numbers of a state.
//!
//! Under packet offload the device counts and checks them. The stack is told from time to time, so that it
//! shows them, and so that the state begins with the right ones when it is given to a device again.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    changing,
    State, //
};
use crate::{
    bindings,
    net::xfrm::handle::Direction, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::prelude::*;

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
    unsafe fn set_received(&self, top: u64, extended: bool, bitmap: &[u8]) {
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
    unsafe fn set_last_sent(&self, number: u64, extended: bool) {
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
    unsafe fn words(&self) -> impl Iterator<Item = *mut u32> {
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

/// Bytes of the bitmap of a window of `window` packets.
fn bitmap_len(window: u32) -> usize {
    (window.div_ceil(u32::BITS) as usize).saturating_mul(size_of::<u32>())
}

/// The place of the number `top - behind` in the long form of a bitmap: byte and bit.
fn place(top: u32, behind: u32, window: u32) -> Option<(usize, u8)> {
    let of_top = top.wrapping_sub(1).checked_rem(window)?;
    let place = of_top.wrapping_add(window).wrapping_sub(behind) % window;
    Some((place as usize / 8, 1u8.rotate_left(place % 8)))
}

/// The numbers of a short form in the long form: those in front of 1 never come.
fn behind(top: u32, window: u32) -> core::ops::Range<u32> {
    0..window.min(u32::BITS).min(top)
}

impl State {
    /// What an inbound state has received: returns the highest number, 64 bits or 32 without ESN, and fills
    /// in the bitmap of its window, in the form of [`Self::set_received`]. Takes the state's lock: not for
    /// callbacks that hold it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `bitmap` has not as many bytes as the window demands: 4 for each 32 packets or part of
    /// them.
    pub fn received(&self, bitmap: &mut [u8]) -> Result<u64> {
        self.locked(|| {
            let window = self.replay_window();
            if bitmap.len() != bitmap_len(window) {
                return Err(EINVAL);
            }
            bitmap.fill(0);
            let top = self.highest_seen_locked();
            if let Some(esn) = self.replay_esn() {
                // SAFETY: The lock is held.
                let words = unsafe { esn.words() };
                for (to, word) in bitmap.chunks_exact_mut(size_of::<u32>()).zip(words) {
                    // SAFETY: Part of the bitmap, whose writers have the lock.
                    to.copy_from_slice(&unsafe { word.read_volatile() }.to_le_bytes());
                }
                return Ok(top);
            }
            let short = changing!(self, replay.bitmap);
            // CAST: Without ESN numbers have 32 bits.
            for behind in behind(top as u32, window) {
                if short & 1u32.rotate_left(behind) == 0 {
                    continue;
                }
                let Some((byte, bit)) = place(top as u32, behind, window) else {
                    continue;
                };
                if let Some(byte) = bitmap.get_mut(byte) {
                    *byte |= bit;
                }
            }
            Ok(top)
        })
    }

    /// Tells the stack what the device has received under an inbound state: the highest number `top`, 32
    /// bits without ESN, and the window's bitmap in the form of `struct xfrm_replay_state_esn`: words of 32
    /// bits, the lowest first, each in little-endian order; bit (*n* - 1) modulo the window stands for
    /// number *n*, of which the low half counts.
    ///
    /// Takes the state's lock: not for callbacks that hold it. Key managers are not notified. Does not
    /// sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the state is not inbound, or `bitmap` has not as many bytes as the window demands;
    /// `ERANGE` if the stack knows a higher number. Nothing is changed then.
    pub fn set_received(&self, top: u64, bitmap: &[u8]) -> Result {
        if self.direction() != Some(Direction::In) {
            return Err(EINVAL);
        }
        self.locked(|| {
            let window = self.replay_window();
            if bitmap.len() != bitmap_len(window) {
                return Err(EINVAL);
            }
            if top < self.highest_seen_locked() {
                return Err(ERANGE);
            }
            match self.replay_esn() {
                // SAFETY: The lock is held.
                Some(esn) => unsafe { esn.set_received(top, self.is_esn(), bitmap) },
                // SAFETY: The lock is held.
                None => unsafe { self.set_received_short(top as u32, window, bitmap) },
            }
            Ok(())
        })
    }

    /// [`Self::set_received`] for a state without the long form.
    ///
    /// # Safety
    ///
    /// The caller holds the state's lock.
    unsafe fn set_received_short(&self, top: u32, window: u32, bitmap: &[u8]) {
        let short = behind(top, window).fold(0u32, |short, behind| {
            let seen = place(top, behind, window)
                .and_then(|(byte, bit)| bitmap.get(byte).map(|byte| byte & bit != 0));
            if seen == Some(true) {
                short | 1u32.rotate_left(behind)
            } else {
                short
            }
        });
        // SAFETY: The structure is there by the type invariant, and the lock keeps other writers out.
        // Readers without it read with one access.
        unsafe {
            (&raw mut (*self.as_raw()).replay.seq).write_volatile(top);
            (&raw mut (*self.as_raw()).replay.bitmap).write_volatile(short);
        }
    }

    /// Tells the stack the number that the device has used last under an outbound state, 32 bits without
    /// ESN. A lower one than the stack knows changes nothing: numbers must not come twice when the state is
    /// given to a device again.
    ///
    /// Takes the state's lock: not for callbacks that hold it. Key managers are not notified. Does not
    /// sleep.
    pub fn set_last_sent(&self, number: u64) {
        if self.direction() != Some(Direction::Out) {
            return;
        }
        self.locked(|| {
            if number <= self.last_sent_locked() {
                return;
            }
            match self.replay_esn() {
                // SAFETY: The lock is held.
                Some(esn) => unsafe { esn.set_last_sent(number, self.is_esn()) },
                // SAFETY: The structure is there by the type invariant, and the lock keeps other writers
                // out. CAST: Without ESN numbers have 32 bits.
                None => unsafe {
                    (&raw mut (*self.as_raw()).replay.oseq).write_volatile(number as u32)
                },
            }
        });
    }
}
