// SPDX-License-Identifier: GPL-2.0

//! Network devices on top of the device of a bus.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)
//!
//! The driver's data lies in the private area of the C `struct net_device`. Its life is
//!
//! 1. The bus's adapter makes the C object when a device is probed, without data. It owns it from then on;
//!    the driver gets an [`Unregistered`] to complete, by reference.
//! 2. [`Unregistered::init`]: the data exists, events of the bus and work reach it.
//! 3. When the driver's `probe` returns the device is registered: the stack's callbacks come.
//! 4. At unbind, or when the probe fails, the device is taken down: it ends the work, unregisters, resets
//!    the device of the bus, and waits for the callbacks that run; then it drops the data, and then it
//!    waits until nobody holds the device of the bus any more.
//!
//! Which bus that is the network device does not know: it demands a [`Parent`].
//!
//! # Why this is sound
//!
//! A [`Device`] stands for initialised data and a bound parent. There are these ways to get one, and step 4
//! closes each of them before it drops the data:
//!
//! - the stack's callbacks (`net_device_ops`, ethtool, XFRM, notifiers): unregistering waits for them;
//! - a counted device that was found by its index: unregistering waits for it;
//! - NAPI: runs between the stack's open and stop only, see [`Device::enable_polling`];
//! - interrupts of the bus: they check whether the data is ready. After the reset the data is marked as not
//!   ready, and the callbacks are waited for, because a device that breaks the rules may still interrupt;
//! - the work: it is disabled, which waits for it;
//! - callbacks of the bus around a reset: they hold a reference to the parent, and the lock under which the
//!   data is marked as not ready.
//!
//! All of them lend the device for the time of a call, so the driver cannot keep it. It can keep a
//! reference to the parent, or what holds one; the end of step 4 waits for these.

mod bql;
mod callbacks;
mod events;
pub mod features;
mod parent;
mod polling;
mod receiving;
mod registration;
mod rx_mode;
mod stats;
mod transmitting;
mod umem;
pub(in crate::net) mod upper;

pub use bql::Bql;
pub(crate) use callbacks::is_made_for;
pub(crate) use events::{
    with_ready,
    Bound, //
};
pub use parent::Parent;
pub use registration::{
    Registration,
    Unregistered, //
};
pub use rx_mode::{
    MacAddress,
    RxMode, //
};
pub use stats::{
    RxQueueStats,
    Stats64,
    TxQueueStats, //
};

use crate::{
    bindings,
    net::{
        napi::{
            Napi,
            Poll,
            Polled,
            Polling, //
        },
        netlink::ExtAck,
        skbuff::SkBuff,
        xdp, //
    },
    rtnl, //
};
use core::{
    any::TypeId,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        addr_of,
        addr_of_mut, //
    }, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::Atomic,
        Mutex, //
    },
    types::Opaque, //
};

/// What a network driver implements. `Self` is the driver's data.
///
/// [`crate::virtio::net`] has the example of a whole driver.
pub trait Operations: Sized + Send + Sync + 'static {
    /// What the device stands on.
    type Parent: Parent;

    /// Brings the interface up. RTNL held, may sleep. If it fails, [`Self::stop`] is not called.
    fn open(dev: &Device<Self>, rtnl: &rtnl::Held) -> Result;

    /// Takes the interface down. RTNL held, may sleep.
    fn stop(dev: &Device<Self>);

    /// Transmits `skb` on `queue` or drops and counts it. Softirqs off, the queue's lock held.
    fn start_xmit(dev: &Device<Self>, queue: u16, skb: SkBuff);

    /// Handles received packets and finished transmissions, and says whether there is more. Softirq.
    fn poll(dev: &Device<Self>, poll: &Poll<'_>) -> Polled;

    /// Asks for events again after the NAPI context `index` has completed with [`Polled::Done`]; true if
    /// there is work already. Softirq. The context may run on another CPU meanwhile, if it is scheduled
    /// again.
    fn rearm(dev: &Device<Self>, index: u16) -> bool;

    /// Does work that needs process context: after [`Device::schedule_work`], and when the configuration
    /// (link status) of the parent may have changed. May sleep.
    fn work(dev: &Device<Self>);

    /// Handles a transmit timeout: the stack has waited for seconds for room in `queue`. Softirqs off, no
    /// sleeping.
    fn tx_timeout(dev: &Device<Self>, queue: u16);

    /// Removes features from `features` that depend on missing ones, or that the device cannot have now. RTNL held.
    fn fix_features(dev: &Device<Self>, features: u64) -> u64;

    /// Makes the device work with these features; those that are on now are [`Device::features`]. RTNL held,
    /// may sleep.
    ///
    /// # Errors
    ///
    /// If the device refuses; then the features stay as they are.
    fn set_features(_dev: &Device<Self>, _features: u64) -> Result {
        Ok(())
    }

    /// Makes the device have this Ethernet address, that of a station; that of now is
    /// [`Device::mac_address`]. RTNL held, may sleep. The interface may be up.
    ///
    /// # Errors
    ///
    /// If the device refuses; then the address stays as it is.
    fn set_mac_address(_dev: &Device<Self>, _address: [u8; 6]) -> Result {
        Ok(())
    }

    /// What the interface is to receive has changed ([`Device::rx_mode`]). No sleeping, because the lock of
    /// the address lists may be held; and so that function is for later.
    fn set_rx_mode(_dev: &Device<Self>) {}

    /// Receives packets of the VLAN with this id. For devices with [`features::HW_VLAN_CTAG_FILTER`]. RTNL
    /// held, may sleep.
    ///
    /// # Errors
    ///
    /// If the device refuses; then there is no such VLAN interface.
    fn vlan_rx_add_vid(_dev: &Device<Self>, _id: u16) -> Result {
        Ok(())
    }

    /// Undoes [`Self::vlan_rx_add_vid`]. RTNL held, may sleep.
    ///
    /// # Errors
    ///
    /// If the device refuses. The VLAN interface goes anyway.
    fn vlan_rx_kill_vid(_dev: &Device<Self>, _id: u16) -> Result {
        Ok(())
    }

    /// Whether the device runs programs with received frames, and sends frames of others: see [`crate::net::xdp`].
    const XDP: bool = false;

    /// Runs another program from now on, or none. For devices with [`Self::XDP`], while the interface is up or down.
    /// RTNL held, may sleep.
    ///
    /// # Errors
    ///
    /// If the device cannot run it as it is, with an extack message. Then the old program stays. Never without a
    /// program.
    fn set_program(
        _dev: &Device<Self>,
        _program: Option<xdp::Program>,
        _extack: &mut ExtAck,
        _rtnl: &rtnl::Held,
    ) -> Result {
        Err(super::operation_not_supported())
    }

    /// Transmits frames that programs of other devices, or of this one, have redirected to the device. What is not
    /// taken is dropped. For devices with [`Self::XDP`]. Softirq; the interface may go down meanwhile.
    fn xdp_xmit(_dev: &Device<Self>, _frames: &mut xdp::Given<'_>) {}

    /// Takes memory of sockets (AF_XDP) for the queue pair that it is offered for, and does not copy their frames from now
    /// on ([`xdp::umem`]). For devices with [`xdp::features::XSK_ZEROCOPY`]. RTNL held, may sleep.
    ///
    /// # Errors
    ///
    /// If the device cannot do that; then frames are copied, or the user gets the error.
    fn add_umem(_dev: &Device<Self>, _offer: xdp::umem::Offer<'_>, _rtnl: &rtnl::Held) -> Result {
        Err(super::operation_not_supported())
    }

    /// Gives the memory of the queue pair back: both halves, and all that queues have of it. The caller waits until it is
    /// so. RTNL held, may sleep.
    fn remove_umem(_dev: &Device<Self>, _queue: u16, _rtnl: &rtnl::Held) {}

    /// A socket wants to send from its memory, or has room in it again. Softirqs may be off.
    fn wake_umem(_dev: &Device<Self>, _queue: u16) {}

    /// Adds up the interface's counters. No sleeping.
    fn stats64(dev: &Device<Self>, stats: &mut Stats64);

    /// The counters of a receive queue. RTNL held.
    ///
    /// Counters do not fall, and go on while the queue is not in use: so the sum over all queues is that of
    /// [`Self::stats64`].
    fn rx_queue_stats(dev: &Device<Self>, queue: u16) -> RxQueueStats;

    /// The counters of a transmit queue, as [`Self::rx_queue_stats`].
    fn tx_queue_stats(dev: &Device<Self>, queue: u16) -> TxQueueStats;
}

/// The contents of the private area.
///
/// # Invariants
///
/// - `type_id` is the first field, whatever `T`, and the id of that.
/// - `netdev` is the device whose private area this is.
/// - While `ready` is true `data` is initialised.
/// - `parent` is initialised, and `netdev` attached to it, until [`Unregistered`] takes the device down:
///   it gives the reference back after the data.
/// - `napis` does not change. Its contexts were added to `netdev` before anybody else knew that. They are
///   on exactly while `polling` is [`Polling::On`], and its lock is held to turn them on or off.
/// - `work` is initialised with `work_callback`.
#[pin_data]
#[repr(C)]
pub(crate) struct Private<T: Operations> {
    type_id: TypeId,
    ready: Atomic<bool>,
    parent: MaybeUninit<T::Parent>,
    /// One per queue pair.
    napis: KVec<Napi>,
    #[pin]
    polling: Mutex<Polling>,
    /// Held by callbacks of the bus that reset its device, and to declare the data not ready.
    #[pin]
    resets: Mutex<()>,
    /// What the device has taken of sockets, one place per queue pair.
    #[pin]
    umems: Mutex<KVec<Option<xdp::umem::Bound>>>,
    #[pin]
    work: Opaque<bindings::delayed_work>,
    /// For the way back from `work` to the device.
    netdev: *mut bindings::net_device,
    #[pin]
    data: Opaque<MaybeUninit<T>>,
}

/// A network device whose data is initialised.
///
/// # Invariants
///
/// The pointer to a `Device<T>` is the pointer to a live `struct net_device` that [`Unregistered`] made
/// for `T`. As long as the reference lives its `T` is initialised, and its parent bound.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::{
///     Device,
///     Operations, //
/// };
///
/// /// Stops the stack while the next packet might not fit.
/// fn after_packet<T: Operations>(dev: &Device<T>, queue: u16, full: bool) {
///     if full {
///         dev.stop_queue(queue);
///     } else if dev.queue_stopped(queue) {
///         dev.wake_queue(queue);
///     }
/// }
/// ```
#[repr(transparent)]
pub struct Device<T>(Opaque<bindings::net_device>, PhantomData<T>);

impl<T: Operations> Device<T> {
    /// # Safety
    ///
    /// `ptr` must point to a device that [`Unregistered`] made for `T`, with initialised data and a
    /// bound parent for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the function's contract. CAST: `Device` is transparent over `net_device`.
        // INVARIANT: By the function's contract.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    fn private(&self) -> *mut Private<T> {
        // SAFETY: `self` is a valid device; its private area holds a `Private<T>`.
        unsafe { bindings::netdev_priv(self.as_raw()) }.cast()
    }

    /// The driver's data.
    pub fn data(&self) -> &T {
        // SAFETY: The private area is valid as long as the device is.
        let data = unsafe { addr_of!((*self.private()).data) };
        // SAFETY: By the type invariant the data is initialised as long as `self` lives. It is shared
        // from then on: nobody makes a `&mut T` of it. CAST: Both wrappers are transparent.
        unsafe { &*data.cast::<T>() }
    }

    fn work_item(&self) -> *mut bindings::delayed_work {
        // SAFETY: The private area is valid as long as the device is. CAST: `Opaque` is transparent.
        unsafe { addr_of_mut!((*self.private()).work).cast() }
    }

    /// Schedules [`Operations::work`]. Any context.
    pub fn schedule_work(&self) {
        self.schedule_work_in(0);
    }

    /// Schedules [`Operations::work`] in `ms` milliseconds, unless it is scheduled for an earlier time.
    /// Any context.
    pub fn schedule_work_in(&self, ms: u32) {
        // SAFETY: The work is initialised by the invariant of `Private`. Before the data goes it is
        // disabled, and then this does nothing.
        unsafe { bindings::schedule_work_in(self.work_item(), ms) };
    }

    /// The Ethernet address of the interface. Any context; while the user changes it, it may be part old
    /// and part new.
    pub fn mac_address(&self) -> [u8; 6] {
        // SAFETY: The device is live by the type invariant, and so is the address, which it points to.
        // Our devices are Ethernet devices, whose addresses have six bytes; a volatile read may race.
        unsafe {
            let address = addr_of!((*self.as_raw()).dev_addr).read_volatile();
            address.cast::<[u8; 6]>().read_volatile()
        }
    }

    /// The device of the bus behind the interface.
    pub fn parent(&self) -> &T::Parent {
        // SAFETY: By the invariant of `Private` the reference is there as long as the data, and by the type
        // invariant that is.
        unsafe { (*self.private()).parent.assume_init_ref() }
    }

    /// Sets how many transmit and receive queues the stack uses, at most as many as allocated. RTNL
    /// held.
    ///
    /// # Errors
    ///
    /// Those of `netif_set_real_num_queues`.
    pub fn set_queues(&self, count: u32, _rtnl: &rtnl::Held) -> Result {
        // SAFETY: The device is live by the type invariant, RTNL is held; the function checks the count.
        to_result(unsafe { bindings::netif_set_real_num_queues(self.as_raw(), count, count) })
    }

    /// Makes the online CPU number `nth` transmit on `queue` (XPS); does nothing if there is no such queue
    /// or CPU. Sleeps.
    pub fn set_xps(&self, queue: u16, nth: u32) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue; the function looks for
            // the CPU.
            unsafe { bindings::netif_set_xps_cpu(self.as_raw(), nth, queue) }
        }
    }

    /// Keeps the stack from using the device, and waits for running calls. Sleeps.
    pub(crate) fn detach(&self) {
        // SAFETY: The device is live by the type invariant.
        unsafe { bindings::netdev_detach(self.as_raw()) }
    }

    /// Undoes [`Self::detach`].
    pub(crate) fn attach(&self) {
        // SAFETY: The device is live by the type invariant.
        unsafe { bindings::netif_device_attach(self.as_raw()) }
    }

    /// The interface's index in its namespace.
    pub fn index(&self) -> i32 {
        // SAFETY: The device is live by the type invariant; the index changes with the namespace only.
        unsafe { addr_of!((*self.as_raw()).ifindex).read_volatile() }
    }

    /// The features that are on now (see [`features`]).
    pub fn features(&self) -> u64 {
        // SAFETY: The device is live by the type invariant; a racing change gives either value.
        unsafe { addr_of!((*self.as_raw()).features).read_volatile() }
    }

    /// Switches those features of `bits` on or off that the user can switch. Does nothing before the
    /// device is registered. Sleeps.
    pub fn want_features(&self, bits: u64, on: bool, _rtnl: &rtnl::Held) {
        let dev = self.as_raw();
        // SAFETY: The device is live by the type invariant; RTNL keeps the field as it is.
        let state = unsafe { addr_of!((*dev).reg_state).read_volatile() };
        if u32::from(state) != bindings::netdev_reg_state_NETREG_REGISTERED {
            return;
        }
        // SAFETY: The device is live by the type invariant; RTNL keeps others from both fields.
        unsafe {
            let bits = bits & (*dev).hw_features;
            let wanted = addr_of_mut!((*dev).wanted_features);
            wanted.write(if on { *wanted | bits } else { *wanted & !bits });
        }
        // SAFETY: The device is registered, and RTNL is held.
        unsafe { bindings::netdev_update_features(dev) };
    }

    /// Has [`Operations::fix_features`] say again what the device can have. Does nothing unless the device is
    /// registered. Sleeps.
    pub fn update_features(&self, rtnl: &rtnl::Held) {
        self.want_features(0, true, rtnl);
    }

    /// Sets the largest MTU that the user can choose, in bytes. A larger one that is set stays.
    pub fn set_max_mtu(&self, max: u32, _rtnl: &rtnl::Held) {
        // SAFETY: The device is live by the type invariant; RTNL keeps others from writing the field.
        unsafe { addr_of_mut!((*self.as_raw()).max_mtu).write_volatile(max) }
    }

    /// The interface's MTU in bytes.
    pub fn mtu(&self) -> u32 {
        // SAFETY: The device is live by the type invariant; a racing change gives either value.
        unsafe { addr_of!((*self.as_raw()).mtu).read_volatile() }
    }

    /// Whether the interface is up.
    pub fn is_running(&self) -> bool {
        // SAFETY: The device is live by the type invariant; the function tests one bit.
        unsafe { bindings::netif_running(self.as_raw()) }
    }

    /// Tells the stack whether there is a link.
    pub fn set_carrier(&self, on: bool) {
        if on {
            // SAFETY: The device is live by the type invariant; the function changes one bit.
            unsafe { bindings::netif_carrier_on(self.as_raw()) }
        } else {
            // SAFETY: The device is live by the type invariant; the function changes one bit.
            unsafe { bindings::netif_carrier_off(self.as_raw()) }
        }
    }
}
