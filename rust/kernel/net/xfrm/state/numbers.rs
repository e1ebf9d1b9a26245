// SPDX-License-Identifier: GPL-2.0

//! Sequence numbers and replay windows that the device keeps.
//!
//! Under packet offload the device numbers packets and checks them. The stack is told from time to time, so
//! that it shows the numbers, and so that the state begins with the right ones when it is given to a device
//! again.

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
use kernel::prelude::*;

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

    /// Tells the stack that under an inbound state nothing up to `top`, 32 bits without ESN, may be taken any
    /// more, as far as it does not know that: what is above the highest number that it knows counts as received.
    /// For callbacks that may hold the state's lock: then, or if others hold it for long, this does nothing.
    pub fn try_raise_received(&self, top: u64) {
        // SAFETY: The structure is there by the type invariant, and with it the initialised lock.
        if !unsafe { bindings::xfrm_state_trylock(self.as_raw()) } {
            return;
        }
        // SAFETY: The lock was taken above.
        unsafe { self.raise_received_locked(top) };
        // SAFETY: As above, on this CPU: softirqs are off since.
        unsafe { bindings::xfrm_state_unlock(self.as_raw()) };
    }

    /// # Safety
    ///
    /// The caller holds the state's lock.
    unsafe fn raise_received_locked(&self, top: u64) {
        let by = top.saturating_sub(self.highest_seen_locked());
        if self.direction() != Some(Direction::In) || by == 0 {
            return;
        }
        match self.replay_esn() {
            // SAFETY: The lock is held by the contract.
            Some(esn) => unsafe { esn.raise_received(top, by, self.is_esn()) },
            None => {
                let moved = u32::try_from(by).ok().and_then(|by| 1u32.checked_shl(by));
                let short = moved.map_or(u32::MAX, |moved| {
                    let old = changing!(self, replay.bitmap);
                    old.wrapping_mul(moved) | moved.wrapping_sub(1)
                });
                // SAFETY: The structure is there by the type invariant, and the lock keeps other writers out.
                // Readers without it read with one access. CAST: Without ESN numbers have 32 bits.
                unsafe {
                    (&raw mut (*self.as_raw()).replay.seq).write_volatile(top as u32);
                    (&raw mut (*self.as_raw()).replay.bitmap).write_volatile(short);
                }
            }
        }
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
        self.locked(|| {
            // SAFETY: The lock is held.
            unsafe { self.set_last_sent_locked(number) }
        });
    }

    /// [`Self::set_last_sent`] for callbacks that may hold the state's lock. Then, or if others hold it for
    /// long, this does nothing.
    pub fn try_set_last_sent(&self, number: u64) {
        // SAFETY: The structure is there by the type invariant, and with it the initialised lock.
        if !unsafe { bindings::xfrm_state_trylock(self.as_raw()) } {
            return;
        }
        // SAFETY: The lock was taken above.
        unsafe { self.set_last_sent_locked(number) };
        // SAFETY: As above, on this CPU: softirqs are off since.
        unsafe { bindings::xfrm_state_unlock(self.as_raw()) };
    }

    /// # Safety
    ///
    /// The caller holds the state's lock.
    unsafe fn set_last_sent_locked(&self, number: u64) {
        if self.direction() != Some(Direction::Out) || number <= self.last_sent_locked() {
            return;
        }
        match self.replay_esn() {
            // SAFETY: The lock is held by the contract.
            Some(esn) => unsafe { esn.set_last_sent(number, self.is_esn()) },
            // SAFETY: The structure is there by the type invariant, and the lock keeps other writers out.
            // CAST: Without ESN numbers have 32 bits.
            None => unsafe {
                (&raw mut (*self.as_raw()).replay.oseq).write_volatile(number as u32)
            },
        }
    }
}
