// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loading memory before it is needed. It has `unsafe` because the intrinsic is an unsafe function.

/// Memory that will be needed. It is only a hint: the memory may be gone, and nothing is read here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Region {
    start: usize,
    len: usize,
}

impl Region {
    /// The memory of a value, not of what it points to.
    pub fn of<T>(value: &T) -> Self {
        Self {
            start: std::ptr::from_ref(value) as usize,
            len: size_of::<T>(),
        }
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
