// SPDX-License-Identifier: GPL-2.0

//! The life of a network device: allocation, initialisation, registration, shutdown.

use super::{
    callbacks::Callbacks,
    feature,
    work_callback,
    Device,
    Operations,
    Private, //
};
use crate::{
    bindings,
    compat,
    net::{
        ethtool,
        napi::{
            Napi,
            Poll, //
        },
        xfrm, //
    },
    virtio, //
};
use core::{
    marker::PhantomData,
    ptr::{
        addr_of_mut,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    }, //
};

/// A network device that the stack does not know yet.
pub struct Unregistered<T: Operations> {
    dev: NonNull<bindings::net_device>,
    _data: PhantomData<T>,
}

impl<T: Operations> Unregistered<T> {
    /// Allocates a device with `napis` NAPI contexts and `queues` transmit and receive queues.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(parent: &virtio::Device, napis: u16, queues: u32) -> Result<Self> {
        let size = size_of::<Private<T>>().try_into().map_err(|_| EINVAL)?;
        let napi_list = KVec::with_capacity(usize::from(napis), GFP_KERNEL)?;
        // SAFETY: Sizes and counts are plain numbers.
        let ptr = unsafe { bindings::alloc_etherdev_mqs(size, queues, queues) };
        let dev = NonNull::new(ptr).ok_or(ENOMEM)?;
        // SAFETY: The private area is at least `size` bytes and sufficiently aligned
        // (NETDEV_ALIGN).
        let private: *mut Private<T> = unsafe { bindings::netdev_priv(ptr) }.cast();
        // SAFETY: `private` is valid for writes; `data` stays uninitialised.
        unsafe {
            addr_of_mut!((*private).ready).write(Atomic::new(false));
            addr_of_mut!((*private).parent).write(parent.into());
            addr_of_mut!((*private).napis).write(napi_list);
            addr_of_mut!((*private).netdev).write(ptr);
            bindings::init_delayed_work(
                addr_of_mut!((*private).work).cast(),
                Some(work_callback::<T>),
            );
        }
        // SAFETY: `dev` is a new device that nobody else knows.
        unsafe {
            (*ptr).netdev_ops = &Callbacks::<T>::NETDEV_OPS;
            (*ptr).ethtool_ops = &ethtool::Callbacks::<T>::OPS;
            (*ptr).xfrmdev_ops = xfrm::Callbacks::<T>::ops();
            bindings::netdev_set_parent(ptr, parent.as_raw());
            bindings::netdev_disable_skb_sharing(ptr);
            // It would call us with interrupts off, where our locks must not be taken.
            bindings::netdev_disable_netpoll(ptr);
            // Until `open` says otherwise.
            bindings::netif_carrier_off(ptr);
        }
        let this = Self {
            dev,
            _data: PhantomData,
        };
        // Queue interrupts and configuration changes find the netdev here.
        // SAFETY: The virtio device is live; `Drop` takes the pointer back.
        unsafe { (*parent.as_raw()).priv_ = ptr.cast() };
        for index in 0..napis {
            this.add_napi(index)?;
        }
        Ok(this)
    }

    fn private(&self) -> *mut Private<T> {
        // SAFETY: `self.dev` is live and has a `Private<T>`.
        unsafe { bindings::netdev_priv(self.dev.as_ptr()) }.cast()
    }

    fn add_napi(&self, index: u16) -> Result {
        // SAFETY: Nobody else uses the list yet.
        let list = unsafe { &mut (*self.private()).napis };
        // The capacity was reserved, so the element does not move afterwards.
        list.push_within_capacity(Napi::new(index))
            .map_err(|_| EINVAL)?;
        let napi = list.last().ok_or(EINVAL)?;
        // SAFETY: The NAPI context stays where it is until `Drop` removes it from the device.
        unsafe {
            bindings::netif_napi_add(self.dev.as_ptr(), napi.as_raw(), Some(Poll::<T>::callback))
        };
        Ok(())
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::net_device {
        self.dev.as_ptr()
    }

    /// Sets the features: on now, switchable by the user, and usable for encapsulated packets.
    pub fn set_features(&mut self, on: u64, switchable: u64, encapsulated: u64) {
        // SAFETY: The device is not registered, so this is the only user.
        let dev = unsafe { self.dev.as_mut() };
        dev.features = on;
        dev.hw_features = switchable;
        dev.vlan_features = on & (feature::SG | feature::HW_CSUM | feature::HIGHDMA);
        dev.hw_enc_features = encapsulated;
    }

    /// Sets the MTU limits and the initial MTU, bytes without the Ethernet header.
    pub fn set_mtu(&mut self, min: u32, max: u32, initial: u32) {
        // SAFETY: The device is not registered, so this is the only user.
        let dev = unsafe { self.dev.as_mut() };
        dev.min_mtu = min;
        dev.max_mtu = max;
        dev.mtu = initial;
    }

    /// Sets the room in front of packets that the driver needs, in bytes.
    pub fn set_needed_headroom(&mut self, head: u16) {
        // SAFETY: The device is not registered, so this is the only user.
        let dev = unsafe { self.dev.as_mut() };
        dev.needed_headroom = head;
    }

    /// Sets the MAC address; `None` draws a random one.
    pub fn set_mac_address(&mut self, address: Option<[u8; 6]>) {
        match address {
            // SAFETY: The device is live, the address has six bytes.
            Some(a) => unsafe { bindings::eth_hw_addr_set(self.as_raw(), a.as_ptr()) },
            // SAFETY: The device is live.
            None => unsafe { bindings::eth_hw_addr_random(self.as_raw()) },
        }
    }

    /// Initialises the driver's data in place. From here on queue events reach it.
    ///
    /// # Errors
    ///
    /// Those of `init`; `EEXIST` if the data is initialised already.
    pub fn init(&mut self, init: impl PinInit<T, Error>) -> Result {
        let private = self.private();
        // SAFETY: The private area was initialised in `new`.
        if unsafe { &(*private).ready }.load(Acquire) {
            return Err(EEXIST);
        }
        // SAFETY: The slot is valid for writes, is never moved, and is dropped in `drop_data`.
        unsafe { compat::pin_init_at(addr_of_mut!((*private).data).cast(), init)? };
        // SAFETY: As above.
        unsafe { &(*private).ready }.store(true, Release);
        Ok(())
    }

    /// The device, once [`Self::init`] has run.
    pub fn device(&self) -> Result<&Device<T>> {
        // SAFETY: The private area was initialised in `new`.
        if !unsafe { &(*self.private()).ready }.load(Acquire) {
            return Err(EINVAL);
        }
        // SAFETY: The data is initialised and lives as long as `self`.
        Ok(unsafe { Device::from_raw(self.as_raw()) })
    }

    /// Hands the device to the stack. Sleeps, takes RTNL.
    ///
    /// # Errors
    ///
    /// `EINVAL` before [`Self::init`]; otherwise those of `register_netdev`.
    pub fn register(self) -> Result<Registration<T>> {
        self.device()?;
        // SAFETY: The device and its data are complete.
        to_result(unsafe { bindings::register_netdev(self.as_raw()) })?;
        Ok(Registration {
            device: self,
            registered: Atomic::new(true),
        })
    }

    /// Stops all event sources but the stack and drops the data.
    fn drop_data(&self) {
        let private = self.private();
        // SAFETY: The private area was initialised in `new`.
        let parent = unsafe { &(*private).parent };
        // SAFETY: The virtio device is live as long as we hold a reference.
        if unsafe { (*parent.as_raw()).priv_.is_null() } {
            // Done already, and the device may be the next driver's by now.
            return;
        }
        // SAFETY: The work was initialised in `new`.
        unsafe { bindings::disable_delayed_work_sync(addr_of_mut!((*private).work).cast()) };
        parent.reset();
        // SAFETY: The private area was initialised in `new`.
        if unsafe { &(*private).ready }.load(Acquire) {
            // SAFETY: As above.
            unsafe { &(*private).ready }.store(false, Release);
            // The reset has waited for running callbacks. But who breaks the rules can interrupt
            // after it, and the vectors are freed with the queues only, which are part of the data.
            parent.synchronize_callbacks();
            // SAFETY: The data is initialised, and every later callback sees that it is not ready.
            unsafe { (*private).data.assume_init_drop() };
        }
        // SAFETY: The virtio device is live as long as we hold a reference.
        unsafe { (*parent.as_raw()).priv_ = core::ptr::null_mut() };
    }
}

impl<T: Operations> Drop for Unregistered<T> {
    fn drop(&mut self) {
        self.drop_data();
        let private = self.private();
        // SAFETY: The list was initialised in `new`, and nobody uses it any more.
        let napis = unsafe { core::mem::replace(&mut (*private).napis, KVec::new()) };
        for napi in &napis {
            // SAFETY: Added in `add_napi`, not enabled any more.
            unsafe { bindings::netif_napi_del(napi.as_raw()) };
        }
        drop(napis);
        // SAFETY: Initialised in `new`, not used any more.
        unsafe { core::ptr::drop_in_place(addr_of_mut!((*private).parent)) };
        // SAFETY: The device is not registered and has no users.
        unsafe { bindings::free_netdev(self.as_raw()) };
    }
}

/// A registered network device; [`Self::shutdown`] must run while the virtio device is bound.
pub struct Registration<T: Operations> {
    device: Unregistered<T>,
    registered: Atomic<bool>,
}

// SAFETY: The device may be shut down and freed from any thread; `T` is `Send + Sync`.
unsafe impl<T: Operations> Send for Registration<T> {}
// SAFETY: `shutdown` is idempotent, and there is no other method.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Unregisters the device, resets the virtio device and drops the driver's data. Sleeps.
    pub fn shutdown(&self) {
        if self.registered.xchg(false, Full) {
            let private = self.device.private();
            // A recovery touches what unregistering takes down: one that runs comes to its end
            // first, and none begins.
            // SAFETY: The work was initialised in `new`.
            unsafe { bindings::disable_delayed_work_sync(addr_of_mut!((*private).work).cast()) };
            // SAFETY: The device is registered.
            unsafe { bindings::unregister_netdev(self.device.as_raw()) };
            self.device.drop_data();
        }
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        self.shutdown();
    }
}
