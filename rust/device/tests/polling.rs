// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Workers that look for work before they sleep.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::hint;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use espnic_device::net::NetConfig;
use espnic_device::worker::Workers;
use support::driver::{self, Driver, RX, TX, WRITE};
use support::failure::wait;
use support::misbehaviour::misbehave;
use support::ring::Notice;
use support::{config, packets, Rig};

const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than any thread waits for a processor here, so that it does not depend on the machine who finds what.
const POLL: Duration = Duration::from_secs(3);
/// Time between packets, in which a worker that does not look for work goes to sleep.
const PAUSE: Duration = Duration::from_micros(50);

/// Tests that look at the processor time of threads, or need a processor for each of theirs, go one by one.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn started(poll: Duration) -> (Driver, Driver, [Workers; 2]) {
    let mut rig = Rig::default();
    let nic = |last| NetConfig {
        poll,
        ..config(last)
    };
    let (mut a, mut b) = (rig.nic(nic(1)), rig.nic(nic(2)));
    a.start(driver::plain());
    b.start(driver::plain());
    let workers = [&a, &b].map(|driver| Workers::spawn(driver.nic()).unwrap());
    (a, b, workers)
}

/// A frame in guest memory, which can be sent again and again.
struct Packet(u64);

impl Packet {
    fn new(driver: &mut Driver) -> Self {
        let frame = packets::udp(40);
        let at = driver.buffer(12 + frame.len() as u32);
        driver.put(at + 12, &frame);
        Self(at)
    }

    /// Sends it once and waits until it is sent. Whether the NIC had to be notified.
    fn send(&self, driver: &mut Driver) -> bool {
        let next = driver.rings[usize::from(TX)].avail_idx;
        let len = packets::udp(40).len() as u32;
        driver.chain(TX, &[(self.0, 12 + len, 0)]);
        let notify = driver.wanted_kicks(TX) == Notice::At(next);
        if notify {
            driver.notify(TX);
        }
        let start = Instant::now();
        while driver.next_entry(TX).is_none() {
            assert!(start.elapsed() < PATIENCE, "the NIC does not send");
            hint::spin_loop();
        }
        notify
    }
}

fn pause() {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        hint::spin_loop();
    }
}

/// Sends packets until `most` in a row have been sent without a notification; `false` if that does not happen in
/// `time`.
fn sends_unnoticed(driver: &mut Driver, most: u32, time: Duration) -> bool {
    let packet = Packet::new(driver);
    let (mut row, start) = (0, Instant::now());
    while row < most && start.elapsed() < time {
        row = match packet.send(driver) {
            true => 0,
            false => row + 1,
        };
        pause();
    }
    row == most
}

#[test]
fn packets_that_come_soon_need_no_notification() {
    let _alone = alone();
    let (mut a, _b, _workers) = started(POLL);
    assert!(sends_unnoticed(&mut a, 50, PATIENCE));
    assert!(a.counter("worker_polls_found") > 0);
}

/// Nor does the worker of the other NIC, for which frames arrive.
#[test]
fn frames_that_come_soon_wake_nobody() {
    let _alone = alone();
    let (mut a, mut b, _workers) = started(POLL);
    let (packet, buffer) = (Packet::new(&mut a), b.buffer(2048));
    let (mut row, start) = (0, Instant::now());
    while row < 50 {
        assert!(start.elapsed() < PATIENCE, "it is woken each time");
        b.chain(RX, &[(buffer, 2048, WRITE)]);
        let wakes = b.counter("worker_wakes");
        packet.send(&mut a);
        let sent = Instant::now();
        while b.next_entry(RX).is_none() {
            assert!(sent.elapsed() < PATIENCE, "nothing arrives");
            hint::spin_loop();
        }
        row = match b.counter("worker_wakes") == wakes {
            true => row + 1,
            false => 0,
        };
        pause();
    }
    assert!(b.counter("worker_polls_found") > 0);
}

#[test]
fn without_time_every_packet_is_notified() {
    let _alone = alone();
    let (mut a, _b, _workers) = started(Duration::ZERO);
    let packet = Packet::new(&mut a);
    for number in 1..=50 {
        // Until the worker wants to be told of the next one: it is going to sleep.
        let next = a.rings[usize::from(TX)].avail_idx;
        wait(PATIENCE, || a.wanted_kicks(TX) == Notice::At(next));
        assert!(packet.send(&mut a));
        assert_eq!(a.counter("kicks"), number);
    }
    let polls = ["worker_polls_found", "worker_polls_empty"].map(|name| a.counter(name));
    assert_eq!(polls, [0, 0]);
    wait(PATIENCE, || a.counter("worker_sleeps") >= 10);
    assert!(a.counter("worker_wakes") >= 10);
}

/// Processor time that the workers of this process have had.
fn processor_time() -> Duration {
    let mut time = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = thread.unwrap().path();
        let text = |name| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if text("comm").starts_with("nic ") {
            let stat = text("schedstat");
            time += stat
                .split(' ')
                .next()
                .map_or(0, |ns| ns.parse().unwrap_or(0));
        }
    }
    Duration::from_nanos(time)
}

/// The NICs come to rest: in a whole second their workers take no time and do not even look.
fn assert_idle(drivers: [&Driver; 2]) {
    let state = || {
        let names = ["worker_sleeps", "worker_polls_found", "worker_polls_empty"];
        let counts = drivers.map(|driver| names.map(|name| driver.counter(name)));
        (counts, processor_time())
    };
    let mut seen = Vec::new();
    for _ in 0..20 {
        let (before, start) = state();
        std::thread::sleep(Duration::from_secs(1));
        let (after, end) = state();
        let took = end.saturating_sub(start);
        if before == after && took < Duration::from_millis(5) {
            return;
        }
        seen.push((before, after, took));
    }
    panic!("the workers do not rest: {seen:?}");
}

#[test]
fn an_idle_nic_takes_no_processor() {
    let _alone = alone();
    let (mut a, b, _workers) = started(POLL);
    assert!(sends_unnoticed(&mut a, 5, PATIENCE));
    assert!(processor_time() > Duration::ZERO);
    assert_idle([&a, &b]);
    // It works again, and the driver has to say so.
    assert!(Packet::new(&mut a).send(&mut a));
}

/// A queue with chains that cannot be sent is nothing to look at for ever.
#[test]
fn a_queue_that_is_not_served_takes_no_processor() {
    let _alone = alone();
    let (mut a, b, _workers) = started(POLL);
    assert!(sends_unnoticed(&mut a, 5, PATIENCE));
    misbehave(&a, "tx stall 1");
    let at = Packet::new(&mut a).0;
    a.chain(TX, &[(at, 94, 0)]);
    a.notify(TX);
    assert_idle([&a, &b]);
    assert!(a.next_entry(TX).is_none());
}

/// Neither a stop nor the control side waits for a worker that looks.
#[test]
fn who_looks_can_be_stopped_and_paused() {
    let _alone = alone();
    let poll = PATIENCE;
    let (mut a, _b, workers) = started(poll);
    assert!(sends_unnoticed(&mut a, 50, PATIENCE));
    let start = Instant::now();
    a.nic().with_device(|_| ());
    a.reset();
    a.start(driver::plain());
    assert!(sends_unnoticed(&mut a, 5, PATIENCE));
    drop(workers);
    assert!(start.elapsed() < poll / 2);
}
