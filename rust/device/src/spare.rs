// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buffers of finished frames, which the next frames get.

use crate::frame::Blank;

/// Most memory of a small buffer, in bytes. Small and large ones are kept apart: a frame of 64 KiB would make
/// a small buffer larger, which copies it, and a frame of 60 bytes would keep 64 KiB.
const SMALL: usize = 4096;

/// Empty buffers, whose content is whatever was in them.
#[derive(Debug, Default)]
pub struct Spare {
    small: Vec<Blank>,
    large: Vec<Blank>,
    /// Memory of all of them.
    bytes: usize,
}

/// Whether a buffer with so much memory, or for so long a frame, is one of the large ones.
pub fn is_large(bytes: usize) -> bool {
    bytes > SMALL
}

impl Spare {
    /// Keeps a buffer, if there are fewer than `count` and no more than `bytes` of memory afterwards. What
    /// counts is its memory, not what was in it.
    pub fn keep(&mut self, buffer: Blank, count: usize, bytes: usize) {
        let memory = self.bytes.saturating_add(buffer.capacity());
        if buffer.capacity() == 0 || self.count() >= count || memory > bytes {
            return;
        }
        self.bytes = memory;
        self.pile(buffer.capacity()).push(buffer);
    }

    /// A buffer of the kind that a frame of `len` bytes needs.
    pub fn pop(&mut self, len: usize) -> Option<Blank> {
        let buffer = self.pile(len).pop()?;
        self.bytes = self.bytes.saturating_sub(buffer.capacity());
        Some(buffer)
    }

    /// Number of buffers.
    pub fn count(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// Memory of all buffers.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let buffers = self.small.iter().chain(&self.large);
        assert_eq!(buffers.map(Blank::capacity).sum::<usize>(), self.bytes);
        self.bytes
    }

    fn pile(&mut self, bytes: usize) -> &mut Vec<Blank> {
        match is_large(bytes) {
            true => &mut self.large,
            false => &mut self.small,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(memory: usize) -> Blank {
        Vec::with_capacity(memory).into()
    }

    #[test]
    fn small_and_large_buffers_are_apart() {
        let mut spare = Spare::default();
        for memory in [60, 1 << 16, SMALL, SMALL + 1] {
            spare.keep(buffer(memory), 9, 1 << 20);
        }
        let mut pop = |len| spare.pop(len).map(|buffer| buffer.capacity());
        assert_eq!(pop(1 << 16), Some(SMALL + 1));
        assert_eq!(pop(1), Some(SMALL));
        assert_eq!(pop(SMALL), Some(60));
        assert_eq!((pop(0), pop(SMALL + 1)), (None, Some(1 << 16)));
        assert_eq!((spare.count(), spare.bytes()), (0, 0));
    }

    #[test]
    fn number_and_memory_are_limited() {
        let mut spare = Spare::default();
        for _ in 0..9 {
            spare.keep(buffer(100), 3, 1 << 20);
        }
        assert_eq!((spare.count(), spare.bytes()), (3, 300));
        spare.keep(buffer(0), 9, 1 << 20);
        spare.keep(buffer(101), 9, 400);
        assert_eq!(spare.count(), 3);
        spare.keep(buffer(100), 9, 400);
        assert_eq!(spare.bytes(), 400);
    }
}
