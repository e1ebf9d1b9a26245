// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reset, halt and removal of the NIC: its SAs go without anybody's asking (R41, R89, R90, C30).

use super::adapter::{Adapter, State};
use super::backend::Backend;
use super::pending::{Done, Pending};
use crate::Status;

/// An SA table that can be emptied as a whole.
pub trait Empty: Backend {
    /// Removes every bundle and, until [`open`](Self::open), answers additions with `why`. Requests
    /// that were admitted before may still be under way; what they ask for must not come back.
    fn close(&self, why: Status);

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
    table.close(Status::NOT_ACCEPTED);
}

/// A reset begins: requests end with REQUEST_ABORTED (R41), also those that are under way and find
/// the table closed; the SAs are dropped, so that sends with their handles fail from now on (C30).
pub fn begin_reset(
    adapter: &mut Adapter,
    table: &impl Empty,
    pending: &mut Pending<'_>,
    done: impl FnMut(Done),
) {
    adapter.set_state(State::Resetting);
    pending.reset(done);
    table.close(Status::REQUEST_ABORTED);
}

/// The reset is over. The transport adds its SAs again.
pub fn end_reset(adapter: &mut Adapter, table: &impl Empty) {
    table.open();
    adapter.set_state(State::Running);
}
