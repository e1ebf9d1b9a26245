// SPDX-License-Identifier: GPL-2.0

//! Netdev notifier for the driver's own devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::{
    bindings,
    net::{
        netdevice::{
            is_made_for,
            upper,
            Device,
            Operations, //
        }, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// Notifier callbacks of a driver, for its own devices only. RTNL held, may sleep.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::{
///     Atomic,
///     Relaxed, //
/// };
/// use kernel_net::{
///     net::{
///         netdevice::{
///             Device,
///             Operations, //
///         },
///         notifier::Handler, //
///     },
///     virtio::DeviceRef, //
/// };
/// # use kernel_net::rtnl;
/// # use kernel_net::net::{
/// #     napi::{
/// #         Poll,
/// #         Polled, //
/// #     },
/// #     netdevice::{
/// #         RxQueueStats,
/// #         Stats64,
/// #         TxQueueStats, //
/// #     },
/// #     skbuff::SkBuff, //
/// # };
///
/// /// The data of an interface that can be taken out of service.
/// struct Nic {
///     leaving: Atomic<bool>,
/// }
///
/// # impl Operations for Nic {
/// #     type Parent = DeviceRef;
/// #
/// #     fn open(_dev: &Device<Self>, _rtnl: &rtnl::Held) -> Result {
/// #         Ok(())
/// #     }
/// #
/// #     fn stop(_dev: &Device<Self>) {}
/// #
/// #     fn start_xmit(_dev: &Device<Self>, _queue: u16, _skb: SkBuff) {}
/// #
/// #     fn poll(_dev: &Device<Self>, _poll: &Poll<'_>) -> Polled {
/// #         Polled::Done(0)
/// #     }
/// #
/// #     fn rearm(_dev: &Device<Self>, _index: u16) -> bool {
/// #         false
/// #     }
/// #
/// #     fn work(_dev: &Device<Self>) {}
/// #
/// #     fn tx_timeout(_dev: &Device<Self>, _queue: u16) {}
/// #
/// #     fn fix_features(_dev: &Device<Self>, features: u64) -> u64 {
/// #         features
/// #     }
/// #
/// #     fn stats64(_dev: &Device<Self>, _stats: &mut Stats64) {}
/// #
/// #     fn rx_queue_stats(_dev: &Device<Self>, _queue: u16) -> RxQueueStats {
/// #         Default::default()
/// #     }
/// #
/// #     fn tx_queue_stats(_dev: &Device<Self>, _queue: u16) -> TxQueueStats {
/// #         Default::default()
/// #     }
/// # }
/// #
/// impl Handler for Nic {
///     fn features_changed(_dev: &Device<Self>) {}
///
///     fn leaving(dev: &Device<Self>) {
///         dev.data().leaving.store(true, Relaxed);
///     }
///
///     fn uppers_change(dev: &Device<Self>, may_divert: bool) {
///         if may_divert {
///             // Looks at `Device::is_diverted` when RTNL is free.
///             dev.schedule_work();
///         }
///     }
/// }
/// ```
pub trait Handler: Operations {
    /// The features may have changed.
    fn features_changed(dev: &Device<Self>);

    /// The device leaves its namespace, to be deleted or for another one. May come more than once.
    /// XFRM deletes its states there afterwards.
    fn leaving(dev: &Device<Self>);

    /// The upper devices are about to change, or have changed; [`Device::is_diverted`] tells the outcome
    /// once RTNL is free. With `may_divert` an upper device may take frames from now on.
    fn uppers_change(dev: &Device<Self>, may_divert: bool);
}

/// Before XFRM, which has 0: XFRM then finds and deletes the states that were added before
/// [`Handler::leaving`] returned.
const PRIORITY: c_int = 1;

/// A registered notifier: `T` is called until this is dropped.
///
/// # Invariants
///
/// The block is registered.
///
/// # Examples
///
/// ```
/// use kernel_net::net::notifier::{
///     Handler,
///     Registration, //
/// };
///
/// /// The callbacks come until the returned value is dropped.
/// fn register<T: Handler>() -> Result<Pin<KBox<Registration<T>>>> {
///     KBox::pin_init(Registration::new(), GFP_KERNEL)
/// }
/// ```
#[pin_data(PinnedDrop)]
pub struct Registration<T: Handler> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    _handler: PhantomData<T>,
}

// SAFETY: The registration has no methods, and may be undone by any thread.
unsafe impl<T: Handler> Send for Registration<T> {}
// SAFETY: The registration has no methods.
unsafe impl<T: Handler> Sync for Registration<T> {}

impl<T: Handler> Registration<T> {
    /// Registers; takes RTNL, sleeps.
    ///
    /// # Errors
    ///
    /// Those of `register_netdevice_notifier`.
    pub fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: The block is registered, or there is an error and no registration.
        try_pin_init!(Self {
            block <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                let block = bindings::notifier_block {
                    notifier_call: Some(Self::call),
                    next: core::ptr::null_mut(),
                    priority: PRIORITY,
                };
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(block) };
                // SAFETY: The block is complete, and pinned until the drop unregisters it.
                to_result(unsafe { bindings::register_netdevice_notifier(slot) })
            }),
            _handler: PhantomData,
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
        // SAFETY: By the contract every event has the information of a device.
        let dev = unsafe { bindings::notifier_dev(info) };
        // SAFETY: As long as the event is told, RTNL is held and the device is live.
        let ours = unsafe { own::<T>(dev) };
        match (event as bindings::netdev_cmd, ours) {
            (bindings::netdev_cmd_NETDEV_FEAT_CHANGE, Some(dev)) => T::features_changed(dev),
            (bindings::netdev_cmd_NETDEV_UNREGISTER, Some(dev)) => T::leaving(dev),
            (
                bindings::netdev_cmd_NETDEV_PRECHANGEUPPER
                | bindings::netdev_cmd_NETDEV_CHANGEUPPER,
                ours,
            ) => {
                // SAFETY: These events come with this type of information.
                let change = unsafe { &*info.cast::<bindings::netdev_notifier_changeupper_info>() };
                // SAFETY: Devices that are named in an event are live, and RTNL is held.
                let may = || unsafe { upper::may_divert(dev, change.upper_dev, change.master) };
                let may_divert = change.linking && may();
                match ours {
                    Some(dev) => T::uppers_change(dev, may_divert),
                    // SAFETY: The device is live, and RTNL is held.
                    None => unsafe { tell_lower::<T>(dev, may_divert) },
                }
            }
            _ => {}
        }
        NOTIFY_DONE
    }
}

/// `dev`, if it was made for `T`.
///
/// # Safety
///
/// `dev` is live for `'a`, and registered or at the end of being so.
unsafe fn own<'a, T: Operations>(dev: *mut bindings::net_device) -> Option<&'a Device<T>> {
    // SAFETY: The device is live by the contract.
    let ours = unsafe { is_made_for::<T>(dev) };
    // SAFETY: The device was made for `T`. Devices that were registered have initialised data, and a
    // parent that is bound; unregistering tells of them before that ends.
    ours.then(|| unsafe { Device::from_raw(dev) })
}

/// Tells the devices of `T` below `dev`, if their frames are its own.
///
/// # Safety
///
/// `dev` is live, and RTNL is held.
unsafe fn tell_lower<T: Handler>(dev: *mut bindings::net_device, may_divert: bool) {
    /// # Safety
    ///
    /// `lower` is live and registered, RTNL is held, and `told` is that of the outer function.
    unsafe extern "C" fn tell<T: Handler>(
        lower: *mut bindings::net_device,
        told: *mut bindings::netdev_nested_priv,
    ) -> c_int {
        // SAFETY: By the contract.
        if let Some(dev) = unsafe { own::<T>(lower) } {
            // SAFETY: By the contract.
            T::uppers_change(dev, unsafe { (*told).flags } != 0);
        }
        0
    }
    let mut told = bindings::netdev_nested_priv {
        flags: may_divert.into(),
        data: core::ptr::null_mut(),
    };
    // SAFETY: By the contract; `tell` gets what it demands, because what lies below a device is live.
    unsafe {
        if upper::passes_through(dev) {
            bindings::netdev_walk_all_lower_dev(dev, Some(tell::<T>), &mut told);
        }
    }
}

#[pinned_drop]
impl<T: Handler> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the invariant; nobody calls it any more when the function returns.
        unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
    }
}
