// SPDX-License-Identifier: GPL-2.0 OR MIT

//! When an SA was used last.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// When an SA was used last.
pub(super) struct Last {
    at: AtomicU64,
    /// Its deletion was asked for.
    asked: AtomicBool,
}

impl Last {
    /// Used now, by its creation.
    pub(super) fn new(now: u64) -> Self {
        Self {
            at: AtomicU64::new(now),
            asked: AtomicBool::new(false),
        }
    }

    /// An authentic packet came.
    #[inline]
    pub(super) fn set(&self, now: u64) {
        // Most packets of a batch have one SA, and a line that is written is lost to other threads.
        if self.at.load(Ordering::Relaxed) != now {
            self.at.store(now, Ordering::Relaxed);
        }
    }

    /// For an SA that replaces the one of `old`, while no packet is in flight.
    pub(super) fn take_over(&self, old: &Self) {
        self.at.store(old.at(), Ordering::Relaxed);
        self.asked.store(old.asked(), Ordering::Relaxed);
    }

    /// Its deletion is asked for; `false` if it was before.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Whether its deletion was asked for.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// When that was.
    pub(super) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}
