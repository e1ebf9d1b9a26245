// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The part of a NIC's configuration that can change while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::offer::NetConfig;
use crate::mac::MacAddress;

/// What the device configuration says now. Workers read it for each batch, so nothing here is locked.
pub struct Live {
    /// The MAC address, as [`word`] has it.
    mac: AtomicU64,
    speed: AtomicU32,
}

impl Live {
    /// What a NIC with this configuration starts with.
    pub fn new(config: &NetConfig) -> Self {
        Self {
            mac: AtomicU64::new(word(config.mac)),
            speed: AtomicU32::new(config.speed),
        }
    }

    /// The MAC address.
    pub fn mac(&self) -> MacAddress {
        address(self.mac.load(Ordering::Relaxed))
    }

    /// Changes the MAC address; returns whether it was another one.
    pub fn set_mac(&self, mac: MacAddress) -> bool {
        self.mac.swap(word(mac), Ordering::Relaxed) != word(mac)
    }

    /// Speed in Mbit/s.
    pub fn speed(&self) -> u32 {
        self.speed.load(Ordering::Relaxed)
    }

    /// Changes the speed, in Mbit/s; returns whether it was another one.
    pub fn set_speed(&self, speed: u32) -> bool {
        self.speed.swap(speed, Ordering::Relaxed) != speed
    }
}

/// An address in one word, the upper 16 bits of which are zero.
fn word([a, b, c, d, e, f]: MacAddress) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The address in a word.
fn address(word: u64) -> MacAddress {
    let [_, _, mac @ ..] = word.to_be_bytes();
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_whole_addresses() {
        for mac in [[0; 6], [0xff; 6], [2, 0x12, 0x34, 0x56, 0x78, 0x9a]] {
            assert_eq!(address(word(mac)), mac);
        }
        assert_eq!(word([2, 0, 0, 0, 0, 1]), 0x0200_0000_0001);
    }
}
