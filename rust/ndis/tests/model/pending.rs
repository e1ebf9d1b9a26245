// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests that complete later.

use crate::fixture::*;
use crate::rules;
use crate::table::{handle_number, Table};
use espnic_ndis::model::pending::{Done, Kind, Pending, Refusal, Slot, Ticket};
use espnic_ndis::model::Backend as _;
use espnic_ndis::{Oid, Status};
use std::sync::{mpsc, Condvar, Mutex};
use std::thread;

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
fn a_delete_ends_with_one_of_its_own_statuses() {
    rules(&[82, 83]);
    let mut slots = [Slot::default(); 4];
    let mut pending = Pending::new(&mut slots);
    for (status, good) in [
        (Status::SUCCESS, true),
        (Status::NOT_ACCEPTED, true),
        (Status::REQUEST_ABORTED, true),
        (Status::FAILURE, false),
        (Status::RESOURCES, false),
        (Status::NOT_SUPPORTED, false),
        (Status::INVALID_DATA, false),
        (Status::INVALID_PARAMETER, false),
    ] {
        let ticket = pending.accept(1, Kind::Delete).unwrap();
        assert!(pending.start(ticket));
        let done = pending.complete(ticket, status);
        if good {
            assert_eq!(done.unwrap().status, status);
        } else {
            assert_eq!(done, Err(Refusal::NotOfDelete));
            // It is still there to be completed.
            assert!(pending.complete(ticket, Status::SUCCESS).is_ok());
        }
        // The others have more ways to end.
        for kind in [Kind::Add, Kind::Update] {
            let ticket = pending.accept(1, kind).unwrap();
            assert!(pending.complete(ticket, status).is_ok());
        }
    }
    assert!(pending.is_empty());
}

/// A request that was pended, done by a worker of its own. `refused` is called each time that the
/// work may not start yet.
fn work(
    queue: &Queue<'_>,
    ticket: Ticket,
    refused: impl Fn(),
    job: impl FnOnce() -> Status,
) -> Option<Done> {
    let mut pending = queue.pending.lock().unwrap();
    while !pending.start(ticket) {
        // Cancelled before it began: the canceller completes it.
        if !pending.expired(ticket) {
            return None;
        }
        refused();
        pending = queue.changed.wait(pending).unwrap();
    }
    drop(pending);
    let status = job();
    let mut pending = queue.pending.lock().unwrap();
    let done = pending.complete(ticket, status).unwrap();
    assert_eq!(pending.complete(ticket, status), Err(Refusal::NotPending));
    queue.changed.notify_all();
    Some(done)
}

/// The pended requests under a lock, as an adapter keeps them.
struct Queue<'a> {
    pending: Mutex<Pending<&'a mut [Slot]>>,
    changed: Condvar,
}

impl<'a> Queue<'a> {
    fn new(slots: &'a mut [Slot]) -> Self {
        Self {
            pending: Mutex::new(Pending::new(slots)),
            changed: Condvar::new(),
        }
    }

    fn accept(&self, request_id: u64, kind: Kind) -> Ticket {
        self.pending
            .lock()
            .unwrap()
            .accept(request_id, kind)
            .unwrap()
    }
}

#[test]
fn workers_end_a_delete_behind_the_addition_that_it_overtook() {
    rules(&[34, 36, 43]);
    let table = Table::new(8);
    let mut slots = [Slot::default(); 4];
    let queue = Queue::new(&mut slots);
    let at = snapshot(EVERYTHING);
    let (add, delete) = (queue.accept(1, Kind::Add), queue.accept(2, Kind::Delete));
    let (overtaken, wait) = mpsc::channel();
    let done = thread::scope(|scope| {
        let (table, queue, at) = (&table, &queue, &at);
        let deleting = scope.spawn(move || {
            work(
                queue,
                delete,
                || overtaken.send(()).unwrap(),
                || {
                    let mut buffer = delete_sa(&[Some(handle_number(1))]);
                    send(at, table, Oid::DELETE_SA, &mut buffer).status
                },
            )
        });
        // Only when the delete has had to wait does the addition begin. Timeouts that pass
        // meanwhile change nothing.
        wait.recv().unwrap();
        let pending = queue.pending.lock().unwrap();
        assert!(pending.expired(add) && pending.expired(delete));
        drop(pending);
        let added = work(
            queue,
            add,
            || unreachable!(),
            || {
                let (mut buffer, offsets) = add_sa(&[outbound(&[gcm(0x100)])]);
                let status = send(at, table, Oid::ADD_SA, &mut buffer).status;
                assert_eq!(handles(&buffer, &offsets), [Some(handle_number(1))]);
                assert_eq!(table.offloaded(), 1);
                status
            },
        );
        [added, deleting.join().unwrap()].map(Option::unwrap)
    });
    assert_eq!(done.map(|done| done.request_id), [1, 2]);
    assert_eq!(done.map(|done| done.status), [Status::SUCCESS; 2]);
    // The other way round the delete would have found nothing, and the SA would stay for ever.
    assert_eq!(table.removed(), [handle_number(1)]);
    assert_eq!(table.offloaded(), 0);
    assert!(queue.pending.lock().unwrap().is_empty());
}

#[test]
fn workers_stop_for_a_cancel() {
    rules(&[34, 35]);
    let table = Table::new(8);
    let mut slots = [Slot::default(); 4];
    let queue = Queue::new(&mut slots);
    let at = snapshot(EVERYTHING);
    let (add, other) = (queue.accept(1, Kind::Add), queue.accept(1, Kind::Add));
    let (started, wait) = mpsc::channel();
    let (go, stopped) = mpsc::channel();
    let mut aborted = Vec::new();
    let done = thread::scope(|scope| {
        let (table, queue, at) = (&table, &queue, &at);
        let adding = scope.spawn(move || {
            work(
                queue,
                add,
                || unreachable!(),
                || {
                    started.send(()).unwrap();
                    stopped.recv().unwrap();
                    if queue.pending.lock().unwrap().is_cancelled(add) {
                        return Status::REQUEST_ABORTED;
                    }
                    let (mut buffer, _) = add_sa(&[outbound(&[gcm(0x100)])]);
                    send(at, table, Oid::ADD_SA, &mut buffer).status
                },
            )
        });
        wait.recv().unwrap();
        queue
            .pending
            .lock()
            .unwrap()
            .cancel(1, collect(&mut aborted));
        go.send(()).unwrap();
        adding.join().unwrap().unwrap()
    });
    // One ended by the cancel, the other by its worker; neither has added anything.
    assert_eq!(aborted, [(1, Status::REQUEST_ABORTED)]);
    assert_eq!(done.status, Status::REQUEST_ABORTED);
    assert_eq!(work(&queue, other, || (), || unreachable!()), None);
    assert_eq!(table.offloaded(), 0);
    assert!(queue.pending.lock().unwrap().is_empty());
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

#[test]
fn updates_and_deletes_keep_their_order() {
    rules(&[147]);
    for (first, second) in [
        (Kind::Update, Kind::Update),
        (Kind::Update, Kind::Delete),
        (Kind::Delete, Kind::Update),
        (Kind::Delete, Kind::Delete),
    ] {
        let mut slots = [Slot::default(); 8];
        let mut pending = Pending::new(&mut slots);
        let first = pending.accept(1, first).unwrap();
        let second = pending.accept(2, second).unwrap();
        assert!(!pending.start(second));
        assert!(pending.start(first));
        // Also while the first is worked on: both may name one SA.
        assert!(!pending.start(second));
        pending.complete(first, Status::SUCCESS).unwrap();
        assert!(pending.start(second));
    }
}
