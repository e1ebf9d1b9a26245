// SPDX-License-Identifier: GPL-2.0

//! Lifetimes of states by packets and bytes, and what is counted for them.
//!
//! C header: [`include/net/xfrm.h`](srctree/include/net/xfrm.h)
//!
//! Under packet offload the stack sees no ESP: it counts nothing, and no limit is ever reached unless the
//! driver says so (X81). Lifetimes by time stay with the stack.

#[cfg(espnic_kunit)]
mod tests;

use super::state::State;
use crate::bindings;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The limits of a state's lifetime; `None` for none (`XFRM_INF`).
///
/// The stack checks them little: a soft limit may be above the hard one, and both may be 0.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::Limits;
///
/// fn is_ordered(limits: &Limits) -> bool {
///     match (limits.soft_packets, limits.hard_packets) {
///         (Some(soft), Some(hard)) => soft < hard,
///         _ => true,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Packets after which key managers are asked for a new state.
    pub soft_packets: Option<u64>,
    /// Packets after which the state ends.
    pub hard_packets: Option<u64>,
    /// Bytes after which key managers are asked for a new state.
    pub soft_bytes: Option<u64>,
    /// Bytes after which the state ends.
    pub hard_bytes: Option<u64>,
}

/// Received packets that were not accepted, by reason.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Failures,
///     State, //
/// };
///
/// fn bad_icv(x: &State, packets: u64) {
///     x.add_failures(&Failures {
///         auth_fail: packets,
///         ..Default::default()
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The ICV was wrong.
    pub auth_fail: u64,
    /// Padding, length or content was wrong.
    pub format_fail: u64,
    /// The number had come before.
    pub replay_drop: u64,
    /// The number was too old for the replay window.
    pub replay_late: u64,
}

/// Adds to a counter of a state.
macro_rules! count {
    ($state:expr, $($field:ident).+, $add:expr) => {{
        let state: &State = $state;
        // SAFETY: By the type invariant of `State` the structure is there, so the field is valid and
        // aligned. Others who count here add as this does. The stack reads and sets counters with plain
        // accesses of whole words, under locks that do not all exclude each other: it counts on these
        // not being torn, and so does this.
        unsafe { Atomic::from_ptr(&raw mut (*state.as_raw()).$($field).+) }.add($add, Relaxed);
    }};
}

impl State {
    /// The limits, all of the same moment: the user may change those of a live state. Takes the state's
    /// lock: not for callbacks that hold it.
    pub fn limits(&self) -> Limits {
        // SAFETY: The structure is there by the type invariant, and writers have the lock.
        let lft = self.locked(|| unsafe { (*self.as_raw()).lft });
        let limit = |number| (number != u64::MAX).then_some(number);
        Limits {
            soft_packets: limit(lft.soft_packet_limit),
            hard_packets: limit(lft.hard_packet_limit),
            soft_bytes: limit(lft.soft_byte_limit),
            hard_bytes: limit(lft.hard_byte_limit),
        }
    }

    /// Adds packets and bytes that the device has processed under the state. The bytes are those that
    /// software would count, ESP without the headers around it. Takes no lock: in any context, by several
    /// at a time.
    ///
    /// Limits that this reaches show at the next [`Self::check_expire`].
    pub fn add_usage(&self, packets: u64, bytes: u64) {
        count!(self, curlft.packets, packets);
        count!(self, curlft.bytes, bytes);
    }

    /// Adds packets that the device has not accepted to the counters of the state and to those of
    /// `/proc/net/xfrm_stat`. Takes no lock: in any context, by several at a time.
    pub fn add_failures(&self, failures: &Failures) {
        // CAST: The counters of a state wrap at 32 bits.
        count!(self, stats.integrity_failed, failures.auth_fail as u32);
        count!(self, stats.replay, failures.replay_drop as u32);
        count!(self, stats.replay_window, failures.replay_late as u32);
        let replayed = failures.replay_drop.wrapping_add(failures.replay_late);
        // SAFETY: The structure is there by the type invariant. The counters are those of a CPU each, and
        // added to in any context. CAST: Supported machines have 64 bits.
        unsafe {
            bindings::xfrm_add_errors(
                self.as_raw(),
                failures.auth_fail as c_ulong,
                failures.format_fail as c_ulong,
                replayed as c_ulong,
            )
        };
    }

    /// Compares what was counted with the limits, as the stack does for each packet that it processes
    /// itself: at a soft limit it notifies the key managers, once; at a hard one it deletes the state a
    /// moment later and notifies them, of the soft limit first if it is the lower one and both are reached. Also
    /// notes the time of the first use, so it is right to call this only for a state that was used.
    ///
    /// True if the state is at its end, by a limit now or for another reason before.
    ///
    /// Calls [`Operations::state_update_stats`](super::Operations::state_update_stats), and takes the
    /// state's lock: not for callbacks that hold it. Does not sleep.
    pub fn check_expire(&self) -> bool {
        self.locked(|| {
            // A state that died must stay dead: the stack's function would have it deleted once more (X81).
            // SAFETY: The structure is there by the type invariant, and writers have the lock. One volatile
            // read as elsewhere.
            let life = unsafe { (&raw const (*self.as_raw()).km.state).read_volatile() };
            if u32::from(life) != bindings::XFRM_STATE_VALID {
                return true;
            }
            // SAFETY: The structure is there, the state is valid and its lock held, with softirqs off.
            unsafe { bindings::xfrm_check_expire(self.as_raw()) != 0 }
        })
    }
}
