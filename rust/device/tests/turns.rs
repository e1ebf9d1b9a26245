// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets whose numbers the NIC gives, from several queue pairs at once: their order on the wire, limits, and SAs and
//! workers that end in the middle.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use espnic_device::frames::Frames;
use espnic_device::ports::{Port, Totals};
use espnic_device::virtio::status;
use espnic_device::worker::{process_step, Step, Workers};
use espnic_wire::admin::Command;
use espnic_wire::cap;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{SaObject, OBJ_OUTB_SA};
use support::busy::{add_sas, frame, object, wide, Busy, CTRL, PAIRS};
use support::failure::wait;
use support::{packets, sas, Rig};
use zerocopy::IntoBytes;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long somebody waits for what must not happen.
const MOMENT: Duration = Duration::from_millis(300);
/// Data of a segment, in bytes, and segments of a large frame.
const SEGMENT: u16 = 100;
const SEGMENTS: u32 = 3;

/// A wire that notes what it carries. The first sender waits for a second one, and lets it go first.
#[derive(Default)]
struct Wire {
    /// How long, if none comes.
    patience: Duration,
    senders: AtomicU32,
    /// The next frame is the end of who sends it.
    armed: AtomicBool,
    /// SPI and number of ESP packets.
    carried: Mutex<Vec<(u32, u32)>>,
}

impl Wire {
    /// All that it has carried.
    fn carried(&self) -> Vec<(u32, u32)> {
        self.carried.lock().unwrap().clone()
    }
}

/// SPI and number of an ESP packet in IPv4.
fn esp(frame: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    (word(34), word(38))
}

struct Plug(Arc<Wire>);

impl Port for Plug {
    fn send(&self, frames: &mut Frames) -> Totals {
        let Self(wire) = self;
        if wire.senders.fetch_add(1, Ordering::SeqCst) == 0 {
            let end = Instant::now() + wire.patience;
            while wire.carried().is_empty() && Instant::now() < end {
                thread::yield_now();
            }
        }
        assert!(!wire.armed.swap(false, Ordering::SeqCst), "armed");
        let carried = frames.iter().map(|frame| esp(frame));
        wire.carried.lock().unwrap().extend(carried);
        frames.truncate(0);
        Totals::default()
    }

    fn link_up(&self) -> bool {
        true
    }
}

fn sender(patience: Duration) -> (Busy, Arc<Wire>) {
    let wire = Arc::new(Wire {
        patience,
        ..Wire::default()
    });
    let plug = Plug(wire.clone());
    let driver = Rig::default().build(wide(1), |_| Box::new(plug));
    (Busy::new(driver), wire)
}

/// Lets the workers of the first pairs send, each as soon as one more than before it are at the wire or wait.
fn send_one_after_the_other(a: &Busy, wire: &Wire, pairs: u16) {
    thread::scope(|scope| {
        for pair in 0..pairs {
            let nic = a.driver.nic();
            scope.spawn(move || process_step(nic, Step::Transmit(pair)));
            wait(PATIENCE, || wire.senders.load(Ordering::SeqCst) > 0);
        }
    });
}

/// If numbers of a worker went out late, the window of the receiver would drop them.
#[test]
fn numbers_of_an_sa_go_out_in_order() {
    let (mut a, wire) = sender(MOMENT);
    add_sas(&a.driver, OBJ_OUTB_SA);
    for pair in 0..PAIRS {
        let (hdr, frame) = frame(PAIRS * pair, 0, true);
        assert!(a.send(pair, &hdr, &frame) && a.send(pair, &hdr, &frame));
    }
    send_one_after_the_other(&a, &wire, PAIRS);
    let numbers: Vec<_> = (1..=2 * u32::from(PAIRS)).map(|n| (0x2000, n)).collect();
    assert_eq!(wire.carried(), numbers);
}

#[test]
fn sas_do_not_wait_for_each_other() {
    let (mut a, wire) = sender(Duration::from_secs(10));
    add_sas(&a.driver, OBJ_OUTB_SA);
    for pair in 0..2 {
        let (hdr, frame) = frame(pair, 0, true);
        assert!(a.send(pair, &hdr, &frame));
    }
    send_one_after_the_other(&a, &wire, 2);
    assert_eq!(wire.carried(), [(0x2001, 1), (0x2000, 1)]);
}

/// A frame of several segments for SA 0.
fn large() -> (NetHdr48, Vec<u8>) {
    let (mut hdr, _) = frame(0, 0, true);
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = hdr::GSO_TCPV4;
    hdr.net.gso_size = SEGMENT.into();
    hdr.net.csum_start = packets::UDP_START.into();
    hdr.net.csum_offset = 16.into();
    let len = u32::from(SEGMENT) * SEGMENTS;
    (hdr, packets::tcp_partial(false, 1000, len as usize))
}

/// Sends a frame on each pair for SA 0, a large one on the first, as far as there is room; returns how many packets
/// they make.
fn send_round(a: &mut Busy) -> u32 {
    let mut count = 0;
    for pair in 0..PAIRS {
        let ((hdr, frame), packets) = match pair {
            0 => (large(), SEGMENTS),
            _ => (frame(PAIRS * pair, 0, true), 1),
        };
        count += if a.send(pair, &hdr, &frame) {
            packets
        } else {
            0
        };
    }
    count
}

fn create(a: &mut Busy, object: &SaObject) {
    let create = Command::ObjCreate {
        obj_type: OBJ_OUTB_SA,
        id: 0,
        object: object.as_bytes(),
    };
    sas::done(&mut a.driver, CTRL, create);
}

#[test]
fn a_limit_holds_to_the_packet() {
    const LIMIT: u32 = 3001;
    let (mut a, wire) = sender(Duration::ZERO);
    let _workers = Workers::spawn(a.driver.nic()).unwrap();
    sas::set_up(&mut a.driver, CTRL);
    let mut limited = object(OBJ_OUTB_SA, 0);
    limited.base.options = u64::from(cap::OPT_SA_LIFETIME).into();
    limited.base.packets_hard_limit = u64::from(LIMIT).into();
    create(&mut a, &limited);
    let mut given = 0;
    while given < LIMIT + 500 {
        given += send_round(&mut a);
    }
    let beyond = u64::from(given - LIMIT);
    wait(PATIENCE, || {
        a.driver.counter("ipsec_tx_drop_limit") >= beyond
    });
    let numbers: Vec<_> = (1..=LIMIT).map(|n| (0x2000, n)).collect();
    wait(PATIENCE, || wire.carried().len() >= numbers.len());
    assert_eq!(wire.carried(), numbers);
    let counters = ["ipsec_tx_drop_limit", "ipsec_tx_packets"].map(|name| a.driver.counter(name));
    assert_eq!(counters, [beyond, LIMIT.into()]);
}

#[test]
fn an_sa_ends_in_the_middle() {
    let (mut a, wire) = sender(Duration::ZERO);
    let _workers = Workers::spawn(a.driver.nic()).unwrap();
    sas::set_up(&mut a.driver, CTRL);
    // How much of each SA had gone when it was no more.
    let mut gone = HashMap::new();
    for round in 0..60 {
        let mut object = object(OBJ_OUTB_SA, 0);
        object.base.spi = (0x3000 + round).into();
        create(&mut a, &object);
        (0..1 + round % 7).for_each(|_| {
            send_round(&mut a);
        });
        // The queues may have been full.
        while send_round(&mut a) == 0 {
            thread::yield_now();
        }
        // Every other one before or while it sends, the others when they have begun to.
        let begun = || {
            wire.carried()
                .last()
                .is_some_and(|(spi, _)| *spi == 0x3000 + round)
        };
        wait(PATIENCE, || round % 2 == 0 || begun());
        let destroy = Command::ObjDestroy {
            obj_type: OBJ_OUTB_SA,
            id: 0,
        };
        sas::done(&mut a.driver, CTRL, destroy);
        gone.insert(0x3000 + round, wire.carried().len());
    }
    let carried = wire.carried();
    let mut next = HashMap::new();
    for (place, (spi, number)) in carried.iter().enumerate() {
        let next = next.entry(*spi).or_insert(1);
        assert_eq!(number, next, "SPI {spi:#x}");
        *next += 1;
        assert!(place < gone[spi], "SPI {spi:#x} after its end");
    }
    assert!(next.len() >= 30, "only {} SAs sent anything", next.len());
}

/// The first worker fails with numbers that are lower than those of the others, who wait for it.
#[test]
fn a_worker_fails_that_others_wait_for() {
    let (mut a, wire) = sender(MOMENT);
    add_sas(&a.driver, OBJ_OUTB_SA);
    wire.armed.store(true, Ordering::SeqCst);
    let _workers = Workers::spawn(a.driver.nic()).unwrap();
    for pair in 0..PAIRS {
        let (hdr, frame) = frame(PAIRS * pair, 0, true);
        assert!(a.send(pair, &hdr, &frame));
        wait(PATIENCE, || wire.senders.load(Ordering::SeqCst) > 0);
    }
    let nic = a.driver.nic().clone();
    wait(PATIENCE, || nic.stats.needs_reset.get() == 1);
    assert_eq!(nic.stats.worker_restarts.get(), 1);
    assert_ne!(a.driver.status() & status::DEVICE_NEEDS_RESET, 0);
    // Those of the others went, if they had taken any.
    assert!(wire.carried().iter().all(|(_, number)| *number > 1));
    a.restart();
    let before = nic.stats.tx_frames.get();
    let (hdr, frame) = frame(0, 0, false);
    for pair in 0..PAIRS {
        assert!(a.send(pair, &hdr, &frame));
    }
    wait(PATIENCE, || {
        nic.stats.tx_frames.get() == before + u64::from(PAIRS)
    });
}
