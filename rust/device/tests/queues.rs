// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several queue pairs (rules V48 to V51 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::Duration;

use espnic_device::control::Control;
use espnic_device::net::{steer, NetConfig, MAX_PAIRS};
use espnic_device::pci;
use espnic_device::virtio::common::reg;
use espnic_device::worker::{process_step, Step};
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use support::driver::{self, Driver};
use support::{config, packets, pump, Rig};

fn mq() -> u128 {
    driver::plain() | mask(feature::MQ)
}

fn nic(rig: &mut Rig, last: u8, pairs: u16) -> Driver {
    rig.nic(NetConfig {
        pairs,
        ..config(last)
    })
}

/// A sender, and a receiver that has negotiated `MQ`.
fn rig(pairs: u16) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), nic(&mut rig, 2, pairs));
    a.start(driver::plain());
    b.start_queues(mq(), 2 * pairs + 1);
    (a, b)
}

fn set_pairs(driver: &mut Driver, queue: u16, pairs: u16) -> Vec<u8> {
    let [lo, hi] = pairs.to_le_bytes();
    let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, lo, hi];
    driver.request(queue, &request, 1)
}

fn flow(port: u16) -> Vec<u8> {
    packets::tcp_partial(false, port, 10)
}

/// Gives the queues of `pairs` pairs buffers, sends the frames, and says from which pair each came.
fn receivers(a: &mut Driver, b: &mut Driver, pairs: u16, frames: &[Vec<u8>]) -> Vec<u16> {
    let mut result = Vec::new();
    for frame in frames {
        for pair in 0..pairs {
            b.post_rx_on(2 * pair, 200);
        }
        a.send(&NetHdr48::default(), frame);
        let got: Vec<_> = (0..pairs)
            .filter(|pair| b.receive_on(2 * pair).is_some_and(|(_, got)| got == *frame))
            .collect();
        assert_eq!(got.len(), 1);
        result.extend(got);
        b.reset();
        b.start_queues(mq(), 2 * pairs + 1);
        assert_eq!(set_pairs(b, 2 * pairs, pairs), [ctrl::OK]);
    }
    result
}

#[test]
fn registers_show_the_pairs() {
    for pairs in [1, 2, 8] {
        let mut driver = nic(&mut Rig::default(), 1, pairs);
        assert_eq!(driver.read(pci::DEVICE + 8, 2), u64::from(pairs));
        assert_eq!(driver.read(reg::NUM_QUEUES, 2), u64::from(2 * pairs + 1));
        assert_eq!(
            driver.read(reg::ADMIN_QUEUE_INDEX, 2),
            u64::from(2 * pairs + 2)
        );
        assert_eq!(driver.offered() & mask(feature::MQ) != 0, pairs > 1);
        assert_eq!(driver.vectors.len(), usize::from(2 * pairs + 4));
    }
}

#[test]
fn the_control_queue_moves_with_the_feature() {
    for pairs in [2, MAX_PAIRS] {
        let mut driver = nic(&mut Rig::default(), 1, pairs);
        driver.start(driver::plain());
        assert_eq!(set_pairs(&mut driver, 2, 1), [ctrl::ERR]);
        driver.start_queues(mq(), 2 * pairs + 1);
        assert_eq!(set_pairs(&mut driver, 2 * pairs, 1), [ctrl::OK]);
        driver.start_queues(driver::plain(), 3);
        assert_eq!(driver.request(2, &[9, 9], 1), [ctrl::ERR]);
    }
}

#[test]
fn the_number_of_pairs_is_checked() {
    let (_, mut b) = rig(3);
    for (pairs, ack) in [
        (0, ctrl::ERR),
        (4, ctrl::ERR),
        (0xffff, ctrl::ERR),
        (3, ctrl::OK),
        (1, ctrl::OK),
    ] {
        assert_eq!(set_pairs(&mut b, 6, pairs), [ack], "{pairs}");
    }
    let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET];
    assert_eq!(b.request(6, &request, 1), [ctrl::ERR]);
    assert_eq!(b.request(6, &[&request[..], &[1]].concat(), 1), [ctrl::ERR]);
    assert_eq!(b.request(6, &[ctrl::CLASS_MQ, 1, 1, 0], 1), [ctrl::ERR]);
    assert_eq!(
        (b.counter("ctrl_commands"), b.counter("ctrl_refused")),
        (8, 6)
    );
}

#[test]
fn only_active_pairs_receive() {
    let (mut a, mut b) = rig(4);
    let active = |b: &Driver| b.nic().active_pairs();
    assert_eq!(active(&b), 1);
    let send = |a: &mut Driver, b: &mut Driver| -> Vec<bool> {
        for queue in [0, 2, 4, 6] {
            for _ in 0..2 {
                b.post_rx_on(queue, 200);
            }
        }
        for port in 1..=8 {
            a.send(&NetHdr48::default(), &flow(port));
        }
        [0, 2, 4, 6]
            .map(|queue| b.receive_on(queue).is_some())
            .to_vec()
    };
    assert_eq!(send(&mut a, &mut b), [true, false, false, false]);
    b.reset();
    b.start_queues(mq(), 9);
    assert_eq!(set_pairs(&mut b, 8, 2), [ctrl::OK]);
    assert_eq!(send(&mut a, &mut b), [true, true, false, false]);
    b.reset();
    assert_eq!(active(&b), 1);
}

#[test]
fn flows_stay_on_their_pair_and_spread() {
    let (mut a, mut b) = rig(4);
    set_pairs(&mut b, 8, 4);
    let flows: Vec<_> = (1..=24).map(flow).collect();
    let first = receivers(&mut a, &mut b, 4, &flows);
    assert_eq!(receivers(&mut a, &mut b, 4, &flows), first);
    let expected: Vec<_> = flows
        .iter()
        .map(|frame| steer::place(&frame.clone().into(), 4))
        .collect();
    assert_eq!(first, expected);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 4);
}

#[test]
fn packets_of_an_sa_stay_together_and_sas_spread() {
    let (mut a, mut b) = rig(4);
    set_pairs(&mut b, 8, 4);
    let frames: Vec<_> = (1..=24).map(|spi| packets::esp(spi, 1)).collect();
    let again: Vec<_> = (1..=24).map(|spi| packets::esp(spi, 77)).collect();
    let first = receivers(&mut a, &mut b, 4, &frames);
    assert_eq!(receivers(&mut a, &mut b, 4, &again), first);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 4);
}

#[test]
fn every_active_transmit_queue_sends() {
    let (mut a, mut b) = rig(8);
    for queue in [1, 3, 5, 7, 9, 11, 13, 15] {
        a.post_rx(200);
        let frame = flow(queue);
        let at = b.buffer(200);
        b.put(at + 12, &frame);
        b.chain(queue, &[(at, frame.len() as u32 + 12, 0)]);
        b.notify(queue);
    }
    pump(b.nic());
    assert_eq!(b.counter("tx_frames"), 1);
    set_pairs(&mut b, 16, 8);
    pump(b.nic());
    let mut got = HashSet::new();
    while let Some((_, frame)) = a.receive() {
        got.insert(frame);
    }
    assert_eq!(got.len(), 8);
    for queue in [1, 3, 5, 7, 9, 11, 13, 15] {
        assert_eq!(b.events(queue + 1), 1, "{queue}");
    }
}

#[test]
fn what_was_sent_before_a_pair_goes_out_of_use_is_sent() {
    let (_a, mut b) = rig(2);
    set_pairs(&mut b, 4, 2);
    let at = b.buffer(200);
    b.put(at + 12, &flow(1));
    for _ in 0..5 {
        b.chain(3, &[(at, 12 + 64, 0)]);
    }
    assert_eq!(set_pairs(&mut b, 4, 1), [ctrl::OK]);
    assert_eq!(b.counter("tx_frames"), 5);
    b.chain(3, &[(at, 12 + 64, 0)]);
    b.kick(3);
    assert_eq!((b.counter("tx_frames"), b.used_idx(3)), (5, 5));
}

#[test]
fn waiting_frames_follow_the_active_pairs() {
    let (mut a, mut b) = rig(2);
    set_pairs(&mut b, 4, 2);
    for port in 1..=8 {
        a.send(&NetHdr48::default(), &flow(port));
    }
    pump(b.nic());
    set_pairs(&mut b, 4, 1);
    for _ in 0..8 {
        b.post_rx(200);
    }
    let mut count = 0;
    while b.receive().is_some() {
        count += 1;
    }
    assert_eq!((count, b.counter("rx_drop_no_buffers")), (8, 0));
}

#[test]
fn a_queue_without_buffers_does_not_stop_the_others() {
    let (mut a, mut b) = rig(2);
    set_pairs(&mut b, 4, 2);
    let port_of = |pair| {
        (1..)
            .find(|&port| steer::place(&flow(port).into(), 2) == pair)
            .unwrap()
    };
    let (stuck, free) = (flow(port_of(0)), flow(port_of(1)));
    for _ in 0..1500 {
        a.send(&NetHdr48::default(), &stuck);
        a.reset();
        a.start(driver::plain());
    }
    pump(b.nic());
    assert_eq!(b.counter("rx_drop_no_buffers"), 1500 - 1024);
    b.post_rx_on(2, 200);
    a.send(&NetHdr48::default(), &free);
    assert_eq!(b.receive_on(2).unwrap().1, free);
}

#[test]
fn a_queue_in_reset_is_passed_over() {
    let (mut a, mut b) = rig(2);
    set_pairs(&mut b, 4, 2);
    b.select(0);
    b.write(reg::QUEUE_RESET, 1, 2);
    for port in 1..=8 {
        b.post_rx_on(2, 200);
        a.send(&NetHdr48::default(), &flow(port));
        assert_eq!(b.receive_on(2).unwrap().1, flow(port));
    }
    b.select(2);
    b.write(reg::QUEUE_RESET, 1, 2);
    a.send(&NetHdr48::default(), &flow(1));
    pump(b.nic());
    assert_eq!(b.counter("rx_drop_no_buffers"), 1);
}

/// The driver gets its answer, and others the lock, before all that is left over is sent.
#[test]
fn pairs_go_out_of_use_one_batch_at_a_time() {
    let (_a, mut b) = rig(2);
    set_pairs(&mut b, 4, 2);
    let at = b.buffer(200);
    b.put(at + 12, &flow(1));
    for _ in 0..5 {
        b.chain(3, &[(at, 12 + 64, 0)]);
    }
    let nic = b.nic().clone();
    nic.with_device(|device| device.net.set_active_pairs(1));
    let step = |step| process_step(&nic, step);
    assert!(!step(Step::Transmit(0)) && !step(Step::Deliver(1)));
    assert_eq!(b.counter("tx_frames"), 0);
    assert!(step(Step::Transmit(1)));
    assert_eq!(b.counter("tx_frames"), 5);
    assert!(!step(Step::Transmit(1)));
    b.chain(3, &[(at, 12 + 64, 0)]);
    assert!(!step(Step::Transmit(1)));
    assert_eq!(b.counter("tx_frames"), 5);
}

#[test]
fn statistics_do_not_wait_for_the_data_plane() {
    let (_a, b) = rig(2);
    let control = Control::new(vec![b.nic().clone()], None);
    let (sender, receiver) = mpsc::channel();
    let answer = b.nic().with_device(|_| {
        std::thread::spawn(move || sender.send(control.answer("stats")));
        receiver.recv_timeout(Duration::from_secs(20))
    });
    let answer = answer.unwrap();
    assert_eq!(answer["nics"]["n1"]["queues"]["active"], 1);
}
