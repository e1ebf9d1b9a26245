// SPDX-License-Identifier: GPL-2.0

//! Events that do not come from the stack: work, and the callbacks of the bus.

use super::{
    Device,
    Operations,
    Private, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        addr_of_mut, //
    }, //
};
use kernel::sync::{
    atomic::Acquire,
    rcu, //
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
        // SAFETY: The data is initialised by the invariant of `Private`. It is dropped, and the parent
        // unbound, only after the event source has stopped, by the contract.
        f(unsafe { Device::from_raw(ptr) })
    }
}

/// # Safety
///
/// Called by the workqueue with the work of a live `Private<T>`.
pub(super) unsafe extern "C" fn work_callback<T: Operations>(work: *mut bindings::work_struct) {
    let offset = core::mem::offset_of!(Private<T>, work)
        .wrapping_add(core::mem::offset_of!(bindings::delayed_work, work));
    // SAFETY: By the contract `work` is part of the field of that name in a `Private<T>`.
    let private: *mut Private<T> = unsafe { work.byte_sub(offset) }.cast();
    // SAFETY: The private area is live by the contract; its field does not change.
    let netdev = unsafe { addr_of!((*private).netdev).read() };
    // SAFETY: By the invariant of `Private` the work is part of that device, which was made for `T`. It is
    // disabled before the data is dropped.
    unsafe { with_ready(netdev, |dev| T::work(dev)) }
}

/// The network device of a device of the bus, in a callback of the bus that may sleep. Taking the network
/// device down waits until this is dropped.
///
/// The bus need not promise that its device stays bound meanwhile.
///
/// # Invariants
///
/// `net` was made for `T`, is live, and has an initialised [`Private<T>`]; its parent is bound.
/// All of that holds as long as there is `_parent`.
pub(crate) struct Bound<T: Operations> {
    net: *mut bindings::net_device,
    _parent: T::Parent,
    _data: PhantomData<T>,
}

impl<T: Operations> Bound<T> {
    /// The network device that `find` finds, if it is not null.
    ///
    /// # Safety
    ///
    /// `find` returns null, or the pointer that [`Parent::attach`] got for `T`, unless [`Parent::detach`]
    /// was called before.
    ///
    /// [`Parent::attach`]: super::Parent::attach
    /// [`Parent::detach`]: super::Parent::detach
    pub(crate) unsafe fn of(find: impl FnOnce() -> *mut bindings::net_device) -> Option<Self> {
        let _guard = rcu::read_lock();
        let net = find();
        if net.is_null() {
            return None;
        }
        // SAFETY: Who takes the network device down detaches it first and then waits for RCU readers, so
        // the device is live.
        let private: *mut Private<T> = unsafe { bindings::netdev_priv(net) }.cast();
        // SAFETY: The private area is initialised, and by its invariant the reference is there: nobody takes
        // it before the RCU readers are gone.
        let parent = unsafe { (*private).parent.assume_init_ref() }.clone();
        // INVARIANT: The reference keeps the device of the bus bound. Taking the network device down waits
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
    pub(crate) fn run<R>(&self, f: impl FnOnce(&Device<T>) -> R) -> Option<R> {
        // SAFETY: The private area is initialised by the invariant.
        let _locked = unsafe { &(*self.private()).resets }.lock();
        // SAFETY: The private area is initialised by the invariant.
        if !unsafe { &(*self.private()).ready }.load(Acquire) {
            return None;
        }
        // SAFETY: The device is as the invariant says. Its data is initialised by the invariant of
        // `Private`, and `ready` becomes false only under the lock that we hold.
        Some(f(unsafe { Device::from_raw(self.net) }))
    }

    fn work_item(&self) -> *mut bindings::delayed_work {
        // SAFETY: The private area is initialised by the invariant. CAST: `Opaque` is transparent.
        unsafe { addr_of_mut!((*self.private()).work).cast() }
    }

    /// Ends the work, and keeps it from running until [`Self::enable_work`]. Not inside of [`Self::run`],
    /// whose lock the work may take.
    pub(crate) fn disable_work(&self) {
        // SAFETY: The work is initialised by the invariant of `Private`.
        unsafe { bindings::disable_delayed_work_sync(self.work_item()) };
    }

    /// Undoes one [`Self::disable_work`].
    pub(crate) fn enable_work(&self) {
        // SAFETY: The work is initialised by the invariant of `Private`.
        unsafe { bindings::enable_delayed_work(self.work_item()) };
    }
}
