// SPDX-License-Identifier: GPL-2.0

//! ethtool: driver information and statistics.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use crate::{
    bindings,
    net::device::{
        Device,
        Operations as NetOperations, //
    }, //
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// What ethtool asks of a driver.
pub trait Operations: Sized {
    /// The driver's name, as `ethtool -i` shows it.
    const DRIVER: &'static CStr;

    /// The names of the statistics of `ethtool -S`, at most 31 bytes each, in the order of
    /// [`Self::statistics`].
    const STATISTICS: &'static [&'static CStr];

    /// Writes the statistics. RTNL held, may sleep.
    fn statistics(dev: &Device<Self>, out: &mut Statistics<'_>)
    where
        Self: NetOperations;
}

/// Receives the values of [`Operations::STATISTICS`] one after the other.
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

impl<T: NetOperations> Callbacks<T> {
    pub(crate) const OPS: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::get_drvinfo),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: Some(Self::get_sset_count),
        get_strings: Some(Self::get_strings),
        get_ethtool_stats: Some(Self::get_ethtool_stats),
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
    /// Called by ethtool with room for all values.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: ethtool made room for `get_sset_count` values.
        let out = unsafe { core::slice::from_raw_parts_mut(data, T::STATISTICS.len()) };
        // SAFETY: Registered devices have initialised data.
        let dev = unsafe { Device::from_raw(dev) };
        T::statistics(dev, &mut Statistics { out, next: 0 });
    }
}
