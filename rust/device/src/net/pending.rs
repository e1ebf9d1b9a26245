// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames that wait for the receive buffers of one queue.

use std::collections::VecDeque;

use crate::frame::Frame;
use espnic_wire::hdr::NetHdr48;

/// Most frames, and most bytes of memory, that may wait for one queue.
const MAX_FRAMES: usize = 1024;
const MAX_BYTES: usize = 8 << 20;

/// A received frame and its header for the driver.
pub type Received = (NetHdr48, Frame);

/// A frame that waits.
pub struct Waiting {
    /// The frame and its header.
    pub received: Received,
    /// It was not steered here but sent by a rule of the flow filter, so no other queue may get it.
    pub directed: bool,
}

/// Frames for one queue, the oldest first.
#[derive(Default)]
pub struct Pending {
    frames: VecDeque<Waiting>,
    /// Memory of all frames.
    bytes: usize,
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

    /// Whether one more frame may wait.
    pub fn has_room(&self) -> bool {
        self.has_room_beside(0, 0)
    }

    /// Whether one more frame may wait if this number of others, with this memory, waits elsewhere.
    pub fn has_room_beside(&self, others: usize, other_bytes: usize) -> bool {
        self.frames.len().saturating_add(others) < MAX_FRAMES
            && self.bytes.saturating_add(other_bytes) < MAX_BYTES
    }

    /// Adds a frame, even if there is no room.
    pub fn push(&mut self, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.received.1.capacity());
        self.frames.push_back(waiting);
    }

    /// The oldest frame.
    pub fn first(&self) -> Option<&Received> {
        self.frames.front().map(|waiting| &waiting.received)
    }

    /// Takes the oldest frame out.
    pub fn pop(&mut self) -> Option<Received> {
        self.pop_waiting().map(|waiting| waiting.received)
    }

    /// The same, with what is known of it.
    pub fn pop_waiting(&mut self) -> Option<Waiting> {
        let waiting = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(waiting.received.1.capacity());
        Some(waiting)
    }

    /// Puts a frame in front of the oldest one, even if there is no room.
    pub fn push_front(&mut self, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.received.1.capacity());
        self.frames.push_front(waiting);
    }

    /// Takes all frames out.
    pub fn drain(&mut self) -> impl Iterator<Item = Waiting> + '_ {
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

    #[test]
    fn frames_and_memory_are_limited() {
        for (memory, most) in [(60, MAX_FRAMES), (1 << 16, MAX_BYTES >> 16)] {
            let mut pending = Pending::default();
            while pending.has_room() {
                let mut frame = vec![0; memory];
                frame.truncate(60);
                pending.push(Waiting {
                    received: (NetHdr48::default(), frame.into()),
                    directed: false,
                });
            }
            assert_eq!(pending.len(), most);
            pending.pop();
            assert!(pending.has_room() && pending.first().is_some());
            pending.clear();
            assert_eq!((pending.len(), pending.bytes), (0, 0));
        }
    }
}
