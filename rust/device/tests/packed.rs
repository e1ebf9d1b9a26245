// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packed queues: the tests of other programs once more with a driver that takes them, and what only packed
//! queues have.

#![allow(clippy::unwrap_used, clippy::panic, clippy::duplicate_mod)]

mod support;

#[path = "admin.rs"]
mod admin;
#[path = "coalescing.rs"]
mod coalescing;
#[path = "events.rs"]
mod events;
#[path = "hostile.rs"]
mod hostile;
#[path = "memory.rs"]
mod memory;
#[path = "misbehave.rs"]
mod misbehave;
#[path = "queues.rs"]
mod queues;
#[path = "segments.rs"]
mod segments;
#[path = "traffic.rs"]
mod traffic;
#[path = "workers.rs"]
mod workers;

use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use support::breach::{broken, tx};
use support::driver::{self, Driver, Ring, INDIRECT, NEXT, QUEUE_SIZE, RX, TX, WRITE};
use support::ring::{AVAIL, USED};
use support::{config, packets, pump, Rig};

fn pair() -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::plain());
    assert!(a.packed() && b.packed());
    (a, b)
}

#[test]
fn the_size_is_any_number() {
    let mut driver = Rig::default().nic(config(1));
    assert!(driver.negotiate(driver::plain()));
    driver.select(TX);
    for (size, accepted) in [(1, 1), (3, 3), (1000, 1000), (0, 1000), (1025, 1000)] {
        driver.write(reg::QUEUE_SIZE, size, 2);
        assert_eq!(driver.read(reg::QUEUE_SIZE, 2), accepted);
    }
    assert!(driver.negotiate(driver::plain() & !mask(feature::RING_PACKED)));
    driver.select(TX);
    for (size, accepted) in [(8, 8), (3, 8), (1000, 8)] {
        driver.write(reg::QUEUE_SIZE, size, 2);
        assert_eq!(driver.read(reg::QUEUE_SIZE, 2), accepted);
    }
}

#[test]
fn a_queue_comes_back_from_its_reset_with_another_size() {
    let (mut a, mut b) = pair();
    for size in [7, 3, 33] {
        for (driver, queue) in [(&mut a, TX), (&mut b, RX)] {
            driver.select(queue);
            driver.write(reg::QUEUE_RESET, 1, 2);
            assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0);
            let ring = &mut driver.rings[usize::from(queue)];
            *ring = Ring::new(ring.base, size);
            driver.enable(queue);
        }
        // More than twice around both.
        for number in 0..80 {
            b.post_rx(1600);
            a.send(&NetHdr48::default(), &packets::udp(number));
            assert_eq!(b.receive().unwrap().1, packets::udp(number));
        }
    }
}

#[test]
fn a_driver_without_the_feature_has_split_queues() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain() & !mask(feature::RING_PACKED));
    b.start(driver::plain());
    assert!(!a.packed() && b.packed());
    for _ in 0..40 {
        b.post_rx(1600);
        a.send(&NetHdr48::default(), &packets::udp(9));
        assert_eq!(b.receive().unwrap().1, packets::udp(9));
        a.post_rx(1600);
        b.send(&NetHdr48::default(), &packets::udp(8));
        assert_eq!(a.receive().unwrap().1, packets::udp(8));
    }
}

#[test]
fn the_device_needs_no_next_flag_in_indirect_tables() {
    let (mut a, mut b) = pair();
    let frame = packets::udp(64);
    let (hdr, data, table) = (a.buffer(12), a.buffer(200), a.buffer(64));
    a.put(data, &frame);
    for other in [0, NEXT, INDIRECT, AVAIL, AVAIL | USED] {
        a.desc(table, 0, hdr, 12, other, 1);
        a.desc(table, 1, data, frame.len() as u32, other, 2);
        b.post_rx(1600);
        let id = a.chain(TX, &[(table, 32, INDIRECT | WRITE)]);
        a.kick(TX);
        assert_eq!(b.receive().unwrap().1, frame, "{other:#x}");
        assert_eq!(a.next_used(TX), Some((id, 0)));
    }
}

#[test]
fn ids_are_the_drivers() {
    let (mut a, mut b) = pair();
    let (at, frame) = (a.buffer(200), packets::udp(40));
    a.put(at + 12, &frame);
    let ring = a.rings[usize::from(TX)];
    for (slot, id) in (0..).zip([0xffff, QUEUE_SIZE, 3, 3]) {
        b.post_rx(1600);
        a.desc(ring.desc(), slot, at, 12 + frame.len() as u32, 0, id);
        a.offer(TX, slot);
        a.kick(TX);
        assert_eq!(b.receive().unwrap().1, frame);
        assert_eq!(a.next_used(TX), Some((id, 0)));
    }
}

#[test]
fn lists_that_never_end() {
    for lap in [0, 1] {
        tx("chain_loop", |driver| {
            let at = driver.buffer(100);
            // The second time the wrap counters are 0.
            for _ in 0..lap * QUEUE_SIZE {
                // Too short to be sent.
                driver.chain(TX, &[(at, 20, 0)]);
                driver.kick(TX);
                assert!(driver.next_used(TX).is_some());
            }
            let table = driver.rings[usize::from(TX)].desc();
            for slot in 0..QUEUE_SIZE {
                driver.desc(table, slot, at, 100, NEXT, slot);
            }
            (0..QUEUE_SIZE).for_each(|slot| driver.offer(TX, slot));
        });
    }
}

#[test]
fn lists_of_both_kinds() {
    for direct_first in [false, true] {
        tx("chain_indirect", |driver| {
            let (at, table) = (driver.buffer(100), driver.buffer(16));
            driver.desc(table, 0, at, 100, 0, 0);
            let mut parts = [(table, 16, INDIRECT), (at, 100, 0)];
            if direct_first {
                parts.reverse();
            }
            driver.chain(TX, &parts);
        });
    }
}

#[test]
fn more_than_the_ring_has() {
    broken("chain_index", RX, driver::plain(), |driver| {
        let at = driver.buffer(100);
        let table = driver.rings[usize::from(RX)].desc();
        // The device takes ten buffers, which do not suffice. The list behind them ends with the first of them.
        for slot in 0..QUEUE_SIZE {
            let flags = if slot < 10 { WRITE } else { WRITE | NEXT };
            driver.desc(table, slot, at, 12, flags, slot);
            driver.offer(RX, slot);
        }
    });
}

#[test]
fn a_descriptor_is_available_only_with_the_right_wrap_counter() {
    let (mut a, _b) = pair();
    let at = a.buffer(100);
    let ring = a.rings[usize::from(TX)];
    for flags in [0, USED, AVAIL | USED, NEXT | WRITE | INDIRECT] {
        a.desc(ring.desc(), 0, at, 100, flags, 0);
        a.kick(TX);
        assert_eq!((a.counter("tx_frames"), a.counter("needs_reset")), (0, 0));
    }
    a.desc(ring.desc(), 0, at, 100, 0, 0);
    a.offer(TX, 0);
    a.kick(TX);
    assert!(a.next_entry(TX).is_some());
    // The driver turns the flags back to what they were. The device is one further.
    a.desc(ring.desc(), 0, at, 100, AVAIL, 0);
    a.kick(TX);
    assert_eq!(a.counter("tx_frames"), 1);
    assert_eq!(a.status() & status::DEVICE_NEEDS_RESET, 0);
}

#[test]
fn rings_that_cannot_be_are_refused() {
    for (register, address) in [
        (reg::QUEUE_DESC, support::MEM_START + 8),
        (reg::QUEUE_DESC, support::MEM_END - 16),
        (reg::QUEUE_DRIVER, support::MEM_START + 2),
        (reg::QUEUE_DRIVER, support::MEM_END),
        (reg::QUEUE_DEVICE, support::MEM_START + 1),
        (reg::QUEUE_DEVICE, u64::MAX - 3),
    ] {
        let mut driver = Rig::default().nic(config(1));
        assert!(driver.negotiate(driver::plain()));
        let ring = driver.rings[usize::from(TX)];
        driver.select(TX);
        driver.write(reg::QUEUE_SIZE, 16, 2);
        driver.write(reg::QUEUE_DESC, ring.desc(), 8);
        driver.write(reg::QUEUE_DRIVER, ring.avail(), 8);
        driver.write(reg::QUEUE_DEVICE, ring.used(), 8);
        driver.write(register, address, 8);
        driver.write(reg::QUEUE_ENABLE, 1, 2);
        assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0, "{address:#x}");
        assert_eq!(driver.counter("ring_invalid"), 1);
    }
}

#[test]
fn nothing_comes_of_a_ring_that_is_never_filled() {
    let (mut a, mut b) = pair();
    for queue in [RX, TX, driver::CTRL] {
        b.kick(queue);
    }
    a.send(&NetHdr48::default(), &packets::udp(10));
    pump(b.nic());
    assert!(b.receive().is_none());
    assert_eq!((b.counter("rx_frames"), b.counter("needs_reset")), (0, 0));
}
