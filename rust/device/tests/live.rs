// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What changes of a NIC's configuration while it runs: MAC address and speed.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use espnic_device::pci;
use espnic_device::ports::switch::Switch;
use espnic_device::virtio::common::reg;
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use support::driver::{self, Driver, CTRL};
use support::{config, packets, Rig};

/// The address of the NIC as the configuration has it.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [0x0a, 1, 2, 3, 4, 5];

fn features() -> u128 {
    driver::plain() | mask(feature::CTRL_MAC_ADDR)
}

fn mac(driver: &mut Driver) -> [u8; 6] {
    let [a, b, c, d, e, f, ..] = driver.read(pci::DEVICE, 6).to_le_bytes();
    [a, b, c, d, e, f]
}

fn set_mac(driver: &mut Driver, mac: &[u8]) -> u8 {
    let request = [&[ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET], mac].concat();
    driver.request(CTRL, &request, 1)[0]
}

/// A NIC on a switch, with buffers.
fn on_switch(rig: &mut Rig, switch: &Arc<Switch>, last: u8) -> Driver {
    let config = config(last);
    let mac = config.mac;
    let mut driver = rig.build(config, |backlog| Box::new(switch.connect(backlog, mac)));
    driver.start(features());
    (0..8).for_each(|_| driver.post_rx(1600));
    driver
}

/// How many frames to `mac` each of these received.
fn sent_to(from: &mut Driver, mac: [u8; 6], others: [&mut Driver; 2]) -> [usize; 2] {
    let mut frame = packets::udp(20);
    frame[..6].copy_from_slice(&mac);
    from.send(&NetHdr48::default(), &frame);
    others.map(|other| std::iter::from_fn(|| other.receive()).count())
}

#[test]
fn the_driver_gives_the_nic_an_address() {
    let mut driver = Rig::default().nic(config(1));
    driver.start(features());
    assert_eq!(mac(&mut driver), OWN);
    assert_eq!(set_mac(&mut driver, &OTHER), ctrl::OK);
    assert_eq!(mac(&mut driver), OTHER);
    // Surplus bytes are ignored.
    assert_eq!(set_mac(&mut driver, &[2, 0, 0, 0, 0, 9, 1, 1]), ctrl::OK);
    assert_eq!(mac(&mut driver), [2, 0, 0, 0, 0, 9]);
    // It ends with a reset.
    driver.reset();
    assert_eq!(mac(&mut driver), OWN);
}

#[test]
fn impossible_addresses_are_refused() {
    let mut driver = Rig::default().nic(config(1));
    driver.start(features());
    for bad in [
        &[0; 6][..],
        &[0xff; 6],
        &[1, 0, 0x5e, 0, 0, 1],
        &[2, 0, 0, 0, 0],
        &[],
    ] {
        assert_eq!(set_mac(&mut driver, bad), ctrl::ERR, "{bad:x?}");
        assert_eq!(mac(&mut driver), OWN);
    }
    // Nor are tables without CTRL_RX.
    let table = [ctrl::CLASS_MAC, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(driver.request(CTRL, &table, 1), [ctrl::ERR]);
    assert_eq!(driver.counter("ctrl_refused"), 6);
    // Nor is anything else without the feature.
    driver.reset();
    driver.start(driver::plain());
    assert_eq!(set_mac(&mut driver, &OTHER), ctrl::ERR);
    assert_eq!(mac(&mut driver), OWN);
}

#[test]
fn a_switch_delivers_to_the_new_address() {
    let (mut rig, switch) = (Rig::default(), Arc::new(Switch::default()));
    let mut nic = |last| on_switch(&mut rig, &switch, last);
    let (mut a, mut b, mut c) = (nic(1), nic(2), nic(3));
    // Nobody has it, so all others get the frame.
    assert_eq!(sent_to(&mut a, OTHER, [&mut b, &mut c]), [1, 1]);
    assert_eq!(set_mac(&mut b, &OTHER), ctrl::OK);
    assert_eq!(sent_to(&mut a, OTHER, [&mut b, &mut c]), [1, 0]);
    // The address of another guest's NIC cannot be had.
    assert_eq!(set_mac(&mut b, &[2, 0, 0, 0, 0, 3]), ctrl::ERR);
    assert_eq!(mac(&mut b), OTHER);
    assert_eq!(
        sent_to(&mut a, [2, 0, 0, 0, 0, 3], [&mut b, &mut c]),
        [0, 1]
    );
}

#[test]
fn the_driver_is_told_of_another_speed() {
    let mut rig = Rig::default();
    let (mut driver, _peer) = (rig.nic(config(1)), rig.nic(config(2)));
    driver.start(driver::plain() | mask(feature::SPEED_DUPLEX));
    // Not while it can be relied on.
    driver.nic().plug(true);
    assert!(driver.nic().port.link_up() && !driver.nic().set_speed(10_000));
    assert_eq!(driver.read(pci::DEVICE + 12, 4), 25_000);
    driver.nic().plug(false);
    assert_eq!((driver.events(0), driver.read(pci::ISR, 1)), (1, 2));
    let generation = driver.read(reg::CONFIG_GENERATION, 1);
    assert!(driver.nic().set_speed(10_000));
    assert_eq!(driver.read(pci::DEVICE + 12, 4), 10_000);
    assert_eq!((driver.events(0), driver.read(pci::ISR, 1)), (1, 2));
    assert_ne!(driver.read(reg::CONFIG_GENERATION, 1), generation);
    // The same once more is no news.
    assert!(driver.nic().set_speed(10_000));
    assert_eq!((driver.events(0), driver.read(pci::ISR, 1)), (0, 0));
}
