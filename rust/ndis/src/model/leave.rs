// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Removal of the NIC: its SAs are removed without a request (R89, R90). Reset and low power: they stay
//! (R41, R144, C30).

use super::adapter::{Adapter, State};
use super::backend::Backend;
use super::pending::{Done, Pending, Places};
use crate::Status;

/// An SA table that can be emptied or held as a whole.
pub trait Whole: Backend {
    /// Removes every bundle and, until [`open`](Self::open), answers additions with `why`. Requests
    /// that were admitted before may still be under way; what they ask for must not come back.
    fn close(&self, why: Status);

    /// Keeps every bundle with its handle, keys and numbers, but lends none to packets and, until
    /// [`open`](Self::open), answers additions, deletions and updates with `why`, also those that
    /// were admitted before.
    fn hold(&self, why: Status);

    /// Takes requests again; what was held is in use again.
    fn open(&self);
}

/// The NIC is about to leave, by surprise or not. Every SA is removed first (R89), with neither
/// SaDeleteReq nor DELETE_SA before it (R90); from now on all requests are NOT_ACCEPTED (R40).
/// Requests without work under way end with `done`.
pub fn remove(
    adapter: &mut Adapter,
    table: &impl Whole,
    pending: &mut Pending<impl Places>,
    done: impl FnMut(Done),
) {
    adapter.set_state(State::Removed);
    pending.reset(done);
    table.close(Status::NOT_ACCEPTED);
}

/// A reset begins: requests end with REQUEST_ABORTED (R41), also those that are under way and find
/// the table held. The SAs stay, but until the end no packet is sent or received under them.
pub fn begin_reset(
    adapter: &mut Adapter,
    table: &impl Whole,
    pending: &mut Pending<impl Places>,
    done: impl FnMut(Done),
) {
    adapter.set_state(State::Resetting);
    pending.reset(done);
    table.hold(Status::REQUEST_ABORTED);
}

/// The reset is over. The miniport has restored all of its configuration, the offloads and their SAs
/// included, and says so with AddressingReset FALSE (R144).
pub fn end_reset(adapter: &mut Adapter, table: &impl Whole) {
    table.open();
    adapter.set_state(State::Running);
}

/// The NIC goes to low power, for instance in standby. Requests without work under way end with
/// `done`, further ones are NOT_ACCEPTED. The SAs stay.
pub fn begin_low_power(
    adapter: &mut Adapter,
    table: &impl Whole,
    pending: &mut Pending<impl Places>,
    done: impl FnMut(Done),
) {
    adapter.set_state(State::LowPower);
    pending.reset(done);
    table.hold(Status::NOT_ACCEPTED);
}

/// The NIC is back in full power, with what it had.
pub fn end_low_power(adapter: &mut Adapter, table: &impl Whole) {
    end_reset(adapter, table);
}
