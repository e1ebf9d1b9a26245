// SPDX-License-Identifier: GPL-2.0

//! Recovery state: whether a NIC needs a reset, and how often resets have failed.

#[cfg(espnic_kunit)]
mod tests;

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Delay after a failed reset, in milliseconds: it doubles each time, up to the second number.
const FIRST_MS: u32 = 100;
const MOST_MS: u32 = 10_000;

/// The delay before the next attempt after `failures` in a row, in milliseconds.
pub(crate) fn pause_after(failures: u32) -> u32 {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_MS.saturating_mul(1 << doublings).min(MOST_MS)
}

/// The recovery state. Only the netdev's work writes to it, one at a time; a request may come from
/// anywhere.
pub(crate) struct Recovery {
    /// The NIC asked for a reset, or needs one, and does not work again yet.
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

    /// Requests a reset, which the netdev's work carries out.
    pub(crate) fn request(&self) {
        self.requested.store(true, Relaxed);
    }

    /// Whether the driver has requested a reset that is still to come.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Relaxed)
    }

    /// Clears the request: the NIC has been reset.
    pub(crate) fn reset_done(&self) {
        self.requested.store(false, Relaxed);
    }

    /// Whether a reset is due, even if the NIC does not ask for one.
    pub(crate) fn is_due(&self) -> bool {
        self.is_requested() || self.failures() > 0
    }

    /// Notes that a reset begins; true if it is the first attempt.
    pub(crate) fn begin(&self) -> bool {
        !self.wanted.xchg(true, Relaxed)
    }

    /// Notes that the NIC works again; true if attempts had failed.
    pub(crate) fn end(&self) -> bool {
        self.wanted.store(false, Relaxed);
        self.failures.xchg(0, Relaxed) > 0
    }

    /// Notes that an attempt failed; returns how many have failed in a row.
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
