// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames between the wire and a NIC.
//!
//! There is a part for each queue pair in use, so that its worker shares nothing with others. The sender
//! chooses it by the frame's flow or SA ([`steer`]): such frames stay in their order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Totals, Wakeups};
use crate::frame::{Blank, Frame, Unfinished};
use crate::frames::Frames;
use crate::net::steer;
use crate::spare::Spare;
use crate::stats::PortStats;
use espnic_esp::ip::Layers;

/// Most frames, and most bytes of memory, that wait in a backlog, in all its parts: more than the TCP receive
/// window of one connection, because a sender at the speed of memory can send the whole window at once.
/// Senders that fill several parts at the same time may exceed it by a batch each.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// Most empty buffers, and most bytes of memory in them, that wait for the next sender. Each part has its share.
const MAX_EMPTY: usize = 1024;
const MAX_EMPTY_BYTES: usize = 16 << 20;
/// The size of a buffer up to which frames of any length may keep it.
const SMALL: usize = 2048;
/// Frames that are given to the parts together.
const CHUNK: usize = 64;

/// A number of frames, and the memory of their buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    frames: usize,
    bytes: usize,
}

/// What is in all parts.
#[derive(Default)]
struct Total {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

impl Total {
    fn get(&self) -> Amount {
        Amount {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn add(&self, amount: Amount) {
        self.frames.fetch_add(amount.frames, Ordering::Relaxed);
        self.bytes.fetch_add(amount.bytes, Ordering::Relaxed);
    }

    fn subtract(&self, amount: Amount) {
        self.frames.fetch_sub(amount.frames, Ordering::Relaxed);
        self.bytes.fetch_sub(amount.bytes, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    /// Buffers of frames that the NIC has finished. The senders take them, so that in the long run nothing
    /// is allocated.
    empty: Spare,
}

impl Waiting {
    /// Takes the buffer of a frame back, if there is room in a share of one in `parts`.
    fn keep(&mut self, frame: Frame, parts: usize) {
        if let Some(buffer) = Option::<Blank>::from(frame) {
            self.empty
                .keep(buffer, MAX_EMPTY / parts, MAX_EMPTY_BYTES / parts);
        }
    }
}

/// The frames for one worker.
// Aligned, so that no two parts share a cache line, or a pair of them that is loaded together.
#[derive(Default)]
#[repr(align(128))]
struct Part(Mutex<Waiting>);

impl Part {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that a sender fills.
struct Filling<'a> {
    waiting: MutexGuard<'a, Waiting>,
    /// What was in all parts.
    before: Amount,
    taken: Amount,
    /// What a wire would have carried of them, and of those that did not fit.
    arrived: Totals,
    lost: Totals,
}

impl Filling<'_> {
    /// Puts a frame in. It is dropped if it does not fit. The memory of its buffer counts, so a small frame
    /// does not keep a large buffer.
    fn push(&mut self, mut frame: Frame) {
        if frame.capacity() > 2 * frame.len().max(SMALL) {
            frame.shrink_to(SMALL);
        }
        let bytes = self.taken.bytes.saturating_add(frame.capacity());
        let fits = self.before.frames + self.taken.frames < MAX_FRAMES
            && self.before.bytes.saturating_add(bytes) <= MAX_BYTES;
        if fits {
            self.taken.frames += 1;
            self.taken.bytes = bytes;
            self.arrived.add(&frame);
            self.waiting.frames.push_back(frame);
        } else {
            self.lost.add(&frame);
        }
    }
}

/// The receive backlog of one NIC. It is bounded: frames that do not fit are dropped and counted.
pub struct RxBacklog {
    parts: Vec<Part>,
    total: Total,
    /// The number of parts that senders fill: one for each queue pair in use.
    used: Arc<AtomicU16>,
    wakeups: Arc<Wakeups>,
    stats: Arc<PortStats>,
    link_changed: AtomicBool,
}

impl RxBacklog {
    /// An empty backlog whose owner `wakeups` wakes; it has a part for each worker, and uses one.
    pub fn new(wakeups: Arc<Wakeups>, stats: Arc<PortStats>) -> Self {
        Self {
            parts: (0..wakeups.count()).map(|_| Part::default()).collect(),
            total: Total::default(),
            used: Arc::new(AtomicU16::new(1)),
            wakeups,
            stats,
            link_changed: AtomicBool::new(false),
        }
    }

    /// Counters of the port.
    pub fn stats(&self) -> &PortStats {
        &self.stats
    }

    /// The number of queue pairs in use, for the NIC to set.
    pub fn active_pairs(&self) -> &Arc<AtomicU16> {
        &self.used
    }

    /// Notes that the port's link has changed, and wakes the NIC, which tells its driver.
    pub fn link_changed(&self) {
        self.link_changed.store(true, Ordering::SeqCst);
        self.wakeups.wake(0);
    }

    /// Whether the link has changed since the last call.
    pub fn take_link_change(&self) -> bool {
        self.link_changed.load(Ordering::SeqCst) && self.link_changed.swap(false, Ordering::SeqCst)
    }

    /// Puts all frames in, or drops them, and gives empty buffers in exchange.
    pub fn push(&self, frames: &mut Frames) {
        let used = self.used();
        let mut places = [0; CHUNK];
        for start in (0..frames.len()).step_by(CHUNK) {
            let chunk = frames.iter().skip(start);
            let count = places
                .iter_mut()
                .zip(chunk)
                .map(|(place, frame)| *place = steer::place(frame, used))
                .count();
            self.push_chunk(frames, start, places.get(..count).unwrap_or_default());
        }
        frames.truncate(0);
    }

    /// Puts the frames from `start` on into the parts `places`.
    fn push_chunk(&self, frames: &mut Frames, start: usize, places: &[u16]) {
        for (index, part) in (0..).zip(&self.parts) {
            if !places.contains(&index) {
                continue;
            }
            self.fill(index, part, |filling| {
                for (at, _) in (start..).zip(places).filter(|(_, place)| **place == index) {
                    let Some(frame) = frames.get_mut(at) else {
                        return;
                    };
                    let len = frame.len();
                    filling.push(std::mem::take(frame));
                    if let Some(buffer) = filling.waiting.empty.pop(len) {
                        frames.recycle(buffer);
                    }
                }
            });
        }
    }

    /// Puts a copy of a frame in, or drops it.
    pub fn copy(&self, frame: &Frame) {
        self.copy_bytes(frame, *frame.layers(), frame.unfinished());
    }

    /// Puts a copy of a frame with these headers in, or drops it. Its sender has left so much to do.
    pub fn copy_bytes(&self, frame: &[u8], layers: Layers, left: Option<&Unfinished>) {
        let index = steer::place_of(frame, &layers, self.used());
        let Some(part) = self.parts.get(usize::from(index)) else {
            return;
        };
        self.fill(index, part, |filling| {
            let mut buffer = filling.waiting.empty.pop(frame.len()).unwrap_or_default();
            buffer.fill(frame);
            let mut frame = Frame::with_layers(buffer, layers);
            frame.leave(left.copied());
            filling.push(frame);
        });
    }

    /// Lets `action` put frames into a part, counts them and wakes its worker.
    fn fill(&self, index: u16, part: &Part, action: impl FnOnce(&mut Filling<'_>)) {
        let mut filling = Filling {
            waiting: part.lock(),
            before: self.total.get(),
            taken: Amount::default(),
            arrived: Totals::default(),
            lost: Totals::default(),
        };
        action(&mut filling);
        self.total.add(filling.taken);
        self.stats.rx_frames.add(filling.arrived.frames as u64);
        self.stats.rx_bytes.add(filling.arrived.bytes as u64);
        if filling.lost.frames > 0 {
            self.stats.rx_drop_overflow.add(filling.lost.frames as u64);
        }
        drop(filling);
        self.wakeups.wake(index);
    }

    /// Moves up to `count` frames of a part to the end of `to`, and takes the buffers of those in `done` back.
    pub fn take(&self, part: u16, count: usize, to: &mut Frames, done: &mut Vec<Frame>) {
        let Some(part) = self.parts.get(usize::from(part)) else {
            return;
        };
        let mut waiting = part.lock();
        let count = count.min(waiting.frames.len());
        let mut taken = Amount::default();
        for frame in waiting.frames.drain(..count) {
            taken.frames += 1;
            taken.bytes += frame.capacity();
            to.push(frame);
        }
        done.drain(..)
            .for_each(|frame| waiting.keep(frame, self.parts.len()));
        drop(waiting);
        if taken.frames > 0 {
            self.total.subtract(taken);
        }
    }

    /// The parts to which frames go.
    fn used(&self) -> u16 {
        let used = self.used.load(Ordering::Relaxed);
        used.clamp(1, self.wakeups.count().max(1))
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
        backlog.take(0, 10, &mut taken, &mut done);
        assert_eq!(taken.len(), 10);
        backlog.copy(&vec![0; 60].into());
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        backlog.take(0, usize::MAX, &mut taken, &mut done);
        assert_eq!(taken.len(), MAX_FRAMES + 1);
        assert_eq!(backlog.total.get(), Amount::default());
        backlog.copy(&vec![0; MAX_BYTES].into());
        backlog.copy(&vec![0].into());
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
        let waiting = backlog.parts[0].lock();
        let memory: usize = waiting.frames.iter().map(Frame::capacity).sum();
        assert_eq!(memory, backlog.total.get().bytes);
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
        (0..kept + 5).for_each(|_| done.push(large().into()));
        backlog.take(0, usize::MAX, &mut taken, &mut done);
        let waiting = backlog.parts[0].lock();
        assert_eq!(backlog.total.get(), Amount::default());
        assert_eq!(waiting.empty.count(), kept);
        assert_eq!((waiting.empty.bytes(), done.len()), (MAX_EMPTY_BYTES, 0));
    }

    #[test]
    fn buffers_go_round() {
        let backlog = RxBacklog::new(Arc::default(), Arc::default());
        let (mut sent, mut taken, mut done) = (frames(1), Frames::default(), Vec::new());
        let first = sent.iter().next().unwrap().as_ptr();
        backlog.push(&mut sent);
        assert_eq!(sent.buffer(0).capacity(), 0);
        backlog.take(0, 1, &mut taken, &mut done);
        done.extend(taken.drain());
        backlog.take(0, 1, &mut taken, &mut done);
        assert!(taken.is_empty() && done.is_empty());
        // The next sender gets the buffer for its frame.
        let mut other = frames(1);
        backlog.push(&mut other);
        let buffer = other.buffer(0);
        assert_eq!(buffer.as_ptr(), first);
        backlog.take(0, 1, &mut taken, &mut done);
        let second = taken.iter().next().unwrap().as_ptr();
        done.extend(taken.drain());
        backlog.take(0, 1, &mut taken, &mut done);
        backlog.copy(&vec![1; 40].into());
        backlog.take(0, 1, &mut taken, &mut done);
        let copy = taken.iter().next().unwrap();
        assert_eq!((copy.as_ptr(), &copy[..]), (second, &[1; 40][..]));
    }

    /// A packet of ESP for this SPI.
    fn esp(spi: u8, number: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 50, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 1, spi, 0, 0, 0, number]);
        frame.resize(74, 0);
        frame
    }

    fn with_parts(count: u16) -> RxBacklog {
        let backlog = RxBacklog::new(Arc::new(Wakeups::new(count)), Arc::default());
        backlog.active_pairs().store(count, Ordering::Relaxed);
        backlog
    }

    #[test]
    fn packets_of_an_sa_stay_in_one_part_in_their_order() {
        let backlog = with_parts(4);
        let mut sent = Frames::default();
        for number in 0..100 {
            (0..32).for_each(|spi| sent.push(esp(spi, number)));
        }
        backlog.push(&mut sent);
        let frame = Frame::from(esp(0, 100));
        backlog.copy(&frame);
        let (mut seen, mut done) = ([0; 32], Vec::new());
        for part in 0..4 {
            let mut taken = Frames::default();
            backlog.take(part, usize::MAX, &mut taken, &mut done);
            assert!(taken.len() > 100);
            for frame in taken.drain() {
                assert_eq!(steer::place(&frame, 4), part);
                let (spi, number) = (usize::from(frame[37]), frame[41]);
                assert_eq!(number, seen[spi]);
                seen[spi] += 1;
                done.push(frame);
            }
        }
        assert_eq!((seen[0], &seen[1..]), (101, &[100; 31][..]));
        assert_eq!(backlog.total.get(), Amount::default());
    }

    #[test]
    fn all_parts_have_one_limit() {
        let backlog = with_parts(8);
        let mut sent = Frames::default();
        for number in 0..MAX_FRAMES + 8 * CHUNK {
            sent.push(esp(number as u8, 0));
        }
        backlog.push(&mut sent);
        let counts = (
            backlog.stats.rx_frames.get(),
            backlog.stats.rx_drop_overflow.get(),
        );
        assert_eq!(counts, (MAX_FRAMES as u64, 8 * CHUNK as u64));
        // Buffers that come back, too.
        let mut done = Vec::new();
        for part in 0..8 {
            (0..MAX_EMPTY).for_each(|_| done.push(vec![0; 60].into()));
            backlog.take(part, 0, &mut Frames::default(), &mut done);
        }
        let kept = backlog.parts.iter().map(|part| part.lock().empty.count());
        assert_eq!(kept.sum::<usize>(), MAX_EMPTY);
    }

    #[test]
    fn a_part_that_is_no_longer_used_can_still_be_emptied() {
        let backlog = with_parts(2);
        let in_second = (0..)
            .find(|&spi| steer::place(&esp(spi, 0).into(), 2) == 1)
            .unwrap();
        let mut sent = Frames::default();
        sent.push(esp(in_second, 0));
        backlog.push(&mut sent);
        for wrong in [0, 1, 9] {
            // More than there are workers is as many.
            backlog.active_pairs().store(wrong, Ordering::Relaxed);
            sent.push(esp(in_second, 1));
            backlog.push(&mut sent);
        }
        let mut taken = Frames::default();
        backlog.take(1, usize::MAX, &mut taken, &mut Vec::new());
        assert_eq!(taken.len(), 2);
        backlog.take(0, usize::MAX, &mut taken, &mut Vec::new());
        assert_eq!(taken.len(), 4);
    }
}
