// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Guest memory that is taken away while the NIC runs, and given back.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use espnic_device::virtio::common::reg;
use espnic_device::worker::Workers;
use support::driver::{self, Driver, RX, TX};
use support::{config, packets, pump, Rig, MAP_BORDER, MEM_END, MEM_START};

/// Longer than the device waits.
const LONG: Duration = Duration::from_millis(400);

/// Two NICs on a wire. The rings are in the first map.
fn pair() -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::plain());
    (a, b)
}

fn take(driver: &mut Driver, part: usize) {
    let (start, end) = [(MEM_START, MAP_BORDER), (MAP_BORDER, MEM_END)][part];
    driver.function.dma_unmap(start, end - start);
}

fn give(driver: &mut Driver, part: usize) {
    driver.memory.attach_part(&mut *driver.function, part);
}

/// Offers a frame at `at`, without waiting for anything.
fn offer(driver: &mut Driver, at: u64) {
    let frame = packets::udp(9);
    driver.put(at, &[0; 12]);
    driver.put(at + 12, &frame);
    driver.chain(TX, &[(at, 12 + frame.len() as u32, 0)]);
}

#[test]
fn rings_may_go_and_come_back() {
    let (mut a, mut b) = pair();
    b.post_rx(2048);
    let at = a.buffer(200);
    for round in 1..=50 {
        offer(&mut a, at);
        take(&mut a, 0);
        a.kick(TX);
        assert_eq!(a.counter("tx_frames"), round - 1);
        give(&mut a, 0);
        pump(a.nic());
        assert_eq!(a.counter("tx_frames"), round);
        assert_eq!(a.next_used(TX).map(|(_, len)| len), Some(0));
    }
    assert_eq!(
        (a.counter("needs_reset"), a.counter("memory_waits")),
        (0, 50)
    );
    pump(b.nic());
    assert_eq!(b.receive().unwrap().1, packets::udp(9));
}

#[test]
fn buffers_may_go_and_come_back() {
    let (mut a, mut b) = pair();
    let far = MAP_BORDER + 0x10_0000;
    offer(&mut a, far);
    take(&mut a, 1);
    a.kick(TX);
    assert_eq!((a.counter("tx_frames"), a.counter("needs_reset")), (0, 0));
    give(&mut a, 1);
    pump(a.nic());
    assert_eq!((a.counter("tx_frames"), a.counter("needs_reset")), (1, 0));

    // A frame in two buffers, of which only the first is there.
    pump(b.nic());
    b.post_rx(60);
    b.post_rx_at(far, 2048);
    take(&mut b, 1);
    b.kick(RX);
    assert_eq!((b.used_idx(RX), b.counter("needs_reset")), (0, 0));
    give(&mut b, 1);
    pump(b.nic());
    assert_eq!((b.used_idx(RX), b.counter("rx_frames")), (2, 1));
    let (hdr, frame) = b.receive().unwrap();
    assert_eq!((hdr.net.num_buffers.get(), frame), (2, packets::udp(9)));
}

#[test]
fn memory_that_stays_away_is_an_error() {
    let (mut a, _b) = pair();
    let at = a.buffer(200);
    offer(&mut a, at);
    take(&mut a, 0);
    a.kick(TX);
    assert_eq!(a.counter("needs_reset"), 0);
    std::thread::sleep(LONG);
    pump(a.nic());
    assert_eq!(
        (a.counter("needs_reset"), a.counter("ring_invalid")),
        (1, 1)
    );
}

/// The worker sleeps meanwhile, holds no lock, and looks again without being asked.
#[test]
fn the_worker_waits_without_the_lock() {
    let (mut a, _b) = pair();
    let at = a.buffer(200);
    let worker = Workers::spawn(a.nic()).unwrap();
    offer(&mut a, at);
    take(&mut a, 0);
    a.notify(TX);
    let start = Instant::now();
    give(&mut a, 0);
    let patient = |a: &Driver, name: &str| {
        while a.counter(name) == 0 && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        a.counter(name)
    };
    assert_eq!(patient(&a, "tx_frames"), 1);
    take(&mut a, 0);
    a.notify(TX);
    assert_eq!(patient(&a, "needs_reset"), 1);
    drop(worker);
}

/// A queue that runs no more needs no rings.
#[test]
fn a_queue_reset_ends_the_wait() {
    let (mut a, _b) = pair();
    take(&mut a, 0);
    a.kick(TX);
    for queue in [RX, TX, driver::CTRL, driver::ADMIN] {
        a.select(queue);
        a.write(reg::QUEUE_RESET, 1, 2);
    }
    std::thread::sleep(LONG);
    pump(a.nic());
    assert_eq!(
        (a.counter("memory_waits"), a.counter("needs_reset")),
        (1, 0)
    );
    // Nor does the worker come back without a waiter.
    assert_eq!(
        a.nic().with_device(|device| device.virtio.waits_until()),
        None
    );
}
