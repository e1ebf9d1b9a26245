// SPDX-License-Identifier: GPL-2.0

//! The virtio bus, for drivers of network functions.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)
//!
//! # Who owns what
//!
//! The virtio core has the device and binds it to a [`Driver`]. From then on the [`Adapter`] owns the
//! network device that it makes for it; see [`crate::net::device`] for its life.
//!
//! A driver can use a virtio device only while that is bound, so every way to one proves that it is. A
//! [`Device`] is lent for the time of a callback. A [`DeviceRef`] is counted: the core's call that
//! unbinds the device does not return before the last one is dropped. Queues hold a `DeviceRef` through
//! their set; [`queue`] has the rest of the argument.

pub mod control;
mod device;
mod driver;
pub mod queue;
pub mod receive;
mod set;
pub mod transmit;

pub use device::{
    Device,
    DeviceRef,
    Validation, //
};
pub use driver::{
    Adapter,
    DeviceId,
    Driver,
    IdTable, //
};
