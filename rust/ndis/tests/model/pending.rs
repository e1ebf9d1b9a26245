// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests that complete later.

use crate::rules;
use espnic_ndis::model::pending::{Done, Kind, Pending, Refusal, Slot};
use espnic_ndis::Status;

/// Collects completions.
fn collect(into: &mut Vec<(u64, Status)>) -> impl FnMut(Done) + '_ {
    |done| into.push((done.request_id, done.status))
}

#[test]
fn a_pended_request_completes_exactly_once() {
    rules(&[34, 83, 84, 42]);
    let mut slots = [Slot::default(); 4];
    let mut pending = Pending::new(&mut slots);
    let ticket = pending.accept(7, Kind::Delete).unwrap();
    assert!(pending.start(ticket));
    for status in [Status::PENDING, Status::INDICATION_REQUIRED] {
        assert_eq!(pending.complete(ticket, status), Err(Refusal::NotFinal));
        assert_eq!(pending.len(), 1);
    }
    // A delete that ran to its end ends with success.
    let done = pending.complete(ticket, Status::SUCCESS).unwrap();
    assert_eq!((done.request_id, done.status), (7, Status::SUCCESS));
    let again = pending.complete(ticket, Status::SUCCESS);
    assert_eq!(again, Err(Refusal::NotPending));
    assert!(pending.is_empty());
    // Its place is used again, but not its ticket.
    let next = pending.accept(7, Kind::Delete).unwrap();
    assert_ne!(next, ticket);
    assert_eq!(
        pending.complete(ticket, Status::SUCCESS),
        Err(Refusal::NotPending)
    );
    assert!(!pending.start(ticket));
}

#[test]
fn a_full_table_refuses_at_once() {
    rules(&[34]);
    let mut slots = [Slot::default(); 2];
    let mut pending = Pending::new(&mut slots);
    let first = pending.accept(1, Kind::Add).unwrap();
    pending.accept(2, Kind::Add).unwrap();
    assert_eq!(pending.accept(3, Kind::Add), Err(Status::RESOURCES));
    pending.complete(first, Status::FAILURE).unwrap();
    assert!(pending.accept(3, Kind::Add).is_ok());
}

#[test]
fn a_cancel_ends_the_requests_with_its_number() {
    rules(&[35, 30]);
    let mut slots = [Slot::default(); 8];
    let mut pending = Pending::new(&mut slots);
    let working = pending.accept(1, Kind::Add).unwrap();
    let waiting = pending.accept(1, Kind::Add).unwrap();
    let other = pending.accept(2, Kind::Add).unwrap();
    assert!(pending.start(working));
    let mut done = Vec::new();
    pending.cancel(1, collect(&mut done));
    // What has not begun ends at once; work under way is told, and ends when it stops.
    assert_eq!(done, [(1, Status::REQUEST_ABORTED)]);
    assert!(pending.is_cancelled(working) && !pending.is_cancelled(other));
    assert!(!pending.start(waiting));
    assert_eq!(
        pending.complete(waiting, Status::SUCCESS),
        Err(Refusal::NotPending)
    );
    let last = pending.complete(working, Status::REQUEST_ABORTED).unwrap();
    assert_eq!(last.status, Status::REQUEST_ABORTED);
    // Work that was finished all the same is no failure.
    let finished = pending.accept(3, Kind::Add).unwrap();
    assert!(pending.start(finished));
    pending.cancel(3, |_| unreachable!());
    assert_eq!(
        pending.complete(finished, Status::SUCCESS).unwrap().status,
        Status::SUCCESS
    );
    // A number that nothing has.
    pending.cancel(99, |_| unreachable!());
    assert_eq!(pending.len(), 1);
}

#[test]
fn a_timeout_cancels_nothing() {
    rules(&[36]);
    let mut slots = [Slot::default(); 2];
    let mut pending = Pending::new(&mut slots);
    let ticket = pending.accept(1, Kind::Update).unwrap();
    assert!(pending.expired(ticket));
    assert!(!pending.is_cancelled(ticket));
    assert!(pending.start(ticket));
    assert!(pending.expired(ticket));
    assert_eq!(
        pending.complete(ticket, Status::SUCCESS).unwrap().status,
        Status::SUCCESS
    );
    assert!(!pending.expired(ticket));
}

#[test]
fn a_reset_aborts_what_is_pending() {
    rules(&[41]);
    let mut slots = [Slot::default(); 8];
    let mut pending = Pending::new(&mut slots);
    let working = pending.accept(1, Kind::Delete).unwrap();
    pending.accept(2, Kind::Add).unwrap();
    pending.accept(3, Kind::Delete).unwrap();
    assert!(pending.start(working));
    let mut done = Vec::new();
    pending.reset(collect(&mut done));
    done.sort_by_key(|done| done.0);
    assert_eq!(
        done,
        [(2, Status::REQUEST_ABORTED), (3, Status::REQUEST_ABORTED)]
    );
    assert!(pending.is_cancelled(working));
    let last = pending.complete(working, Status::REQUEST_ABORTED).unwrap();
    assert_eq!(last.request_id, 1);
    assert!(pending.is_empty());
}

#[test]
fn a_delete_waits_for_the_additions_before_it() {
    rules(&[43]);
    for kind in [Kind::Delete, Kind::Update] {
        let mut slots = [Slot::default(); 8];
        let mut pending = Pending::new(&mut slots);
        let add = pending.accept(1, Kind::Add).unwrap();
        let later = pending.accept(2, kind).unwrap();
        let after = pending.accept(3, Kind::Add).unwrap();
        assert!(!pending.start(later));
        assert!(pending.start(add));
        assert!(!pending.start(later));
        // An addition after it is nothing to wait for, and waits for nobody.
        assert!(pending.start(after));
        pending.complete(add, Status::SUCCESS).unwrap();
        assert!(pending.start(later));
    }
    // An aborted addition holds up nobody either.
    let mut slots = [Slot::default(); 8];
    let mut pending = Pending::new(&mut slots);
    pending.accept(1, Kind::Add).unwrap();
    let delete = pending.accept(2, Kind::Delete).unwrap();
    pending.cancel(1, |_| ());
    assert!(pending.start(delete));
}
