// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames between the wire and a NIC.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Wake;
use crate::ipsec::Frames;
use crate::stats::PortStats;

/// Most frames, and most bytes, that wait in an inbox: more than the TCP receive window of one
/// connection, because a sender that is as fast as memory fills it in one go.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// Most empty buffers that wait for the next sender.
const MAX_EMPTY: usize = 1024;

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Buffers of frames that the NIC is done with. The senders take them, so that in the long run
    /// nothing is allocated.
    empty: Vec<Vec<u8>>,
}

impl Waiting {
    /// Puts a frame in; `false` if it does not fit.
    fn push(&mut self, frame: Vec<u8>) -> bool {
        let fits = self.frames.len() < MAX_FRAMES && self.bytes + frame.len() <= MAX_BYTES;
        if fits {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
        fits
    }
}

/// Frames from the wire, on their way to one NIC. Bounded: what does not fit is dropped and counted.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Arc<Wake>,
    stats: Arc<PortStats>,
}

impl Inbox {
    /// An empty inbox whose owner `wake` wakes.
    pub fn new(wake: Arc<Wake>, stats: Arc<PortStats>) -> Self {
        Self {
            waiting: Mutex::default(),
            wake,
            stats,
        }
    }

    /// Puts all frames in, or drops them, and gives empty buffers in exchange.
    pub fn push(&self, frames: &mut Frames) {
        let mut waiting = self.lock();
        let (bytes, count) = (waiting.bytes, frames.len());
        let taken = frames
            .drain()
            .filter_map(|frame| waiting.push(frame).then_some(()))
            .count();
        self.stats.rx_frames.add(taken as u64);
        self.stats.rx_bytes.add((waiting.bytes - bytes) as u64);
        self.stats.rx_drop_overflow.add((count - taken) as u64);
        for _ in 0..taken {
            let Some(buffer) = waiting.empty.pop() else {
                break;
            };
            frames.recycle(buffer);
        }
        drop(waiting);
        self.wake.wake();
    }

    /// Puts a copy of `frame` in, or drops it.
    pub fn copy(&self, frame: &[u8]) {
        let mut waiting = self.lock();
        let mut buffer = waiting.empty.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        if waiting.push(buffer) {
            self.stats.rx_frames.inc();
            self.stats.rx_bytes.add(frame.len() as u64);
        } else {
            self.stats.rx_drop_overflow.inc();
        }
        drop(waiting);
        self.wake.wake();
    }

    /// Moves up to `count` frames to the end of `to`, and takes the buffers in `done` back.
    pub fn take(&self, count: usize, to: &mut Frames, done: &mut Vec<Vec<u8>>) {
        let mut waiting = self.lock();
        let count = count.min(waiting.frames.len());
        for frame in waiting.frames.drain(..count) {
            to.push(frame);
        }
        let taken: usize = to.iter().rev().take(count).map(Vec::len).sum();
        waiting.bytes = waiting.bytes.saturating_sub(taken);
        let room = MAX_EMPTY.saturating_sub(waiting.empty.len());
        waiting.empty.extend(done.drain(..done.len().min(room)));
        drop(waiting);
        done.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: usize) -> Frames {
        let mut frames = Frames::default();
        (0..count).for_each(|_| frames.push(vec![0; 60]));
        frames
    }

    #[test]
    fn a_full_inbox_counts_what_it_drops() {
        let stats = Arc::new(PortStats::default());
        let inbox = Inbox::new(Arc::default(), stats.clone());
        inbox.push(&mut frames(MAX_FRAMES + 3));
        assert_eq!(stats.rx_frames.get(), MAX_FRAMES as u64);
        assert_eq!(stats.rx_bytes.get(), 60 * MAX_FRAMES as u64);
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        let (mut taken, mut done) = (Frames::default(), Vec::new());
        inbox.take(10, &mut taken, &mut done);
        assert_eq!(taken.len(), 10);
        inbox.copy(&[0; 60]);
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        inbox.take(usize::MAX, &mut taken, &mut done);
        assert_eq!(taken.len(), MAX_FRAMES + 1);
        assert_eq!(inbox.lock().bytes, 0);
        inbox.copy(&[0; MAX_BYTES]);
        inbox.copy(&[0]);
        assert_eq!(stats.rx_drop_overflow.get(), 4);
    }

    #[test]
    fn buffers_go_round() {
        let inbox = Inbox::new(Arc::default(), Arc::default());
        let (mut sent, mut taken, mut done) = (frames(1), Frames::default(), Vec::new());
        let first = sent.iter().next().unwrap().as_ptr();
        inbox.push(&mut sent);
        assert_eq!(sent.spare().capacity(), 0);
        inbox.take(1, &mut taken, &mut done);
        done.extend(taken.drain());
        inbox.take(1, &mut taken, &mut done);
        assert!(taken.is_empty() && done.is_empty());
        // The next sender gets the buffer for its frame.
        let mut other = frames(1);
        inbox.push(&mut other);
        let buffer = other.spare();
        assert_eq!(buffer.as_ptr(), first);
        inbox.take(1, &mut taken, &mut done);
        let second = taken.iter().next().unwrap().as_ptr();
        done.extend(taken.drain());
        inbox.take(1, &mut taken, &mut done);
        inbox.copy(&[1; 40]);
        inbox.take(1, &mut taken, &mut done);
        let copy = taken.iter().next().unwrap();
        assert_eq!((copy.as_ptr(), &copy[..]), (second, &[1; 40][..]));
    }
}
