// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The part of a NIC's configuration that can change while it runs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::offer::NetConfig;

/// The bit of the first byte that makes an Ethernet address one of a group.
const GROUP: u8 = 1;

/// What the device configuration says now.
pub struct Live {
    mac: Mutex<[u8; 6]>,
    speed: AtomicU32,
}

impl Live {
    /// What a NIC with this configuration starts with.
    pub fn new(config: &NetConfig) -> Self {
        Self {
            mac: Mutex::new(config.mac),
            speed: AtomicU32::new(config.speed),
        }
    }

    /// The MAC address.
    pub fn mac(&self) -> [u8; 6] {
        *self.lock()
    }

    /// Changes the MAC address; returns whether it was another one.
    pub fn set_mac(&self, mac: [u8; 6]) -> bool {
        std::mem::replace(&mut *self.lock(), mac) != mac
    }

    /// Speed in Mbit/s.
    pub fn speed(&self) -> u32 {
        self.speed.load(Ordering::Relaxed)
    }

    /// Changes the speed, in Mbit/s; returns whether it was another one.
    pub fn set_speed(&self, speed: u32) -> bool {
        self.speed.swap(speed, Ordering::Relaxed) != speed
    }

    fn lock(&self) -> MutexGuard<'_, [u8; 6]> {
        self.mac.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an interface can have this MAC address: neither zero nor one of a group.
pub fn is_station(mac: &[u8; 6]) -> bool {
    let [first, ..] = mac;
    first & GROUP == 0 && *mac != [0; 6]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_are_neither_groups_nor_nobody() {
        for good in [[2, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1], [0xfe; 6]] {
            assert!(is_station(&good), "{good:x?}");
        }
        for bad in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [3, 0, 0, 0, 0, 1]] {
            assert!(!is_station(&bad), "{bad:x?}");
        }
    }
}
