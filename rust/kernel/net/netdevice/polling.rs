// SPDX-License-Identifier: GPL-2.0

//! The NAPI contexts of a device, and the times at which they run.

use super::{
    Device,
    Operations, //
};
use crate::{
    bindings,
    net::{
        napi::{
            self,
            Napi,
            Polling, //
        },
        page_pool::Receiving, //
    }, //
};
use core::ptr::addr_of;
use kernel::{
    prelude::*,
    sync::Mutex, //
};

/// # Safety
///
/// Called by the stack with a context of a device that was made for `T`.
pub(super) unsafe extern "C" fn poll_callback<T: Operations>(
    context: *mut bindings::napi_struct,
    budget: c_int,
) -> c_int {
    // SAFETY: Adding the context to its device has set the field for good.
    let netdev = unsafe { addr_of!((*context).dev).read() };
    // SAFETY: The device was made for `T`. By the invariant of `Private` contexts run while `polling` says
    // so. Only a `Device` turns that on, so there is data, and a bound parent. Both stay until the stack's
    // stop has turned it off.
    let dev = || unsafe { Device::<T>::from_raw(netdev) };
    // SAFETY: The stack calls this for a run.
    unsafe {
        napi::run(
            context,
            budget,
            |poll| T::poll(dev(), poll),
            |index| T::rearm(dev(), index),
        )
    }
}

impl<T: Operations> Device<T> {
    /// The NAPI context `index`, in the order of creation.
    pub fn napi(&self, index: usize) -> Option<&Napi> {
        self.napis().get(index)
    }

    /// All NAPI contexts, in the order of creation.
    pub fn napis(&self) -> &[Napi] {
        // SAFETY: The private area is valid as long as the device is, and by its invariant the list does
        // not change.
        unsafe { &(*self.private()).napis }
    }

    fn polling(&self) -> &Mutex<Polling> {
        // SAFETY: The private area is valid as long as the device is.
        unsafe { &(*self.private()).polling }
    }

    /// Lets the NAPI contexts run, unless they run already. Does nothing while the interface is down:
    /// contexts can run from [`Operations::open`] until the end of [`Operations::stop`], after which they
    /// are off in any case. RTNL held. Sleeps.
    ///
    /// The stack shows which context serves which queue: the pair of its number.
    ///
    /// Events that came while the contexts were off are lost: schedule each of them once.
    pub fn enable_polling(&self) {
        let mut state = self.polling().lock();
        if *state != Polling::Off {
            return;
        }
        for napi in self.napis() {
            // SAFETY: By the invariant of `Private` the context was added to its device, and is off: each
            // one is as `state` says, which is locked.
            unsafe { bindings::napi_enable(napi.as_raw()) }
            self.show_context(napi, napi.as_raw());
        }
        // INVARIANT: All contexts are on.
        *state = Polling::On;
    }

    /// Waits for contexts that run, and keeps them from running. Does nothing if they are off. RTNL held.
    /// Sleeps.
    pub fn disable_polling(&self) {
        self.stop_polling(Polling::Off);
    }

    /// Has the stack show `context`, which is that of `napi` or null, as that of its queues.
    fn show_context(&self, napi: &Napi, context: *mut bindings::napi_struct) {
        let (rx, tx) = (
            bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_RX,
            bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_TX,
        );
        for kind in [rx, tx] {
            // SAFETY: The device is live by the type invariant. It was made with a queue of each kind for every
            // context. The stack lets the context go when it is removed from the device, or before that here.
            unsafe {
                bindings::netif_queue_set_napi(self.as_raw(), napi.index().into(), kind, context)
            }
        }
    }

    /// Has `change` change what the context `index` receives with; `None` if contexts run. The context is off during
    /// the call, and whenever else this changes. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such context; those of `change`.
    pub(in crate::net) fn while_off<R>(
        &self,
        index: u16,
        change: impl FnOnce(&Napi, &mut Option<Receiving>) -> Result<R>,
    ) -> Option<Result<R>> {
        let state = self.polling().lock();
        if *state == Polling::On {
            return None;
        }
        let Some(napi) = self.napi(index.into()) else {
            return Some(Err(EINVAL));
        };
        // SAFETY: The contexts are off, as `state` says, which is locked.
        let result = unsafe { napi.change_receiving(|receiving| change(napi, receiving)) };
        drop(state);
        Some(result)
    }

    /// Lets [`Self::enable_polling`] have an effect: the interface goes up.
    pub(super) fn open_polling(&self) {
        let mut state = self.polling().lock();
        if *state == Polling::Closed {
            *state = Polling::Off;
        }
    }

    /// Turns the contexts off until the interface goes up again.
    pub(super) fn close_polling(&self) {
        self.stop_polling(Polling::Closed);
    }

    /// Turns the contexts off; afterwards they are as `new` says, unless they are closed.
    fn stop_polling(&self, new: Polling) {
        let mut state = self.polling().lock();
        if *state == Polling::On {
            for napi in self.napis() {
                self.show_context(napi, core::ptr::null_mut());
                // SAFETY: By the invariant of `Private` the context was added to its device, and is on:
                // each one is as `state` says, which is locked.
                unsafe { bindings::napi_disable(napi.as_raw()) }
            }
        }
        if *state != Polling::Closed {
            // INVARIANT: All contexts are off.
            *state = new;
        }
    }
}
