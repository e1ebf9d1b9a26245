// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames on their way to the wire.

use crate::frame::Frame;

/// A list of frames that keeps the buffers of finished ones.
#[derive(Debug, Default)]
pub struct Frames {
    frames: Vec<Frame>,
    spare: Vec<Vec<u8>>,
    /// Memory of all buffers in `spare`.
    spare_bytes: usize,
}

/// Most buffers that are kept.
const MOST_SPARE: usize = 256;
/// Most memory in buffers that are kept: enough for a batch of the longest frames.
const MOST_SPARE_BYTES: usize = 4 << 20;

/// Gives `buffer` this length. What was in it stays: clearing it would cost as much as the copy that fills it.
pub fn fit(mut buffer: Vec<u8>, len: usize) -> Vec<u8> {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(len, 0);
    buffer
}

impl Frames {
    /// Adds a frame.
    pub fn push(&mut self, frame: impl Into<Frame>) {
        self.frames.push(frame.into());
    }

    /// A buffer of `len` bytes, whose content is whatever a recycled buffer had.
    pub fn buffer(&mut self, len: usize) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes = self.spare_bytes.saturating_sub(buffer.capacity());
        fit(buffer, len)
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

    /// Takes all frames out.
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.frames.drain(..)
    }

    /// Gives back the buffer of a frame that is done with. It is kept if there is room; what counts is
    /// its memory, not what was in it.
    pub fn recycle(&mut self, buffer: impl Into<Vec<u8>>) {
        let frame = buffer.into();
        let bytes = self.spare_bytes.saturating_add(frame.capacity());
        if frame.capacity() > 0 && self.spare.len() < MOST_SPARE && bytes <= MOST_SPARE_BYTES {
            self.spare_bytes = bytes;
            self.spare.push(frame);
        }
    }

    /// Removes the frames for which `keep` is false and returns how many. The others keep their order.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) -> usize {
        let (mut kept, all) = (0, self.frames.len());
        for index in 0..all {
            if self.frames.get(index).is_some_and(|frame| keep(frame)) {
                self.frames.swap(kept, index);
                kept += 1;
            }
        }
        self.truncate(kept);
        all - kept
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
            frames.recycle(Vec::new());
        }
        assert!(frames.spare.len() <= MOST_SPARE);
    }

    #[test]
    fn some_frames_are_retained() {
        let mut frames = Frames::default();
        (1..=9).for_each(|len| frames.push(vec![0; len]));
        assert_eq!(frames.retain(|frame| frame.len() % 3 != 0), 3);
        let left: Vec<_> = frames.iter().map(|frame| frame.len()).collect();
        assert_eq!((left, frames.spare.len()), (vec![1, 2, 4, 5, 7, 8], 3));
    }

    #[test]
    fn spare_memory_is_limited() {
        let mut frames = Frames::default();
        for _ in 0..MOST_SPARE {
            let mut frame = vec![0; 1 << 16];
            frame.truncate(60);
            frames.recycle(frame);
        }
        let kept: usize = frames.spare.iter().map(Vec::capacity).sum();
        assert_eq!((kept, frames.spare_bytes), (MOST_SPARE_BYTES, kept));
        while frames.buffer(0).capacity() > 0 {}
        assert_eq!(frames.spare_bytes, 0);
        // No more memory than the frame needs.
        assert_eq!(frames.buffer(1000).capacity(), 1000);
    }
}
