// SPDX-License-Identifier: GPL-2.0

//! The life of a network device: allocation, initialisation, registration, shutdown.
//!
//! The bus's adapter does all of it. It lends the driver an [`Unregistered`] device to complete, which the
//! driver never owns. So the driver cannot keep a device beyond the binding, take it down twice or register
//! it for another parent.

use super::{
    callbacks::Callbacks,
    events::work_callback,
    features,
    polling::poll_callback,
    stats::QueueCallbacks,
    Device,
    Operations,
    Parent,
    Private, //
};
use crate::{
    bindings,
    compat,
    net::{
        ethtool,
        napi::{
            Napi,
            Polling, //
        },
        xdp::umem::Bound,
        xfrm, //
    }, //
};
use core::{
    any::TypeId,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        addr_of_mut,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    new_mutex,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    },
    types::Opaque, //
};

/// A network device that the stack does not know yet.
///
/// # Invariants
///
/// `dev` is a live `struct net_device`, not registered, or registered by a [`Registration`] that owns
/// this. Its private area is an initialised `Private<T>`. While `bound` is true its parent is
/// bound, `dev` is attached to it, and the private area has a reference to it.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::{
///     features,
///     Operations,
///     Unregistered, //
/// };
///
/// /// What a driver does between [`Unregistered::init`] and the end of its `probe`.
/// fn configure<T: Operations>(net: &mut Unregistered<T>) {
///     let features = features::SG | features::HW_CSUM;
///     net.set_features(features, features, 0);
///     net.set_mtu(68, 9000, 1500);
///     net.set_mac_address(None);
/// }
/// ```
pub struct Unregistered<T: Operations> {
    dev: NonNull<bindings::net_device>,
    bound: Atomic<bool>,
    _data: PhantomData<T>,
}

/// Sets a field of the C structure. Events of the bus may read it meanwhile.
macro_rules! set_field {
    ($this:ident, $field:ident, $value:expr) => {{
        let this: &mut Self = $this;
        // SAFETY: The device is live by the invariant. The stack does not know it, so nobody else writes
        // the field, and who reads it gets the old or the new value.
        unsafe { addr_of_mut!((*this.as_raw()).$field).write_volatile($value) }
    }};
}

impl<T: Operations> Unregistered<T> {
    /// Checks that the alignment that the stack promises for the private area suffices.
    const ALIGNED: () = assert!(align_of::<Private<T>>() <= bindings::NETDEV_ALIGN as usize);

    /// Allocates a device with `pairs` queue pairs, each with a NAPI context. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(parent: T::Parent, pairs: u16) -> Result<Self>
    where
        T: ethtool::Operations + xfrm::Operations,
    {
        let () = Self::ALIGNED;
        let size = size_of::<Private<T>>().try_into().map_err(|_| EINVAL)?;
        let mut napis = KVec::with_capacity(usize::from(pairs), GFP_KERNEL)?;
        let mut umems = KVec::with_capacity(usize::from(pairs), GFP_KERNEL)?;
        for index in 0..pairs {
            napis.push(Napi::new(index), GFP_KERNEL)?;
            umems.push(None, GFP_KERNEL)?;
        }
        // SAFETY: Sizes and counts are plain numbers.
        let ptr = unsafe { bindings::alloc_etherdev_mqs(size, pairs.into(), pairs.into()) };
        let dev = NonNull::new(ptr).ok_or(ENOMEM)?;
        // SAFETY: The private area has `size` bytes and the alignment, see `ALIGNED`; it does not move,
        // and `Drop` drops it. There is no error.
        let Ok(()) = unsafe {
            compat::pin_init_at(
                bindings::netdev_priv(ptr).cast(),
                Private::<T>::new(parent, napis, umems, ptr),
            )
        };
        // SAFETY: The device and its private area are new, and nobody else knows them.
        unsafe { Self::set_up(ptr) };
        // INVARIANT: The private area was initialised above, with a reference to the parent, which is
        // bound, and to which `set_up` has attached the device.
        let this = Self {
            dev,
            bound: Atomic::new(true),
            _data: PhantomData,
        };
        this.add_napis();
        Ok(this)
    }

    /// Fills in what is the same for all devices.
    ///
    /// # Safety
    ///
    /// `ptr` is a new device with an initialised [`Private<T>`] that nobody else uses; its parent is bound
    /// and has no other netdev.
    unsafe fn set_up(ptr: *mut bindings::net_device)
    where
        T: ethtool::Operations + xfrm::Operations,
    {
        // SAFETY: The device is ours alone; the tables live on.
        unsafe {
            (*ptr).netdev_ops = Callbacks::<T>::netdev_ops();
            (*ptr).ethtool_ops = &ethtool::Callbacks::<T>::OPS;
            (*ptr).xfrmdev_ops = xfrm::Callbacks::<T>::ops();
            (*ptr).stat_ops = &QueueCallbacks::<T>::OPS;
        }
        // SAFETY: The device is live.
        let private: *mut Private<T> = unsafe { bindings::netdev_priv(ptr) }.cast();
        // SAFETY: The private area is initialised, and nobody has taken the reference out of it.
        let parent = unsafe { (*private).parent.assume_init_ref() };
        // CAST: `device::Device` is transparent over the C type, which both bindings describe.
        let device: *mut bindings::device = core::ptr::from_ref(parent.as_ref()).cast_mut().cast();
        // SAFETY: Both are live. The parent outlives the registration of the netdev.
        unsafe { bindings::netdev_set_parent(ptr, device) };
        // SAFETY: The device is ours alone.
        unsafe { bindings::netdev_disable_skb_sharing(ptr) };
        // netpoll would call the driver with interrupts off, where its locks must not be taken.
        // SAFETY: The device is ours alone.
        unsafe { bindings::netdev_disable_netpoll(ptr) };
        // SAFETY: The device is ours alone.
        unsafe { bindings::netdev_allow_live_address(ptr) };
        // Until `open` says otherwise.
        // SAFETY: The device is ours alone.
        unsafe { bindings::netif_carrier_off(ptr) };
        // SAFETY: The parent has no other netdev. This one stays until `Drop`, before which `take_down`
        // detaches it, and waits for those who have found it.
        unsafe { parent.attach(ptr) };
    }

    fn add_napis(&self) {
        // SAFETY: The private area is initialised by the invariant, and by its own the list does not change.
        let napis = unsafe { &(*self.private()).napis };
        for napi in napis {
            // INVARIANT: Those of `Private` and `Napi`: nobody else knows the device yet.
            // SAFETY: The context is zeroed, and stays where it is until `Drop` removes it from the
            // device, which is live.
            unsafe {
                bindings::netif_napi_add(self.as_raw(), napi.as_raw(), Some(poll_callback::<T>))
            };
        }
    }

    fn private(&self) -> *mut Private<T> {
        // SAFETY: The device is live by the invariant.
        unsafe { bindings::netdev_priv(self.as_raw()) }.cast()
    }

    pub(in crate::net) fn as_raw(&self) -> *mut bindings::net_device {
        self.dev.as_ptr()
    }

    fn ready_flag(&self) -> &Atomic<bool> {
        // SAFETY: The private area is initialised by the invariant.
        unsafe { &(*self.private()).ready }
    }

    /// The device of the bus behind the interface.
    pub fn parent(&self) -> &T::Parent {
        // SAFETY: The private area is initialised by the invariant. By its own the reference is there: who
        // can call this is lent the device before it is taken down.
        unsafe { (*self.private()).parent.assume_init_ref() }
    }

    /// The number of queue pairs.
    pub fn pairs(&self) -> u16 {
        // SAFETY: The private area is initialised by the invariant, and by its own the list does not change.
        let napis = unsafe { &(*self.private()).napis };
        // `new` was given this number.
        napis.len() as u16
    }

    /// Sets the features: on now, switchable by the user, and usable for encapsulated packets. VLAN devices
    /// on top get those that are on, but for ESP: they cannot have SAs.
    pub fn set_features(&mut self, on: u64, switchable: u64, encapsulated: u64) {
        let vlan = on & !(features::HW_ESP | features::HW_ESP_TX_CSUM | features::GSO_ESP);
        set_field!(self, features, on);
        set_field!(self, hw_features, switchable);
        set_field!(self, vlan_features, vlan);
        set_field!(self, hw_enc_features, encapsulated);
    }

    /// Sets the MTU limits and the initial MTU, bytes without the Ethernet header.
    pub fn set_mtu(&mut self, min: u32, max: u32, initial: u32) {
        set_field!(self, min_mtu, min);
        set_field!(self, max_mtu, max);
        set_field!(self, mtu, initial);
    }

    /// Says that the driver follows [`Device::rx_mode`] for other addresses than the interface's own, too.
    /// Without that the stack makes the interface promiscuous for them.
    pub fn filters_unicast(&mut self) {
        // SAFETY: The device is live by the invariant. The stack does not know it, so nobody else changes
        // its flags.
        unsafe { bindings::netdev_filters_unicast(self.as_raw()) };
    }

    /// Says what the device can do with programs ([`xdp::features`]).
    ///
    /// [`xdp::features`]: crate::net::xdp::features
    pub fn set_xdp_features(&mut self, features: u32) {
        set_field!(self, xdp_features, features);
    }

    /// Sets the room in front of packets that the driver needs, in bytes.
    pub fn set_needed_headroom(&mut self, head: u16) {
        set_field!(self, needed_headroom, head);
    }

    /// Sets the MAC address; `None` draws a random one.
    pub fn set_mac_address(&mut self, address: Option<[u8; 6]>) {
        match address {
            // SAFETY: The device is live by the invariant and not known to the stack; nothing else here
            // touches the address. It has six bytes.
            Some(a) => unsafe { bindings::eth_hw_addr_set(self.as_raw(), a.as_ptr()) },
            // SAFETY: The device is live by the invariant and not known to the stack; nothing else here
            // touches the address.
            None => unsafe { bindings::eth_hw_addr_random(self.as_raw()) },
        }
    }

    /// Initialises the driver's data in place. From here on events of the bus reach it.
    ///
    /// # Errors
    ///
    /// Those of `init`; `EEXIST` if the data is initialised already.
    pub fn init(&mut self, init: impl PinInit<T, Error>) -> Result {
        if self.ready_flag().load(Acquire) {
            return Err(EEXIST);
        }
        // SAFETY: The private area is valid by the invariant. CAST: Both wrappers are transparent.
        let slot: *mut T = unsafe { addr_of_mut!((*self.private()).data) }.cast();
        // SAFETY: The slot is valid for writes and not in use: see the flag, which only this function
        // sets, by `&mut self`. It never moves, and `take_down` drops what is in it.
        unsafe { compat::pin_init_at(slot, init)? };
        // INVARIANT: That of `Private`: the data is initialised.
        self.ready_flag().store(true, Release);
        Ok(())
    }

    /// The device, once [`Self::init`] has run.
    ///
    /// # Errors
    ///
    /// `EINVAL` before that.
    pub fn device(&self) -> Result<&Device<T>> {
        if !self.ready_flag().load(Acquire) {
            return Err(EINVAL);
        }
        // SAFETY: The device was made for `T`. Its data is initialised. It lives, and its parent is
        // bound, until `take_down`, which only owners of `self` call.
        Ok(unsafe { Device::from_raw(self.as_raw()) })
    }

    /// Hands the device to the stack. Sleeps, takes RTNL.
    ///
    /// # Errors
    ///
    /// `EINVAL` before [`Self::init`]; otherwise those of `register_netdev`.
    pub(crate) fn register(self) -> Result<Registration<T>> {
        self.device()?;
        // SAFETY: The device is live by the invariant and complete, and its data is initialised, as the
        // callbacks need it.
        to_result(unsafe { bindings::register_netdev(self.as_raw()) })?;
        // INVARIANT: The device was registered just now.
        Ok(Registration {
            device: self,
            registered: Atomic::new(true),
        })
    }

    fn disable_work(&self) {
        // SAFETY: The private area is valid by the invariant. CAST: `Opaque` is transparent.
        let work = unsafe { addr_of_mut!((*self.private()).work) }.cast();
        // SAFETY: The work is initialised by the invariant of `Private`.
        unsafe { bindings::disable_delayed_work_sync(work) };
    }

    /// Stops all event sources except the stack, drops the data, and waits for the last reference to the
    /// parent. While that is bound, and after the device is unregistered. Sleeps.
    fn take_down(&self) {
        if !self.bound.xchg(false, Full) {
            return;
        }
        self.disable_work();
        self.forget();
        // SAFETY: The private area is valid by the invariant, and as `bound` was true the reference is there.
        // This happens once, and `forget` has waited for readers of the pointer.
        let parent = unsafe { addr_of_mut!((*self.private()).parent).read().assume_init() };
        // Waits for a reset by another thread.
        // SAFETY: The private area is valid by the invariant.
        let resets = unsafe { &(*self.private()).resets }.lock();
        // SAFETY: This takes the network device down.
        unsafe { parent.reset() };
        // INVARIANT: That of `Private`: the data is not dropped before this.
        let ready = self.ready_flag().xchg(false, Full);
        drop(resets);
        if ready {
            // The reset has waited for running callbacks. But a device that breaks the rules can
            // interrupt after it, and the vectors are freed only with the queues, which are part of the data.
            parent.synchronize();
            // SAFETY: `ready` was true. All sources of events were stopped, and the reset and the wait were
            // for those that had begun.
            unsafe { self.drop_data() };
        }
        self.drop_pools();
        // SAFETY: This takes the network device down.
        unsafe { parent.release() };
    }

    /// Clears the pointer by which events of the bus find the network device, and waits for those that
    /// read it. Sleeps.
    fn forget(&self) {
        // SAFETY: The only caller takes the network device down.
        unsafe { self.parent().detach() };
        // SAFETY: No preconditions but the context.
        unsafe { bindings::synchronize_rcu() };
    }

    /// Ends the pools of the contexts, after what had their buffers. Sleeps.
    fn drop_pools(&self) {
        // SAFETY: The private area is initialised by the invariant, and by its own the list does not change.
        let napis = unsafe { &(*self.private()).napis };
        for napi in napis {
            // SAFETY: The context is off: see `Drop`. The caller takes the network device down, so nobody else is here.
            unsafe { napi.change_receiving(|receiving| *receiving = None) };
        }
    }

    /// Drops the driver's data.
    ///
    /// # Safety
    ///
    /// `ready` was true and is false now, and nobody uses the data any more.
    unsafe fn drop_data(&self) {
        // SAFETY: The private area is valid by the invariant. CAST: Both wrappers are transparent.
        let data: *mut T = unsafe { addr_of_mut!((*self.private()).data) }.cast();
        // SAFETY: By the invariant of `Private` the data was initialised, because `ready` was true. By the
        // contract nobody uses it, and it is dropped once: every event from now on sees that it is not ready.
        unsafe { core::ptr::drop_in_place(data) };
    }
}

impl<T: Operations> Private<T> {
    fn new(
        parent: T::Parent,
        napis: KVec<Napi>,
        umems: KVec<Option<Bound>>,
        netdev: *mut bindings::net_device,
    ) -> impl PinInit<Self> {
        // INVARIANT: There is no data yet. `Unregistered::new`, the only caller, attaches the device to the
        // parent, and adds the contexts, which are off.
        pin_init!(Self {
            type_id: TypeId::of::<T>(),
            ready: Atomic::new(false),
            parent: MaybeUninit::new(parent),
            napis,
            polling <- new_mutex!(Polling::Closed),
            resets <- new_mutex!(()),
            umems <- new_mutex!(umems),
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` is valid for writes, and stays where it is.
                unsafe { bindings::init_delayed_work(slot, Some(work_callback::<T>)) }
            }),
            netdev,
            data <- Opaque::uninit(),
        })
    }
}

impl<T: Operations> Drop for Unregistered<T> {
    fn drop(&mut self) {
        self.take_down();
        // SAFETY: The private area is initialised by the invariant, and by its own the list does not change.
        let napis = unsafe { &(*self.private()).napis };
        for napi in napis {
            // SAFETY: By the invariant of `Private` the context was added, and it is off: contexts are on
            // only while the interface is up, and the stack has forgotten that.
            unsafe { bindings::netif_napi_del(napi.as_raw()) };
        }
        // SAFETY: The private area is initialised by the invariant, and nobody uses it any more. It does
        // not drop parent and data, which `take_down` has done.
        unsafe { core::ptr::drop_in_place(self.private()) };
        // SAFETY: The device is live and not registered, and has no users.
        unsafe { bindings::free_netdev(self.as_raw()) };
    }
}

/// A registered network device; the bus's adapter keeps it, and shuts it down while the parent is bound.
///
/// # Invariants
///
/// While `registered` is true, the device is registered.
///
/// # Examples
///
/// ```
/// use kernel::driver::DriverLayout;
/// use kernel_net::{
///     net::netdevice::Registration,
///     virtio::net::{
///         Adapter,
///         Driver, //
///     }, //
/// };
///
/// /// What the virtio core keeps for each device that is bound.
/// fn kept<T: Driver>(data: <Adapter<T> as DriverLayout>::DriverData<'_>) -> Registration<T::Net> {
///     data
/// }
/// ```
pub struct Registration<T: Operations> {
    device: Unregistered<T>,
    registered: Atomic<bool>,
}

// SAFETY: The device may be shut down and freed from any thread, and its data be dropped there; `T` is
// `Send`.
unsafe impl<T: Operations> Send for Registration<T> {}
// SAFETY: `shutdown` is idempotent, and there is no other method.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Unregisters the device, resets the parent and drops the driver's data. Sleeps.
    pub(crate) fn shutdown(&self) {
        if self.registered.xchg(false, Full) {
            // A recovery uses what unregistering takes down. This waits for a running one and prevents
            // others.
            self.device.disable_work();
            // SAFETY: The device was registered by the invariant, and this happens once.
            unsafe { bindings::unregister_netdev(self.device.as_raw()) };
            self.device.take_down();
        }
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        self.shutdown();
    }
}
