// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Breaches of the rules of queues, and what follows from them.

use espnic_device::virtio::status;
use espnic_wire::hdr::NetHdr48;

use super::driver::{self, Driver, RX, TX};
use super::{config, packets, Rig};

/// Runs `break_rules` on a fresh NIC, expects `counter` to tell, and the NIC to recover.
pub fn broken(counter: &str, queue: u16, features: u128, break_rules: impl FnOnce(&mut Driver)) {
    let mut rig = Rig::default();
    let (mut driver, mut peer) = (rig.nic(config(1)), rig.nic(config(2)));
    driver.start(features);
    peer.start(driver::plain());
    break_rules(&mut driver);
    if queue == RX {
        peer.send(&NetHdr48::default(), &packets::udp(100));
    }
    driver.kick(queue);
    assert_eq!(driver.counter(counter), 1, "{counter}");
    assert_eq!(driver.counter("needs_reset"), 1);
    assert_ne!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(driver.events(0), 1, "configuration interrupt");
    // Nothing is processed until the reset, and the error is not counted again.
    driver.kick(queue);
    assert_eq!(driver.counter("needs_reset"), 1);
    driver.set_status(status::ACKNOWLEDGE);
    assert_ne!(driver.status() & status::DEVICE_NEEDS_RESET, 0);

    driver.start(driver::plain());
    driver.post_rx(1600);
    peer.send(&NetHdr48::default(), &packets::udp(60));
    assert_eq!(driver.receive().unwrap().1, packets::udp(60));
    peer.post_rx(1600);
    driver.send(&NetHdr48::default(), &packets::udp(61));
    assert_eq!(peer.receive().unwrap().1, packets::udp(61));
}

/// The same with the transmit queue.
pub fn tx(counter: &str, break_rules: impl FnOnce(&mut Driver)) {
    broken(counter, TX, driver::plain(), break_rules);
}
