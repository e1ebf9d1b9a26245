// SPDX-License-Identifier: GPL-2.0

//! The counters of an SA: what the NIC has counted, and what of it the stack knows.

#[cfg(espnic_kunit)]
mod tests;

use espnic_wire::state::SaState;
use kernel_net::net::xfrm::Failures;

/// Numbers that only grow while the NIC has the SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) failures: Failures,
}

impl Numbers {
    fn of(state: &SaState) -> Self {
        Self {
            packets: state.packets.get(),
            bytes: state.bytes.get(),
            failures: Failures {
                auth_fail: state.auth_fail.get(),
                format_fail: state.format_fail.get(),
                replay_drop: state.replay_drop.get(),
                replay_late: state.replay_late.get(),
            },
        }
    }

    /// What has come since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        let (now, then) = (&self.failures, &earlier.failures);
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            failures: Failures {
                auth_fail: now.auth_fail.saturating_sub(then.auth_fail),
                format_fail: now.format_fail.saturating_sub(then.format_fail),
                replay_drop: now.replay_drop.saturating_sub(then.replay_drop),
                replay_late: now.replay_late.saturating_sub(then.replay_late),
            },
        }
    }
}

/// What the NIC has counted for an SA, and what of it the stack knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ipsec) struct Counted {
    latest: Numbers,
    told: Numbers,
}

impl Counted {
    /// The NIC has the SA anew, and counts from zero.
    pub(in crate::ipsec) fn restart(&mut self) {
        *self = Self::default();
    }

    /// The NIC has counted so much.
    pub(super) fn set(&mut self, state: &SaState) {
        self.latest = Numbers::of(state);
    }

    /// The packets and bytes that the stack knows.
    pub(super) fn known(&self) -> (u64, u64) {
        (self.told.packets, self.told.bytes)
    }

    /// What the stack does not know yet; from now on it does.
    pub(super) fn take(&mut self) -> Numbers {
        let news = self.latest.since(&self.told);
        self.told = self.latest;
        news
    }
}
