// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The part of a NIC's configuration that can change while it runs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::offer::NetConfig;
use crate::mac::MacAddress;

/// What the device configuration says now.
pub struct Live {
    mac: Mutex<MacAddress>,
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
    pub fn mac(&self) -> MacAddress {
        *self.lock()
    }

    /// Changes the MAC address; returns whether it was another one.
    pub fn set_mac(&self, mac: MacAddress) -> bool {
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

    fn lock(&self) -> MutexGuard<'_, MacAddress> {
        self.mac.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
