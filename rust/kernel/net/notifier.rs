// SPDX-License-Identifier: GPL-2.0

//! Hearing of what happens to the driver's own devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::{
    bindings,
    net::{
        device::{
            Device,
            Operations, //
        },
        xfrm, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// What a driver hears; for its own devices only. RTNL held, may sleep.
pub trait Observer: Operations {
    /// The features may have changed.
    fn features_changed(dev: &Device<Self>);

    /// The device leaves its namespace, for good or for another one. May come more than once.
    /// XFRM deletes its states there afterwards.
    fn leaving(dev: &Device<Self>);
}

/// Before XFRM, which has 0: what an observer's answer to [`Observer::leaving`] lets through, XFRM
/// finds and deletes.
const PRIORITY: c_int = 1;

/// As long as this lives, `T` hears.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Observer> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    _observer: PhantomData<T>,
}

// SAFETY: The registration has no methods, and may be undone by any thread.
unsafe impl<T: Observer> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T: Observer> Sync for Registration<T> {}

impl<T: Observer> Registration<T> {
    /// Registers; takes RTNL, sleeps.
    ///
    /// # Errors
    ///
    /// Those of `register_netdevice_notifier`.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            block <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is valid for writes; all fields may be zero.
                unsafe {
                    slot.write(core::mem::zeroed());
                    (*slot).notifier_call = Some(Self::call);
                    (*slot).priority = PRIORITY;
                }
                // SAFETY: The block is complete, and pinned until the drop unregisters it.
                to_result(unsafe { bindings::register_netdevice_notifier(slot) })
            }),
            _observer: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Called by the stack with the information of an event.
    unsafe extern "C" fn call(
        _block: *mut bindings::notifier_block,
        event: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        const NOTIFY_DONE: c_int = 0;
        // SAFETY: By the contract; the device lives during the call.
        let dev = unsafe { bindings::notifier_dev(info) };
        // SAFETY: As above.
        if !core::ptr::eq(unsafe { (*dev).xfrmdev_ops }, xfrm::Callbacks::<T>::ops()) {
            return NOTIFY_DONE;
        }
        let hear = match event as bindings::netdev_cmd {
            bindings::netdev_cmd_NETDEV_FEAT_CHANGE => T::features_changed,
            bindings::netdev_cmd_NETDEV_UNREGISTER => T::leaving,
            _ => return NOTIFY_DONE,
        };
        // SAFETY: The callbacks say that the device was made for `T`; devices with events are
        // registered, so the data is initialised.
        hear(unsafe { Device::from_raw(dev) });
        NOTIFY_DONE
    }
}

#[pinned_drop]
impl<T: Observer> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered in `new`.
        unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
    }
}
