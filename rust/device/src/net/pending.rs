// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames that wait for the receive buffers of one queue.

use std::collections::VecDeque;

use crate::ipsec::Inbound;

/// Most frames, and most bytes of memory, that may wait for one queue.
const MAX_FRAMES: usize = 1024;
const MAX_BYTES: usize = 8 << 20;

/// Frames for one queue, the oldest first.
#[derive(Default)]
pub struct Pending {
    frames: VecDeque<Inbound>,
    /// Memory of all frames.
    bytes: usize,
}

/// Room for more of them.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    frames: usize,
    bytes: usize,
}

impl Room {
    /// Whether one more frame may wait if this number of others, with this memory, waits elsewhere.
    #[inline(always)]
    pub fn is_more_than(&self, others: usize, other_bytes: usize) -> bool {
        others < self.frames && other_bytes < self.bytes
    }
}

impl Pending {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Memory of all frames.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much more may wait.
    pub fn room(&self) -> Room {
        Room {
            frames: MAX_FRAMES.saturating_sub(self.frames.len()),
            bytes: MAX_BYTES.saturating_sub(self.bytes),
        }
    }

    /// Adds a frame, even if there is no room.
    pub fn push(&mut self, inbound: Inbound) {
        self.bytes = self.bytes.saturating_add(inbound.frame.capacity());
        self.frames.push_back(inbound);
    }

    /// Adds all frames in `more`, which have so much memory together, even if there is no room.
    pub fn append(&mut self, more: &mut Vec<Inbound>, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if !self.frames.is_empty() {
            self.frames.extend(more.drain(..));
            return;
        }
        // As is nearly always so: then none is moved, and `more` gets this memory.
        let empty = std::mem::replace(&mut self.frames, std::mem::take(more).into());
        *more = empty.into();
    }

    /// The frame with this index, counted from the oldest one.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Option<&Inbound> {
        self.frames.get(index)
    }

    /// Takes the `count` oldest frames out.
    pub fn take(&mut self, count: usize) -> impl Iterator<Item = Inbound> + '_ {
        let count = count.min(self.frames.len());
        let memory = match count == self.frames.len() {
            // As is nearly always so: then none is looked at.
            true => self.bytes,
            false => {
                let taken = self.frames.range(..count);
                taken.map(|inbound| inbound.frame.capacity()).sum()
            }
        };
        self.bytes = self.bytes.saturating_sub(memory);
        self.frames.drain(..count)
    }

    /// Takes the oldest frame out.
    pub fn pop(&mut self) -> Option<Inbound> {
        let inbound = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(inbound.frame.capacity());
        Some(inbound)
    }

    /// Puts a frame in front of the oldest one, even if there is no room.
    pub fn push_front(&mut self, inbound: Inbound) {
        self.bytes = self.bytes.saturating_add(inbound.frame.capacity());
        self.frames.push_front(inbound);
    }

    /// Takes all frames out.
    pub fn drain(&mut self) -> impl Iterator<Item = Inbound> + '_ {
        self.bytes = 0;
        self.frames.drain(..)
    }

    /// Throws all frames away.
    pub fn clear(&mut self) {
        self.drain().for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    #[test]
    fn frames_and_memory_are_limited() {
        for (memory, most) in [(60, MAX_FRAMES), (1 << 16, MAX_BYTES >> 16)] {
            let mut pending = Pending::default();
            while pending.room().is_more_than(0, 0) {
                let mut frame = vec![0; memory];
                frame.truncate(60);
                pending.push(Frame::from(frame).into());
            }
            assert_eq!(pending.len(), most);
            pending.pop();
            assert!(pending.room().is_more_than(0, 0) && pending.get(0).is_some());
            pending.clear();
            assert_eq!((pending.len(), pending.bytes), (0, 0));
        }
    }

    #[test]
    fn the_oldest_ones_go_with_their_memory() {
        let mut pending = Pending::default();
        (1..=9).for_each(|len| pending.push(Frame::from(vec![0; len]).into()));
        for (count, lens, left) in [
            (0, vec![], 45),
            (2, vec![1, 2], 42),
            (3, vec![3, 4, 5], 30),
            (99, vec![6, 7, 8, 9], 0),
        ] {
            let taken = pending.take(count).map(|inbound| inbound.frame.len());
            assert_eq!(taken.collect::<Vec<_>>(), lens);
            assert_eq!(pending.bytes(), left);
        }
        assert!(pending.is_empty());
    }

    #[test]
    fn a_batch_comes_behind_what_waits() {
        let (mut pending, mut batch) = (Pending::default(), Vec::new());
        for round in 0..3 {
            for len in [1, 3] {
                let two = [len, len + 1].map(|len| Inbound::from(Frame::from(vec![0; len])));
                batch.extend(two);
                pending.append(&mut batch, 2 * len + 1);
                assert!(batch.is_empty());
            }
            assert_eq!((pending.len(), pending.bytes()), (4, 10));
            let lens = std::iter::from_fn(|| Some(pending.pop()?.frame.len()));
            assert_eq!(lens.collect::<Vec<_>>(), [1, 2, 3, 4]);
            assert_eq!(pending.bytes(), 0);
            // What has been emptied is the next batch's.
            assert!(round == 0 || batch.capacity() > 0);
        }
    }
}
