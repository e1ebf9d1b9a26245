// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The event queue of the extension (V160, V166 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::net::NetConfig;
use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_wire::event::{queue_index, Event, Kind};
use espnic_wire::feature::{self, mask};
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use support::driver::{self, Driver, CTRL, EVENT, RX, TX, WRITE};
use support::misbehaviour::{made, misbehave};
use support::{config, pump, Rig};
use zerocopy::IntoBytes;

fn event(id: u32) -> Event {
    Event {
        kind: (Kind::HardLimit as u16).into(),
        res_type: OBJ_OUTB_SA.into(),
        id: id.into(),
        packets: 3.into(),
        bytes: 4500.into(),
        seq: 3.into(),
    }
}

fn push(driver: &Driver, id: u32) {
    driver.nic().ipsec.events.push(event(id));
}

/// A driver that uses the event queue.
fn started() -> Driver {
    let mut driver = Rig::default().nic(config(1));
    driver.start_with(driver::ipsec(), [RX, TX, CTRL, EVENT]);
    driver
}

/// Gives a buffer.
fn post(driver: &mut Driver, queue: u16, len: u32) -> u64 {
    let at = driver.buffer(len);
    driver.chain(queue, &[(at, len, WRITE)]);
    at
}

/// V160.
#[test]
fn the_queue_is_there_with_the_extension_only() {
    for pairs in [1, 2, 8] {
        let several = NetConfig { pairs, ..config(1) };
        let mut driver = Rig::default().nic(several);
        let last = 2 * pairs + 1;
        for (features, more) in [(driver::plain(), 0), (driver::ipsec(), 1)] {
            assert!(driver.negotiate(features));
            let queues = u64::from(last) + more;
            assert_eq!(driver.read(reg::NUM_QUEUES, 2), queues);
            driver.select(last);
            assert_eq!(driver.read(reg::QUEUE_SIZE, 2), 1024 * more);
            if more == 0 {
                driver.write(reg::QUEUE_ENABLE, 1, 2);
                assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0);
            }
            assert_eq!(driver.read(reg::ADMIN_QUEUE_INDEX, 2), u64::from(last) + 1);
        }
    }
    let plain = NetConfig {
        ipsec: false,
        ..config(1)
    };
    let mut driver = Rig::default().nic(plain);
    assert_eq!(driver.read(reg::ADMIN_QUEUE_INDEX, 2), 3);
    assert_eq!(driver.read(reg::NUM_QUEUES, 2), 3);
}

#[test]
fn every_event_gets_a_buffer() {
    let mut driver = started();
    let buffers = [32, 40].map(|len| post(&mut driver, EVENT, len));
    driver.kick(EVENT);
    assert_eq!(driver.used_idx(EVENT), 0);
    for (id, at) in (7..).zip(buffers) {
        push(&driver, id);
        pump(driver.nic());
        let (_, len) = driver.next_used(EVENT).unwrap();
        assert_eq!(len, 32);
        assert_eq!(driver.get(at, 32), event(id).as_bytes());
    }
    // With EVENT_IDX the driver has asked for an interrupt once.
    assert_eq!(driver.events(EVENT + 1), 1);
    // Without a buffer it waits, and the driver's kick is asked for.
    push(&driver, 9);
    pump(driver.nic());
    assert!(driver.next_used(EVENT).is_none());
    let at = post(&mut driver, EVENT, 32);
    driver.kick(EVENT);
    assert!(driver.next_used(EVENT).is_some());
    assert_eq!(driver.get(at, 32), event(9).as_bytes());
    assert_eq!(driver.counter("ipsec_events"), 3);
    assert_eq!(driver.counter("ipsec_events_lost"), 0);
}

/// The queue follows the control queue.
#[test]
fn the_place_depends_on_the_number_of_pairs() {
    for bit in [None, Some(feature::MQ), Some(feature::RSS)] {
        let several = NetConfig {
            pairs: 3,
            ..config(1)
        };
        let mut driver = Rig::default().nic(several);
        let more = bit.map_or(0, mask);
        driver.start_queues(driver::ipsec() | more, 8);
        let queue = queue_index(bit.is_some(), 3);
        let at = post(&mut driver, queue, 32);
        push(&driver, 1);
        driver.kick(queue);
        assert!(driver.next_used(queue).is_some());
        assert_eq!(driver.get(at, 32), event(1).as_bytes());
    }
}

/// V166.
#[test]
fn lost_events_are_flagged() {
    let mut driver = started();
    for id in 0..300 {
        push(&driver, id);
    }
    pump(driver.nic());
    let mut seen = Vec::new();
    for _ in 0..17 {
        let buffers: Vec<_> = (0..16).map(|_| post(&mut driver, EVENT, 32)).collect();
        driver.kick(EVENT);
        for at in buffers {
            if driver.next_used(EVENT).is_some() {
                seen.push(Event::read(&driver.get(at, 32)).unwrap());
            }
        }
    }
    assert_eq!(seen.len(), 257);
    let lost = Event {
        kind: (Kind::Lost as u16).into(),
        ..Event::default()
    };
    assert_eq!(seen[..2], [lost, event(0)]);
    assert_eq!(seen.last(), Some(&event(255)));
    assert_eq!(driver.counter("ipsec_events_lost"), 44);
}

#[test]
fn a_bad_buffer_stops_the_device() {
    for (len, flags, counter) in [(31, WRITE, "chain_size"), (32, 0, "chain_direction")] {
        let mut driver = started();
        let at = driver.buffer(64);
        driver.chain(EVENT, &[(at, len, flags)]);
        push(&driver, 1);
        driver.kick(EVENT);
        assert_eq!(driver.counter(counter), 1);
        assert_ne!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
        // Nothing of before the reset comes after it.
        driver.start_with(driver::ipsec(), [RX, TX, CTRL, EVENT]);
        post(&mut driver, EVENT, 32);
        driver.kick(EVENT);
        assert!(driver.next_used(EVENT).is_none());
    }
}

#[test]
fn a_driver_without_the_queue_is_left_alone() {
    let mut driver = Rig::default().nic(config(1));
    for features in [driver::plain(), driver::ipsec()] {
        driver.start(features);
        push(&driver, 1);
        pump(driver.nic());
        assert_eq!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
    }
}

/// Each misbehaviour changes one record, and the next one is right.
#[test]
fn wrong_events_on_request() {
    type Change = fn(&mut Event);
    let mut driver = started();
    let wrong: [(&str, Change); 4] = [
        ("sa-id", |event| event.id = (!7).into()),
        ("direction", |event| event.res_type = OBJ_INB_SA.into()),
        ("hard", |event| event.kind = (Kind::HardLimit as u16).into()),
        ("moved", |event| {
            event.kind = (Kind::NatMapping as u16).into()
        }),
    ];
    let soft = Event {
        kind: (Kind::SoftLimit as u16).into(),
        ..event(7)
    };
    for (what, change) in wrong {
        misbehave(&driver, &format!("event {what} 1"));
        let mut spoiled = soft;
        change(&mut spoiled);
        for expected in [spoiled, soft] {
            let at = post(&mut driver, EVENT, 32);
            driver.nic().ipsec.events.push(soft);
            driver.kick(EVENT);
            assert!(driver.next_used(EVENT).is_some());
            assert_eq!(driver.get(at, 32), expected.as_bytes(), "{what}");
        }
        assert_eq!(made(&driver, &format!("event {what}")), 1);
    }
    misbehave(&driver, "event again 3");
    push(&driver, 7);
    for _ in 0..6 {
        post(&mut driver, EVENT, 32);
    }
    driver.kick(EVENT);
    let count = (0..6).filter(|_| driver.next_used(EVENT).is_some()).count();
    assert_eq!((count, made(&driver, "event again")), (4, 3));
    misbehave(&driver, "event short 1");
    push(&driver, 7);
    driver.kick(EVENT);
    assert_eq!(driver.next_used(EVENT).map(|(_, len)| len), Some(5));
}
