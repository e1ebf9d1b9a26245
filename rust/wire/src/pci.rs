// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PCI identity of the NIC.

/// PCI vendor of every virtio device (4.1.2).
pub const VENDOR_ID: u16 = 0x1af4;
/// PCI device id of a modern virtio network device: 0x1040 + [`VIRTIO_ID_NET`] (4.1.2.1).
pub const DEVICE_ID: u16 = 0x1041;
/// Virtio device type of a network device (5.1.1).
pub const VIRTIO_ID_NET: u32 = 1;
/// Subsystem vendor by which the driver knows our NIC: the letters `ES`, not an assigned id.
pub const SUBSYSTEM_VENDOR_ID: u16 = 0x4553;
/// Subsystem device id of our NIC.
pub const SUBSYSTEM_DEVICE_ID: u16 = 0x0041;
