// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several requests at the same time.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::encapsulation::{Set, IEEE_802_3};
use espnic_ndis::model::direct::request;
use espnic_ndis::model::{
    Backend, Bundle, Capabilities, Completion, Lookup, RemoveError, Snapshot, UpdateError,
};
use espnic_ndis::sa::{build, Operation, Spi};
use espnic_ndis::{Handle, Oid, Status};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;
use zerocopy::IntoBytes as _;

const THREADS: u32 = 8;
const ROUNDS: u32 = 200;

#[test]
fn requests_are_not_serialised() {
    rules(&[31, 73]);
    let table = Table::new(1 << 20);
    let many = Capabilities {
        capacity: 1 << 20,
        ..EVERYTHING
    };
    // The configuration changes all the while, on the normal path and under a lock of its own.
    let adapter = Mutex::new(adapter(many));
    let seen = Mutex::new(BTreeSet::new());
    let start = Barrier::new(THREADS as usize + 1);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, adapter, seen, start) = (&table, &adapter, &seen, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..ROUNDS {
                    let at = adapter.lock().unwrap().snapshot();
                    let handle = life(&at, table, (thread << 16) | (round << 1) | 1);
                    assert!(seen.lock().unwrap().insert(handle), "a handle came twice");
                }
            });
        }
        start.wait();
        for _ in 0..ROUNDS {
            let mut adapter = adapter.lock().unwrap();
            let effects = adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
            assert_eq!(effects.completion.status, Status::SUCCESS);
        }
    });
    assert_eq!(table.offloaded(), 0);
    assert_eq!(seen.lock().unwrap().len(), (THREADS * ROUNDS) as usize);
}

/// A table whose additions happen together with something else.
struct Meeting<'a, F> {
    table: &'a Table,
    /// What happens inside of an addition.
    inside: F,
    calls: AtomicU32,
}

impl<'a, F> Meeting<'a, F> {
    fn new(table: &'a Table, inside: F) -> Self {
        Self {
            table,
            inside,
            calls: AtomicU32::new(0),
        }
    }
}

impl<F: Fn() -> Result<(), Status>> Backend for Meeting<'_, F> {
    fn add(&self, bundle: &Bundle<'_>) -> Result<Handle, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.inside)()?;
        self.table.add(bundle)
    }

    fn remove(&self, handle: Handle) -> Result<(), RemoveError> {
        self.table.remove(handle)
    }

    fn update(
        &self,
        handle: Handle,
        operation: Operation,
        spi: Spi,
        high: u32,
    ) -> Result<(), UpdateError> {
        self.table.update(handle, operation, spi, high)
    }

    fn offloaded(&self) -> u32 {
        self.table.offloaded()
    }
}

/// Sends an ADD_SA of these SPIs.
fn add_spis(at: &Snapshot, backend: &impl Backend, spis: &[u32]) -> Completion {
    let sas: Vec<_> = spis.iter().map(|&spi| [gcm(spi)]).collect();
    let bundles: Vec<_> = sas.iter().map(|sa| outbound(sa)).collect();
    let (mut buffer, _) = add_sa(&bundles);
    request(at, backend, &set(Oid::ADD_SA), &mut buffer)
}

#[test]
fn two_requests_are_inside_at_once() {
    rules(&[31]);
    let table = Table::new(8);
    let at = snapshot(EVERYTHING);
    let (arrived, all_here) = (Mutex::new(0), Condvar::new());
    // Each addition waits for the other one, but not for ever.
    let backend = Meeting::new(&table, || {
        let mut here = arrived.lock().unwrap();
        *here += 1;
        all_here.notify_all();
        let patience = Duration::from_secs(60);
        let wait = all_here.wait_timeout_while(here, patience, |here| *here < 2);
        if wait.unwrap().1.timed_out() {
            return Err(Status::FAILURE);
        }
        Ok(())
    });
    thread::scope(|scope| {
        for spi in [0x100, 0x101] {
            let (at, backend) = (&at, &backend);
            scope.spawn(move || {
                let done = add_spis(at, backend, &[spi]);
                assert_eq!(
                    done.status,
                    Status::SUCCESS,
                    "the other request did not come"
                );
            });
        }
    });
    assert_eq!(table.offloaded(), 2);
}

#[test]
fn a_set_on_the_normal_path_comes_in_the_middle() {
    rules(&[31]);
    let table = Table::new(8);
    let adapter = Mutex::new(adapter(EVERYTHING));
    let at = adapter.lock().unwrap().snapshot();
    let backend = Meeting::new(&table, || {
        let mut adapter = adapter.try_lock().map_err(|_| Status::FAILURE)?;
        let effects = adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::OFF, IEEE_802_3));
        assert!(!adapter.snapshot().config.is_offered());
        effects
            .completion
            .status
            .is_success()
            .then_some(())
            .ok_or(Status::FAILURE)
    });
    // What was admitted goes on with the configuration of its admission (R52 is for later ones).
    let done = add_spis(&at, &backend, &[0x100, 0x101]);
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.offloaded(), 2);
    let later = adapter.lock().unwrap().snapshot();
    let refused = add_spis(&later, &backend, &[0x102]);
    assert_eq!(refused.status, Status::NOT_SUPPORTED);
}

#[test]
fn nothing_is_waited_for_and_nothing_tried_again() {
    rules(&[32]);
    let table = Table::new(8);
    let at = snapshot(EVERYTHING);
    let backend = Meeting::new(&table, || Err(Status::RESOURCES));
    for spis in [&[0x100][..], &[0x100, 0x101, 0x102]] {
        backend.calls.store(0, Ordering::Relaxed);
        let done = add_spis(&at, &backend, spis);
        assert_eq!(done.status, Status::RESOURCES);
        assert_eq!(backend.calls.load(Ordering::Relaxed) as usize, spis.len());
    }
    let mut single = add_sa_ex(&outbound(&[gcm(0x100)]));
    backend.calls.store(0, Ordering::Relaxed);
    let done = request(&at, &backend, &set(Oid::ADD_SA_EX), &mut single);
    assert_eq!(done.status, Status::RESOURCES);
    assert_eq!(backend.calls.load(Ordering::Relaxed), 1);
}

/// Adds two bundles, moves the ESN of the first, deletes both; gives the first one's handle.
fn life(at: &Snapshot, table: &Table, spi: u32) -> Handle {
    let (mut one, other) = (gcm(spi), gcm(spi + 1));
    one.esn = Some(0);
    let (one, other) = ([one], [other]);
    let (mut buffer, offsets) = add_sa(&[outbound(&one), inbound(&other)]);
    assert_eq!(
        send(at, table, Oid::ADD_SA, &mut buffer).status,
        Status::SUCCESS
    );
    let handles = handles(&buffer, &offsets);
    let handle = handles[0].unwrap();
    let named = table.by_handle(handle).unwrap().spi(Operation::ESP);
    assert_eq!(named, Some(Spi::new(spi)));
    let mut update = build::update_sa(Some(handle), Operation::ESP, Spi::new(spi), 1);
    let done = send(at, table, Oid::UPDATE_SA, update.as_mut_bytes());
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.entry(handle).unwrap().high.esp, Some(1));
    let done = send(at, table, Oid::DELETE_SA, &mut delete_sa(&handles));
    assert_eq!(done.status, Status::SUCCESS);
    handle
}

#[test]
fn together_they_take_no_more_than_the_capacity() {
    rules(&[31, 49]);
    let table = Table::new(5);
    let at = snapshot(Capabilities {
        capacity: 5,
        ..EVERYTHING
    });
    let start = Barrier::new(THREADS as usize);
    let added: usize = thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|spi| {
                let (table, at, start) = (&table, &at, &start);
                scope.spawn(move || {
                    start.wait();
                    match try_add(at, table, &outbound(&[gcm(spi)])) {
                        Ok(_) => 1,
                        Err(done) => {
                            assert_eq!(done.status, Status::RESOURCES);
                            0
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(added, 5);
    assert_eq!(table.offloaded(), 5);
}

#[test]
fn two_deletes_of_one_bundle_both_succeed() {
    rules(&[31, 82]);
    for _ in 0..ROUNDS {
        let table = Table::new(8);
        let handle = add(&table, &outbound(&[gcm(0x100)]), Default::default());
        let at = snapshot(EVERYTHING);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (table, at) = (&table, &at);
                scope.spawn(move || {
                    let mut buffer = delete_sa(&[Some(handle)]);
                    let done = send(at, table, Oid::DELETE_SA, &mut buffer);
                    assert_eq!(done.status, Status::SUCCESS);
                });
            }
        });
        assert_eq!(table.removed(), [handle]);
    }
}
