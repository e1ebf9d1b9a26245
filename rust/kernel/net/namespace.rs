// SPDX-License-Identifier: GPL-2.0

//! Network namespaces and the devices in them.
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::{
    bindings,
    net::{
        device::{
            Device,
            Operations, //
        },
        operation_not_supported,
        xfrm, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A counted reference to a network namespace.
pub struct Namespace(NonNull<bindings::net>);

// SAFETY: The reference count is atomic, and the methods are safe for any thread.
unsafe impl Send for Namespace {}
// SAFETY: As above.
unsafe impl Sync for Namespace {}

impl Namespace {
    /// The namespace of the calling process; in interrupts, of the one that is interrupted.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the process is about to end, and has none any more.
    pub fn current() -> Result<Self> {
        // SAFETY: No preconditions: only the current process changes its namespaces, and it does nothing
        // else meanwhile.
        let net = NonNull::new(unsafe { bindings::current_net() }).ok_or(ESRCH)?;
        // SAFETY: The process holds a reference, and does not give it up meanwhile.
        unsafe { bindings::get_net(net.as_ptr()) };
        // INVARIANT: The reference was taken above.
        Ok(Self(net))
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::net {
        self.0.as_ptr()
    }

    /// Whether the caller has `CAP_NET_ADMIN` over the namespace.
    pub fn may_administrate(&self) -> bool {
        // SAFETY: We hold a reference.
        unsafe { bindings::net_admin(self.as_raw()) }
    }

    /// The device with this index, if it is one of the driver's.
    ///
    /// # Errors
    ///
    /// `ENODEV`; `EOPNOTSUPP` for a device of another driver.
    pub fn device<T: Operations>(&self, index: u32) -> Result<HeldDevice<T>> {
        let index = i32::try_from(index).map_err(|_| ENODEV)?;
        // SAFETY: We hold a reference to the namespace.
        let dev = unsafe { bindings::dev_get_by_index(self.as_raw(), index) };
        let held = HeldDevice {
            dev: NonNull::new(dev).ok_or(ENODEV)?,
            _data: PhantomData,
        };
        // SAFETY: We hold a reference to the device.
        let ops = unsafe { (*held.dev.as_ptr()).xfrmdev_ops };
        if core::ptr::eq(ops, xfrm::Callbacks::<T>::ops()) {
            Ok(held)
        } else {
            Err(operation_not_supported())
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // SAFETY: We hold a reference.
        unsafe { bindings::put_net(self.as_raw()) }
    }
}

/// A device that cannot go away: while this lives, its unregistration waits. For short times only.
pub struct HeldDevice<T> {
    dev: NonNull<bindings::net_device>,
    _data: PhantomData<T>,
}

impl<T: Operations> Deref for HeldDevice<T> {
    type Target = Device<T>;

    fn deref(&self) -> &Device<T> {
        // SAFETY: The device was made for `T`, as its callbacks say (`Namespace::device` hands out no
        // other). It was found registered, so its data is initialised, and unregistering waits for
        // our reference before the data is dropped.
        unsafe { Device::from_raw(self.dev.as_ptr()) }
    }
}

impl<T> Drop for HeldDevice<T> {
    fn drop(&mut self) {
        // SAFETY: `dev_get_by_index` took the reference.
        unsafe { bindings::dev_put(self.dev.as_ptr()) }
    }
}
