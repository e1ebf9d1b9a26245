// SPDX-License-Identifier: GPL-2.0

//! What an interface is to receive.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    Device,
    Operations, //
};
use crate::bindings;
use core::ptr::addr_of;
use kernel::prelude::*;

/// An Ethernet address.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::MacAddress;
///
/// fn is_group(address: &MacAddress) -> bool {
///     address[0] & 1 != 0
/// }
/// ```
pub type MacAddress = [u8; 6];

/// Addresses for which there is room at first.
const ROOM: usize = 16;

/// What an interface is to receive, besides broadcast.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::{
///     Device,
///     Operations, //
/// };
///
/// /// How many multicast groups a device has to know.
/// fn groups<T: Operations>(dev: &Device<T>) -> Result<usize> {
///     let mode = dev.rx_mode()?;
///     Ok(if mode.all_multicast { 0 } else { mode.multicast.len() })
/// }
/// ```
pub struct RxMode {
    /// Everything.
    pub promiscuous: bool,
    /// All multicast.
    pub all_multicast: bool,
    /// What is for these addresses: that of the interface and those of its upper devices.
    pub unicast: KVec<MacAddress>,
    /// What is for these groups.
    pub multicast: KVec<MacAddress>,
}

impl<T: Operations> Device<T> {
    /// What the interface is to receive now. Sleeps. A change meanwhile is followed by
    /// [`Operations::set_rx_mode`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn rx_mode(&self) -> Result<RxMode> {
        // SAFETY: The device is live by the type invariant; a racing change gives either value.
        let flags = unsafe { addr_of!((*self.as_raw()).flags).read_volatile() };
        let mut unicast = self.addresses(false)?;
        unicast.push(self.mac_address(), GFP_KERNEL)?;
        Ok(RxMode {
            promiscuous: flags & bindings::net_device_flags_IFF_PROMISC != 0,
            all_multicast: flags & bindings::net_device_flags_IFF_ALLMULTI != 0,
            unicast,
            multicast: self.addresses(true)?,
        })
    }

    /// One of the lists of addresses.
    fn addresses(&self, multicast: bool) -> Result<KVec<MacAddress>> {
        let mut room = ROOM;
        loop {
            let mut list = KVec::from_elem(MacAddress::default(), room, GFP_KERNEL)?;
            let to = list.as_flattened_mut().as_mut_ptr();
            let size = u32::try_from(room).map_err(|_| ENOMEM)?;
            // SAFETY: The device is live by the type invariant; there is room for so many addresses of six
            // bytes. The function takes the lock of the lists.
            let count =
                unsafe { bindings::netdev_copy_addresses(self.as_raw(), multicast, to, size) };
            // CAST: From 32 to 64 bits.
            let count = count as usize;
            if count <= room {
                list.truncate(count);
                return Ok(list);
            }
            room = count;
        }
    }
}
