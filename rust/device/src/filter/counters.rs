// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The statistics of the flow filter.

use crate::stats::counters;

counters! {
    /// What became of packets that met a rule. Names are stable: tests and people read them.
    pub struct Stats {
        /// Dropped by a rule.
        drop: "filter_drop",
        /// Sent to the receive queue that a rule names.
        queue: "filter_queue",
        /// Dropped because the queue that a rule names is not in use.
        drop_queue: "filter_drop_queue",
        /// Sent to IPsec by a rule; whether there was an SA says IPsec.
        ipsec: "filter_ipsec",
        /// Came through the filter again, decrypted.
        again: "filter_again",
    }
}
