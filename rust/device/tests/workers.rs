// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several queue pairs, each with a running worker of its own: order, loss, and changes in the middle.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use espnic_device::frames::Frames;
use espnic_device::net::NetConfig;
use espnic_device::ports::{Port, Totals};
use espnic_device::testing::{self, filter as build, GENERATION};
use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_device::worker::{process_step, Step, Workers};
use espnic_wire::admin::{Command, Reply};
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::filter::Action;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{SaObject, OBJ_INB_SA, OBJ_OUTB_SA};
use support::driver::{self, Driver, QUEUE_SIZE, WRITE};
use support::failure::{wait, Mine};
use support::{config, packets, sas, Rig, MAP_BORDER, MEM_START};
use zerocopy::IntoBytes;

const PAIRS: u16 = 4;
const CTRL: u16 = 2 * PAIRS;
/// The flows of one queue pair.
const FLOWS: u16 = 4;
/// Frames that may be on their way: fewer than may wait anywhere.
const WINDOW: u32 = 256;
const ROOM: u32 = 512;
/// Where a frame has its number, behind Ethernet, IPv4 and TCP.
const NUMBER: usize = 54;
const PATIENCE: Duration = Duration::from_secs(120);

fn features() -> u128 {
    driver::ipsec() | mask(feature::MQ)
}

/// The workers of the first NIC look for work before they sleep, those of the second do not.
fn wide(last: u8) -> NetConfig {
    NetConfig {
        pairs: PAIRS,
        poll: match last {
            1 => Duration::from_millis(1),
            _ => Duration::ZERO,
        },
        ..config(last)
    }
}

fn execute(driver: &Driver, command: Command<'_>) -> Result<Vec<u8>, u16> {
    let mut answer = vec![0; 8192];
    let written = driver
        .nic()
        .administer(&testing::bytes(command), &mut answer);
    match Reply::parse(&answer[..written]) {
        Ok(reply) if reply.status == 0 => Ok(reply.result.to_vec()),
        _ => Err(u16::from_le_bytes([answer[0], answer[1]])),
    }
}

/// SAs of the standard, one for each pair.
fn object(obj_type: u16, id: u16) -> SaObject {
    let mut object = sas::tunnel(obj_type);
    object.base.spi = (0x2000 + u32::from(id)).into();
    object
}

fn add_sas(driver: &Driver, obj_type: u16) {
    testing::set_up(|command| execute(driver, command)).unwrap();
    for id in 0..PAIRS {
        let object = object(obj_type, id);
        let create = Command::ObjCreate {
            obj_type,
            id: id.into(),
            object: object.as_bytes(),
        };
        execute(driver, create).unwrap();
    }
}

/// The header of a frame of this flow, and the frame. The SAs are used from all queues.
fn frame(flow: u16, number: u32, protected: bool) -> (NetHdr48, Vec<u8>) {
    let mut frame = packets::tcp_partial(false, 1000 + flow, 60);
    frame[NUMBER..NUMBER + 4].copy_from_slice(&number.to_be_bytes());
    let mut hdr = NetHdr48::default();
    if protected {
        hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC;
        hdr.out.resource_id = u32::from(flow % PAIRS).into();
        hdr.out.resource_type = OBJ_OUTB_SA.into();
        hdr.sec.generation = GENERATION.into();
    }
    (hdr, frame)
}

/// The flow of a received frame, and its number in the flow.
fn seen(frame: &[u8]) -> (u16, u32) {
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    let number = frame[NUMBER..NUMBER + 4].try_into().unwrap();
    (port - 1000, u32::from_be_bytes(number))
}

/// A driver whose queues all have buffers of their own, which are used in turn.
struct Busy {
    driver: Driver,
    /// Of the first buffer.
    buffers: u64,
}

impl Busy {
    fn new(mut driver: Driver) -> Self {
        driver.start_queues(features(), CTRL + 1);
        let buffers = driver.buffer(u32::from(2 * PAIRS * QUEUE_SIZE) * ROOM);
        let mut busy = Self { driver, buffers };
        assert_eq!(busy.set_pairs(PAIRS), [ctrl::OK]);
        busy.fill();
        busy
    }

    fn buffer(&self, queue: u16, slot: u16) -> u64 {
        self.buffers + u64::from(queue * QUEUE_SIZE + slot) * u64::from(ROOM)
    }

    fn set_pairs(&mut self, pairs: u16) -> Vec<u8> {
        let [lo, hi] = pairs.to_le_bytes();
        let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, lo, hi];
        self.driver.request(CTRL, &request, 1)
    }

    /// Gives all receive buffers.
    fn fill(&mut self) {
        (0..PAIRS).for_each(|pair| self.fill_queue(2 * pair));
    }

    fn fill_queue(&mut self, queue: u16) {
        for slot in 0..QUEUE_SIZE {
            self.give(queue, slot);
        }
        self.driver.notify(queue);
    }

    /// Gives a buffer to a queue, which has it at this place.
    fn give(&mut self, queue: u16, slot: u16) {
        let at = self.buffer(queue, slot);
        assert_eq!(self.driver.chain(queue, &[(at, ROOM, WRITE)]), slot);
    }

    /// Resets the device and starts it again, as a driver that forgets everything.
    fn restart(&mut self) {
        self.driver.start_queues(features(), CTRL + 1);
        // All but those that the test has anyway.
        self.buffers = self.driver.buffer(u32::from(2 * PAIRS * QUEUE_SIZE) * ROOM);
        assert_eq!(self.set_pairs(PAIRS), [ctrl::OK]);
        self.fill();
    }

    /// Sends if the queue has room.
    fn send(&mut self, pair: u16, hdr: &NetHdr48, frame: &[u8]) -> bool {
        let queue = 2 * pair + 1;
        while self.driver.next_entry(queue).is_some() {}
        let ring = self.driver.rings[usize::from(queue)];
        if ring.avail_idx.wrapping_sub(ring.used_seen) >= QUEUE_SIZE {
            return false;
        }
        let slot = ring.avail_idx % QUEUE_SIZE;
        let bytes = [hdr.prefix(self.driver.hdr_len()), frame].concat();
        let at = self.buffer(queue, slot);
        self.driver.put(at, &bytes);
        let len = bytes.len() as u32;
        assert_eq!(self.driver.chain(queue, &[(at, len, 0)]), slot);
        self.driver.notify(queue);
        true
    }

    /// The next frame that a queue has received; its buffer is given again.
    fn take(&mut self, pair: u16) -> Option<Vec<u8>> {
        let queue = 2 * pair;
        let (head, len) = self.driver.next_used(queue)?;
        let bytes = self.driver.get(self.buffer(queue, head), len as usize);
        self.give(queue, head);
        self.driver.notify(queue);
        Some(bytes[self.driver.hdr_len().bytes()..].to_vec())
    }
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

/// A wire that notes the numbers of ESP. The first sender waits a while for a second one, and lets it go
/// first.
#[derive(Default)]
struct Slow {
    numbers: Mutex<Vec<u32>>,
    senders: AtomicU32,
}

struct SlowPort(Arc<Slow>);

impl Port for SlowPort {
    fn send(&self, frames: &mut Frames) -> Totals {
        if self.0.senders.fetch_add(1, Ordering::SeqCst) == 0 {
            let end = Instant::now() + Duration::from_millis(300);
            while self.0.numbers.lock().unwrap().is_empty() && Instant::now() < end {
                std::thread::yield_now();
            }
        }
        for frame in frames.iter() {
            let number = frame[38..42].try_into().unwrap();
            let mut numbers = self.0.numbers.lock().unwrap();
            numbers.push(u32::from_be_bytes(number));
        }
        frames.truncate(0);
        Totals::default()
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// The NIC gives the numbers. If those of a worker went out late, the window of the receiver would drop them.
#[test]
fn numbers_of_an_sa_go_out_in_order() {
    let wire = Arc::new(Slow::default());
    let port = SlowPort(wire.clone());
    let driver = Rig::default().build(wide(1), |_| Box::new(port));
    let nic = driver.nic().clone();
    let mut a = Busy::new(driver);
    add_sas(&a.driver, OBJ_OUTB_SA);
    for pair in 0..PAIRS {
        let (hdr, frame) = frame(PAIRS * pair, 0, true);
        assert!(a.send(pair, &hdr, &frame));
    }
    std::thread::scope(|scope| {
        for pair in 0..PAIRS {
            let nic = &nic;
            scope.spawn(move || process_step(nic, Step::Transmit(pair)));
        }
    });
    assert_eq!(*wire.numbers.lock().unwrap(), [1, 2, 3, 4]);
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
