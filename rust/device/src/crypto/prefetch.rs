// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loading memory before it is needed. It has `unsafe` because the intrinsic is an unsafe function.

/// A line of a cache.
const LINE: usize = 64;
/// Lines that are loaded at once. With more of them loading took longer, also if they were loaded earlier.
const PART: u32 = 3;

/// Memory that will be needed. It is only a hint: the memory may be gone, and nothing is read here.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    start: usize,
    len: usize,
}

impl Region {
    /// Memory at `start`.
    #[inline]
    pub fn new(start: *const u8, len: usize) -> Self {
        Self {
            start: start as usize,
            len,
        }
    }

    /// The memory of a value, not of what it points to.
    #[inline]
    pub fn of<T>(value: &T) -> Self {
        Self::new(std::ptr::from_ref(value).cast(), size_of::<T>())
    }

    /// The first `len` bytes of it, or less if it is shorter.
    #[inline]
    #[must_use]
    pub fn up_to(self, len: usize) -> Self {
        let len = self.len.min(len);
        Self { len, ..self }
    }

    /// Asks the processor to load it.
    #[inline]
    pub fn prefetch(self) {
        for line in (self.start & !(LINE - 1)..self.start + self.len).step_by(LINE) {
            prefetch(line);
        }
    }
}

/// Lines of a key that have yet to be loaded, a few at a time. Only a hint, as a [`Region`] is.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Where the key starts, with a line.
    start: usize,
    /// A bit for each line, that of the first one lowest.
    left: u32,
}

impl Lines {
    /// Nothing.
    pub const NONE: Self = Self { start: 0, left: 0 };
    /// The most parts in which a key is loaded behind its first line.
    pub const PARTS: usize = 7;
    /// By how many packets the first line of a key is loaded ahead, at least; each part is loaded by one packet less
    /// than what is in front of it.
    pub const AHEAD: usize = 9;
    /// The first lines of so many keys are loaded at once.
    pub const BURST: usize = 4;

    /// The lines of the key at `start` that have a bit in `lines`, that of the first one lowest.
    #[inline]
    pub fn new(start: *const u8, lines: u32) -> Self {
        Self {
            start: start as usize,
            left: lines,
        }
    }

    /// Asks the processor to load one of those that are left. The first one takes it longer, because it has to find out
    /// where the page is.
    #[inline(always)]
    pub fn prefetch_one(&mut self) {
        if let Some(line) = self.take() {
            prefetch(line);
        }
    }

    /// Asks the processor to load some of those that are left.
    // Few instructions: it is done for several keys per packet.
    #[inline(always)]
    pub fn prefetch_some(&mut self) {
        for _ in 0..PART {
            match self.take() {
                Some(line) => prefetch(line),
                None => break,
            }
        }
    }

    /// The address of a line that is left, which then is not.
    #[inline(always)]
    fn take(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        let line = self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(self.start + line * LINE)
    }
}

/// Asks the processor to load a line.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch(line: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: SSE is part of x86-64; prefetching has no effect but on caches and does not fault, whatever
        // the address is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line as *const i8) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_loaded_once() {
        for bits in [0, 1, 0x80, 0xf_ffff, 0xc_0c07, u32::MAX] {
            let mut lines = Lines {
                start: 4096,
                left: bits,
            };
            let expected = (0..32).filter(|line| (bits >> line) & 1 != 0);
            for line in expected {
                assert_eq!(lines.take(), Some(4096 + line * LINE), "{bits:#x}");
            }
            assert_eq!(lines.take(), None);
        }
    }

    #[test]
    fn a_part_is_some_lines() {
        let mut lines = Lines {
            start: 4096,
            left: 0xf_ffff,
        };
        for left in [17, 14, 11, 8, 5, 2, 0, 0] {
            lines.prefetch_some();
            assert_eq!(lines.left.count_ones(), left);
        }
    }
}
