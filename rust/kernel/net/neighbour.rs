// SPDX-License-Identifier: GPL-2.0

//! Next hops: the Ethernet address that frames to an IP address must have.
//!
//! C header: [`include/net/neighbour.h`](srctree/include/net/neighbour.h)
//!
//! A device that puts tunnel headers around packets sends them to another address than the stack has
//! resolved. The driver asks here for the next hop of the tunnel's end, keeps the answer with the SA, and
//! reads the address from it for each packet: it follows what ARP and neighbour discovery find out.

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    bindings,
    net::{
        ip::{
            Address,
            Family, //
        },
        netdevice::{
            Device,
            Operations, //
        }, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// Bytes of an Ethernet address.
const ETH_ALEN: usize = 6;

/// A route that leaves through a device, as it was when it was asked for.
///
/// # Invariants
///
/// The pointer is to a `struct dst_entry` to which this holds a reference; `cookie` is what it gave.
struct Route {
    dst: NonNull<bindings::dst_entry>,
    cookie: u32,
}

impl Route {
    /// The route from `dev` to `dst`.
    ///
    /// # Errors
    ///
    /// As of [`Neighbour::resolve`].
    ///
    /// # Safety
    ///
    /// `dev` is a live device.
    unsafe fn find(
        dev: *mut bindings::net_device,
        family: Family,
        src: &Address,
        dst: &Address,
    ) -> Result<Self> {
        let route = match family {
            // SAFETY: The device is live by the contract. The addresses are numbers.
            Family::V4 => unsafe {
                bindings::ip4_route_through(dev, ipv4_number(src), ipv4_number(dst))
            },
            // SAFETY: The device is live by the contract. The addresses outlive the call.
            Family::V6 => unsafe {
                bindings::ip6_route_through(dev, &ipv6_address(src), &ipv6_address(dst))
            },
        };
        let dst = NonNull::new(from_err_ptr(route)?).ok_or(ENXIO)?;
        // SAFETY: The route comes with a reference.
        let cookie = unsafe { bindings::dst_cookie(dst.as_ptr()) };
        // INVARIANT: That reference; the cookie was given just now.
        Ok(Self { dst, cookie })
    }

    fn is_current(&self) -> bool {
        // SAFETY: The route is there by the type invariant, and gave the cookie.
        unsafe { bindings::dst_is_current(self.dst.as_ptr(), self.cookie) }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant, and ends here.
        unsafe { bindings::dst_release(self.dst.as_ptr()) }
    }
}

/// A counted reference to the entry of a next hop in a neighbour table.
///
/// It keeps the device: while there is one, the end of the interface waits. So it belongs into what the
/// driver frees with a state, and nowhere else.
///
/// # Invariants
///
/// `entry` is a `struct neighbour` of an Ethernet device, to which this holds a reference.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     netdevice::{
///         Device,
///         Operations, //
///     },
///     neighbour::Neighbour,
///     xfrm::State, //
/// };
///
/// /// The next hop of a tunnel.
/// fn resolve<T: Operations>(dev: &Device<T>, x: &State) -> Result<Neighbour> {
///     let family = x.family().ok_or(EINVAL)?;
///     Neighbour::resolve(dev, family, &x.source(), &x.destination())
/// }
///
/// /// Where to send, if that is known by now.
/// fn destination(next_hop: &Neighbour) -> Result<[u8; 6]> {
///     next_hop.address().ok_or(EAGAIN)
/// }
/// ```
pub struct Neighbour {
    entry: NonNull<bindings::neighbour>,
    route: Route,
}

// SAFETY: Entries and routes belong to no thread. Their counts are atomic, and `neigh_release()` and
// `dst_release()`, which free them, run in any context but a hard interrupt.
unsafe impl Send for Neighbour {}
// SAFETY: All methods call C functions that take the locks that they need.
unsafe impl Sync for Neighbour {}

impl Neighbour {
    /// The next hop from `dev` to `dst`, by the routes of its namespace that leave through it: the gateway,
    /// if the route has one. The addresses are in network order. Nothing is asked on the wire yet: see
    /// [`Self::address`]. Does not sleep; process context or softirq.
    ///
    /// Where no route leads through the interface, `dst` counts as directly connected, as IPv4 has it.
    ///
    /// # Errors
    ///
    /// `ENETUNREACH`: the interface is down, or `dst` is no unicast address behind it; `EAFNOSUPPORT`: the
    /// kernel has no IPv6; `ENOMEM`: no memory, or no room in the table; others as routing says.
    pub fn resolve<T: Operations>(
        dev: &Device<T>,
        family: Family,
        src: &Address,
        dst: &Address,
    ) -> Result<Self> {
        // SAFETY: The device is live by its type invariant.
        let route = unsafe { Route::find(dev.as_raw(), family, src, dst) }?;
        // SAFETY: The route is there by its type invariant. The address outlives the call, and has as many
        // bytes as one of any family.
        let entry = unsafe { bindings::dst_neigh_lookup(route.dst.as_ptr(), dst.as_ptr().cast()) };
        // INVARIANT: The entry comes with a reference. The route leaves through `dev`, and our devices are
        // Ethernet devices.
        Ok(Self {
            entry: NonNull::new(entry).ok_or(ENOMEM)?,
            route,
        })
    }

    /// The Ethernet address, `None` while it is not known. Also tells the table that it is used: an unknown
    /// one is asked for, an old one is confirmed or asked for again. Any context but a hard interrupt, also
    /// with the lock of a transmit queue.
    pub fn address(&self) -> Option<[u8; ETH_ALEN]> {
        let mut address = [0; ETH_ALEN];
        // SAFETY: The entry is there by the type invariant, and its device is an Ethernet device, so that
        // addresses have as many bytes.
        let known = unsafe { bindings::neigh_address(self.entry.as_ptr(), address.as_mut_ptr()) };
        known.then_some(address)
    }

    /// Whether it should be resolved anew: routes have changed, or the table has dropped the entry, whose
    /// address is then never known again. The interface going down does both. Any context but a hard
    /// interrupt; costs little, but need not be asked for each packet.
    pub fn is_outdated(&self) -> bool {
        // SAFETY: The entry is there by the type invariant.
        let dead = unsafe { bindings::neigh_dead(self.entry.as_ptr()) };
        dead || !self.route.is_current()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant, and ends here.
        unsafe { bindings::neigh_release(self.entry.as_ptr()) }
    }
}

/// An IPv4 address as C has it: a number in network order.
fn ipv4_number(address: &Address) -> u32 {
    let [a, b, c, d, ..] = *address;
    u32::from_ne_bytes([a, b, c, d])
}

fn ipv6_address(address: &Address) -> bindings::in6_addr {
    bindings::in6_addr {
        in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr8: *address },
    }
}
