// SPDX-License-Identifier: GPL-2.0

//! Network namespaces and the devices in them.
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::{
    bindings,
    net::{
        netdevice::{
            is_made_for,
            Device,
            Operations, //
        },
        operation_not_supported, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A counted reference to a network namespace.
///
/// # Invariants
///
/// The pointer is a live namespace, to which this holds a reference.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     namespace::Namespace,
///     netdevice::Operations, //
/// };
///
/// /// The MTU of one of the driver's interfaces.
/// fn mtu<T: Operations>(index: u32) -> Result<u32> {
///     let namespace = Namespace::current()?;
///     if !namespace.may_administrate() {
///         return Err(EPERM);
///     }
///     Ok(namespace.device::<T>(index)?.mtu())
/// }
/// ```
pub struct Namespace(NonNull<bindings::net>);

// SAFETY: The reference count is atomic, and the methods are safe for any thread.
unsafe impl Send for Namespace {}
// SAFETY: The methods may be called by several threads at a time: C serialises what they change.
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
        // SAFETY: The namespace is live by the invariant.
        unsafe { bindings::net_admin(self.as_raw()) }
    }

    /// Whether the caller has `CAP_NET_RAW` over the namespace.
    pub fn may_see_packets(&self) -> bool {
        // SAFETY: The namespace is live by the invariant.
        unsafe { bindings::net_raw(self.as_raw()) }
    }

    /// The device with this index, if it is one of the driver's.
    ///
    /// # Errors
    ///
    /// `ENODEV`; `EOPNOTSUPP` for a device of another driver.
    pub fn device<T: Operations>(&self, index: u32) -> Result<HeldDevice<T>> {
        let index = i32::try_from(index).map_err(|_| ENODEV)?;
        // SAFETY: The namespace is live by the invariant.
        let dev = unsafe { bindings::dev_get_by_index(self.as_raw(), index) };
        // INVARIANT: The function took the reference of a device that is registered. Whose it is comes
        // next; nobody gets another one.
        let held = HeldDevice {
            dev: NonNull::new(dev).ok_or(ENODEV)?,
            _data: PhantomData,
        };
        // SAFETY: The device is live: `held` has a reference.
        if unsafe { is_made_for::<T>(held.dev.as_ptr()) } {
            Ok(held)
        } else {
            Err(operation_not_supported())
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the invariant, and not used afterwards.
        unsafe { bindings::put_net(self.as_raw()) }
    }
}

/// A device that cannot go away: while this lives, its unregistration waits. For short times only.
///
/// # Invariants
///
/// `dev` is live, and we hold a reference that was taken while it was registered. It was made for `T`.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     namespace::HeldDevice,
///     netdevice::Operations, //
/// };
///
/// fn is_up<T: Operations>(dev: &HeldDevice<T>) -> bool {
///     dev.is_running()
/// }
/// ```
pub struct HeldDevice<T> {
    dev: NonNull<bindings::net_device>,
    _data: PhantomData<T>,
}

impl<T: Operations> Deref for HeldDevice<T> {
    type Target = Device<T>;

    fn deref(&self) -> &Device<T> {
        // SAFETY: The device was made for `T` by the invariant. It was registered, so its data is
        // initialised, and unregistering waits for our reference before the data is dropped.
        unsafe { Device::from_raw(self.dev.as_ptr()) }
    }
}

impl<T> Drop for HeldDevice<T> {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the invariant, and not used afterwards.
        unsafe { bindings::dev_put(self.dev.as_ptr()) }
    }
}
