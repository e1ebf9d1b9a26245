// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Drivers that break the rules: each error is counted and ends in `DEVICE_NEEDS_RESET`, the process
//! lives, and after a reset the device works.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use espnic_device::net::NetConfig;
use espnic_device::ports::switch::Switch;
use espnic_device::virtio::status;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use proptest::prelude::*;
use support::breach::{broken, tx};
use support::driver::{self, Driver, CTRL, INDIRECT, NEXT, RX, TX, WRITE};
use support::{config, packets, pump, Rig, MEM_END, MEM_START};

#[test]
fn every_error_counts_but_the_device_gives_up_once() {
    let mut driver = Rig::default().nic(config(1));
    assert!(driver.negotiate(driver::plain()));
    driver.enable_nowhere(RX);
    driver.enable_nowhere(RX);
    assert_eq!(driver.counter("ring_invalid"), 2);
    assert_eq!(driver.counter("needs_reset"), 1);
    assert_ne!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
    assert!(driver.negotiate(driver::plain()));
    driver.enable_nowhere(TX);
    assert_eq!(driver.counter("needs_reset"), 2);
}

#[test]
fn too_long() {
    tx("chain_too_long", |driver| {
        let table = driver.buffer(16);
        driver.desc(driver.rings[1].desc(), 0, table, 16 * 1025, INDIRECT, 0);
        driver.offer(TX, 0);
    });
}

#[test]
fn outside_memory() {
    for (address, len) in [
        (MEM_START - 1, 100),
        (MEM_END - 50, 100),
        (u64::MAX - 10, 100),
        (0, 1),
        (MEM_START, u32::MAX),
    ] {
        tx("chain_address", |driver| {
            driver.chain(TX, &[(address, len, 0)]);
        });
        broken("chain_address", RX, driver::plain(), |driver| {
            driver.chain(RX, &[(address, len, WRITE)]);
        });
    }
    tx("chain_address", |driver| {
        driver.desc(driver.rings[1].desc(), 0, MEM_END, 32, INDIRECT, 0);
        driver.offer(TX, 0);
    });
}

#[test]
fn wrong_direction() {
    tx("chain_direction", |driver| {
        let data = driver.buffer(100);
        driver.chain(TX, &[(data, 100, WRITE)]);
    });
    tx("chain_direction", |driver| {
        let data = driver.buffer(100);
        driver.chain(TX, &[(data, 50, WRITE), (data, 50, 0)]);
    });
    broken("chain_direction", RX, driver::plain(), |driver| {
        let data = driver.buffer(1600);
        driver.chain(RX, &[(data, 1600, 0)]);
    });
    broken("chain_direction", CTRL, driver::plain(), |driver| {
        let data = driver.buffer(100);
        driver.chain(CTRL, &[(data, 1, WRITE), (data, 2, 0)]);
    });
}

#[test]
fn empty_and_tiny_buffers() {
    tx("chain_size", |driver| {
        driver.chain(TX, &[(MEM_START, 0, 0)]);
    });
    broken("chain_size", RX, driver::plain(), |driver| {
        let data = driver.buffer(11);
        driver.chain(RX, &[(data, 11, WRITE)]);
    });
    broken("chain_size", RX, driver::ipsec(), |driver| {
        let data = driver.buffer(47);
        driver.chain(RX, &[(data, 47, WRITE)]);
    });
}

#[test]
fn bad_indirect_tables() {
    for (len, flags) in [
        (0, INDIRECT),
        (17, INDIRECT),
        (15, INDIRECT),
        (16, INDIRECT | NEXT),
    ] {
        tx("chain_indirect", |driver| {
            let table = driver.buffer(64);
            driver.desc(table, 0, table, 16, 0, 0);
            driver.desc(driver.rings[1].desc(), 0, table, len, flags, 1);
            driver.offer(TX, 0);
        });
    }
    // Not negotiated.
    let direct = driver::plain() & !mask(feature::INDIRECT_DESC);
    broken("chain_indirect", TX, direct, |driver| {
        let table = driver.buffer(64);
        driver.desc(table, 0, table, 16, 0, 0);
        driver.desc(driver.rings[1].desc(), 0, table, 16, INDIRECT, 0);
        driver.offer(TX, 0);
    });
}

#[test]
fn notifications_of_queues_that_do_not_exist() {
    let mut driver = Rig::default().nic(config(1));
    driver.start(driver::plain());
    for queue in [4, 100, 1023] {
        driver.kick(queue);
    }
    assert_eq!(driver.counter("needs_reset"), 0);
    assert_eq!(driver.counter("kicks"), 3);
}

/// Queues of a NIC with two pairs, of which the event queue is there with the extension only.
const QUEUES: usize = 7;

/// Rings full of random bytes, with addresses and lengths that are often plausible.
fn random_descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let address = prop_oneof![
        4 => MEM_START..MEM_END,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![6 => 0u32..2000, 2 => (0u32..40).prop_map(|n| n * 16), 1 => any::<u32>()];
    let next = prop_oneof![9 => 0u16..driver::QUEUE_SIZE, 1 => any::<u16>()];
    (address, len, 0u16..8, next)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_rings_neither_panic_nor_hang(
        features in prop_oneof![
            Just(driver::plain()),
            Just(driver::plain() | driver::tso() | mask(feature::MQ)),
            Just(driver::ipsec() | driver::tso() | mask(feature::ADMIN_VQ)),
            Just(driver::ipsec() | driver::tso() | mask(feature::ADMIN_VQ) | mask(feature::MQ)),
        ],
        tables in proptest::collection::vec(
            proptest::collection::vec(random_descriptor(), usize::from(driver::QUEUE_SIZE)), QUEUES),
        heads in proptest::collection::vec(proptest::collection::vec(0u16..18, 1..20), QUEUES),
        indirect in proptest::collection::vec(random_descriptor(), 8),
        noise in proptest::collection::vec(any::<u8>(), 256),
        registers in proptest::collection::vec((0u64..64, any::<u64>(), 0usize..4), 0..10),
    ) {
        let mut rig = Rig::default();
        let two = NetConfig { pairs: 2, ..config(1) };
        let (mut driver, mut peer) = (rig.nic(two), rig.nic(config(2)));
        driver.start_queues(features, QUEUES as u16);
        peer.start(driver::plain());
        for at in 0..40 {
            driver.put(MEM_START + 0x2_0000 + at * 256, &noise);
        }
        for (index, &(address, len, flags, next)) in indirect.iter().enumerate() {
            driver.desc(MEM_START + 0x3_0000, index as u16, address, len, flags, next);
        }
        for queue in 0..QUEUES as u16 {
            let table = driver.rings[usize::from(queue)].desc();
            for (index, &(address, len, flags, next)) in tables[usize::from(queue)].iter().enumerate() {
                let address = if flags & INDIRECT != 0 { MEM_START + 0x3_0000 } else { address };
                driver.desc(table, index as u16, address, len, flags, next);
            }
            for &head in &heads[usize::from(queue)] {
                driver.offer(queue, head);
                driver.notify(queue);
            }
        }
        for _ in 0..3 {
            peer.send(&NetHdr48::default(), &packets::udp(200));
        }
        pump(driver.nic());
        for (offset, value, width) in registers {
            driver.write(offset, value, 1 << width);
            pump(driver.nic());
        }
        driver.start(driver::plain());
        pump(driver.nic());
        driver.post_rx(1600);
        peer.send(&NetHdr48::default(), &packets::udp(60));
        prop_assert_eq!(driver.receive().map(|(_, frame)| frame), Some(packets::udp(60)));
    }
}

/// Frames sent to `config(2)`'s address that each of these has received.
fn sent_to_second(a: &mut Driver, others: [&mut Driver; 2]) -> [usize; 2] {
    let mut frame = packets::udp(20);
    frame[5] = 2;
    a.send(&NetHdr48::default(), &frame);
    others.map(|other| std::iter::from_fn(|| other.receive()).count())
}

#[test]
fn a_switch_knows_guests_by_their_memory() {
    let (mut rig, switch) = (Rig::default(), Arc::new(Switch::default()));
    let mut nic = |last: u8| {
        let config = config(last);
        let mac = config.mac;
        let mut driver = rig.build(config, |backlog| Box::new(switch.connect(backlog, mac)));
        driver.start(driver::plain());
        (0..8).for_each(|_| driver.post_rx(1600));
        driver
    };
    let (mut a, mut b, mut c) = (nic(1), nic(2), nic(3));
    assert_eq!(sent_to_second(&mut a, [&mut b, &mut c]), [1, 0]);
    // Another guest.
    let mut from_second = packets::udp(20);
    from_second[..6].fill(0xff);
    from_second[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    c.send(&NetHdr48::default(), &from_second);
    assert!(b.receive().is_some());
    assert_eq!(sent_to_second(&mut a, [&mut b, &mut c]), [1, 0]);
    assert_eq!(c.counter("port.tx_not_learned"), 1);
    // The same guest, with one NIC taking over from another.
    c.function.dma_unmap_all();
    c.memory = b.memory.beside();
    c.memory.attach(&mut *c.function);
    c.start(driver::plain());
    (0..8).for_each(|_| c.post_rx(1600));
    c.send(&NetHdr48::default(), &from_second);
    assert!(b.receive().is_some());
    assert_eq!(sent_to_second(&mut a, [&mut b, &mut c]), [0, 1]);
    c.function.disconnected();
    assert_eq!(sent_to_second(&mut a, [&mut b, &mut c]), [1, 0]);
}
