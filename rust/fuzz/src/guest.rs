// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A virtual machine without QEMU: that of the NIC's own tests.

#[path = "../../device/tests/support/driver.rs"]
pub mod driver;
#[path = "../../device/tests/support/features.rs"]
pub mod features;
#[path = "../../device/tests/support/packets.rs"]
pub mod packets;
#[path = "../../device/tests/support/rig.rs"]
mod rig;
#[path = "../../device/tests/support/ring.rs"]
pub mod ring;

pub use rig::*;
