// SPDX-License-Identifier: GPL-2.0

//! Events of the virtio core for the network device, and the [`Parent`] that the virtio device is.

use super::{
    Operations,
    Restart, //
};
use crate::{
    bindings,
    net::netdevice::{
        with_ready,
        Bound,
        Device,
        Parent, //
    },
    virtio::DeviceRef, //
};
use core::ptr::{
    addr_of,
    addr_of_mut, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

// SAFETY: References keep the virtio device bound, and `release` waits for the last one. The network
// device is found by `priv`, at once and nowhere else. Resetting the virtio device ends its interrupts, and
// `synchronize` waits for those that run.
unsafe impl Parent for DeviceRef {
    unsafe fn attach(&self, netdev: *mut bindings::net_device) {
        // SAFETY: The virtio device is live, and nobody else writes the field while it is bound, or being
        // bound.
        unsafe { addr_of_mut!((*self.as_raw()).priv_).write_volatile(netdev.cast()) };
    }

    unsafe fn detach(&self) {
        // SAFETY: The virtio device is live, and nobody else writes the field while it is bound.
        unsafe { addr_of_mut!((*self.as_raw()).priv_).write_volatile(core::ptr::null_mut()) };
    }

    unsafe fn reset(&self) {
        (**self).reset();
    }

    fn synchronize(&self) {
        self.synchronize_callbacks();
    }

    unsafe fn release(self) {
        self.wait_released();
    }
}

/// The network device of a virtio device, or null.
///
/// # Safety
///
/// `vdev` is live.
pub(super) unsafe fn netdev_of(vdev: *mut bindings::virtio_device) -> *mut bindings::net_device {
    // SAFETY: By the contract; the field is set and cleared at once.
    unsafe { addr_of!((*vdev).priv_).read_volatile() }.cast()
}

impl<T: Operations> Device<T> {
    /// Resets the virtio device and takes it into use again; false if another thread resets, binds or
    /// removes the device now. Process context without RTNL.
    ///
    /// # Errors
    ///
    /// Those of [`Operations::reset_done`], or of the virtio core; `EBUSY` if
    /// [`Operations::reset_prepare`] left queues.
    pub fn recover(&self) -> Result<bool> {
        let vdev = self.parent().as_raw();
        // A reset or removal of the bus device holds that device's lock, and unbinding of the driver
        // that of the virtio device. Both wait for us.
        // SAFETY: The virtio device is bound by the type invariant, so it has a device below it.
        if !unsafe { bindings::virtio_trylock(vdev) } {
            return Ok(false);
        }
        if self.parent().has_failed() {
            // Otherwise the core would keep FAILED from the last attempt.
            (**self.parent()).reset();
        }
        // SAFETY: The virtio device is bound, and stays so: we hold its lock.
        let prepared = to_result(unsafe { bindings::virtio_device_reset_prepare(vdev) });
        let done = prepared.and_then(|()| {
            // SAFETY: The virtio device is bound and locked by us, and its driver prepared.
            to_result(unsafe { bindings::virtio_device_reset_done(vdev) })
        });
        // SAFETY: Locked above.
        unsafe { bindings::virtio_unlock(vdev) };
        done.map(|()| true)
    }
}

/// [`Device::schedule_work`] for the virtio core, in an interrupt of `vdev`.
///
/// # Safety
///
/// `vdev` is live, and its `priv` null or set for a network device of `T`. Taking the network device down
/// waits for the caller.
pub(super) unsafe fn schedule_work<T: Operations>(vdev: *mut bindings::virtio_device) {
    // SAFETY: `vdev` is live by the contract.
    let net = unsafe { netdev_of(vdev) };
    // SAFETY: By the function's contract.
    unsafe { with_ready(net, |dev: &Device<T>| dev.schedule_work()) }
}

/// The network device of `vdev`, in a callback of the core that may sleep.
///
/// The core does not promise that the device stays bound meanwhile: a reset of the PCI function and
/// unbinding through sysfs hold different locks.
///
/// # Safety
///
/// `vdev` is live, and its `priv` null or set for a network device of `T`.
unsafe fn bound<T: Operations>(vdev: *mut bindings::virtio_device) -> Option<Bound<T>> {
    // SAFETY: `vdev` is live by the contract. `priv` is what `attach` has written, and `detach` cleared.
    unsafe { Bound::of(|| netdev_of(vdev)) }
}

/// Detaches the stack's queues, then calls the driver to stop using the virtio device.
///
/// # Errors
///
/// `EBUSY` if the driver left queues: the device must not be reset under them.
///
/// # Safety
///
/// As [`bound`].
pub(super) unsafe fn reset_prepare<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let net = unsafe { bound::<T>(vdev) };
    net.and_then(|net| net.run(prepare)).unwrap_or(Ok(()))
}

fn prepare<T: Operations>(dev: &Device<T>) -> Result {
    dev.detach();
    T::reset_prepare(dev);
    match dev.parent().has_queues() {
        true => Err(EBUSY),
        false => Ok(()),
    }
}

/// The counterpart of [`reset_prepare`]; the stack stays detached after an error.
///
/// # Errors
///
/// Those of [`Operations::reset_done`]; `ENODEV` if there is no device any more.
///
/// # Safety
///
/// As [`bound`].
pub(super) unsafe fn reset_done<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let net = unsafe { bound::<T>(vdev) };
    net.and_then(|net| net.run(done)).unwrap_or(Err(ENODEV))
}

fn done<T: Operations>(dev: &Device<T>) -> Result {
    T::reset_done(dev, &mut Restart(dev))?;
    dev.attach();
    Ok(())
}

/// [`reset_prepare`] for a machine that goes to sleep. It also ends the work, which could reset or read
/// the device. Sleeps.
///
/// # Errors
///
/// As [`reset_prepare`].
///
/// # Safety
///
/// As [`bound`]; [`resume`] follows, unless this fails or the device is unbound.
pub(super) unsafe fn suspend<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let Some(net) = (unsafe { bound::<T>(vdev) }) else {
        return Ok(());
    };
    net.disable_work();
    // If it fails, the machine stays awake, and `resume` is not called.
    let prepared = net.run(prepare).unwrap_or(Ok(()));
    prepared.inspect_err(|_| net.enable_work())
}

/// The counterpart of [`suspend`]; the stack stays detached after an error.
///
/// # Errors
///
/// As [`reset_done`].
///
/// # Safety
///
/// As [`bound`], after [`suspend`].
pub(super) unsafe fn resume<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let net = unsafe { bound::<T>(vdev) }.ok_or(ENODEV)?;
    let result = net.run(done).unwrap_or(Err(ENODEV));
    net.enable_work();
    result
}
