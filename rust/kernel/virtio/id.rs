// SPDX-License-Identifier: GPL-2.0

//! Which devices of the virtio bus a driver takes.

use crate::bindings;
use kernel::device_id::{
    IdTable as KernelIdTable,
    RawDeviceId, //
};

/// A `struct virtio_device_id`: which devices a driver takes.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::DeviceId;
///
/// const RED_HAT: u32 = 0x1af4;
/// const ID: DeviceId = DeviceId::net(RED_HAT);
/// ```
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::virtio_device_id);

impl DeviceId {
    /// A network device with PCI subsystem vendor `vendor`.
    pub const fn net(vendor: u32) -> Self {
        Self(bindings::virtio_device_id {
            device: bindings::VIRTIO_ID_NET,
            vendor,
        })
    }
}

// SAFETY: `DeviceId` is transparent over `virtio_device_id`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::virtio_device_id;
}

/// The table of devices that a driver takes.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     virtio::{
///         DeviceId,
///         IdTable, //
///     },
///     virtio_device_table, //
/// };
///
/// virtio_device_table!(TABLE, [DeviceId::net(0x1af4)]);
///
/// const ID_TABLE: IdTable = &TABLE;
/// ```
pub type IdTable = &'static dyn KernelIdTable<DeviceId, ()>;
