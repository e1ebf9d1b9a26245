// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NICs that break rules on purpose.

use espnic_device::fault::request::Request;

use super::driver::Driver;
use super::{config, Rig};

/// Sets a misbehaviour.
pub fn misbehave(driver: &Driver, words: &str) {
    let words = ["misbehave"].into_iter().chain(words.split(' '));
    let words: Vec<_> = words.collect();
    driver.nic().set_fault(&Request::parse(&words).unwrap());
}

/// Ends all misbehaviours.
pub fn clear(driver: &Driver) {
    driver.nic().set_fault(&Request::Clear);
}

/// How often the NIC has misbehaved in this way.
pub fn made(driver: &Driver, words: &str) -> u64 {
    let list = driver.nic().misbehaviour.made();
    list.iter().find(|(name, _)| name == words).unwrap().1
}

/// Two NICs on one wire, started with these features.
pub fn pair(features: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(features);
    b.start(features);
    (a, b)
}
