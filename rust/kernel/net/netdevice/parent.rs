// SPDX-License-Identifier: GPL-2.0

//! The requirements of a network device for the bus of its device.

use crate::bindings;
use kernel::device;

/// A counted reference to the device of a bus that a network device stands on. It keeps that bound to its
/// driver: who unbinds the device waits for the last reference.
///
/// Only this crate implements it: for [`DeviceRef`](crate::virtio::DeviceRef).
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::{
///     Device,
///     Operations, //
/// };
///
/// /// Logs in the name of the device of the bus.
/// fn complain<T: Operations>(dev: &Device<T>) {
///     let parent: &kernel::device::Device = dev.parent().as_ref();
///     dev_warn!(parent, "the NIC does not answer\n");
/// }
/// ```
///
/// # Safety
///
/// - The device is bound, or being bound, as long as there is a reference.
/// - [`Self::attach`] and [`Self::detach`] store where events of the bus find the network device, and take
///   it back. Whoever begins to look after `detach` has returned finds none.
/// - After [`Self::reset`] and then [`Self::synchronize`] no event of the bus is running that began before.
/// - [`Self::release`] returns when there is no other reference.
pub unsafe trait Parent: AsRef<device::Device> + Clone + Send + Sync + 'static {
    /// Makes events of the bus find `netdev` from now on.
    ///
    /// # Safety
    ///
    /// The device has no other network device, and this one stays until [`Self::detach`] and whoever has
    /// found it before are done.
    unsafe fn attach(&self, netdev: *mut bindings::net_device);

    /// Makes events of the bus find no network device any more.
    ///
    /// # Safety
    ///
    /// The caller takes the network device down: without it, events that guard its queues find nothing.
    unsafe fn detach(&self);

    /// Resets the device: no event and no access to memory after this. Sleeps.
    ///
    /// # Safety
    ///
    /// As for [`Self::detach`].
    unsafe fn reset(&self);

    /// Waits for events of the bus that run. Sleeps.
    fn synchronize(&self);

    /// Gives this reference back and waits until there is none. Sleeps.
    ///
    /// # Safety
    ///
    /// As for [`Self::detach`].
    unsafe fn release(self);
}
