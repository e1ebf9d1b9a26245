// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The anti-replay window of an inbound SA (RFC 4303 section 3.4.3 and appendix A2).
//!
//! A packet is checked before its ICV is, which costs little, and accepted after, which alone moves the
//! window. Between the two other packets may have been accepted, so accepting checks once more.

use crate::seq;

/// Largest window in packets, as XFRM has it (`XFRMA_REPLAY_ESN_MAX`).
pub const MAX_SIZE: u32 = 4096;
/// Numbers in a word of the ring.
const WORD: u64 = u64::BITS as u64;

/// What the window says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has not come yet.
    Fresh,
    /// It has come before.
    Replay,
    /// It is behind the window, so that nobody knows; or no packet ever has it.
    Late,
}

/// A window over the numbers up to the highest that was accepted.
///
/// `B` is where the caller keeps its bits, of which [`words`] says how many there have to be. The window
/// never asks for more, whatever a peer sends. It does not lock: check and accept under the lock of the
/// SA.
#[derive(Clone, Debug)]
pub struct Window<B> {
    /// In packets, 0 if replays are not checked.
    size: u32,
    /// Numbers have 64 bits.
    esn: bool,
    /// Highest number that was accepted.
    top: u64,
    /// A ring: bit *n* modulo its length stands for number *n*. Only the bits of the window mean anything.
    bits: B,
}

/// Words that a window of `size` packets needs, a power of two. `None` beyond [`MAX_SIZE`].
pub const fn words(size: u32) -> Option<usize> {
    if size > MAX_SIZE {
        return None;
    }
    // A power of two, so that numbers and places keep step where 64 bits end.
    Some((size as usize).div_ceil(WORD as usize).next_power_of_two())
}

impl<B: AsRef<[u64]> + AsMut<[u64]>> Window<B> {
    /// A window of `size` packets, up to [`MAX_SIZE`]; 0 checks nothing. `top` is the highest number that
    /// was accepted, 0 for none, and none of those below it counts as received.
    ///
    /// `None` if the size is too large or `bits` has not as many words as [`words`] says.
    pub fn new(size: u32, esn: bool, top: u64, mut bits: B) -> Option<Self> {
        if words(size) != Some(bits.as_ref().len()) {
            return None;
        }
        bits.as_mut().fill(0);
        Some(Self {
            size,
            esn,
            top,
            bits,
        })
    }

    /// Size in packets.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Highest number that was accepted, 0 for none.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The whole number of a packet whose header has `lo`. With ESN the high half is inferred; it is
    /// authenticated, so the ICV tells whether it is right.
    pub fn number(&self, lo: u32) -> u64 {
        match self.esn {
            true => seq::join(seq::infer_hi(self.top, self.size, lo), lo),
            false => lo.into(),
        }
    }

    /// Whether the packet with this [`Window::number`] is worth looking at.
    pub fn check(&self, number: u64) -> Verdict {
        if self.size == 0 || self.is_ahead(number) {
            return Verdict::Fresh;
        }
        match self.top.checked_sub(number) {
            Some(behind) if number != 0 && behind < self.size.into() => {
                if self.has(number) {
                    Verdict::Replay
                } else {
                    Verdict::Fresh
                }
            }
            _ => Verdict::Late,
        }
    }

    /// The number moves the window. One that was inferred to be below zero looks like one that is far
    /// ahead, and numbers never start again.
    fn is_ahead(&self, number: u64) -> bool {
        number > self.top && seq::is_ahead(number, self.top)
    }

    /// The packet with this number is authentic. The verdict is that of [`Window::check`]; only with
    /// [`Verdict::Fresh`] may it go on, and from now on the number counts as received.
    pub fn accept(&mut self, number: u64) -> Verdict {
        let verdict = self.check(number);
        if verdict == Verdict::Fresh {
            if self.is_ahead(number) {
                self.clear(self.top.wrapping_add(1), number);
                self.top = number;
            }
            self.set(number);
        }
        verdict
    }

    /// Number of bits in the ring.
    fn len(&self) -> u64 {
        WORD.saturating_mul(self.bits.as_ref().len() as u64)
    }

    /// Place of the word with the bit of `number`.
    fn place(&self, number: u64) -> usize {
        // The length is a power of two.
        ((number & self.len().saturating_sub(1)) / WORD) as usize
    }

    fn has(&self, number: u64) -> bool {
        let word = self.bits.as_ref().get(self.place(number));
        word.is_some_and(|word| word & bit(number) != 0)
    }

    fn set(&mut self, number: u64) {
        let place = self.place(number);
        if let Some(word) = self.bits.as_mut().get_mut(place) {
            *word |= bit(number);
        }
    }

    /// Forgets the numbers from `first` to `last`, at most one round of the ring.
    fn clear(&mut self, first: u64, last: u64) {
        if last.wrapping_sub(first) >= self.len().saturating_sub(1) {
            self.bits.as_mut().fill(0);
            return;
        }
        let mut first = first;
        loop {
            // To the end of the word.
            let end = (first | WORD.saturating_sub(1)).min(last);
            let place = self.place(first);
            if let Some(word) = self.bits.as_mut().get_mut(place) {
                *word &= !between(first, end);
            }
            if end >= last {
                return;
            }
            first = end.saturating_add(1);
        }
    }

    /// The bitmap as XFRM has it with windows of any size (`struct xfrm_replay_state_esn`), in
    /// little-endian words of 32 bits: bit (*n* - 1) modulo the size stands for number *n*, of which the low
    /// half counts. `false`, and nothing is written, if `bitmap` has not as many whole words as the window
    /// needs.
    pub fn export(&self, bitmap: &mut [u8]) -> bool {
        if bitmap.len() != self.bitmap_len() {
            return false;
        }
        bitmap.fill(0);
        for number in self.numbers().filter(|&number| self.has(number)) {
            let (byte, mask) = self.xfrm_place(number);
            if let Some(byte) = bitmap.get_mut(byte) {
                *byte |= mask;
            }
        }
        true
    }

    /// Takes over highest number and bitmap of another window of the same size, the bitmap in the form of
    /// [`Window::export`]. `false`, and nothing changes, if it has another length.
    pub fn import(&mut self, top: u64, bitmap: &[u8]) -> bool {
        if bitmap.len() != self.bitmap_len() {
            return false;
        }
        self.restart(top);
        for number in self.numbers() {
            let (byte, mask) = self.xfrm_place(number);
            if bitmap.get(byte).is_some_and(|byte| byte & mask != 0) {
                self.set(number);
            }
        }
        true
    }

    /// The bitmap as XFRM has it with windows of up to 32 packets and without ESN (`struct
    /// xfrm_replay_state`): bit *n* stands for the highest number less *n*.
    pub fn export_legacy(&self) -> u32 {
        let numbers = self.numbers().zip(0..32);
        let received = numbers.filter(|&(number, _)| self.has(number));
        received.fold(0, |bitmap, (_, behind)| bitmap | 1u32.rotate_left(behind))
    }

    /// Takes over highest number and bitmap of a window in the form of [`Window::export_legacy`].
    pub fn import_legacy(&mut self, top: u64, bitmap: u32) {
        self.restart(top);
        for (number, behind) in self.numbers().zip(0..32) {
            if bitmap & 1u32.rotate_left(behind) != 0 {
                self.set(number);
            }
        }
    }

    fn restart(&mut self, top: u64) {
        self.bits.as_mut().fill(0);
        self.top = top;
    }

    /// The numbers in the window, the highest first.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        let top = self.top;
        (0..u64::from(self.size))
            .map_while(move |behind| top.checked_sub(behind).filter(|&n| n != 0))
    }

    fn bitmap_len(&self) -> usize {
        (self.size.div_ceil(32) as usize).saturating_mul(4)
    }

    /// Byte and bit of `number` in the bitmap of XFRM.
    fn xfrm_place(&self, number: u64) -> (usize, u8) {
        // XFRM counts from the place of the highest number, of which it takes the low half.
        let size = self.size.max(1);
        let of_top = seq::lo(self.top).wrapping_sub(1).checked_rem(size);
        let behind = seq::lo(self.top.wrapping_sub(number));
        let sum = of_top
            .unwrap_or(0)
            .saturating_add(size)
            .saturating_sub(behind);
        let place = sum.checked_rem(size).unwrap_or(0);
        (place as usize / 8, 1u8.rotate_left(place % 8))
    }
}

/// The bit of `number` in its word.
const fn bit(number: u64) -> u64 {
    // Rotation takes the number modulo the bits of a word.
    1u64.rotate_left((number % WORD) as u32)
}

/// The bits of the numbers from `first` to `last` of one word.
const fn between(first: u64, last: u64) -> u64 {
    let from = bit(first).wrapping_neg();
    let to = bit(last);
    from & (to | to.wrapping_sub(1))
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
