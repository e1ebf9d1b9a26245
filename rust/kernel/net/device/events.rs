// SPDX-License-Identifier: GPL-2.0

//! Events that do not come from the stack: work, and the callbacks of the virtio core.

use super::{
    Device,
    Operations,
    Private, //
};
use crate::{
    bindings,
    virtio, //
};
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        addr_of_mut, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Acquire,
        rcu, //
    }, //
};

/// Runs `f` with the device behind a raw pointer if its data is initialised.
///
/// # Safety
///
/// `ptr` is null or points to a live device that `Unregistered` made for `T`. The caller is a source of
/// events that taking the device down stops before it drops the data.
pub(crate) unsafe fn with_ready<T: Operations>(
    ptr: *mut bindings::net_device,
    f: impl FnOnce(&Device<T>),
) {
    if ptr.is_null() {
        return;
    }
    // SAFETY: `ptr` is live by the contract.
    let private: *mut Private<T> = unsafe { bindings::netdev_priv(ptr) }.cast();
    // SAFETY: The private area was initialised before anybody was told of the device.
    if unsafe { &(*private).ready }.load(Acquire) {
        // SAFETY: The data is initialised. It is dropped, and the virtio device unbound, only after the
        // event source has stopped, by the contract.
        f(unsafe { Device::from_raw(ptr) })
    }
}

/// # Safety
///
/// Called by the workqueue with the work of a live `Private<T>`.
pub(super) unsafe extern "C" fn work_callback<T: Operations>(work: *mut bindings::work_struct) {
    let offset = core::mem::offset_of!(Private<T>, work)
        .wrapping_add(core::mem::offset_of!(bindings::delayed_work, work));
    // SAFETY: `work` is part of the field of that name in a `Private<T>`.
    let private: *mut Private<T> = unsafe { work.byte_sub(offset) }.cast();
    // SAFETY: The private area is live by the contract; the field was set with it for good.
    let netdev = unsafe { addr_of!((*private).netdev).read() };
    // SAFETY: The work is part of that device, and is disabled before the data is dropped.
    unsafe { with_ready(netdev, |dev| T::work(dev)) }
}

/// [`Device::schedule_work`] for the virtio core, in an interrupt of `vdev`.
///
/// # Safety
///
/// `vdev` is live, and its `priv` null or set by `Unregistered` for `T`. Taking the network device down
/// waits for the caller.
pub(crate) unsafe fn schedule_work<T: Operations>(vdev: *mut bindings::virtio_device) {
    // SAFETY: `vdev` is live by the contract.
    let net = unsafe { netdev_of(vdev) };
    // SAFETY: By the function's contract.
    unsafe { with_ready(net, |dev: &Device<T>| dev.schedule_work()) }
}

/// The virtio device between a reset and its use: the right to give it new queues.
pub struct Restart<'a, T: Operations>(pub(crate) &'a Device<T>);

impl<T: Operations> Restart<'_, T> {
    /// Sets DRIVER_OK: from now on the device may use the queues.
    pub fn ready(&mut self) {
        self.0.parent().ready();
    }
}

/// The network device of a virtio device, or null.
///
/// # Safety
///
/// `vdev` is live.
pub(crate) unsafe fn netdev_of(vdev: *mut bindings::virtio_device) -> *mut bindings::net_device {
    // SAFETY: By the contract; the field is set and cleared at once.
    unsafe { addr_of!((*vdev).priv_).read_volatile() }.cast()
}

/// The network device of a virtio device, in a callback of the core that may sleep. Taking the network
/// device down waits until this is dropped.
///
/// The core does not promise that the device stays bound meanwhile: a reset of the PCI function and
/// unbinding through sysfs hold different locks.
///
/// # Invariants
///
/// `net` was made for `T`, is live, and has an initialised [`Private<T>`]; its virtio device is bound.
/// All of that holds as long as there is `_parent`.
struct Bound<T> {
    net: *mut bindings::net_device,
    _parent: virtio::DeviceRef,
    _data: PhantomData<T>,
}

impl<T: Operations> Bound<T> {
    /// Finds the network device of `vdev`, if it has one.
    ///
    /// # Safety
    ///
    /// `vdev` is live, and its `priv` null or set by `Unregistered` for `T`.
    unsafe fn of(vdev: *mut bindings::virtio_device) -> Option<Self> {
        let _guard = rcu::read_lock();
        // SAFETY: `vdev` is live by the contract.
        let net = unsafe { netdev_of(vdev) };
        if net.is_null() {
            return None;
        }
        // SAFETY: Who takes the network device down clears `priv` first and then waits for RCU readers,
        // so the device is live.
        let private: *mut Private<T> = unsafe { bindings::netdev_priv(net) }.cast();
        // SAFETY: Nobody takes the reference before the RCU readers are gone, so it is there.
        let parent = unsafe { (*private).parent.assume_init_ref() }.clone();
        // INVARIANT: The reference keeps the virtio device bound. Taking the network device down waits
        // for it, and only then the private area is dropped, and the device freed.
        Some(Self {
            net,
            _parent: parent,
            _data: PhantomData,
        })
    }

    fn private(&self) -> *mut Private<T> {
        // SAFETY: The device is live by the invariant.
        unsafe { bindings::netdev_priv(self.net) }.cast()
    }

    /// Runs `f` if the data is initialised. The data stays meanwhile.
    fn run<R>(&self, f: impl FnOnce(&Device<T>) -> R) -> Option<R> {
        // SAFETY: The private area is initialised by the invariant.
        let _locked = unsafe { &(*self.private()).resets }.lock();
        // SAFETY: The private area is initialised by the invariant.
        if !unsafe { &(*self.private()).ready }.load(Acquire) {
            return None;
        }
        // SAFETY: The device is as the invariant says. Its data is initialised: it is declared not to be
        // under the lock that we hold.
        Some(f(unsafe { Device::from_raw(self.net) }))
    }

    fn work_item(&self) -> *mut bindings::delayed_work {
        // SAFETY: The private area is initialised by the invariant. CAST: `Opaque` is transparent.
        unsafe { addr_of_mut!((*self.private()).work).cast() }
    }

    /// Ends the work, and keeps it from running until [`Self::enable_work`]. Not inside of [`Self::run`],
    /// whose lock the work may take.
    fn disable_work(&self) {
        // SAFETY: The work was initialised with the private area.
        unsafe { bindings::disable_delayed_work_sync(self.work_item()) };
    }

    /// Undoes one [`Self::disable_work`].
    fn enable_work(&self) {
        // SAFETY: The work was initialised with the private area.
        unsafe { bindings::enable_delayed_work(self.work_item()) };
    }
}

/// Detaches the stack's queues, then calls the driver to stop using the virtio device.
///
/// # Errors
///
/// `EBUSY` if the driver left queues: the device must not be reset under them.
///
/// # Safety
///
/// As [`Bound::of`].
pub(crate) unsafe fn reset_prepare<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let bound = unsafe { Bound::<T>::of(vdev) };
    bound.and_then(|bound| bound.run(prepare)).unwrap_or(Ok(()))
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
/// As [`Bound::of`].
pub(crate) unsafe fn reset_done<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let bound = unsafe { Bound::<T>::of(vdev) };
    bound
        .and_then(|bound| bound.run(done))
        .unwrap_or(Err(ENODEV))
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
/// As [`Bound::of`]; [`resume`] follows, unless this fails or the device is unbound.
pub(crate) unsafe fn suspend<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let Some(bound) = (unsafe { Bound::<T>::of(vdev) }) else {
        return Ok(());
    };
    bound.disable_work();
    // If it fails the machine stays awake, and nobody calls `resume`.
    let prepared = bound.run(prepare).unwrap_or(Ok(()));
    prepared.inspect_err(|_| bound.enable_work())
}

/// The counterpart of [`suspend`]; the stack stays detached after an error.
///
/// # Errors
///
/// As [`reset_done`].
///
/// # Safety
///
/// As [`Bound::of`], after [`suspend`].
pub(crate) unsafe fn resume<T: Operations>(vdev: *mut bindings::virtio_device) -> Result {
    // SAFETY: By the function's contract.
    let bound = unsafe { Bound::<T>::of(vdev) }.ok_or(ENODEV)?;
    let result = bound.run(done).unwrap_or(Err(ENODEV));
    bound.enable_work();
    result
}
