// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several queue pairs, each with a running worker of its own: order, loss, and changes in the middle.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use espnic_device::testing::filter as build;
use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_device::worker::Workers;
use espnic_wire::admin::Command;
use espnic_wire::ctrl;
use espnic_wire::filter::Action;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use support::busy::{add_sas, execute, frame, wide, Busy, NUMBER, PAIRS};
use support::driver::QUEUE_SIZE;
use support::failure::{wait, Mine};
use support::{Rig, MAP_BORDER, MEM_START};

/// The flows of one queue pair.
const FLOWS: u16 = 4;
/// Frames that may be on their way: fewer than may wait anywhere.
const WINDOW: u32 = 256;
const PATIENCE: Duration = Duration::from_secs(120);

/// The flow of a received frame, and its number in the flow.
fn seen(frame: &[u8]) -> (u16, u32) {
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    let number = frame[NUMBER..NUMBER + 4].try_into().unwrap();
    (port - 1000, u32::from_be_bytes(number))
}

/// What has been sent and received of each flow, of a sender whose flows stay on their queues.
struct Traffic {
    sent: Vec<u32>,
    protected: bool,
    turn: u16,
}

impl Traffic {
    fn new(protected: bool) -> Self {
        Self {
            sent: vec![0; usize::from(PAIRS * FLOWS)],
            protected,
            turn: 0,
        }
    }

    /// Sends a frame on this pair, if there is room.
    fn send(&mut self, sender: &mut Busy, pair: u16) -> bool {
        self.turn = (self.turn + 1) % FLOWS;
        let flow = pair * FLOWS + self.turn;
        let number = self.sent[usize::from(flow)];
        let (hdr, frame) = frame(flow, number, self.protected);
        let sent = sender.send(pair, &hdr, &frame);
        self.sent[usize::from(flow)] += u32::from(sent);
        sent
    }
}

/// Sends `total` frames, and checks that all arrive in the order of their flow.
fn exchange(a: &mut Busy, b: &mut Busy, protected: bool, total: u32) {
    let mut traffic = Traffic::new(protected);
    let mut next = vec![0; traffic.sent.len()];
    let (mut sent, mut received) = (0, 0);
    let mut pairs = HashSet::new();
    let end = Instant::now() + PATIENCE;
    while received < total {
        assert!(Instant::now() < end, "{received} of {sent} frames arrived");
        for pair in 0..PAIRS {
            if sent < total && sent - received < WINDOW && traffic.send(a, pair) {
                sent += 1;
            }
            while let Some(frame) = b.take(pair) {
                let (flow, number) = seen(&frame);
                assert_eq!(number, next[usize::from(flow)], "flow {flow}");
                next[usize::from(flow)] += 1;
                received += 1;
                pairs.insert(pair);
            }
        }
    }
    assert_eq!(next, traffic.sent);
    assert!(pairs.len() > 1);
}

fn rig() -> (Busy, Busy, [Workers; 2]) {
    let mut rig = Rig::default();
    let (a, b) = (rig.nic(wide(1)), rig.nic(wide(2)));
    let workers = [&a, &b].map(|driver| Workers::spawn(driver.nic()).unwrap());
    (Busy::new(a), Busy::new(b), workers)
}

#[test]
fn flows_stay_in_order_and_nothing_is_lost_or_twice() {
    let (mut a, mut b, _workers) = rig();
    exchange(&mut a, &mut b, false, 20_000);
    exchange(&mut b, &mut a, false, 5_000);
    assert_eq!(b.driver.counter("rx_drop_no_buffers"), 0);
}

/// Decrypted packets of a flow stay in order on their way to the queue of the flow.
#[test]
fn packets_of_an_sa_stay_in_order() {
    let (mut a, mut b, _workers) = rig();
    add_sas(&a.driver, OBJ_OUTB_SA);
    add_sas(&b.driver, OBJ_INB_SA);
    build::set_up(&mut |command: Command<'_>| execute(&b.driver, command)).unwrap();
    build::protect(Action::Ipsec as u8, &mut |command: Command<'_>| {
        execute(&b.driver, command)
    })
    .unwrap();
    exchange(&mut a, &mut b, true, 20_000);
    let b = &b.driver;
    assert_eq!(b.counter("ipsec_rx_packets"), 20_000);
}

/// A generator of numbers that is the same in every run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Changes something in the middle of traffic.
fn disturb(a: &mut Busy, b: &mut Busy, random: &mut Random) {
    match random.below(5) {
        0 => assert_eq!(
            a.set_pairs(1 + random.below(PAIRS.into()) as u16),
            [ctrl::OK]
        ),
        1 => assert_eq!(
            b.set_pairs(1 + random.below(PAIRS.into()) as u16),
            [ctrl::OK]
        ),
        2 => b.restart(),
        3 => {
            // Of rings and buffers.
            let size = MAP_BORDER - MEM_START;
            b.driver.function.dma_unmap(MEM_START, size);
            b.driver.memory.attach_part(&mut *b.driver.function, 0);
        }
        _ => {
            let queue = 2 * random.below(PAIRS.into()) as u16;
            b.driver.select(queue);
            b.driver.write(reg::QUEUE_RESET, 1, 2);
            let ring = &mut b.driver.rings[usize::from(queue)];
            *ring = support::ring::Ring::new(ring.base, QUEUE_SIZE);
            b.driver.enable(queue);
            b.fill_queue(queue);
        }
    }
}

#[test]
fn changes_in_the_middle_of_traffic() {
    let (mut a, mut b, _workers) = rig();
    let (mut traffic, mut random) = (Traffic::new(false), Random(1));
    let mut all = HashSet::new();
    for _ in 0..300 {
        disturb(&mut a, &mut b, &mut random);
        for _ in 0..20 {
            for pair in 0..PAIRS {
                traffic.send(&mut a, pair);
                while let Some(frame) = b.take(pair) {
                    assert!(all.insert(seen(&frame)), "{:?} came twice", seen(&frame));
                }
            }
        }
    }
    for driver in [&a.driver, &b.driver] {
        let counters = ["worker_restarts", "needs_reset"].map(|name| driver.counter(name));
        assert_eq!(counters, [0, 0]);
    }
    // Not everything was lost, and the NICs are as good as new.
    assert!(all.len() > 1000, "{}", all.len());
    a.restart();
    b.restart();
    exchange(&mut a, &mut b, false, 2_000);
}

#[test]
fn a_worker_that_fails_stops_the_device_and_no_other_worker() {
    let armed = Arc::new(AtomicBool::new(false));
    let port = armed.clone();
    let driver = Rig::default().build(wide(1), |_| Box::new(Mine(port)));
    let nic = driver.nic().clone();
    let _workers = Workers::spawn(&nic).unwrap();
    let mut a = Busy::new(driver);
    let (hdr, frame) = frame(0, 0, false);
    for (round, pair) in (1..).zip(0..PAIRS) {
        let before = nic.stats.tx_frames.get();
        for other in 0..PAIRS {
            assert!(a.send(other, &hdr, &frame));
        }
        wait(PATIENCE, || {
            nic.stats.tx_frames.get() == before + u64::from(PAIRS)
        });
        armed.store(true, Ordering::SeqCst);
        assert!(a.send(pair, &hdr, &frame));
        wait(PATIENCE, || nic.stats.worker_restarts.get() == round);
        assert_ne!(a.driver.status() & status::DEVICE_NEEDS_RESET, 0);
        a.restart();
    }
}
