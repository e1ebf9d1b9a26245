// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device status bits (VIRTIO 1.4 section 2.1) and the rules for writing them.

use super::Virtio;

/// The guest has noticed the device.
pub const ACKNOWLEDGE: u8 = 1;
/// The guest has a driver for it.
pub const DRIVER: u8 = 2;
/// The driver is ready.
pub const DRIVER_OK: u8 = 4;
/// The feature selection is final.
pub const FEATURES_OK: u8 = 8;
/// The device cannot go on without a reset.
pub const DEVICE_NEEDS_RESET: u8 = 64;
/// The guest has given up.
pub const FAILED: u8 = 128;

const WRITABLE: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;

/// The effect of a status write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// Nothing beyond the register.
    None,
    /// Device reset.
    Reset,
    /// The driver is ready: start the queues.
    DriverOk,
}

impl Virtio {
    /// Handles a write to `device_status`. `FAILED` has no effect: another driver may go on with the same
    /// device without a reset in between.
    pub(super) fn write_status(&mut self, value: u8) -> StatusChange {
        if value == 0 {
            return StatusChange::Reset;
        }
        let mut added = value & WRITABLE & !self.status;
        if added & FEATURES_OK != 0 && !self.accept_features() {
            added &= !FEATURES_OK;
        }
        if added & DRIVER_OK != 0 && (self.status | added) & FEATURES_OK == 0 {
            log::debug!("DRIVER_OK without FEATURES_OK is ignored");
            added &= !DRIVER_OK;
        }
        // Bits are only added: a driver clears them by a reset (2.1.1).
        self.status |= added;
        if added & DRIVER_OK != 0 {
            StatusChange::DriverOk
        } else {
            StatusChange::None
        }
    }
}
