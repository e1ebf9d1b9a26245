// SPDX-License-Identifier: GPL-2.0

//! Upper devices: bonds, VLANs, and devices that take the frames of a device.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)
//!
//! A bridge, macvlan, ipvlan or Open vSwitch takes the frames of its ports before the stack sees them,
//! and may send them out elsewhere. A bond takes them only to give them to the stack as its own.

use super::{
    Device,
    Operations, //
};
use crate::{
    bindings,
    rtnl, //
};
use core::ptr::addr_of_mut;

/// More levels of devices than the stack allows.
const DEPTH_MAX: u32 = 16;

impl<T: Operations> Device<T> {
    /// Whether another device takes the device's frames: from the device itself, from its bond, or
    /// from a VLAN on top.
    pub fn is_diverted(&self, _rtnl: &rtnl::Held) -> bool {
        // SAFETY: The device lives as long as the reference, and RTNL is held.
        unsafe { is_diverted(self.as_raw(), DEPTH_MAX) }
    }
}

/// Whether `dev` is a bond or a VLAN. It passes the frames of the devices below on as its own, so a
/// device that takes its frames takes theirs.
///
/// # Safety
///
/// `dev` is live.
pub(in crate::net) unsafe fn passes_through(dev: *mut bindings::net_device) -> bool {
    // SAFETY: By the contract.
    unsafe { bindings::netif_is_bond_master(dev) || bindings::is_vlan_dev(dev) }
}

/// Whether frames of `dev` may be taken from now on, when it is linked below `upper`; `master`: as a
/// port.
///
/// # Safety
///
/// Both are live, and RTNL is held.
pub(in crate::net) unsafe fn may_divert(
    dev: *mut bindings::net_device,
    upper: *mut bindings::net_device,
    master: bool,
) -> bool {
    // SAFETY: By the contract.
    let is_through = unsafe { passes_through(upper) };
    // Most upper devices register for the frames before they link; Open vSwitch does it afterwards.
    if master && !is_through {
        return true;
    }
    // SAFETY: By the contract.
    unsafe { is_diverted(dev, DEPTH_MAX) || (is_through && is_diverted(upper, DEPTH_MAX)) }
}

/// [`Device::is_diverted`], for devices up to `depth` levels above `dev`.
///
/// # Safety
///
/// `dev` is live, and RTNL is held.
unsafe fn is_diverted(dev: *mut bindings::net_device, depth: u32) -> bool {
    // SAFETY: By the contract.
    if unsafe { bindings::netdev_has_rx_handler(dev) && !bindings::netif_is_bond_slave(dev) } {
        return true;
    }
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    // SAFETY: By the contract; this is the head of the list of what lies directly above.
    let mut position = unsafe { addr_of_mut!((*dev).adj_list.upper) };
    loop {
        // SAFETY: `position` is the head or an entry of the list of `dev`, which does not change under
        // RTNL.
        let upper = unsafe { bindings::netdev_upper_get_next_dev_rcu(dev, &mut position) };
        if upper.is_null() {
            return false;
        }
        // SAFETY: A device that is linked above another one is live, and stays so under RTNL.
        if unsafe { passes_through(upper) && is_diverted(upper, depth) } {
            return true;
        }
    }
}
