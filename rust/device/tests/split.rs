// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What only split queues have: descriptors that name the next one, and an available ring with an index.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::breach::tx;
use support::driver::{self, INDIRECT, NEXT, TX, WRITE};
use support::{config, packets, Rig};

#[test]
fn indirect_chains_work_alone_and_after_direct_ones() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::plain());
    let frame = packets::udp(64);
    let (hdr, data, table) = (a.buffer(12), a.buffer(200), a.buffer(64));
    a.put(hdr, &[0; 12]);
    a.put(data, &frame);
    let (len, ring) = (frame.len() as u32, a.rings[usize::from(TX)].desc());
    a.desc(table, 0, hdr, 12, NEXT, 2);
    a.desc(table, 2, data, len, 0, 0);
    // The referring descriptor's WRITE flag is to be ignored.
    a.desc(ring, 0, table, 48, driver::INDIRECT | WRITE, 0);
    a.offer(TX, 0);
    a.desc(table, 3, data, len, 0, 0);
    a.desc(ring, 1, hdr, 12, NEXT, 2);
    a.desc(ring, 2, table + 48, 16, driver::INDIRECT, 0);
    a.offer(TX, 1);
    b.post_rx(1600);
    b.post_rx(1600);
    a.kick(TX);
    assert_eq!(b.receive().unwrap().1, frame);
    assert_eq!(b.receive().unwrap().1, frame);
    assert_eq!(a.used_idx(TX), 2);
}

#[test]
fn circular_chains() {
    tx("chain_loop", |driver| {
        let (table, data) = (driver.rings[1].desc(), driver.buffer(100));
        driver.desc(table, 0, data, 100, NEXT, 1);
        driver.desc(table, 1, data, 100, NEXT, 0);
        driver.offer(TX, 0);
    });
    tx("chain_loop", |driver| {
        let (table, data) = (driver.rings[1].desc(), driver.buffer(100));
        driver.desc(table, 5, data, 100, NEXT, 5);
        driver.offer(TX, 5);
    });
}

#[test]
fn circular_indirect_tables() {
    tx("chain_loop", |driver| {
        let (table, data) = (driver.buffer(64), driver.buffer(100));
        driver.desc(table, 0, data, 100, NEXT, 1);
        driver.desc(table, 1, data, 100, NEXT, 0);
        driver.desc(driver.rings[1].desc(), 0, table, 32, INDIRECT, 0);
        driver.offer(TX, 0);
    });
}

#[test]
fn nested_indirect_tables() {
    tx("chain_indirect", |driver| {
        let table = driver.buffer(64);
        driver.desc(table, 0, table, 16, INDIRECT, 0);
        driver.desc(driver.rings[1].desc(), 0, table, 16, INDIRECT, 0);
        driver.offer(TX, 0);
    });
}

#[test]
fn indices_out_of_range() {
    tx("chain_index", |driver| driver.offer(TX, driver::QUEUE_SIZE));
    tx("chain_index", |driver| {
        let (table, data) = (driver.rings[1].desc(), driver.buffer(100));
        driver.desc(table, 0, data, 100, NEXT, 999);
        driver.offer(TX, 0);
    });
    tx("chain_index", |driver| {
        let table = driver.buffer(64);
        driver.desc(table, 0, table, 16, NEXT, 4);
        driver.desc(driver.rings[1].desc(), 0, table, 64, INDIRECT, 0);
        driver.offer(TX, 0);
    });
    // More chains than the queue can hold.
    tx("chain_index", |driver| {
        let avail = driver.rings[1].avail();
        driver.put(avail + 2, &(driver::QUEUE_SIZE + 1).to_le_bytes());
    });
}
