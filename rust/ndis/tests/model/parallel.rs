// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several requests at the same time.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::encapsulation::{Set, IEEE_802_3};
use espnic_ndis::model::{Backend, Capabilities, Lookup};
use espnic_ndis::sa::{build, Operation, Spi};
use espnic_ndis::{Handle, Oid, Status};
use std::collections::BTreeSet;
use std::sync::{Barrier, Mutex};
use std::thread;
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

/// Adds two bundles, moves the ESN of the first, deletes both; gives the first one's handle.
fn life(at: &espnic_ndis::model::Snapshot, table: &Table, spi: u32) -> Handle {
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
    assert_eq!(table.entry(handle).unwrap().esp_high, Some(1));
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
