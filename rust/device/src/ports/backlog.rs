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
    /// Memory of their buffers.
    bytes: usize,
    /// Buffers of frames that the NIC has finished. The senders take them, so that in the long run nothing
    /// is allocated.
    empty: Spare,
}

impl Waiting {
    /// Moves up to `count` frames to the end of `to`, and returns what that is.
    fn take(&mut self, count: usize, to: &mut Frames) -> Amount {
        let mut taken = Amount::default();
        if count >= self.frames.len() {
            // All of them, without a look at any.
            taken.frames = self.frames.len();
            taken.bytes = std::mem::take(&mut self.bytes);
            to.take_all(&mut self.frames);
            return taken;
        }
        for frame in self.frames.drain(..count) {
            taken.frames += 1;
            taken.bytes += frame.capacity();
            to.push(frame);
        }
        self.bytes = self.bytes.saturating_sub(taken.bytes);
        taken
    }

    /// Takes the buffers of frames back, if there is room in a share of one in `parts`.
    fn keep(&mut self, done: impl Iterator<Item = Frame>, parts: usize) {
        let (count, bytes) = (MAX_EMPTY / parts, MAX_EMPTY_BYTES / parts);
        for buffer in done.filter_map(Option::<Blank>::from) {
            self.empty.keep(buffer, count, bytes);
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
        filling.waiting.bytes += filling.taken.bytes;
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
        let taken = waiting.take(count, to);
        waiting.keep(done.drain(..), self.parts.len());
        drop(waiting);
        if taken.frames > 0 {
            self.total.subtract(taken);
        }
    }

    /// Takes the buffers of frames back, for the senders of a part.
    pub fn give_back(&self, part: u16, done: impl Iterator<Item = Frame>) {
        if let Some(part) = self.parts.get(usize::from(part)) {
            part.lock().keep(done, self.parts.len());
        }
    }

    /// The parts to which frames go.
    fn used(&self) -> u16 {
        let used = self.used.load(Ordering::Relaxed);
        used.clamp(1, self.wakeups.count().max(1))
    }
}

#[cfg(test)]
mod tests;
