// SPDX-License-Identifier: GPL-2.0

//! How far the driver is with getting a NIC back that needs a reset.

#[cfg(espnic_kunit)]
mod tests;

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// When a reset that failed is tried again, in milliseconds: twice as late each time, up to the most.
const FIRST_MS: u32 = 100;
const MOST_MS: u32 = 10_000;

/// How long after so many failures in a row the reset is tried again, in milliseconds.
pub(crate) fn pause_after(failures: u32) -> u32 {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_MS.saturating_mul(1 << doublings).min(MOST_MS)
}

/// Written by the netdev's work, which does not run twice at a time, but for the request.
pub(crate) struct Recovery {
    /// The NIC asked for a reset, or needs one, and it is not in use again.
    wanted: Atomic<bool>,
    /// The driver has found that the NIC needs a reset.
    requested: Atomic<bool>,
    /// How often in a row the reset failed.
    failures: Atomic<u32>,
}

impl Recovery {
    pub(crate) fn new() -> Self {
        Self {
            wanted: Atomic::new(false),
            requested: Atomic::new(false),
            failures: Atomic::new(0),
        }
    }

    /// The driver wants a reset: the netdev's work will see to it.
    pub(crate) fn request(&self) {
        self.requested.store(true, Relaxed);
    }

    /// Whether the driver wants a reset that has not been.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Relaxed)
    }

    /// Whoever wanted it, the NIC has been reset.
    pub(crate) fn reset_done(&self) {
        self.requested.store(false, Relaxed);
    }

    /// Whether a reset is to be tried, whatever the NIC says.
    pub(crate) fn is_due(&self) -> bool {
        self.is_requested() || self.failures() > 0
    }

    /// A reset is tried; true if it is the first attempt.
    pub(crate) fn begin(&self) -> bool {
        !self.wanted.xchg(true, Relaxed)
    }

    /// The NIC is in use again; true if attempts had failed.
    pub(crate) fn end(&self) -> bool {
        self.wanted.store(false, Relaxed);
        self.failures.xchg(0, Relaxed) > 0
    }

    /// An attempt failed; how many have, in a row.
    pub(crate) fn fail(&self) -> u32 {
        let failures = self.failures().saturating_add(1);
        self.failures.store(failures, Relaxed);
        failures
    }

    /// How often in a row the reset failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }
}
