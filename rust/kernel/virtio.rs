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
//! What a driver can do with the virtio device works only while that is bound, so every way to one
//! proves that it is: a [`Device`] is lent for the time of a callback, and a [`DeviceRef`] counts: the
//! core's call that unbinds the device does not return before the last one is dropped. Queues hold a
//! `DeviceRef` through the set that they belong to; [`queue`] has the rest of it.

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
