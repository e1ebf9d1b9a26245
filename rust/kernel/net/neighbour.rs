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
        device::{
            Device,
            Operations, //
        },
        ip::{
            Address,
            Family, //
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

/// A counted reference to the entry of a next hop in a neighbour table.
///
/// It keeps the device: while there is one, the end of the interface waits. So it belongs into what the
/// driver frees with a state, and nowhere else.
///
/// # Invariants
///
/// The pointer is to a `struct neighbour` of an Ethernet device, to which this holds a reference.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     device::{
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
pub struct Neighbour(NonNull<bindings::neighbour>);

// SAFETY: An entry belongs to no thread. Its count is atomic, and `neigh_release()`, which frees it, runs
// in any context but a hard interrupt.
unsafe impl Send for Neighbour {}
// SAFETY: All methods call C functions that take the locks that they need.
unsafe impl Sync for Neighbour {}

impl Neighbour {
    /// The next hop from `dev` to `dst`, by the routes of its namespace that leave through it, and its
    /// gateway if the route has one. The addresses are in network order. Nothing is asked on the wire yet:
    /// see [`Self::address`]. Does not sleep; process context or softirq.
    ///
    /// Later changes of routes do not reach it. A driver resolves again when it hears of one, and when
    /// [`Self::is_dead`].
    ///
    /// # Errors
    ///
    /// `ENETUNREACH`: the interface is down, or `dst` is no unicast address behind it; `EAFNOSUPPORT`: the
    /// kernel has no IPv6; `ENOBUFS`: no memory, or no room in the table; others as routing says.
    pub fn resolve<T: Operations>(
        dev: &Device<T>,
        family: Family,
        src: &Address,
        dst: &Address,
    ) -> Result<Self> {
        // SAFETY: The device is live by its type invariant, and our devices are Ethernet devices.
        unsafe { resolve_on(dev.as_raw(), family, src, dst) }
    }

    /// The Ethernet address, `None` while it is not known. Also tells the table that it is used: an unknown
    /// one is asked for, an old one is confirmed or asked for again. Any context but a hard interrupt, also
    /// with the lock of a transmit queue.
    pub fn address(&self) -> Option<[u8; ETH_ALEN]> {
        let mut address = [0; ETH_ALEN];
        // SAFETY: The entry is there by the type invariant, and its device is an Ethernet device, so that
        // addresses have as many bytes.
        let known = unsafe { bindings::neigh_address(self.0.as_ptr(), address.as_mut_ptr()) };
        known.then_some(address)
    }

    /// Whether the table has dropped the entry, as when the interface went down: its address is never known
    /// again, and it must be resolved anew. Any context.
    pub fn is_dead(&self) -> bool {
        // SAFETY: The entry is there by the type invariant.
        unsafe { bindings::neigh_dead(self.0.as_ptr()) }
    }
}

impl Clone for Neighbour {
    fn clone(&self) -> Self {
        // SAFETY: The entry is there by the type invariant, so its count is not zero.
        unsafe { bindings::neigh_hold(self.0.as_ptr()) };
        // INVARIANT: The reference was taken just now.
        Self(self.0)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant, and ends here.
        unsafe { bindings::neigh_release(self.0.as_ptr()) }
    }
}

/// An IPv4 address as C has it: a number in network order.
fn ipv4_number(address: &Address) -> u32 {
    let [a, b, c, d, ..] = *address;
    u32::from_ne_bytes([a, b, c, d])
}

/// [`Neighbour::resolve`] on any device.
///
/// # Safety
///
/// `dev` is a live device, and if it can have neighbours, an Ethernet device.
unsafe fn resolve_on(
    dev: *mut bindings::net_device,
    family: Family,
    src: &Address,
    dst: &Address,
) -> Result<Neighbour> {
    let neighbour = match family {
        // SAFETY: The device is live by the contract. The addresses are numbers.
        Family::V4 => unsafe { bindings::neigh_resolve4(dev, ipv4_number(src), ipv4_number(dst)) },
        // SAFETY: The device is live by the contract. The addresses outlive the call.
        Family::V6 => unsafe {
            bindings::neigh_resolve6(dev, &ipv6_address(src), &ipv6_address(dst))
        },
    };
    let neighbour = NonNull::new(from_err_ptr(neighbour)?).ok_or(ENXIO)?;
    // INVARIANT: The entry comes with a reference, and is one of `dev`.
    Ok(Neighbour(neighbour))
}

fn ipv6_address(address: &Address) -> bindings::in6_addr {
    bindings::in6_addr {
        in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr8: *address },
    }
}
