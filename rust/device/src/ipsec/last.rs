// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The last use of an SA.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The last use of an SA.
pub(super) struct Last {
    at: AtomicU64,
    /// The NIC has asked for its deletion.
    asked: AtomicBool,
}

impl Last {
    /// A use at `now`, the SA's creation.
    pub(super) fn new(now: u64) -> Self {
        Self {
            at: AtomicU64::new(now),
            asked: AtomicBool::new(false),
        }
    }

    /// Notes a packet with a right ICV.
    #[inline]
    pub(super) fn set(&self, now: u64) {
        // Most packets of a batch have one SA, and a line that is written is lost to other threads.
        if self.at.load(Ordering::Relaxed) != now {
            self.at.store(now, Ordering::Relaxed);
        }
    }

    /// Copies from `old`, whose SA is replaced, while no packet is in flight.
    pub(super) fn take_over(&self, old: &Self) {
        self.at.store(old.at(), Ordering::Relaxed);
        self.asked.store(old.asked(), Ordering::Relaxed);
    }

    /// Notes that its deletion is asked for; `false` if it was before.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Whether its deletion was asked for.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The time of the last use.
    pub(super) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}
