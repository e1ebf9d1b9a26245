// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults on purpose, and the NIC's handling of its own failures.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use espnic_device::fault::request::Request;
use espnic_device::fault::MAX_HELD;
use espnic_device::nic::Nic;
use espnic_device::pci;
use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_device::worker::Workers;
use espnic_wire::hdr::{self, NetHdr48};
use support::driver::{self, Driver, TX};
use support::failure::{wait, Mine};
use support::{config, packets, pump, sas, Rig};

const PATIENCE: Duration = Duration::from_secs(20);

fn pair() -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::plain());
    (a, b)
}

fn fault(nic: &Nic, words: &str) {
    let words: Vec<_> = words.split(' ').collect();
    nic.set_fault(&Request::parse(&words).unwrap());
}

/// Sends ESP with these sequence numbers one after the other; those that arrive.
fn exchange(a: &mut Driver, b: &mut Driver, numbers: &[u32]) -> Vec<u32> {
    for &number in numbers {
        b.post_rx(200);
        b.post_rx(200);
        a.send(&NetHdr48::default(), &packets::esp(7, number));
    }
    arrived(b)
}

fn arrived(b: &mut Driver) -> Vec<u32> {
    let number = |frame: &[u8]| u32::from_be_bytes(frame[38..42].try_into().unwrap());
    std::iter::from_fn(|| b.receive())
        .map(|(_, frame)| number(&frame))
        .collect()
}

#[test]
fn faults_work_in_both_directions() {
    for (direction, counter) in [("tx", "port.tx_faults"), ("rx", "port.rx_faults")] {
        let (mut a, mut b) = pair();
        let nic = if direction == "tx" { a.nic() } else { b.nic() }.clone();
        fault(&nic, &format!("{direction} drop 1 every 2"));
        assert_eq!(exchange(&mut a, &mut b, &[1, 2, 3]), [1, 3]);
        fault(&nic, &format!("{direction} duplicate 1"));
        assert_eq!(exchange(&mut a, &mut b, &[4, 5]), [4, 4, 5]);
        b.reset();
        b.start(driver::plain());
        fault(&nic, &format!("{direction} reorder 1"));
        assert_eq!(exchange(&mut a, &mut b, &[6, 7, 8]), [7, 6, 8]);
        let counts = (a.counter(counter), b.counter(counter));
        assert_eq!(counts, if direction == "tx" { (3, 0) } else { (0, 3) });
    }
}

#[test]
fn frames_beyond_those_held_back_are_counted() {
    for (direction, counter) in [("tx", "port.tx_drop_held"), ("rx", "port.rx_drop_held")] {
        let (mut a, mut b) = pair();
        let nic = if direction == "tx" { a.nic() } else { b.nic() }.clone();
        fault(&nic, &format!("{direction} delay 60000 10000"));
        for number in 0..MAX_HELD as u32 + 3 {
            a.send(&NetHdr48::default(), &packets::esp(7, number));
            // The receiver takes each frame from its backlog, and holds it back.
            assert!(b.receive().is_none());
        }
        let counts = (a.counter(counter), b.counter(counter));
        assert_eq!(counts, if direction == "tx" { (3, 0) } else { (0, 3) });
    }
}

#[test]
fn damage_is_in_the_frame() {
    let (mut a, mut b) = pair();
    let esp = packets::esp(7, 1);
    for nic in [a.nic(), b.nic()] {
        fault(nic, "tx corrupt-icv 1");
        fault(nic, "rx corrupt-icv 1");
    }
    b.post_rx(1600);
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::udp(64));
    assert_eq!(b.receive().unwrap().1, packets::udp(64));
    // Damaged twice in the same bit: as sent.
    a.send(&NetHdr48::default(), &esp);
    assert_eq!(b.receive().unwrap().1, esp);
    fault(b.nic(), "rx bad-length 1");
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &esp);
    assert_eq!(b.receive().unwrap().1.len(), 34 + 16);
}

#[test]
fn faults_of_sas_reach_the_driver() {
    let (mut a, mut b) = sas::pair();
    fault(a.nic(), "tx corrupt-padding 1");
    fault(b.nic(), "sa-delete-request 2");
    fault(b.nic(), "rx bad-length 1 every 3");
    for _ in 0..5 {
        b.post_rx(1600);
    }
    let (hdr, frame) = sas::esp_gso(3, 5 * 200, 200);
    a.send(&hdr, &frame);
    let seen: Vec<_> = std::iter::from_fn(|| b.receive())
        .map(|(hdr, _)| (hdr.sec.sec_status, hdr.sec.ndis_flags))
        .collect();
    let (ok, asked) = (hdr::SEC_OK, hdr::NDIS_SA_DELETE_REQ);
    assert_eq!(
        seen,
        [
            (hdr::SEC_FORMAT, asked),
            (ok, asked),
            (hdr::SEC_LENGTH, 0),
            (ok, 0),
            (ok, 0)
        ]
    );
    fault(a.nic(), "clear");
    assert_eq!(b.counter("ipsec_faults"), 2);
}

#[test]
fn held_frames_come_without_anything_else() {
    for direction in ["tx", "rx"] {
        let (mut a, mut b) = pair();
        b.post_rx(200);
        let nic = if direction == "tx" { a.nic() } else { b.nic() }.clone();
        fault(&nic, &format!("{direction} delay 50 1"));
        let _workers = [
            Workers::spawn(a.nic()).unwrap(),
            Workers::spawn(b.nic()).unwrap(),
        ];
        let at = a.buffer(200);
        a.put(at + 12, &packets::esp(7, 1));
        let start = Instant::now();
        a.chain(TX, &[(at, 12 + 106, 0)]);
        a.notify(TX);
        wait(PATIENCE, || b.used_idx(0) == 1);
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
}

#[test]
fn a_reset_loses_what_is_held_back() {
    let (mut a, mut b) = pair();
    fault(a.nic(), "tx delay 1 1");
    assert!(exchange(&mut a, &mut b, &[1]).is_empty());
    a.reset();
    a.start(driver::plain());
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(exchange(&mut a, &mut b, &[2]), [2]);
}

#[test]
fn a_nic_that_fails_on_purpose_needs_a_reset() {
    let (mut a, mut b) = pair();
    a.nic().fail();
    assert_ne!(a.status() & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!((a.events(0), a.counter("needs_reset")), (1, 1));
    let at = a.buffer(200);
    a.chain(TX, &[(at, 100, 0)]);
    a.kick(TX);
    assert_eq!(a.used_idx(TX), 0);
    a.start(driver::plain());
    assert_eq!(a.status() & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(exchange(&mut a, &mut b, &[1]), [1]);
}

#[test]
fn the_link_goes_and_comes() {
    let (mut a, mut b) = pair();
    let link = |driver: &mut Driver| driver.read(pci::DEVICE + 6, 2);
    let generation = a.read(reg::CONFIG_GENERATION, 1);
    assert_eq!(link(&mut a), 1);
    a.nic().plug(false);
    assert_eq!((link(&mut a), a.events(0)), (0, 1));
    assert_ne!(a.read(reg::CONFIG_GENERATION, 1), generation);
    a.nic().plug(false);
    assert_eq!(a.events(0), 0);
    assert!(exchange(&mut a, &mut b, &[1]).is_empty());
    assert!(exchange(&mut b, &mut a, &[1]).is_empty());
    assert_eq!(a.counter("port.tx_drop_no_link"), 1);
    assert_eq!(a.counter("port.rx_drop_no_link"), 1);
    a.nic().plug(true);
    assert_eq!((link(&mut a), a.events(0)), (1, 1));
    assert_eq!(exchange(&mut a, &mut b, &[2]), [2]);
    // Before the driver is ready it is not told.
    a.reset();
    a.nic().plug(false);
    assert_eq!((link(&mut a), a.events(0)), (0, 0));
}

#[test]
fn a_worker_that_fails_starts_again() {
    let armed = Arc::new(AtomicBool::new(true));
    let port = armed.clone();
    let mut a = Rig::default().build(config(1), |_| Box::new(Mine(port)));
    let _worker = Workers::spawn(a.nic()).unwrap();
    for round in 1..=3 {
        a.start(driver::plain());
        armed.store(true, Ordering::SeqCst);
        let at = a.buffer(200);
        a.chain(TX, &[(at, 100, 0)]);
        a.notify(TX);
        wait(PATIENCE, || a.nic().stats.worker_restarts.get() == round);
        wait(PATIENCE, || a.nic().stats.needs_reset.get() == round);
        assert_eq!(a.counter("worker_drops"), round);
        assert_ne!(a.status() & status::DEVICE_NEEDS_RESET, 0);
        assert_eq!(a.events(0), 1);
    }
    a.start(driver::plain());
    let at = a.buffer(200);
    a.chain(TX, &[(at, 100, 0)]);
    a.notify(TX);
    wait(PATIENCE, || a.used_idx(TX) == 1);
    pump(a.nic());
}
