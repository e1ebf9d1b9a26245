// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames between the wire and a NIC.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Wakeup;
use crate::frame::Frame;
use crate::frames::Frames;
use crate::stats::PortStats;
use espnic_esp::ip::Layers;

/// Most frames, and most bytes of memory, that wait in a backlog: more than the TCP receive window of one
/// connection, because a sender at the speed of memory can send the whole window at once.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// Most empty buffers, and most bytes of memory in them, that wait for the next sender.
const MAX_EMPTY: usize = 1024;
const MAX_EMPTY_BYTES: usize = 16 << 20;
/// The size of a buffer up to which frames of any length may keep it.
const SMALL: usize = 2048;

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    /// Memory of all buffers in `frames`.
    bytes: usize,
    /// Buffers of frames that the NIC has finished. The senders take them, so that in the long run nothing
    /// is allocated.
    empty: Vec<Vec<u8>>,
    /// Memory of all buffers in `empty`.
    empty_bytes: usize,
}

impl Waiting {
    /// Puts a frame in; `false` if it does not fit. The memory of its buffer counts, so a small frame does
    /// not keep a large buffer.
    fn push(&mut self, mut frame: Frame) -> bool {
        if frame.capacity() > 2 * frame.len().max(SMALL) {
            frame.shrink_to(SMALL);
        }
        let bytes = self.bytes.saturating_add(frame.capacity());
        let fits = self.frames.len() < MAX_FRAMES && bytes <= MAX_BYTES;
        if fits {
            self.bytes = bytes;
            self.frames.push_back(frame);
        }
        fits
    }

    /// Takes a buffer back, if there is room.
    fn keep(&mut self, buffer: Vec<u8>) {
        let bytes = self.empty_bytes.saturating_add(buffer.capacity());
        if self.empty.len() < MAX_EMPTY && bytes <= MAX_EMPTY_BYTES {
            self.empty_bytes = bytes;
            self.empty.push(buffer);
        }
    }

    /// A buffer with whatever is in it.
    fn pop_empty(&mut self) -> Option<Vec<u8>> {
        let buffer = self.empty.pop()?;
        self.empty_bytes = self.empty_bytes.saturating_sub(buffer.capacity());
        Some(buffer)
    }
}

/// The receive backlog of one NIC. It is bounded: frames that do not fit are dropped and counted.
pub struct RxBacklog {
    waiting: Mutex<Waiting>,
    wakeup: Arc<Wakeup>,
    stats: Arc<PortStats>,
    link_changed: AtomicBool,
}

impl RxBacklog {
    /// An empty backlog whose owner `wakeup` wakes.
    pub fn new(wakeup: Arc<Wakeup>, stats: Arc<PortStats>) -> Self {
        Self {
            waiting: Mutex::default(),
            wakeup,
            stats,
            link_changed: AtomicBool::new(false),
        }
    }

    /// Counters of the port.
    pub fn stats(&self) -> &PortStats {
        &self.stats
    }

    /// Notes that the port's link has changed, and wakes the NIC, which tells its driver.
    pub fn link_changed(&self) {
        self.link_changed.store(true, Ordering::SeqCst);
        self.wakeup.wake();
    }

    /// Whether the link has changed since the last call.
    pub fn take_link_change(&self) -> bool {
        self.link_changed.load(Ordering::SeqCst) && self.link_changed.swap(false, Ordering::SeqCst)
    }

    /// Puts all frames in, or drops them, and gives empty buffers in exchange.
    pub fn push(&self, frames: &mut Frames) {
        let mut waiting = self.lock();
        let (mut taken, mut bytes, mut lost) = (0, 0, 0);
        for frame in frames.drain() {
            let len = frame.len();
            match waiting.push(frame) {
                true => (taken, bytes) = (taken + 1, bytes + len),
                false => lost += 1,
            }
        }
        self.stats.rx_frames.add(taken);
        self.stats.rx_bytes.add(bytes as u64);
        self.stats.rx_drop_overflow.add(lost);
        for _ in 0..taken {
            let Some(buffer) = waiting.pop_empty() else {
                break;
            };
            frames.recycle(buffer);
        }
        drop(waiting);
        self.wakeup.wake();
    }

    /// Puts a copy of a frame with these headers in, or drops it.
    pub fn copy(&self, frame: &[u8], layers: Layers) {
        let mut waiting = self.lock();
        let mut buffer = waiting.pop_empty().unwrap_or_default();
        buffer.clear();
        buffer.reserve_exact(frame.len());
        buffer.extend_from_slice(frame);
        if waiting.push(Frame::with_layers(buffer, layers)) {
            self.stats.rx_frames.inc();
            self.stats.rx_bytes.add(frame.len() as u64);
        } else {
            self.stats.rx_drop_overflow.inc();
        }
        drop(waiting);
        self.wakeup.wake();
    }

    /// Moves up to `count` frames to the end of `to`, and takes the buffers in `done` back.
    pub fn take(&self, count: usize, to: &mut Frames, done: &mut Vec<Vec<u8>>) {
        let mut waiting = self.lock();
        let count = count.min(waiting.frames.len());
        for frame in waiting.frames.drain(..count) {
            to.push(frame);
        }
        let taken: usize = to.iter().rev().take(count).map(Frame::capacity).sum();
        waiting.bytes = waiting.bytes.saturating_sub(taken);
        done.drain(..).for_each(|buffer| waiting.keep(buffer));
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
    fn a_full_backlog_counts_what_it_drops() {
        let stats = Arc::new(PortStats::default());
        let backlog = RxBacklog::new(Arc::default(), stats.clone());
        backlog.push(&mut frames(MAX_FRAMES + 3));
        assert_eq!(stats.rx_frames.get(), MAX_FRAMES as u64);
        assert_eq!(stats.rx_bytes.get(), 60 * MAX_FRAMES as u64);
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        let (mut taken, mut done) = (Frames::default(), Vec::new());
        backlog.take(10, &mut taken, &mut done);
        assert_eq!(taken.len(), 10);
        backlog.copy(&[0; 60], Layers::default());
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        backlog.take(usize::MAX, &mut taken, &mut done);
        assert_eq!(taken.len(), MAX_FRAMES + 1);
        assert_eq!(backlog.lock().bytes, 0);
        backlog.copy(&[0; MAX_BYTES], Layers::default());
        backlog.copy(&[0], Layers::default());
        assert_eq!(stats.rx_drop_overflow.get(), 4);
    }

    #[test]
    fn small_frames_do_not_keep_large_buffers() {
        let stats = Arc::new(PortStats::default());
        let backlog = RxBacklog::new(Arc::default(), stats.clone());
        let mut sent = Frames::default();
        for _ in 0..MAX_FRAMES {
            let mut frame = vec![0; 1 << 16];
            frame.truncate(60);
            sent.push(frame);
        }
        backlog.push(&mut sent);
        assert_eq!(stats.rx_frames.get(), MAX_FRAMES as u64);
        assert_eq!(stats.rx_bytes.get(), 60 * MAX_FRAMES as u64);
        let waiting = backlog.lock();
        let memory: usize = waiting.frames.iter().map(Frame::capacity).sum();
        assert_eq!(memory, waiting.bytes);
        assert!(memory <= MAX_FRAMES * SMALL);
    }

    #[test]
    fn memory_counts_and_not_what_is_in_it() {
        let stats = Arc::new(PortStats::default());
        let backlog = RxBacklog::new(Arc::default(), stats.clone());
        let (mut taken, mut done) = (Frames::default(), Vec::new());
        let large = || {
            let mut frame = vec![0; 1 << 16];
            frame.truncate(1 << 15);
            frame
        };
        let (fit, kept) = (MAX_BYTES >> 16, MAX_EMPTY_BYTES >> 16);
        let mut sent = Frames::default();
        (0..fit + 5).for_each(|_| sent.push(large()));
        backlog.push(&mut sent);
        let counts = (stats.rx_frames.get(), stats.rx_drop_overflow.get());
        assert_eq!(counts, (fit as u64, 5));
        (0..kept + 5).for_each(|_| done.push(large()));
        backlog.take(usize::MAX, &mut taken, &mut done);
        let waiting = backlog.lock();
        assert_eq!((waiting.bytes, waiting.empty.len()), (0, kept));
        assert_eq!((waiting.empty_bytes, done.len()), (MAX_EMPTY_BYTES, 0));
    }

    #[test]
    fn buffers_go_round() {
        let backlog = RxBacklog::new(Arc::default(), Arc::default());
        let (mut sent, mut taken, mut done) = (frames(1), Frames::default(), Vec::new());
        let first = sent.iter().next().unwrap().as_ptr();
        backlog.push(&mut sent);
        assert_eq!(sent.buffer(0).capacity(), 0);
        backlog.take(1, &mut taken, &mut done);
        done.extend(taken.drain().map(Vec::from));
        backlog.take(1, &mut taken, &mut done);
        assert!(taken.is_empty() && done.is_empty());
        // The next sender gets the buffer for its frame.
        let mut other = frames(1);
        backlog.push(&mut other);
        let buffer = other.buffer(0);
        assert_eq!(buffer.as_ptr(), first);
        backlog.take(1, &mut taken, &mut done);
        let second = taken.iter().next().unwrap().as_ptr();
        done.extend(taken.drain().map(Vec::from));
        backlog.take(1, &mut taken, &mut done);
        backlog.copy(&[1; 40], Layers::default());
        backlog.take(1, &mut taken, &mut done);
        let copy = taken.iter().next().unwrap();
        assert_eq!((copy.as_ptr(), &copy[..]), (second, &[1; 40][..]));
    }
}
