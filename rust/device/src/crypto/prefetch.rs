// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loading memory before it is needed. It has `unsafe` because the intrinsic is an unsafe function.

/// Memory that will be needed. It is only a hint: the memory may be gone, and nothing is read here.
#[derive(Clone, Copy, Debug, Default)]
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
        #[cfg(target_arch = "x86_64")]
        for line in (self.start & !63..self.start + self.len).step_by(64) {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            // SAFETY: SSE is part of x86-64; prefetching has no effect but on caches and does not fault,
            // whatever the address is.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line as *const i8) };
        }
    }
}
