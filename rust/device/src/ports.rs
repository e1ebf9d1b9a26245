// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wire side of a NIC: ports, the inbox that frames from the wire wait in, and the capture.

pub mod capture;
pub mod tap;
pub mod wire;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use crate::fault::{Direction, Faults};
use crate::stats::PortStats;
use capture::Capture;

/// Most frames, and most bytes, that wait in an inbox.
const INBOX_FRAMES: usize = 1024;
const INBOX_BYTES: usize = 8 << 20;

/// Wakes a worker that sleeps, and costs next to nothing while it works.
pub struct Wake {
    event: EventFd,
    asleep: AtomicBool,
}

impl Wake {
    /// A new one; fails if the process has no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            event: EventFd::new(0)?,
            asleep: AtomicBool::new(true),
        })
    }

    /// There is work.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            if let Err(error) = self.event.write(1) {
                log::error!("cannot wake a worker: {error}");
            }
        }
    }

    /// The worker announces that it is about to sleep; it looks for work once more, then calls
    /// [`Self::sleep`].
    pub fn prepare(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Sleeps until somebody woke the worker since the last [`Self::prepare`].
    pub fn sleep(&self) {
        if let Err(error) = self.event.read() {
            log::error!("cannot sleep: {error}");
            std::thread::yield_now();
        }
    }

    /// Work was found after [`Self::prepare`].
    pub fn cancel(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
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

    /// Puts a frame in, or drops it.
    pub fn push(&self, frame: Vec<u8>) {
        let mut waiting = lock(&self.waiting);
        if waiting.frames.len() >= INBOX_FRAMES || waiting.bytes + frame.len() > INBOX_BYTES {
            self.stats.rx_drop_overflow.inc();
            return;
        }
        self.stats.rx_frames.inc();
        self.stats.rx_bytes.add(frame.len() as u64);
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        drop(waiting);
        self.wake.wake();
    }

    /// Moves up to `count` frames to the end of `to`.
    pub fn take(&self, count: usize, to: &mut VecDeque<Vec<u8>>) {
        let mut waiting = lock(&self.waiting);
        let count = count.min(waiting.frames.len());
        let taken: usize = waiting.frames.iter().take(count).map(Vec::len).sum();
        waiting.bytes = waiting.bytes.saturating_sub(taken);
        to.extend(waiting.frames.drain(..count));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a NIC's frames go.
pub trait Port: Send + Sync {
    /// Sends a frame; `false` if the port could not take it. Does not block.
    fn send(&self, frame: Vec<u8>) -> bool;
    /// Whether anything is connected.
    fn link_up(&self) -> bool;
}

/// A port to nowhere: no link.
pub struct Unplugged;

impl Port for Unplugged {
    fn send(&self, _frame: Vec<u8>) -> bool {
        false
    }

    fn link_up(&self) -> bool {
        false
    }
}

/// A port with what lies between it and its NIC: counters, faults, capture.
pub struct Attachment {
    port: Box<dyn Port>,
    capture: Option<(Arc<Capture>, u32)>,
    /// Counters of the wire side.
    pub stats: Arc<PortStats>,
    /// Damage to come.
    pub faults: Faults,
}

impl Attachment {
    /// `capture` comes with the number of this NIC's interface in it.
    pub fn new(
        port: Box<dyn Port>,
        capture: Option<(Arc<Capture>, u32)>,
        stats: Arc<PortStats>,
    ) -> Self {
        Self {
            port,
            capture,
            stats,
            faults: Faults::default(),
        }
    }

    /// Whether the NIC has link.
    pub fn link_up(&self) -> bool {
        self.port.link_up()
    }

    /// Sends a frame of this NIC to the wire. The capture shows it as it goes out, damage included.
    pub fn send(&self, mut frame: Vec<u8>) {
        if !self.port.link_up() {
            self.stats.tx_drop_no_link.inc();
            return;
        }
        if self.faults.apply(Direction::Tx, &mut frame) {
            self.stats.tx_faults.inc();
        }
        if let Some((capture, interface)) = &self.capture {
            capture.write(*interface, &frame);
        }
        let len = frame.len() as u64;
        if self.port.send(frame) {
            self.stats.tx_frames.inc();
            self.stats.tx_bytes.add(len);
        } else {
            self.stats.tx_drop_port.inc();
        }
    }

    /// A frame has arrived from the wire and is about to be looked at.
    pub fn received(&self, frame: &mut [u8]) {
        if self.faults.apply(Direction::Rx, frame) {
            self.stats.rx_faults.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_counts_what_it_drops() {
        let stats = Arc::new(PortStats::default());
        let inbox = Inbox::new(Arc::new(Wake::new().unwrap()), stats.clone());
        for _ in 0..INBOX_FRAMES + 3 {
            inbox.push(vec![0; 60]);
        }
        assert_eq!(stats.rx_frames.get(), INBOX_FRAMES as u64);
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        let mut frames = VecDeque::new();
        inbox.take(10, &mut frames);
        assert_eq!(frames.len(), 10);
        inbox.push(vec![0; 60]);
        assert_eq!(stats.rx_drop_overflow.get(), 3);
        inbox.take(usize::MAX, &mut frames);
        assert_eq!(frames.len(), INBOX_FRAMES + 1);
        assert_eq!(lock(&inbox.waiting).bytes, 0);
    }

    #[test]
    fn waking_before_sleep_is_not_lost() {
        let wake = Wake::new().unwrap();
        wake.prepare();
        wake.wake();
        wake.wake();
        wake.sleep();
    }

    #[test]
    fn no_link_no_frames() {
        let stats = Arc::new(PortStats::default());
        let attachment = Attachment::new(Box::new(Unplugged), None, stats.clone());
        attachment.send(vec![0; 60]);
        assert!(!attachment.link_up());
        assert_eq!((stats.tx_drop_no_link.get(), stats.tx_frames.get()), (1, 0));
    }
}
