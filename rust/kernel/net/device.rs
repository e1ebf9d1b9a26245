// SPDX-License-Identifier: GPL-2.0

//! Network devices on top of a virtio device.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)
//!
//! The driver's data lies in the private area of the C `struct net_device`. Its life is
//!
//! 1. [`Unregistered::new`]: the C object exists, the data does not;
//! 2. [`Unregistered::init`]: the data exists, queue events reach it;
//! 3. [`Unregistered::register`]: the stack knows the device, callbacks may come;
//! 4. [`Registration::shutdown`] (at unbind): unregister, reset the virtio device so that no queue
//!    event can come, then drop the data.
//!
//! So every callback finds the data initialised.

mod callbacks;
mod registration;
pub(in crate::net) mod upper;

pub use registration::{
    Registration,
    Unregistered, //
};

use crate::{
    bindings,
    net::{
        ethtool,
        napi::{
            Napi,
            Poll, //
        },
        skbuff::SkBuff,
        xfrm, //
    },
    rtnl,
    virtio, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::addr_of_mut, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic, //
    },
    types::Opaque, //
};

/// Offload and checksum features, `NETIF_F_*`.
pub mod feature {
    use crate::bindings;

    const fn bit(n: u32) -> u64 {
        1 << n
    }

    /// Scatter/gather transmit.
    pub const SG: u64 = bit(bindings::NETIF_F_SG_BIT);
    /// Transmit checksum at any offset.
    pub const HW_CSUM: u64 = bit(bindings::NETIF_F_HW_CSUM_BIT);
    /// TCP segmentation over IPv4.
    pub const TSO: u64 = bit(bindings::NETIF_F_TSO_BIT);
    /// TCP segmentation with the ECN bits of [RFC 3168].
    pub const TSO_ECN: u64 = bit(bindings::NETIF_F_TSO_ECN_BIT);
    /// TCP segmentation over IPv6.
    pub const TSO6: u64 = bit(bindings::NETIF_F_TSO6_BIT);
    /// Segmentation inside ESP.
    pub const GSO_ESP: u64 = bit(bindings::NETIF_F_GSO_ESP_BIT);
    /// Transmit checksum inside ESP.
    pub const HW_ESP_TX_CSUM: u64 = bit(bindings::NETIF_F_HW_ESP_TX_CSUM_BIT);
    /// Receive checksum.
    pub const RXCSUM: u64 = bit(bindings::NETIF_F_RXCSUM_BIT);
    /// DMA to high memory.
    pub const HIGHDMA: u64 = bit(bindings::NETIF_F_HIGHDMA_BIT);
    /// ESP crypto offload.
    pub const HW_ESP: u64 = bit(bindings::NETIF_F_HW_ESP_BIT);
}

/// What a network driver implements. `Self` is the driver's data.
pub trait Operations:
    ethtool::Operations + xfrm::Operations + Sized + Send + Sync + 'static
{
    /// Brings the interface up. RTNL held, may sleep.
    fn open(dev: &Device<Self>) -> Result;

    /// Takes the interface down. RTNL held, may sleep.
    fn stop(dev: &Device<Self>);

    /// Transmits `skb` on `queue` or drops and counts it. Softirqs off, the queue's lock held.
    fn start_xmit(dev: &Device<Self>, queue: u16, skb: SkBuff);

    /// Handles received packets and finished transmissions; returns the number of received packets,
    /// at most the budget. Softirq.
    fn poll(dev: &Device<Self>, poll: &Poll<'_, Self>) -> u32;

    /// A used buffer or more appeared in virtqueue `queue`. Hard interrupt.
    fn queue_event(dev: &Device<Self>, queue: u16);

    /// Work that could not be done elsewhere: after [`Device::schedule_work`], and when the virtio
    /// configuration (link status) may have changed. Process context.
    fn work(dev: &Device<Self>);

    /// The stack has waited for seconds for room in `queue`. Softirqs off, no sleeping.
    fn tx_timeout(dev: &Device<Self>, queue: u16);

    /// Takes features away from `features` that do not work without others that are missing. RTNL
    /// held.
    fn fix_features(features: u64) -> u64;

    /// Stops using the device, because it will be reset: stops traffic, drops the queues. RTNL not
    /// held, may sleep; the stack's queues are detached already.
    fn reset_prepare(dev: &Device<Self>);

    /// Takes the device into use again after a reset: new queues, then [`virtio::Device::ready`],
    /// then all state that the device has lost. RTNL not held, may sleep.
    fn reset_done(dev: &Device<Self>) -> Result;

    /// Adds up the interface's counters. No sleeping.
    fn stats64(dev: &Device<Self>, stats: &mut Stats64);
}

/// The counters of `ip -s link`.
#[derive(Default)]
pub struct Stats64 {
    /// Packets delivered to the stack.
    pub rx_packets: u64,
    /// Bytes delivered to the stack.
    pub rx_bytes: u64,
    /// Packets given to the device.
    pub tx_packets: u64,
    /// Bytes given to the device.
    pub tx_bytes: u64,
    /// Received packets that were not delivered.
    pub rx_dropped: u64,
    /// Packets that were not given to the device.
    pub tx_dropped: u64,
    /// Malformed reports of the device.
    pub rx_errors: u64,
}

/// The contents of the private area.
pub(crate) struct Private<T> {
    /// Whether `data` is initialised.
    ready: Atomic<bool>,
    parent: virtio::DeviceRef,
    napis: KVec<Napi<T>>,
    work: Opaque<bindings::delayed_work>,
    /// For the way back from `work` to the device.
    netdev: *mut bindings::net_device,
    data: MaybeUninit<T>,
}

/// A network device whose data is initialised.
///
/// # Invariants
///
/// The pointer to a `Device<T>` is the pointer to a live `struct net_device` that
/// [`Unregistered::new`] made for `T`, and its `T` is initialised as long as the reference lives.
#[repr(transparent)]
pub struct Device<T>(Opaque<bindings::net_device>, PhantomData<T>);

impl<T: Operations> Device<T> {
    /// # Safety
    ///
    /// `ptr` must point to a device made by [`Unregistered::new`] for `T` with initialised data
    /// that outlives `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the function's contract. CAST: `Device` is transparent over `net_device`.
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
        // SAFETY: By the type invariant the data is initialised.
        unsafe { (*self.private()).data.assume_init_ref() }
    }

    /// The NAPI context `index`, in the order of creation.
    pub fn napi(&self, index: usize) -> Option<&Napi<T>> {
        // SAFETY: The vector is set up before the data and not changed until the data is gone.
        unsafe { &(*self.private()).napis }.get(index)
    }

    /// All NAPI contexts, in the order of creation.
    pub fn napis(&self) -> &[Napi<T>] {
        // SAFETY: The vector is set up before the data and not changed until the data is gone.
        unsafe { &(*self.private()).napis }
    }

    /// Has [`Operations::work`] run soon. Any context.
    pub fn schedule_work(&self) {
        // SAFETY: The work was initialised in `new` and is cancelled before it is gone.
        unsafe { bindings::schedule_work_in(addr_of_mut!((*self.private()).work).cast(), 0) };
    }

    /// Has [`Operations::work`] run after `ms` milliseconds, unless something else wants it before.
    /// Any context.
    pub fn schedule_work_in(&self, ms: u32) {
        // SAFETY: As in `schedule_work`.
        unsafe { bindings::schedule_work_in(addr_of_mut!((*self.private()).work).cast(), ms) };
    }

    /// The virtio device behind the interface.
    pub fn parent(&self) -> &virtio::DeviceRef {
        // SAFETY: Initialised in `new`, dropped after the data.
        unsafe { &(*self.private()).parent }
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

    /// Has the online CPU number `nth` transmit on `queue`; does nothing if there is no such queue or
    /// CPU. Sleeps.
    pub fn set_xps(&self, queue: u16, nth: u32) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue; the function looks for
            // the CPU.
            unsafe { bindings::netif_set_xps_cpu(self.as_raw(), nth, queue) }
        }
    }

    /// Keeps the stack from using the device, waiting for those who do. Sleeps.
    fn detach(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netdev_detach(self.as_raw()) }
    }

    /// Undoes [`Self::detach`].
    fn attach(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_device_attach(self.as_raw()) }
    }

    /// Resets the virtio device and takes it into use again; false if somebody else resets or removes
    /// the device now. Process context without RTNL.
    ///
    /// # Errors
    ///
    /// Those of [`Operations::reset_done`], or of the virtio core.
    pub fn recover(&self) -> Result<bool> {
        let vdev = self.parent().as_raw();
        // Who resets or removes the bus device holds its lock, who unbinds the driver that of the
        // virtio device, and both wait for us.
        // SAFETY: The virtio device is bound as long as the netdev has data.
        if !unsafe { bindings::virtio_trylock(vdev) } {
            return Ok(false);
        }
        if self.parent().has_failed() {
            // The core would carry the mark of the last failure over to the next attempt.
            self.parent().reset();
        }
        // SAFETY: As above.
        let prepared = to_result(unsafe { bindings::virtio_device_reset_prepare(vdev) });
        let done = prepared.and_then(|()| {
            // SAFETY: As above.
            to_result(unsafe { bindings::virtio_device_reset_done(vdev) })
        });
        // SAFETY: As above; locked by us.
        unsafe { bindings::virtio_unlock(vdev) };
        done.map(|()| true)
    }

    /// The interface's index in its namespace.
    pub fn index(&self) -> i32 {
        // SAFETY: By the type invariant; it changes with the namespace only.
        unsafe { core::ptr::read_volatile(addr_of_mut!((*self.as_raw()).ifindex)) }
    }

    /// The features that are on now (see [`feature`]).
    pub fn features(&self) -> u64 {
        // SAFETY: By the type invariant; a racing change gives either value.
        unsafe { core::ptr::read_volatile(addr_of_mut!((*self.as_raw()).features)) }
    }

    /// Switches those of the features `bits` on or off that the user can switch; before the device is
    /// registered it does nothing. Sleeps.
    pub fn want_features(&self, bits: u64, on: bool, _rtnl: &rtnl::Held) {
        let dev = self.as_raw();
        // SAFETY: The device is live by the type invariant; RTNL keeps the field as it is.
        let state = unsafe { core::ptr::addr_of!((*dev).reg_state).read_volatile() };
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

    /// The interface's MTU in bytes.
    pub fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant; a racing change gives either value.
        unsafe { core::ptr::read_volatile(addr_of_mut!((*self.as_raw()).mtu)) }
    }

    /// Whether the interface is up.
    pub fn is_running(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_running(self.as_raw()) }
    }

    /// Tells the stack whether there is a link.
    pub fn set_carrier(&self, on: bool) {
        if on {
            // SAFETY: By the type invariant.
            unsafe { bindings::netif_carrier_on(self.as_raw()) }
        } else {
            // SAFETY: By the type invariant.
            unsafe { bindings::netif_carrier_off(self.as_raw()) }
        }
    }

    /// Whether the device was made with a transmit queue of this number.
    fn has_queue(&self, queue: u16) -> bool {
        // SAFETY: The device is live by the type invariant; the number was set when it was made.
        u32::from(queue) < unsafe { core::ptr::addr_of!((*self.as_raw()).num_tx_queues).read() }
    }

    /// Lets the stack transmit on `queue`. Does nothing if there is no such queue.
    pub fn start_queue(&self, queue: u16) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue.
            unsafe { bindings::netif_tx_start(self.as_raw(), u32::from(queue)) }
        }
    }

    /// Asks the stack to stop transmitting on `queue`. Does nothing if there is no such queue.
    pub fn stop_queue(&self, queue: u16) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue.
            unsafe { bindings::netif_tx_stop(self.as_raw(), u32::from(queue)) }
        }
    }

    /// Lets the stack transmit on `queue` again, if it was stopped. Does nothing if there is no such
    /// queue.
    pub fn wake_queue(&self, queue: u16) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue.
            unsafe { bindings::netif_tx_wake(self.as_raw(), u32::from(queue)) }
        }
    }

    /// Whether `queue` exists and is stopped.
    pub fn queue_stopped(&self, queue: u16) -> bool {
        if !self.has_queue(queue) {
            return false;
        }
        // SAFETY: The device is live by the type invariant and has the queue.
        unsafe { bindings::netif_tx_stopped(self.as_raw(), u32::from(queue)) }
    }

    /// Stops all transmit queues and waits for running transmissions.
    pub fn disable_tx(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_tx_disable(self.as_raw()) }
    }

    /// Whether the stack will transmit another packet at once, so that the doorbell can wait.
    pub fn xmit_more(&self) -> bool {
        // SAFETY: No preconditions; reads a per-CPU flag that is meaningful in `start_xmit`.
        unsafe { bindings::netdev_xmit_more() }
    }
}

/// Runs `f` with the device behind a raw pointer if its data is initialised.
///
/// # Safety
///
/// `ptr` is null or points to a live device made by [`Unregistered::new`] for `T`. The caller is a
/// source of events that [`Registration::shutdown`] stops before it drops the data.
pub(crate) unsafe fn with_ready<T: Operations>(
    ptr: *mut bindings::net_device,
    f: impl FnOnce(&Device<T>),
) {
    if ptr.is_null() {
        return;
    }
    // SAFETY: `ptr` is live by the contract, and its private area was initialised in `new`.
    let private: *mut Private<T> = unsafe { bindings::netdev_priv(ptr) }.cast();
    // SAFETY: As above.
    if unsafe { &(*private).ready }.load(Acquire) {
        // SAFETY: The data is initialised and not dropped before this event source has stopped.
        f(unsafe { Device::from_raw(ptr) })
    }
}

/// # Safety
///
/// Called by the workqueue with the work of a live `Private<T>`.
unsafe extern "C" fn work_callback<T: Operations>(work: *mut bindings::work_struct) {
    let offset = core::mem::offset_of!(Private<T>, work)
        .wrapping_add(core::mem::offset_of!(bindings::delayed_work, work));
    // SAFETY: `work` is part of the field of that name in a `Private<T>`.
    let private: *mut Private<T> = unsafe { work.byte_sub(offset) }.cast();
    // SAFETY: `drop_data` cancels the work before it drops the data.
    unsafe { with_ready((*private).netdev, |dev| T::work(dev)) }
}

/// [`Device::schedule_work`] for the virtio core.
///
/// # Safety
///
/// As [`with_ready`].
pub(crate) unsafe fn schedule_work<T: Operations>(ptr: *mut bindings::net_device) {
    // SAFETY: By the function's contract.
    unsafe { with_ready(ptr, |dev: &Device<T>| dev.schedule_work()) }
}

/// Runs a reset callback between detaching and attaching the stack.
///
/// # Safety
///
/// As [`with_ready`]; called by the virtio core for a bound device.
pub(crate) unsafe fn reset_prepare<T: Operations>(ptr: *mut bindings::net_device) {
    // SAFETY: By the function's contract.
    unsafe {
        with_ready(ptr, |dev: &Device<T>| {
            dev.detach();
            T::reset_prepare(dev);
        })
    }
}

/// The counterpart of [`reset_prepare`]; the stack stays detached after an error.
///
/// # Safety
///
/// As [`reset_prepare`].
pub(crate) unsafe fn reset_done<T: Operations>(ptr: *mut bindings::net_device) -> Result {
    let mut result = Err(ENODEV);
    // SAFETY: By the function's contract.
    unsafe {
        with_ready(ptr, |dev: &Device<T>| {
            result = T::reset_done(dev).inspect(|()| dev.attach())
        })
    };
    result
}

/// [`reset_prepare`] for a machine that goes to sleep: no work that resets or asks the device runs
/// any more. Sleeps.
///
/// # Safety
///
/// As [`reset_prepare`]; [`resume`] follows, unless the device is unbound.
pub(crate) unsafe fn suspend<T: Operations>(ptr: *mut bindings::net_device) {
    // SAFETY: By the function's contract.
    unsafe {
        with_ready(ptr, |dev: &Device<T>| {
            bindings::disable_delayed_work_sync(addr_of_mut!((*dev.private()).work).cast());
        });
        reset_prepare::<T>(ptr)
    }
}

/// The counterpart of [`suspend`]; the stack stays detached after an error.
///
/// # Safety
///
/// As [`reset_done`], after [`suspend`].
pub(crate) unsafe fn resume<T: Operations>(ptr: *mut bindings::net_device) -> Result {
    // SAFETY: By the function's contract.
    let result = unsafe { reset_done::<T>(ptr) };
    // SAFETY: By the function's contract; `suspend` has disabled the work.
    unsafe {
        with_ready(ptr, |dev: &Device<T>| {
            bindings::enable_delayed_work(addr_of_mut!((*dev.private()).work).cast());
        })
    };
    result
}
