// SPDX-License-Identifier: GPL-2.0

//! Network devices on the virtio bus: where [`crate::virtio`] and [`crate::net`] meet.
//!
//! A [`Driver`] takes virtio devices, and the [`Adapter`] makes a network device for each of them, which it
//! owns. That network device has the virtio device as its parent, and holds the queues; the virtio device
//! leads to the network device by its `priv` field. Neither half knows of the other one.

mod adapter;
mod events;
mod queues;
mod receive;
mod transmit;

pub use adapter::Adapter;
pub use queues::Queues;
pub use receive::RxQueue;
pub use transmit::{
    TxError,
    TxQueue, //
};

use super::{
    DeviceRef,
    IdTable,
    Validation, //
};
use crate::net::{
    device::{
        self,
        Device,
        Unregistered, //
    },
    ethtool,
    xfrm, //
};
use kernel::prelude::*;

/// What the driver of a network device on the virtio bus implements. `Self` is the driver's data.
pub trait Operations: device::Operations<Parent = DeviceRef> {
    /// A used buffer or more appeared in virtqueue `queue`. Hard interrupt.
    fn queue_event(dev: &Device<Self>, queue: u16);

    /// Stops using the device before a reset: stops traffic, drops all queues. RTNL not held, may
    /// sleep; the stack's queues are detached already. If queues are left, the reset is cancelled.
    fn reset_prepare(dev: &Device<Self>);

    /// Takes the device into use again after a reset: new queues, then [`Restart::ready`], then all
    /// state that the device has lost. RTNL not held, may sleep.
    fn reset_done(dev: &Device<Self>, restart: &mut Restart<'_, Self>) -> Result;
}

/// A driver of virtio network functions.
pub trait Driver: 'static {
    /// The data of the network devices that the driver makes.
    type Net: Operations + ethtool::Operations + xfrm::Operations;

    /// The devices that the driver takes.
    const ID_TABLE: IdTable;

    /// The feature bits that the driver knows, each below 128.
    const FEATURES: &'static [u32];

    /// Looks at the offered features before they are accepted. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENODEV` leaves the device to other drivers.
    fn validate(dev: &Validation<'_>) -> Result;

    /// How many queue pairs the network device gets, each with a NAPI context. Sleeps.
    fn queue_pairs(dev: &super::Device) -> u16;

    /// Completes the network device, which is registered when this returns: sets up its queues and its
    /// data, takes the virtio device into use. Sleeps.
    ///
    /// # Errors
    ///
    /// Any; the network device is taken down, and the virtio device not bound.
    fn probe(net: &mut Unregistered<Self::Net>) -> Result;
}

/// The virtio device between a reset and its use: the right to give it new queues.
pub struct Restart<'a, T: Operations>(&'a Device<T>);
