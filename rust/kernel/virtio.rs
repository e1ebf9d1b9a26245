// SPDX-License-Identifier: GPL-2.0

//! The virtio bus.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)
//!
//! # Who owns what
//!
//! The virtio core has the device and binds it to a driver: of network devices, see [`net`].
//!
//! A driver can use a virtio device only while that is bound, so every way to one proves that it is. A
//! [`Device`] is lent for the time of a callback. A [`DeviceRef`] is counted: the core's call that
//! unbinds the device does not return before the last one is dropped. Queues hold a `DeviceRef` through
//! their set; [`virtqueue`] has the rest of the argument.

pub mod control;
mod device;
pub mod event;
mod id;
pub mod net;
mod payload;
mod set;
pub mod virtqueue;

pub use device::{
    Device,
    DeviceRef,
    Validation, //
};
pub use id::{
    DeviceId,
    IdTable, //
};
