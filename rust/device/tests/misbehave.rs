// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules that the NIC breaks on purpose: it does each time what was asked for, and no longer.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use espnic_device::net::NetConfig;
use espnic_device::pci;
use espnic_device::testing;
use espnic_device::transport::Region;
use espnic_device::virtio::common::reg;
use espnic_device::worker::Workers;
use espnic_wire::admin::Command;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use support::driver::{self, Driver, CTRL, QUEUE_SIZE, RX, TX};
use support::misbehaviour::{clear, made, misbehave, pair};
use support::sas::framed;
use support::{config, packets, pump, Rig};

/// The used entries since the last look: whole ids and lengths.
fn entries(driver: &mut Driver, queue: u16) -> Vec<(u32, u32)> {
    std::iter::from_fn(|| driver.next_entry(queue)).collect()
}

/// A frame of 102 bytes for `b`, which has one buffer of 1600 bytes for it.
fn receive(a: &mut Driver, b: &mut Driver) -> (u16, Vec<(u32, u32)>) {
    let head = b.rings[usize::from(RX)].next_desc;
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::udp(60));
    pump(b.nic());
    (head, entries(b, RX))
}

fn transmit(a: &mut Driver) -> (u16, Vec<(u32, u32)>) {
    let at = a.buffer(200);
    let head = a.chain(TX, &[(at, 100, 0)]);
    a.kick(TX);
    (head, entries(a, TX))
}

/// A command whose answer has a length of one byte.
fn ask(a: &mut Driver) -> (u16, Vec<(u32, u32)>) {
    let at = a.buffer(16);
    let head = a.chain(CTRL, &[(at, 2, 0), (at + 8, 1, driver::WRITE)]);
    a.kick(CTRL);
    (head, entries(a, CTRL))
}

/// What each kind does to the entry (`head`, `len`) of a chain with `room` writable bytes.
fn wrong(what: &str, head: u16, len: u32, room: u32) -> Vec<(u32, u32)> {
    let head = u32::from(head);
    match what {
        "id-out-of-range" => vec![(head + u32::from(QUEUE_SIZE), len)],
        "too-long" => vec![(head, room + 1)],
        "huge" => vec![(head, u32::MAX)],
        "empty" => vec![(head, 0)],
        "short" => vec![(head, 5)],
        "twice" => vec![(head, len), (head, len)],
        _ => panic!("{what}"),
    }
}

const USED: [&str; 6] = [
    "id-out-of-range",
    "too-long",
    "huge",
    "empty",
    "short",
    "twice",
];

#[test]
fn used_entries_are_wrong() {
    for what in USED {
        let (mut a, mut b) = pair(driver::plain());
        misbehave(&b, &format!("rx {what} 1"));
        let (head, got) = receive(&mut a, &mut b);
        assert_eq!(got, wrong(what, head, 12 + 102, 1600), "rx {what}");
        let (head, got) = receive(&mut a, &mut b);
        assert_eq!(got, [(head.into(), 12 + 102)]);

        misbehave(&a, &format!("tx {what} 1"));
        let (head, got) = transmit(&mut a);
        assert_eq!(got, wrong(what, head, 0, 0), "tx {what}");
        let (head, got) = transmit(&mut a);
        assert_eq!(got, [(head.into(), 0)]);

        misbehave(&a, &format!("ctrl {what} 1"));
        let (head, got) = ask(&mut a);
        assert_eq!(got, wrong(what, head, 1, 1), "ctrl {what}");
        let (head, got) = ask(&mut a);
        assert_eq!(got, [(head.into(), 1)]);

        let counts = [(&b, "rx"), (&a, "tx"), (&a, "ctrl")]
            .map(|(driver, queue)| made(driver, &format!("{queue} {what}")));
        assert_eq!(counts, [1; 3], "{what}");
    }
}

#[test]
fn used_entries_are_right_again_when_cleared() {
    let (mut a, mut b) = pair(driver::plain());
    for driver in [&a, &b] {
        for queue in ["rx", "tx", "ctrl"] {
            for what in USED {
                misbehave(driver, &format!("{queue} {what} 100"));
            }
        }
        clear(driver);
    }
    let (head, got) = receive(&mut a, &mut b);
    assert_eq!(got, [(head.into(), 12 + 102)]);
    let (head, got) = ask(&mut a);
    assert_eq!(got, [(head.into(), 1)]);
    let list = a.nic().misbehaviour.made();
    assert!(list.iter().all(|(_, count)| *count == 0), "{list:?}");
}

#[test]
fn an_id_comes_that_was_not_given() {
    let (mut a, mut b) = pair(driver::plain());
    // The device has all buffers that there can be.
    misbehave(&b, "rx id-not-given 1");
    for _ in 1..QUEUE_SIZE {
        b.post_rx(1600);
    }
    let (_, got) = receive(&mut a, &mut b);
    assert_eq!(got, [(0, 12 + 102); 2]);
    misbehave(&a, "tx id-not-given 1");
    let (head, got) = transmit(&mut a);
    assert_eq!(got, [(u32::from(QUEUE_SIZE) - 1, 0)]);
    assert_ne!(got[0].0, u32::from(head));
    let counts = [made(&a, "tx id-not-given"), made(&b, "rx id-not-given")];
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_packet_claims_all_buffers() {
    let (mut a, mut b) = pair(driver::plain());
    misbehave(&b, "rx num-buffers 1");
    for wanted in [0xffff, 1] {
        b.post_rx(1600);
        let at = b.rings[usize::from(RX)].next_desc.checked_sub(1).unwrap();
        a.send(&NetHdr48::default(), &packets::udp(60));
        pump(b.nic());
        assert_eq!(entries(&mut b, RX), [(at.into(), 12 + 102)]);
        let desc = b.rings[usize::from(RX)].desc() + 16 * u64::from(at);
        let address = u64::from_le_bytes(b.get(desc, 8).try_into().unwrap());
        assert_eq!(b.get16(address + 10), wanted);
    }
    assert_eq!(made(&b, "rx num-buffers"), 1);
}

#[test]
fn headers_are_wrong() {
    let (mut a, mut b) = pair(driver::plain());
    for (what, flags, kind, start) in [
        ("gso-type", hdr::F_NEEDS_CSUM, 0x77, 0),
        ("gso-size", hdr::F_NEEDS_CSUM, hdr::GSO_TCPV4, 0),
        ("csum-start", hdr::F_NEEDS_CSUM, hdr::GSO_NONE, u16::MAX),
    ] {
        let words = format!("rx {what}");
        misbehave(&b, &format!("{words} 1"));
        for wrong in [true, false] {
            b.post_rx(1600);
            a.send(&NetHdr48::default(), &packets::udp(60));
            let (hdr, frame) = b.receive().unwrap();
            let got = (
                hdr.net.flags & flags,
                hdr.net.gso_type,
                hdr.net.csum_start.get(),
            );
            let wanted = if wrong {
                (flags, kind, start)
            } else {
                (0, 0, 0)
            };
            assert_eq!((got, hdr.net.gso_size.get()), (wanted, 0), "{what}");
            assert_eq!(frame, packets::udp(60));
        }
        assert_eq!(made(&b, &words), 1);
    }
}

#[test]
fn answers_are_late() {
    let (mut a, _b) = pair(driver::plain());
    misbehave(&a, "ctrl late 30 1");
    let start = Instant::now();
    let (late, got) = ask(&mut a);
    assert!(got.is_empty());
    // The next one overtakes it.
    let (head, got) = ask(&mut a);
    assert_eq!(got, [(head.into(), 1)]);
    clear(&a);
    let _worker = Workers::spawn(a.nic()).unwrap();
    while a.used_idx(CTRL) != 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(entries(&mut a, CTRL), [(late.into(), 1)]);
    assert_eq!(made(&a, "ctrl late"), 1);
}

#[test]
fn a_reset_ends_late_answers() {
    let (mut a, _b) = pair(driver::plain());
    misbehave(&a, "ctrl late 1 1");
    assert!(ask(&mut a).1.is_empty());
    a.start(driver::plain());
    std::thread::sleep(Duration::from_millis(3));
    let (head, got) = ask(&mut a);
    assert_eq!(got, [(head.into(), 1)]);
}

/// Else the worker would look for them again and again.
#[test]
fn a_device_that_has_stopped_waits_for_no_answer() {
    let (mut a, _b) = pair(driver::plain());
    misbehave(&a, "ctrl late 1 1");
    assert!(ask(&mut a).1.is_empty());
    let due = |a: &Driver| a.nic().with_device(|device| device.next_due());
    assert!(due(&a).is_some());
    a.nic().fail();
    assert!(due(&a).is_none());
}

#[test]
fn answers_never_come() {
    let (mut a, _b) = pair(driver::plain());
    misbehave(&a, "ctrl never 2");
    assert!(ask(&mut a).1.is_empty());
    clear(&a);
    let (head, got) = ask(&mut a);
    assert_eq!(got, [(head.into(), 1)]);
    assert_eq!(made(&a, "ctrl never"), 1);
}

#[test]
fn answers_are_truncated() {
    let (mut a, _b) = pair(driver::ipsec());
    let request = framed(&testing::bytes(Command::ListQuery));
    let whole = a.request(CTRL, &request, 100);
    misbehave(&a, "ctrl truncated 1");
    let half = a.request(CTRL, &request, 100);
    assert_eq!(half, whole[..whole.len() / 2]);
    assert_eq!(a.request(CTRL, &request, 100), whole);
    assert_eq!(made(&a, "ctrl truncated"), 1);
}

#[test]
fn the_configuration_has_other_numbers() {
    let (mut a, _b) = pair(driver::plain());
    let (pairs, mtu) = (pci::DEVICE + 8, pci::DEVICE + 10);
    misbehave(&a, "config max-pairs 1");
    misbehave(&a, "config mtu 1 2");
    // Reading something else counts for nothing.
    a.read(pci::DEVICE, 8);
    a.read(pci::DEVICE + 12, 4);
    assert_eq!((a.read(pairs, 2), a.read(pairs, 2)), (65535, 1));
    assert_eq!(
        [a.read(mtu, 2), a.read(mtu, 2), a.read(mtu, 2)],
        [1, 1, 1500]
    );
    misbehave(&a, "config max-pairs 9");
    assert_eq!(a.read(pairs + 1, 1), 0xff);
    clear(&a);
    assert_eq!(a.read(pairs, 2), 1);
    assert_eq!(
        (made(&a, "config max-pairs"), made(&a, "config mtu")),
        (2, 2)
    );
}

#[test]
fn the_device_configuration_is_missing() {
    const VENDOR_SPECIFIC: u8 = 9;
    let mut a = Rig::default().nic(NetConfig {
        device_config: false,
        ..config(1)
    });
    let mut byte = |at: u64| {
        let mut byte = [0];
        a.function.read(Region::Config, at, &mut byte);
        byte[0]
    };
    let (mut next, mut kinds) = (byte(0x34), Vec::new());
    while next != 0 {
        let at = u64::from(next);
        if byte(at) == VENDOR_SPECIFIC {
            kinds.push(byte(at + 3));
        }
        next = byte(at + 1);
    }
    // Common, notification, ISR and PCI access.
    assert_eq!(kinds, [1, 2, 3, 5]);
    assert_eq!(made(&a, "pci no-device-config"), 1);
    a.start(driver::plain());
}

#[test]
fn nothing_is_sent_until_a_reset() {
    let (mut a, mut b) = pair(driver::plain());
    b.post_rx(1600);
    misbehave(&a, "tx stall 1");
    let at = a.buffer(200);
    a.chain(TX, &[(at, 200, 0)]);
    a.kick(TX);
    pump(a.nic());
    assert_eq!(a.used_idx(TX), 0);
    assert_eq!(made(&a, "tx stall"), 0);
    a.start(driver::plain());
    assert_eq!(made(&a, "tx stall"), 1);
    a.send(&NetHdr48::default(), &packets::udp(60));
    assert!(b.receive().is_some());
}

#[test]
fn interrupts_of_transmission_are_missing() {
    let (mut a, _b) = pair(driver::plain() & !mask(feature::EVENT_IDX));
    misbehave(&a, "tx silent 2");
    let counts: Vec<_> = (0..3)
        .map(|_| {
            a.clear_events();
            a.send(&NetHdr48::default(), &packets::udp(60));
            pump(a.nic());
            a.events(TX + 1)
        })
        .collect();
    assert_eq!(counts, [0, 0, 1]);
    assert_eq!(made(&a, "tx silent"), 2);
}

#[test]
fn interrupts_come_after_a_reset() {
    let (mut a, _b) = pair(driver::plain());
    misbehave(&a, "reset interrupts 3");
    let before = [RX, TX, CTRL].map(|queue| a.used_idx(queue));
    let start = Instant::now();
    a.write(reg::STATUS, 0, 1);
    assert_eq!(a.status(), 0);
    let after = [RX, TX, CTRL].map(|queue| a.used_idx(queue));
    assert_eq!(after, before.map(|index| index + 1));
    // The configuration and each queue.
    let events = |a: &Driver| (0..4).map(|vector| a.events(vector)).collect::<Vec<_>>();
    assert_eq!(events(&a), [1; 4]);
    let _worker = Workers::spawn(a.nic()).unwrap();
    while made(&a, "reset interrupts") < 3 {
        assert!(start.elapsed() < Duration::from_secs(20), "no interrupts");
        std::thread::sleep(Duration::from_millis(1));
    }
    a.nic().with_device(|_| ());
    assert_eq!(events(&a), [2; 4]);
    // The rings are not touched any more.
    assert_eq!([RX, TX, CTRL].map(|queue| a.used_idx(queue)), after);
    // It is not done to a device that no driver has started, nor when it is cleared.
    misbehave(&a, "reset interrupts 3");
    a.reset();
    assert_eq!(events(&a), [0; 4]);
    a.start(driver::plain());
    clear(&a);
    a.reset();
    assert_eq!(events(&a), [0; 4]);
    assert_eq!(made(&a, "reset interrupts"), 3);
}
