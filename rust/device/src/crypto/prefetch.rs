// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loading memory before it is needed. It has `unsafe` because the intrinsic is an unsafe function.

/// A line of a cache.
const LINE: usize = 64;
/// Lines of a part. With more of them at once loading took longer, also if they were loaded earlier.
const PART: usize = 3;

/// Memory that will be needed. It is only a hint: the memory may be gone, and nothing is read here.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    start: usize,
    len: usize,
}

impl Region {
    /// Nothing.
    pub const NONE: Self = Self { start: 0, len: 0 };
    /// The most parts of a key.
    pub const PARTS: usize = 7;
    /// By how many packets the first part of a key is loaded ahead; each of the others is loaded by one packet less.
    pub const AHEAD: usize = 9;

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

    /// The same for one of its [`Self::PARTS`]. It must start with a line.
    // Few instructions: there are many parts to a packet.
    #[inline(always)]
    pub fn prefetch_part(self, part: usize) {
        let first = part * PART;
        for line in first..first + PART {
            if let Some(line) = self.line(line) {
                prefetch(line);
            }
        }
    }

    /// The address of a line.
    #[inline(always)]
    fn line(self, line: usize) -> Option<usize> {
        (line * LINE < self.len).then_some(self.start + line * LINE)
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
    fn lines_are_within_the_whole() {
        for len in [0, 1, 63, 64, 65, 496, 752, 1264] {
            let whole = Region { start: 4096, len };
            let lines: Vec<_> = (0..40).filter_map(|line| whole.line(line)).collect();
            let expected = (0..len.div_ceil(LINE)).map(|line| 4096 + line * LINE);
            assert!(lines.iter().copied().eq(expected), "{len}");
        }
    }
}
