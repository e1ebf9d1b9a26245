// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reset, halt and removal of the NIC: its SAs go without anybody's asking (R41, R89, R90, C30).

use super::adapter::{Adapter, State};
use super::backend::Backend;
use super::pending::{Done, Pending};

/// An SA table that can be emptied as a whole.
pub trait Empty: Backend {
    /// Removes every bundle and, until [`open`](Self::open), answers additions with
    /// [`Status::NOT_ACCEPTED`](crate::Status::NOT_ACCEPTED). Requests that were admitted before
    /// may still be under way.
    fn close(&self);

    /// Takes additions again.
    fn open(&self);
}

/// The NIC is about to leave, by surprise or not. Every SA is removed first (R89), with neither
/// SaDeleteReq nor DELETE_SA before it (R90); from now on all requests are NOT_ACCEPTED (R40).
/// Requests without work under way end with `done`.
pub fn remove(
    adapter: &mut Adapter,
    table: &impl Empty,
    pending: &mut Pending<'_>,
    done: impl FnMut(Done),
) {
    adapter.set_state(State::Removed);
    pending.reset(done);
    table.close();
}

/// A reset begins: requests end with REQUEST_ABORTED (R41), and the SAs are dropped, so that sends
/// with their handles fail from now on (C30).
pub fn begin_reset(
    adapter: &mut Adapter,
    table: &impl Empty,
    pending: &mut Pending<'_>,
    done: impl FnMut(Done),
) {
    adapter.set_state(State::Resetting);
    pending.reset(done);
    table.close();
}

/// The reset is over. The transport adds its SAs again.
pub fn end_reset(adapter: &mut Adapter, table: &impl Empty) {
    table.open();
    adapter.set_state(State::Running);
}
