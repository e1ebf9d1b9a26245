// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Registers: features, status, queues, interrupts, reset (rules V1 to V35 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use espnic_device::frames::Frames;
use espnic_device::pci;
use espnic_device::ports::{Port, Totals};
use espnic_device::transport::Region;
use espnic_device::virtio::common::reg;
use espnic_device::virtio::{status, NO_VECTOR};
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use support::driver::{self, Driver, RX, TX};
use support::{config, packets, pump, Rig};

fn nic() -> Driver {
    Rig::default().nic(config(1))
}

#[test]
fn device_config_is_readable_before_features_ok() {
    let mut rig = Rig::default();
    let mut driver = rig.nic(config(7));
    let _peer = rig.nic(config(8));
    assert_eq!(driver.read(pci::DEVICE, 6), 0x0700_0000_0002);
    assert_eq!(driver.read(pci::DEVICE + 6, 2), 1);
    assert_eq!(driver.read(pci::DEVICE + 8, 2), 1);
    assert_eq!(driver.read(pci::DEVICE + 10, 2), 1500);
    // Speed in Mbit/s, full duplex.
    assert_eq!(driver.read(pci::DEVICE + 12, 4), 25_000);
    assert_eq!(driver.read(pci::DEVICE + 16, 1), 1);
    assert_eq!(driver.read(pci::DEVICE + 60, 4), 0);
    driver.write(pci::DEVICE, 0xff, 1);
    assert_eq!(driver.read(pci::DEVICE, 1), 2);
}

#[test]
fn without_port_there_is_no_link() {
    let mut driver = Rig::default().unplugged(config(1));
    assert_eq!(driver.read(pci::DEVICE + 6, 2), 0);
}

#[test]
fn all_128_feature_bits_are_shown_and_none_beyond() {
    let mut driver = nic();
    let all = driver::ipsec()
        | driver::tso()
        | driver::large_receive()
        | driver::receive_filters()
        | driver::coalescing()
        | mask(feature::ADMIN_VQ)
        | mask(feature::RING_PACKED)
        | mask(feature::ACCESS_PLATFORM)
        | mask(feature::CTRL_MAC_ADDR)
        | mask(feature::SPEED_DUPLEX)
        | mask(feature::HASH_REPORT);
    assert_eq!(driver.offered(), all);
    for select in [4u32, 5, u32::MAX] {
        driver.write(reg::DEVICE_FEATURE_SELECT, select.into(), 4);
        assert_eq!(driver.read(reg::DEVICE_FEATURE, 4), 0);
    }
}

#[test]
fn good_subsets_are_accepted() {
    let mut driver = nic();
    let ipsec_only = driver::plain() | mask(feature::IPSEC) | mask(feature::OUT_NET_HEADER);
    for features in [
        mask(feature::VERSION_1),
        driver::plain(),
        ipsec_only,
        driver::ipsec(),
        driver::plain() | driver::tso(),
    ] {
        assert!(driver.negotiate(features), "{features:#x}");
        assert!(driver.negotiate(features), "again: {features:#x}");
        for select in 0..4 {
            driver.write(reg::DRIVER_FEATURE_SELECT, select, 4);
            assert_eq!(
                driver.read(reg::DRIVER_FEATURE, 4),
                (features >> (32 * select)) as u32 as u64
            );
        }
    }
}

#[test]
fn bad_subsets_are_refused() {
    let mut driver = nic();
    let all = driver::ipsec();
    let mut bad = vec![
        0,
        driver::plain() & !mask(feature::VERSION_1),
        driver::plain() | mask(feature::MQ),
        driver::plain() | mask(35),
        driver::plain() | mask(126),
    ];
    bad.extend(
        feature::X_IPSEC_REQUIRES
            .iter()
            .map(|&bit| all & !mask(bit)),
    );
    let standard = all & !mask(feature::X_IPSEC);
    bad.extend(
        feature::IPSEC_REQUIRES
            .iter()
            .map(|&bit| standard & !mask(bit)),
    );
    for features in bad {
        assert!(!driver.negotiate(features), "{features:#x}");
        assert_eq!(driver.set_status(status::DRIVER_OK) & status::DRIVER_OK, 0);
    }
    assert!(driver.negotiate(all));
}

#[test]
fn after_failed_another_driver_goes_on_without_reset() {
    let mut rig = Rig::default();
    let (mut driver, mut peer) = (rig.nic(config(1)), rig.nic(config(2)));
    peer.start(driver::plain());
    driver.reset();
    driver.set_status(status::ACKNOWLEDGE);
    driver.set_status(status::DRIVER);
    driver.write_features(driver::ipsec());
    assert_ne!(driver.set_status(status::FAILED) & status::FAILED, 0);
    // The next driver finds the device like this.
    driver.set_status(status::DRIVER);
    driver.write_features(driver::plain());
    driver.features = driver::plain();
    assert_ne!(
        driver.set_status(status::FEATURES_OK) & status::FEATURES_OK,
        0
    );
    driver.enable(TX);
    driver.set_status(status::DRIVER_OK);
    peer.post_rx(2048);
    driver.send(&NetHdr48::default(), &packets::udp(20));
    assert_eq!(peer.receive().unwrap().1, packets::udp(20));
}

#[test]
fn nothing_happens_before_driver_ok() {
    let mut driver = nic();
    assert!(driver.negotiate(driver::plain()));
    driver.enable(TX);
    let data = driver.buffer(100);
    driver.chain(TX, &[(data, 100, 0)]);
    driver.kick(TX);
    assert_eq!(driver.used_idx(TX), 0);
    // A notification that came too early is not lost.
    driver.set_status(status::DRIVER_OK);
    pump(driver.nic());
    assert_eq!(driver.used_idx(TX), 1);
}

#[test]
fn a_configuration_interrupt_shows_in_the_isr_with_msix_too() {
    let mut rig = Rig::default();
    let (mut driver, _peer) = (rig.nic(config(1)), rig.nic(config(2)));
    driver.start(driver::plain());
    assert_eq!(driver.read(pci::ISR, 1), 0);
    driver.nic().plug(false);
    assert_eq!((driver.events(0), driver.read(pci::ISR, 1)), (1, 2));
    assert_eq!(driver.read(pci::ISR, 1), 0);
    // A message is a write to memory, which needs bus mastering.
    driver
        .function
        .write(Region::Config, 4, &2u16.to_le_bytes());
    driver.nic().plug(true);
    assert_eq!((driver.events(0), driver.read(pci::ISR, 1)), (0, 2));
}

/// A port whose link comes and goes.
struct Loose(Arc<AtomicBool>);

impl Port for Loose {
    fn send(&self, frames: &mut Frames) -> Totals {
        let all = Totals::of(frames);
        frames.truncate(0);
        all
    }

    fn link_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn the_driver_is_told_when_the_port_loses_its_link() {
    let link = Arc::new(AtomicBool::new(true));
    let port = link.clone();
    let mut driver = Rig::default().build(config(1), |_| Box::new(Loose(port)));
    driver.start(driver::plain());
    for up in [false, true] {
        let generation = driver.read(reg::CONFIG_GENERATION, 1);
        link.store(up, Ordering::Relaxed);
        driver.nic().backlog.link_changed();
        pump(driver.nic());
        assert_eq!(driver.events(0), 1);
        assert_ne!(driver.read(reg::CONFIG_GENERATION, 1), generation);
        assert_eq!(driver.read(pci::DEVICE + 6, 2), u64::from(up));
    }
    pump(driver.nic());
    assert_eq!(driver.events(0), 0);
}

#[test]
fn nothing_happens_without_bus_mastering() {
    let mut driver = nic();
    driver.start(driver::plain());
    driver
        .function
        .write(Region::Config, 4, &2u16.to_le_bytes());
    let data = driver.buffer(100);
    driver.chain(TX, &[(data, 100, 0)]);
    driver.kick(TX);
    assert_eq!(driver.used_idx(TX), 0);
    driver
        .function
        .write(Region::Config, 4, &6u16.to_le_bytes());
    pump(driver.nic());
    assert_eq!(driver.used_idx(TX), 1);
}

#[test]
fn bars_need_memory_enable() {
    let mut driver = nic();
    driver
        .function
        .write(Region::Config, 4, &4u16.to_le_bytes());
    assert_eq!(driver.read(reg::NUM_QUEUES, 2), 0xffff);
    driver.write(reg::QUEUE_SELECT, 1, 2);
    driver.power_on();
    assert_eq!(driver.read(reg::QUEUE_SELECT, 2), 0);
    assert_eq!(driver.read(reg::NUM_QUEUES, 2), 3);
}

#[test]
fn queue_registers() {
    let mut driver = nic();
    assert_eq!(
        (
            driver.read(reg::NUM_QUEUES, 2),
            driver.read(reg::ADMIN_QUEUE_INDEX, 2)
        ),
        (3, 4)
    );
    assert_eq!(driver.read(reg::ADMIN_QUEUE_NUM, 2), 1);
    for queue in [0, 1, 2, 4] {
        driver.select(queue);
        assert_eq!(driver.read(reg::QUEUE_SIZE, 2), 1024);
        assert_eq!(driver.read(reg::QUEUE_VECTOR, 2), u64::from(NO_VECTOR));
        assert_eq!(driver.read(reg::QUEUE_NOTIFY_OFF, 2), u64::from(queue));
        assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0);
    }
    driver.select(9);
    assert_eq!(driver.read(reg::QUEUE_SIZE, 2), 0);
    driver.write(reg::QUEUE_ENABLE, 1, 2);
    driver.select(TX);
    for bad in [0u64, 3, 2048, 0xffff] {
        driver.write(reg::QUEUE_SIZE, bad, 2);
        assert_eq!(driver.read(reg::QUEUE_SIZE, 2), 1024);
    }
    driver.write(reg::QUEUE_DESC, 0x1122_3344_5566_7788, 8);
    assert_eq!(driver.read(reg::QUEUE_DESC, 8), 0x1122_3344_5566_7788);
    driver.write(reg::QUEUE_DESC + 4, 0xaabb_ccdd, 4);
    assert_eq!(driver.read(reg::QUEUE_DESC, 8), 0xaabb_ccdd_5566_7788);
    driver.write(reg::QUEUE_VECTOR, 6, 2);
    assert_eq!(driver.read(reg::QUEUE_VECTOR, 2), u64::from(NO_VECTOR));
    driver.write(reg::QUEUE_VECTOR, 5, 2);
    assert_eq!(driver.read(reg::QUEUE_VECTOR, 2), 5);
}

#[test]
fn an_enabled_queue_keeps_its_parameters() {
    let mut driver = nic();
    assert!(driver.negotiate(driver::plain()));
    driver.enable(TX);
    let desc = driver.read(reg::QUEUE_DESC, 8);
    driver.write(reg::QUEUE_SIZE, 4, 2);
    driver.write(reg::QUEUE_DESC, 0, 4);
    assert_eq!(
        driver.read(reg::QUEUE_SIZE, 2),
        u64::from(driver::QUEUE_SIZE)
    );
    assert_eq!(driver.read(reg::QUEUE_DESC, 8), desc);
}

#[test]
fn rings_outside_memory_or_misaligned_are_refused() {
    for (register, address) in [
        (reg::QUEUE_DESC, 0x1000),
        (reg::QUEUE_DESC, support::MEM_START + 8),
        (reg::QUEUE_DRIVER, support::MEM_END - 4),
        (reg::QUEUE_DEVICE, u64::MAX - 0xfff),
    ] {
        let mut driver = nic();
        assert!(driver.negotiate(driver::plain()));
        driver.write(reg::CONFIG_VECTOR, 0, 2);
        driver.enable(RX);
        driver.set_status(status::DRIVER_OK);
        driver.select(TX);
        let ring = driver.rings[1];
        driver.write(reg::QUEUE_DESC, ring.desc(), 8);
        driver.write(reg::QUEUE_DRIVER, ring.avail(), 8);
        driver.write(reg::QUEUE_DEVICE, ring.used(), 8);
        driver.write(register, address, 8);
        driver.write(reg::QUEUE_ENABLE, 1, 2);
        assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0);
        assert_ne!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
        assert_eq!(driver.counter("ring_invalid"), 1);
        assert_eq!(driver.events(0), 1);
    }
}

#[test]
fn reset_clears_everything_and_the_device_works_again() {
    let mut rig = Rig::default();
    let (mut driver, mut peer) = (rig.nic(config(1)), rig.nic(config(2)));
    for _ in 0..3 {
        driver.start(driver::plain());
        peer.start(driver::plain());
        peer.post_rx(2048);
        driver.send(&NetHdr48::default(), &packets::udp(33));
        assert_eq!(peer.receive().unwrap().1, packets::udp(33));
        driver.reset();
        assert_eq!(driver.read(reg::CONFIG_VECTOR, 2), u64::from(NO_VECTOR));
        for queue in 0..3 {
            driver.select(queue);
            assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0);
            assert_eq!(driver.read(reg::QUEUE_VECTOR, 2), u64::from(NO_VECTOR));
            assert_eq!(driver.read(reg::QUEUE_DESC, 8), 0);
            assert_eq!(driver.read(reg::QUEUE_SIZE, 2), 1024);
        }
        let data = driver.buffer(100);
        driver.chain(TX, &[(data, 100, 0)]);
        driver.kick(TX);
        assert_eq!(driver.counter("needs_reset"), 0);
    }
}

#[test]
fn function_reset_and_reconnection() {
    let mut rig = Rig::default();
    let (mut driver, mut peer) = (rig.nic(config(1)), rig.nic(config(2)));
    peer.start(driver::plain());
    driver.start(driver::plain());
    driver.function.reset();
    driver.power_on();
    assert_eq!(driver.status(), 0);
    driver.start(driver::plain());
    // QEMU goes away, and a new one comes with other memory.
    driver.function.disconnected();
    driver.memory = support::Memory::new();
    driver.memory.attach(&mut *driver.function);
    driver.power_on();
    driver.start(driver::plain());
    peer.post_rx(2048);
    driver.send(&NetHdr48::default(), &packets::udp(44));
    assert_eq!(peer.receive().unwrap().1, packets::udp(44));
}

#[test]
fn queue_reset_brings_one_queue_back() {
    let mut rig = Rig::default();
    let (mut driver, mut peer) = (rig.nic(config(1)), rig.nic(config(2)));
    driver.start(driver::plain());
    peer.start(driver::plain());
    for size in [8, 32] {
        driver.select(TX);
        driver.write(reg::QUEUE_RESET, 1, 2);
        assert_eq!(driver.read(reg::QUEUE_RESET, 2), 0);
        assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 0);
        let data = driver.buffer(100);
        driver.chain(TX, &[(data, 100, 0)]);
        driver.kick(TX);
        let ring = &mut driver.rings[usize::from(TX)];
        *ring = driver::Ring::new(ring.base, size);
        driver.enable(TX);
        peer.post_rx(2048);
        driver.send(&NetHdr48::default(), &packets::udp(50));
        assert_eq!(peer.receive().unwrap().1, packets::udp(50));
    }
    assert_eq!(driver.counter("queue_resets"), 2);
    driver.select(RX);
    assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 1);
}

#[test]
fn queue_reset_needs_its_feature() {
    let mut driver = nic();
    driver.start(driver::plain() & !mask(feature::RING_RESET));
    driver.select(TX);
    driver.write(reg::QUEUE_RESET, 1, 2);
    assert_eq!(driver.read(reg::QUEUE_ENABLE, 2), 1);
}

#[test]
fn without_msix_events_go_to_the_isr() {
    let mut driver = nic();
    driver.start(driver::plain() & !mask(feature::EVENT_IDX));
    driver
        .function
        .write(Region::Config, 0x42, &5u16.to_le_bytes());
    let data = driver.buffer(100);
    driver.chain(TX, &[(data, 100, 0)]);
    driver.kick(TX);
    assert_eq!(driver.events(TX + 1), 0);
    assert_eq!(driver.read(pci::ISR, 1), 1);
    assert_eq!(driver.read(pci::ISR, 1), 0);
    driver.chain(TX, &[(0, 100, 0)]);
    driver.kick(TX);
    assert_eq!(driver.read(pci::ISR, 1) & 2, 2);
}

#[test]
fn unmapped_vectors_are_silent() {
    let mut driver = nic();
    driver.start(driver::plain() & !mask(feature::EVENT_IDX));
    for (vector, expected) in [(2u64, 1), (u64::from(NO_VECTOR), 0), (5, 1)] {
        driver.select(TX);
        driver.write(reg::QUEUE_VECTOR, vector, 2);
        let data = driver.buffer(100);
        driver.chain(TX, &[(data, 100, 0)]);
        driver.kick(TX);
        let events: u64 = (0..6).map(|vector| driver.events(vector)).sum();
        assert_eq!(events, expected, "vector {vector}");
    }
    driver.function.set_vector(5, None);
    let data = driver.buffer(100);
    driver.chain(TX, &[(data, 100, 0)]);
    driver.kick(TX);
    assert_eq!(driver.events(5), 0);
}

#[test]
fn the_pci_cfg_window_reaches_the_registers() {
    let mut driver = nic();
    let mut access = |offset: u32, len: u32, write: Option<u32>| {
        driver.function.write(Region::Config, 0x94, &[0]);
        driver
            .function
            .write(Region::Config, 0x98, &offset.to_le_bytes());
        driver
            .function
            .write(Region::Config, 0x9c, &len.to_le_bytes());
        let mut data = write.unwrap_or(0).to_le_bytes();
        match write {
            Some(_) => driver.function.write(Region::Config, 0xa0, &data),
            None => driver.function.read(Region::Config, 0xa0, &mut data),
        }
        u32::from_le_bytes(data)
    };
    assert_eq!(access(reg::NUM_QUEUES as u32, 2, None), 3);
    access(reg::QUEUE_SELECT as u32, 2, Some(1));
    assert_eq!(access(reg::QUEUE_NOTIFY_OFF as u32, 2, None), 1);
    assert_eq!(access(reg::STATUS as u32, 1, None), 0);
    access(reg::DEVICE_FEATURE_SELECT as u32, 4, Some(3));
    assert_eq!(access(reg::DEVICE_FEATURE as u32, 4, None), 1 << 31);
}

#[test]
fn plain_nics_hide_ipsec() {
    let plain = espnic_device::net::NetConfig {
        ipsec: false,
        admin_vq: false,
        packed: false,
        access_platform: false,
        ..config(1)
    };
    let mut driver = Rig::default().nic(plain);
    let all = driver::plain() | driver::tso() | driver::large_receive();
    let all = all | driver::receive_filters() | driver::coalescing();
    let all = all | mask(feature::CTRL_MAC_ADDR) | mask(feature::SPEED_DUPLEX);
    let all = all | mask(feature::HASH_REPORT);
    assert_eq!(driver.offered(), all);
    assert_eq!(driver.read(reg::ADMIN_QUEUE_NUM, 2), 0);
    driver.select(3);
    assert_eq!(driver.read(reg::QUEUE_SIZE, 2), 0);
    assert!(!driver.negotiate(driver::ipsec()));
    assert!(!driver.negotiate(driver::plain() | mask(feature::RING_PACKED)));
}
