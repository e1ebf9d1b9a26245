// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames on their way to the wire.

use crate::frame::{Blank, Frame};
use crate::spare::Spare;
use std::collections::VecDeque;

/// A list of frames that keeps the buffers of finished ones.
#[derive(Debug, Default)]
pub struct Frames {
    frames: Vec<Frame>,
    spare: Spare,
}

/// Most buffers that are kept.
const MOST_SPARE: usize = 256;
/// Most memory in buffers that are kept: enough for a batch of the longest frames.
const MOST_SPARE_BYTES: usize = 4 << 20;

impl Frames {
    /// Adds a frame.
    pub fn push(&mut self, frame: impl Into<Frame>) {
        self.frames.push(frame.into());
    }

    /// Takes the last frame out.
    pub fn pop(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// The last frame, to be changed.
    pub fn last_mut(&mut self) -> Option<&mut Frame> {
        self.frames.last_mut()
    }

    /// A buffer of `len` bytes, whose content is whatever a recycled buffer had.
    pub fn buffer(&mut self, len: usize) -> Blank {
        let mut buffer = self.spare.pop(len).unwrap_or_default();
        buffer.resize(len);
        buffer
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.frames.iter()
    }

    /// The frames, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Frame> {
        self.frames.iter_mut()
    }

    /// The frame with this index, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Frame> {
        self.frames.get_mut(index)
    }

    /// Takes out all but the first `count` frames.
    pub fn split_off(&mut self, count: usize) -> Vec<Frame> {
        self.frames.split_off(count.min(self.frames.len()))
    }

    /// Adds frames.
    pub fn append(&mut self, mut frames: Vec<Frame>) {
        self.frames.append(&mut frames);
    }

    /// Adds all frames of `more`. If there were none, none is moved, and `more` gets this memory.
    pub fn take_all(&mut self, more: &mut VecDeque<Frame>) {
        if !self.frames.is_empty() {
            self.frames.extend(more.drain(..));
            return;
        }
        let empty = std::mem::replace(&mut self.frames, std::mem::take(more).into());
        *more = empty.into();
    }

    /// Takes all frames out.
    pub fn drain(&mut self) -> impl DoubleEndedIterator<Item = Frame> + '_ {
        self.frames.drain(..)
    }

    /// Gives back the buffer of a frame that is done with. It is kept if there is room.
    pub fn recycle(&mut self, buffer: impl Into<Option<Blank>>) {
        if let Some(buffer) = buffer.into() {
            self.spare.keep(buffer, MOST_SPARE, MOST_SPARE_BYTES);
        }
    }

    /// Number of buffers that are kept.
    pub fn spare(&self) -> usize {
        self.spare.count()
    }

    /// Removes the frames for which `keep` is false and returns how many a wire would have carried. The
    /// others keep their order.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) -> usize {
        let (mut kept, mut removed) = (0, 0);
        for index in 0..self.frames.len() {
            match self.frames.get(index) {
                Some(frame) if !keep(frame) => removed += frame.on_wire().0,
                _ => {
                    self.frames.swap(kept, index);
                    kept += 1;
                }
            }
        }
        self.truncate(kept);
        removed
    }

    /// Removes all but the first `count` frames.
    pub fn truncate(&mut self, count: usize) {
        while self.frames.len() > count {
            if let Some(frame) = self.frames.pop() {
                self.recycle(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let mut frames = Frames::default();
        let buffer = frames.buffer(100);
        frames.push(buffer);
        frames.push(vec![2; 60]);
        assert_eq!(frames.len(), 2);
        frames.truncate(1);
        assert_eq!(
            frames.iter().map(|frame| frame.len()).collect::<Vec<_>>(),
            [100]
        );
        let first = frames.drain().next().unwrap();
        let at = first.as_ptr();
        frames.recycle(first);
        let again = frames.buffer(90);
        assert_eq!((again.as_ptr(), again.len()), (at, 90));
        frames.push(again);
        frames.truncate(0);
        let spare = frames.buffer(0);
        assert_eq!((spare.as_ptr(), spare.len()), (at, 0));
        assert!(frames.is_empty());
        // Not without end.
        for _ in 0..2 * MOST_SPARE {
            frames.recycle(Blank::default());
        }
        assert!(frames.spare.count() <= MOST_SPARE);
    }

    #[test]
    fn all_of_a_queue_come_behind_what_is_there() {
        let (mut frames, mut more) = (Frames::default(), VecDeque::new());
        for expected in [vec![1, 2], vec![1, 2, 1, 2]] {
            more.extend([1, 2].map(|len| Frame::from(vec![0; len])));
            frames.take_all(&mut more);
            assert!(more.is_empty());
            let lens = frames.iter().map(|frame| frame.len());
            assert_eq!(lens.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn some_frames_are_retained() {
        let mut frames = Frames::default();
        (1..=9).for_each(|len| frames.push(vec![0; len]));
        assert_eq!(frames.retain(|frame| frame.len() % 3 != 0), 3);
        let left: Vec<_> = frames.iter().map(|frame| frame.len()).collect();
        assert_eq!((left, frames.spare.count()), (vec![1, 2, 4, 5, 7, 8], 3));
    }

    #[test]
    fn spare_memory_is_limited() {
        let mut frames = Frames::default();
        for _ in 0..MOST_SPARE {
            let mut frame = vec![0; 1 << 16];
            frame.truncate(60);
            frames.recycle(Blank::from(frame));
        }
        assert_eq!(frames.spare.bytes(), MOST_SPARE_BYTES);
        for _ in 0..frames.spare.count() {
            frames.buffer(1 << 16);
        }
        assert_eq!(frames.spare.bytes(), 0);
        // No more memory than the frame needs.
        assert_eq!(frames.buffer(1000).capacity(), 1000);
    }
}
