// SPDX-License-Identifier: GPL-2.0

//! ethtool: driver information, statistics, channels, rings, the moderation of interrupts, the link and receive
//! side scaling.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

mod coalesce;
mod rss;

pub use coalesce::{
    Coalesce,
    Moderation, //
};
pub use rss::{
    HashFields,
    HashFlow,
    RssRequest,
    RssSizes, //
};

use crate::{
    bindings,
    net::{
        netdevice::{
            Device,
            Operations as NetOperations, //
        },
        netlink::ExtAck, //
    },
    rtnl, //
};
use core::marker::PhantomData;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// The ethtool callbacks of a driver.
///
/// [`crate::virtio::net`] has the example of a whole driver.
pub trait Operations: NetOperations {
    /// The driver's name, as `ethtool -i` shows it.
    const DRIVER: &'static CStr;

    /// The names of the statistics of `ethtool -S`, at most 31 bytes each, in the order of
    /// [`Self::statistics`].
    const STATISTICS: &'static [&'static CStr];

    /// Writes the statistics. RTNL held, may sleep.
    fn statistics(dev: &Device<Self>, out: &mut Statistics<'_>);

    /// The number of queue pairs in use, and its upper limit. RTNL held.
    fn channels(dev: &Device<Self>) -> Setting;

    /// Sets the number of queue pairs, from 1 to the limit. RTNL held, may sleep.
    fn set_channels(dev: &Device<Self>, count: u32, rtnl: &rtnl::Held) -> Result;

    /// The sizes of the receive and of the transmit rings in descriptors. RTNL held.
    fn rings(dev: &Device<Self>) -> (Setting, Setting);

    /// Sets the sizes of the receive and of the transmit rings, or fails with an extack message. RTNL
    /// held, may sleep.
    fn set_rings(dev: &Device<Self>, rx: u32, tx: u32, extack: &mut ExtAck) -> Result;

    /// How interrupts of all queues are moderated. RTNL held, may sleep.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: they cannot be.
    fn coalesce(_dev: &Device<Self>) -> Result<Coalesce> {
        Err(super::operation_not_supported())
    }

    /// Moderates the interrupts of all queues so, or fails with an extack message. RTNL held, may sleep.
    fn set_coalesce(_dev: &Device<Self>, _wanted: Coalesce, _extack: &mut ExtAck) -> Result {
        Err(super::operation_not_supported())
    }

    /// How interrupts of the queue pair with this number are moderated. RTNL held, may sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there is no such pair. `EOPNOTSUPP`: they cannot be.
    fn queue_coalesce(_dev: &Device<Self>, _queue: u32) -> Result<Coalesce> {
        Err(super::operation_not_supported())
    }

    /// Moderates the interrupts of one queue pair so. RTNL held, may sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::queue_coalesce`], and of the device.
    fn set_queue_coalesce(_dev: &Device<Self>, _queue: u32, _wanted: Coalesce) -> Result {
        Err(super::operation_not_supported())
    }

    /// The speed and the duplex mode of the link. RTNL held.
    fn link(dev: &Device<Self>) -> Link;

    /// Shows these settings of the link from now on. RTNL held, may sleep.
    fn set_link(dev: &Device<Self>, link: Link);

    /// The sizes of the table by which received packets are spread over the queues, and of the key of its hash.
    /// They do not change.
    fn rss_sizes(_dev: &Device<Self>) -> RssSizes {
        RssSizes::default()
    }

    /// Writes that table, which has numbers of queues, and the key, as far as there is room. RTNL held.
    fn rss(_dev: &Device<Self>, _table: &mut [u32], _key: &mut [u8]) {}

    /// Takes a table, a key, or both. RTNL held, may sleep.
    fn set_rss(_dev: &Device<Self>, _request: RssRequest<'_>) -> Result {
        Err(super::operation_not_supported())
    }

    /// What the hash of such a packet is made of. RTNL held.
    fn hash_fields(_dev: &Device<Self>, _flow: HashFlow) -> Result<HashFields> {
        Err(super::operation_not_supported())
    }

    /// Changes that, or fails, if there is a reason to tell, with an extack message. RTNL held, may sleep.
    fn set_hash_fields(
        _dev: &Device<Self>,
        _flow: HashFlow,
        _fields: HashFields,
        _extack: &mut ExtAck,
    ) -> Result {
        Err(super::operation_not_supported())
    }
}

/// A setting and its upper limit.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::Setting;
///
/// let channels = Setting { current: 2, max: 16 };
/// assert!(channels.current <= channels.max);
/// ```
#[derive(Clone, Copy, Default)]
pub struct Setting {
    /// The current value.
    pub current: u32,
    /// The upper limit.
    pub max: u32,
}

/// Speed and duplex mode of a link.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::Link;
///
/// let link = Link::of(25_000, 1);
/// assert_eq!(link.speed(), 25_000);
/// // There is no third duplex mode.
/// assert_eq!(Link::of(25_000, 2).duplex(), Link::UNKNOWN.duplex());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    speed: u32,
    duplex: u8,
}

impl Link {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        speed: u32::MAX,
        duplex: 0xff,
    };

    /// A link with `speed` Mbit/s and a duplex mode, 0 half and 1 full, from a device. Numbers that mean
    /// nothing to ethtool are as if they were unknown.
    pub fn of(speed: u32, duplex: u8) -> Self {
        Self {
            speed: match speed <= i32::MAX as u32 {
                true => speed,
                false => Self::UNKNOWN.speed,
            },
            duplex: match duplex <= 1 {
                true => duplex,
                false => Self::UNKNOWN.duplex,
            },
        }
    }

    /// Speed in Mbit/s; all ones if it is not known.
    pub fn speed(self) -> u32 {
        self.speed
    }

    /// 0 half, 1 full, 0xff not known.
    pub fn duplex(self) -> u8 {
        self.duplex
    }
}

/// Receives the values of [`Operations::STATISTICS`] one after the other.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::Statistics;
///
/// fn write(out: &mut Statistics<'_>, packets: u64, bytes: u64) {
///     // In the order of the names.
///     out.push(packets);
///     out.push(bytes);
/// }
/// ```
pub struct Statistics<'a> {
    out: &'a mut [u64],
    next: usize,
}

impl Statistics<'_> {
    /// Appends a value; surplus values are ignored.
    pub fn push(&mut self, value: u64) {
        if let Some(slot) = self.out.get_mut(self.next) {
            *slot = value;
            self.next = self.next.wrapping_add(1);
        }
    }
}

/// The C callbacks of `struct ethtool_ops`.
pub(crate) struct Callbacks<T>(PhantomData<T>);

impl<T: Operations> Callbacks<T> {
    pub(crate) const OPS: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::get_drvinfo),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: Some(Self::get_sset_count),
        get_strings: Some(Self::get_strings),
        get_ethtool_stats: Some(Self::get_ethtool_stats),
        get_channels: Some(Self::get_channels),
        set_channels: Some(Self::set_channels),
        supported_coalesce_params: bindings::ESPNIC_COALESCE,
        get_coalesce: Some(Self::get_coalesce),
        set_coalesce: Some(Self::set_coalesce),
        get_per_queue_coalesce: Some(Self::get_per_queue_coalesce),
        set_per_queue_coalesce: Some(Self::set_per_queue_coalesce),
        get_ringparam: Some(Self::get_ringparam),
        set_ringparam: Some(Self::set_ringparam),
        get_link_ksettings: Some(Self::get_link_ksettings),
        set_link_ksettings: Some(Self::set_link_ksettings),
        get_rx_ring_count: Some(Self::get_rx_ring_count),
        get_rxfh_key_size: Some(Self::get_rxfh_key_size),
        get_rxfh_indir_size: Some(Self::get_rxfh_indir_size),
        get_rxfh: Some(Self::get_rxfh),
        set_rxfh: Some(Self::set_rxfh),
        get_rxfh_fields: Some(Self::get_rxfh_fields),
        set_rxfh_fields: Some(Self::set_rxfh_fields),
        // SAFETY: All fields are integers and optional functions.
        ..unsafe { core::mem::zeroed() }
    };

    /// # Safety
    ///
    /// Called by ethtool with a structure to fill.
    unsafe extern "C" fn get_drvinfo(
        _dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: ethtool passes a zeroed structure for us to fill.
        let info = unsafe { &mut *info };
        // The last byte stays zero.
        let room = info.driver.len().saturating_sub(1);
        for (to, from) in info.driver.iter_mut().take(room).zip(T::DRIVER.to_bytes()) {
            *to = *from;
        }
    }

    /// # Safety
    ///
    /// Called by ethtool.
    unsafe extern "C" fn get_sset_count(_dev: *mut bindings::net_device, set: c_int) -> c_int {
        if set == bindings::ethtool_stringset_ETH_SS_STATS as c_int {
            T::STATISTICS.len() as c_int
        } else {
            super::operation_not_supported().to_errno()
        }
    }

    /// # Safety
    ///
    /// Called by ethtool with room for all names of `set`.
    unsafe extern "C" fn get_strings(_dev: *mut bindings::net_device, set: u32, data: *mut u8) {
        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        let mut next = data;
        for name in T::STATISTICS {
            // SAFETY: ethtool made room for `get_sset_count` names; `ethtool_puts` advances by one.
            unsafe { bindings::ethtool_puts(&mut next, name.to_bytes_with_nul().as_ptr().cast()) };
        }
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with room for all values.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: ethtool made room for `get_sset_count` values.
        let out = unsafe { core::slice::from_raw_parts_mut(data, T::STATISTICS.len()) };
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        T::statistics(dev, &mut Statistics { out, next: 0 });
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a structure to fill.
    unsafe extern "C" fn get_channels(
        dev: *mut bindings::net_device,
        out: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let channels = T::channels(unsafe { Device::from_raw(dev) });
        // SAFETY: ethtool passes a structure for us to fill.
        let out = unsafe { &mut *out };
        out.max_combined = channels.max;
        out.combined_count = channels.current;
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with RTNL held and a request whose counts are
    /// within the limits of `get_channels`.
    unsafe extern "C" fn set_channels(
        dev: *mut bindings::net_device,
        request: *mut bindings::ethtool_channels,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // SAFETY: ethtool passes a valid request.
        let count = unsafe { (*request).combined_count };
        // SAFETY: By the contract the caller holds RTNL, and keeps it.
        let rtnl = unsafe { rtnl::Held::assume() };
        from_result(|| T::set_channels(dev, count, rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a structure to fill.
    unsafe extern "C" fn get_ringparam(
        dev: *mut bindings::net_device,
        out: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let (rx, tx) = T::rings(unsafe { Device::from_raw(dev) });
        // SAFETY: ethtool passes a structure for us to fill.
        let out = unsafe { &mut *out };
        out.rx_pending = rx.current;
        out.rx_max_pending = rx.max;
        out.tx_pending = tx.current;
        out.tx_max_pending = tx.max;
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a request whose sizes are within the limits
    /// of `get_ringparam`, and with null or an extack that is valid during the call.
    unsafe extern "C" fn set_ringparam(
        dev: *mut bindings::net_device,
        request: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // SAFETY: ethtool passes a valid request.
        let (rx, tx) = unsafe { ((*request).rx_pending, (*request).tx_pending) };
        // SAFETY: By the contract null or valid during the call, which `extack` does not outlive.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        from_result(|| T::set_rings(dev, rx, tx, &mut extack).map(|()| 0))
    }
    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a zeroed structure to fill.
    unsafe extern "C" fn get_link_ksettings(
        dev: *mut bindings::net_device,
        out: *mut bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let link = T::link(unsafe { Device::from_raw(dev) });
        // SAFETY: ethtool passes a structure for us to fill.
        let base = unsafe { &mut (*out).base };
        base.speed = link.speed;
        base.duplex = link.duplex;
        // The only one that `set_link_ksettings` takes.
        base.port = bindings::PORT_OTHER as u8;
        0
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with RTNL held and a request.
    unsafe extern "C" fn set_link_ksettings(
        dev: *mut bindings::net_device,
        request: *const bindings::ethtool_link_ksettings,
    ) -> c_int {
        let (mut speed, mut duplex) = (0, 0);
        // SAFETY: By the contract. The function refuses what is neither speed nor duplex mode, and writes to
        // the two numbers.
        let known = to_result(unsafe {
            bindings::ethtool_virtdev_set_link_ksettings(dev, request, &mut speed, &mut duplex)
        });
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| {
            known?;
            T::set_link(dev, Link::of(speed, duplex));
            Ok(0)
        })
    }
}
