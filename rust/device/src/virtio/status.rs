// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device status bits (VIRTIO 1.4 section 2.1).

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

/// Those that a driver sets.
pub const WRITABLE: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
