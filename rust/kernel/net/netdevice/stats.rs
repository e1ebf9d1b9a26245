// SPDX-License-Identifier: GPL-2.0

//! Counters of a device and of its queues.
//!
//! C header: [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use super::{
    Device,
    Operations, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ops::Range,
    ptr::addr_of, //
};
use kernel::prelude::*;

/// The counters of `ip -s link`.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::Stats64;
///
/// let stats = Stats64 {
///     rx_packets: 1,
///     rx_bytes: 60,
///     ..Default::default()
/// };
/// assert_eq!(stats.tx_packets, 0);
/// ```
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

/// The counters of a receive queue, as `Documentation/netlink/specs/netdev.yaml` describes them.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::RxQueueStats;
///
/// let stats = RxQueueStats {
///     packets: 2,
///     csum_none: 2,
///     ..Default::default()
/// };
/// assert_eq!(stats.csum_unnecessary, 0);
/// ```
#[derive(Default)]
pub struct RxQueueStats {
    /// Packets of the wire that were delivered to the stack.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How often there was no memory for buffers or packets.
    pub alloc_fail: u64,
    /// Packets whose checksum the device has checked.
    pub csum_unnecessary: u64,
    /// Packets whose checksum it has not looked at.
    pub csum_none: u64,
    /// Packets that the device has put together from several.
    pub hw_gro_packets: u64,
    /// The packets of the wire in these.
    pub hw_gro_wire_packets: u64,
}

/// The counters of a transmit queue, as `Documentation/netlink/specs/netdev.yaml` describes them.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::TxQueueStats;
///
/// let stats = TxQueueStats {
///     packets: 2,
///     csum_none: 2,
///     ..Default::default()
/// };
/// assert_eq!(stats.needs_csum, 0);
/// ```
#[derive(Default)]
pub struct TxQueueStats {
    /// Packets of the wire that were given to the device.
    pub packets: u64,
    /// Bytes given to the device.
    pub bytes: u64,
    /// Packets whose checksum was complete.
    pub csum_none: u64,
    /// Packets whose checksum the device completes.
    pub needs_csum: u64,
    /// Packets that the device cuts into several.
    pub hw_gso_packets: u64,
    /// What they are cut into.
    pub hw_gso_wire_packets: u64,
    /// How often the stack was asked to stop, because the queue was full.
    pub stop: u64,
    /// How often it was told to go on.
    pub wake: u64,
}

/// Takes the listed fields over from a structure of ours to that of C. The stack does not report others.
macro_rules! fields {
    ($ours:ident, $theirs:ident: $($field:ident),*) => {
        impl $ours {
            fn write(&self, out: &mut bindings::$theirs) {
                $(out.$field = self.$field;)*
            }

            fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }
        }
    };
}

fields!(
    RxQueueStats,
    netdev_queue_stats_rx: packets,
    bytes,
    alloc_fail,
    csum_unnecessary,
    csum_none,
    hw_gro_packets,
    hw_gro_wire_packets
);
fields!(
    TxQueueStats,
    netdev_queue_stats_tx: packets,
    bytes,
    csum_none,
    needs_csum,
    hw_gso_packets,
    hw_gso_wire_packets,
    stop,
    wake
);

/// The C callbacks of `struct netdev_stat_ops`.
pub(super) struct QueueCallbacks<T>(PhantomData<T>);

impl<T: Operations> QueueCallbacks<T> {
    pub(super) const OPS: bindings::netdev_stat_ops = bindings::netdev_stat_ops {
        get_queue_stats_rx: Some(Self::rx),
        get_queue_stats_tx: Some(Self::tx),
        get_base_stats: Some(Self::base),
    };

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`, with RTNL held and a structure to fill.
    unsafe extern "C" fn rx(
        dev: *mut bindings::net_device,
        queue: c_int,
        out: *mut bindings::netdev_queue_stats_rx,
    ) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent. CAST: A device
        // has fewer queues than that.
        let stats = T::rx_queue_stats(unsafe { Device::from_raw(dev) }, queue as u16);
        // SAFETY: The stack passes an initialised structure for us to fill.
        stats.write(unsafe { &mut *out });
    }

    /// # Safety
    ///
    /// As [`Self::rx`].
    unsafe extern "C" fn tx(
        dev: *mut bindings::net_device,
        queue: c_int,
        out: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent. CAST: A device
        // has fewer queues than that.
        let stats = T::tx_queue_stats(unsafe { Device::from_raw(dev) }, queue as u16);
        // SAFETY: The stack passes an initialised structure for us to fill.
        stats.write(unsafe { &mut *out });
    }

    /// What the queues have counted that are not in use: the stack adds the others to it.
    ///
    /// # Safety
    ///
    /// As [`Self::rx`], with two structures.
    unsafe extern "C" fn base(
        dev: *mut bindings::net_device,
        rx: *mut bindings::netdev_queue_stats_rx,
        tx: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        let (mut received, mut sent) = (RxQueueStats::default(), TxQueueStats::default());
        for queue in dev.unused_rx_queues() {
            received.add(&T::rx_queue_stats(dev, queue));
        }
        for queue in dev.unused_tx_queues() {
            sent.add(&T::tx_queue_stats(dev, queue));
        }
        // SAFETY: The stack passes an initialised structure for us to fill.
        received.write(unsafe { &mut *rx });
        // SAFETY: The stack passes an initialised structure for us to fill.
        sent.write(unsafe { &mut *tx });
    }
}

impl<T: Operations> Device<T> {
    /// The receive queues that the stack does not use. RTNL held.
    fn unused_rx_queues(&self) -> Range<u16> {
        let dev = self.as_raw();
        // SAFETY: The device is live by the type invariant. RTNL keeps the first number as it is; the second
        // was set when the device was made.
        let (used, all) = unsafe {
            (
                addr_of!((*dev).real_num_rx_queues).read_volatile(),
                addr_of!((*dev).num_rx_queues).read(),
            )
        };
        // CAST: A device has fewer queues than that.
        used as u16..all as u16
    }

    /// The transmit queues that the stack does not use. RTNL held.
    fn unused_tx_queues(&self) -> Range<u16> {
        let dev = self.as_raw();
        // SAFETY: The device is live by the type invariant. RTNL keeps the first number as it is; the second
        // was set when the device was made.
        let (used, all) = unsafe {
            (
                addr_of!((*dev).real_num_tx_queues).read_volatile(),
                addr_of!((*dev).num_tx_queues).read(),
            )
        };
        // CAST: A device has fewer queues than that.
        used as u16..all as u16
    }
}
