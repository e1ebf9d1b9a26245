// SPDX-License-Identifier: GPL-2.0

//! Packets that the driver has the stack protect and send, under a state that it names.
//!
//! C header: [`include/net/xfrm.h`](srctree/include/net/xfrm.h)
//!
//! Sequence numbers and initialisation vectors belong to the stack, so a packet comes here in clear. It
//! is routed, and a policy must lead it to that state: there is no other way under one. Then it goes to
//! the function that gives it its number, with nothing in between that could route it anew. From there
//! it leaves protected or not at all.

#[cfg(espnic_kunit)]
mod tests;

use super::State;
use crate::{
    bindings,
    net::{
        ip::{
            Family,
            IPV4_HLEN,
            IPV6_HLEN, //
        },
        namespace::Namespace,
        netdevice::{
            Device,
            Operations, //
        },
        skbuff::SkBuff, //
    }, //
};
use core::ops::Range;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::rcu, //
};

/// Room for the headers that come in front, as long as they are usual ones; else the stack makes more.
const HEADROOM: u32 = 128;
/// Where sources are in IP headers.
const IPV4_SOURCE: Range<usize> = 12..16;
const IPV6_SOURCE: Range<usize> = 8..24;

/// What the stack must know of a packet before it looks at it.
///
/// # Invariants
///
/// The packet has at least `length` bytes.
struct Head<'a> {
    packet: &'a [u8],
    family: Family,
    ethertype: u16,
    /// Bytes of the IP header; of an IPv6 one without its extensions.
    length: u32,
}

/// A packet of our own that the stack has not routed yet.
///
/// # Invariants
///
/// Its protocol is set, and so are its network and its transport header, both of which lie in its linear
/// part.
struct Unrouted(SkBuff);

/// A packet of our own with a route.
///
/// # Invariants
///
/// Those of [`Unrouted`]. In addition the skb holds a route.
struct Routed(SkBuff);

impl<'a> Head<'a> {
    /// `None` unless an IP header lies in the packet and says the packet's length and a source: routing
    /// would find one for its own use, and policies would be asked about another packet than this.
    fn of(packet: &'a [u8]) -> Option<Self> {
        let number = |at| -> Option<usize> {
            let bytes = packet.get(at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*bytes).into())
        };
        let first = packet.first()?;
        let (head, whole) = match first >> 4 {
            4 => {
                let length = usize::from(first & 0xf).checked_mul(4)?;
                (Self::new(packet, Family::V4, length)?, number(2)?)
            }
            6 => {
                let whole = number(4)?.checked_add(IPV6_HLEN)?;
                (Self::new(packet, Family::V6, IPV6_HLEN)?, whole)
            }
            _ => return None,
        };
        let source = match head.family {
            Family::V4 => packet.get(IPV4_SOURCE)?,
            Family::V6 => packet.get(IPV6_SOURCE)?,
        };
        let has_source = source.iter().any(|byte| *byte != 0);
        (whole == packet.len() && has_source).then_some(head)
    }

    fn new(packet: &'a [u8], family: Family, length: usize) -> Option<Self> {
        let ethertype = match family {
            Family::V4 => bindings::ETH_P_IP,
            Family::V6 => bindings::ETH_P_IPV6,
        };
        // INVARIANT: The packet is as long as that.
        (IPV4_HLEN..=packet.len())
            .contains(&length)
            .then_some(Self {
                packet,
                family,
                ethertype: ethertype as u16,
                length: u32::try_from(length).ok()?,
            })
    }

    /// A packet to send with a copy of the bytes. Sleeps.
    fn build(&self) -> Result<Unrouted> {
        let packet = self.packet;
        let len = u32::try_from(packet.len()).map_err(|_| EMSGSIZE)?;
        let size = len.checked_add(HEADROOM).ok_or(EMSGSIZE)?;
        // SAFETY: Any size may be asked for; the caller may sleep.
        let skb = unsafe { bindings::alloc_skb(size) };
        // SAFETY: Null, or a new skb that nobody else knows.
        let skb = unsafe { SkBuff::from_raw(skb) }.ok_or(ENOMEM)?;
        // SAFETY: The new skb is empty and has room for so many bytes.
        unsafe { bindings::skb_reserve(skb.as_raw(), HEADROOM) };
        // SAFETY: Behind them there is room for `len` bytes.
        let to: *mut u8 = unsafe { bindings::skb_put(skb.as_raw(), len) }.cast();
        // SAFETY: The new part of the skb has the length of `packet`, and is nobody else's.
        unsafe { core::ptr::copy_nonoverlapping(packet.as_ptr(), to, packet.len()) };
        // SAFETY: The skb is ours, and by the invariant the header lies in the bytes that were just copied.
        unsafe { bindings::skb_set_network(skb.as_raw(), self.ethertype, self.length) };
        // INVARIANT: Protocol and headers were set just now; all of the packet is linear.
        Ok(Unrouted(skb))
    }
}

impl Namespace {
    /// Has the stack protect an IP packet that is in clear, and send it: under `x`, or not at all, and by
    /// the crypto of `dev`, unless that leaves it to software only after it was asked. What the stack does
    /// with sockets' packets it does with this one, but the firewall sees it protected only. Sleeps; no
    /// locks held.
    ///
    /// That it is sent means that the stack took it, as with sockets: a full queue or a NIC that stops
    /// can lose it afterwards.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no IP packet of the length that it says, or no source of its own; `EMSGSIZE`: too long for
    /// the device or the path; `ENOENT`: no policy leads it to `x`, or `x` is not a state of `dev`;
    /// `EOPNOTSUPP`: it goes under a second state or out of another device, or `dev` leaves it to
    /// software; `ENOMEM`: no memory, or no room in a queue; others as routing, policies, the state and
    /// the firewall say.
    pub fn send_under<T: Operations>(&self, dev: &Device<T>, x: &State, packet: &[u8]) -> Result {
        let head = Head::of(packet).ok_or(EINVAL)?;
        if packet.len() > dev.mtu() as usize {
            return Err(EMSGSIZE);
        }
        let skb = head.build()?;
        // Only through a tunnel a packet may come from elsewhere.
        let skb = self.route(skb, head.family, x.is_tunnel())?;
        // Keeps the state's device from going while it is asked. Its answer is not kept: the stack asks
        // once more.
        let rcu = rcu::read_lock();
        check(&skb, dev, x, &rcu)?;
        // SAFETY: The skb is ours and given away. By the invariants it has a route, and its headers are
        // set. The state of the route is `x`, as was just checked, which the route keeps. Who sends has no
        // socket.
        match unsafe { bindings::xfrm_output(core::ptr::null_mut(), skb.0.into_raw()) } {
            // CAST: A small constant.
            result if result == bindings::NET_XMIT_DROP as c_int => Err(ENOMEM),
            result => to_result(result),
        }
    }

    /// Gives the packet the route that the policies want for it, with the states that are to protect it.
    /// Its source is an address of this namespace, unless it is `foreign`.
    fn route(&self, skb: Unrouted, family: Family, foreign: bool) -> Result<Routed> {
        let Unrouted(skb) = skb;
        // SAFETY: All fields are integers, or unions of integers: zero is a value of each.
        let mut flow: bindings::flowi = unsafe { core::mem::zeroed() };
        // SAFETY: The namespace is live by the invariant. The skb is ours, and by the invariant of
        // `Unrouted` its headers are set; the function reads no further than it goes.
        to_result(unsafe {
            bindings::__xfrm_decode_session(
                self.as_raw(),
                skb.as_raw(),
                &mut flow,
                family.number(),
                0,
            )
        })?;
        let route = match family {
            // SAFETY: The namespace is live by the invariant, and `flow` is one of this family.
            Family::V4 => unsafe { bindings::ip4_route_output(self.as_raw(), &mut flow, foreign) },
            // SAFETY: As for the other family.
            Family::V6 => unsafe { bindings::ip6_route_output(self.as_raw(), &mut flow, foreign) },
        };
        let route = from_err_ptr(route)?;
        // SAFETY: The skb is ours and has no route yet. The reference that came with the route is given
        // to it.
        unsafe { bindings::skb_dst_set(skb.as_raw(), route) };
        // INVARIANT: It has the route now; what it had before has not changed.
        Ok(Routed(skb))
    }
}

/// Whether a packet goes under `x` alone, out of `dev`, and is encrypted there.
fn check<T: Operations>(
    Routed(skb): &Routed,
    dev: &Device<T>,
    x: &State,
    _rcu: &rcu::Guard,
) -> Result {
    // SAFETY: The skb is ours, and by the invariant of `Routed` it has a route.
    let first = unsafe { bindings::skb_dst_xfrm(skb.as_raw()) };
    // SAFETY: The structure is there by the type invariant of `State`; a device that goes is taken away
    // with one access, which a volatile read may race with.
    let taker = unsafe { (&raw const (*x.as_raw()).xso.dev).read_volatile() };
    let ours = core::ptr::eq(taker, dev.as_raw()) && !x.is_packet_offload();
    if !core::ptr::eq(first, x.as_raw()) || !ours {
        return Err(ENOENT);
    }
    // The stack would tell the source that its packet is too long, in clear.
    // SAFETY: The skb is ours, and by the invariant of `Routed` it has a route.
    if skb.len() > unsafe { bindings::skb_dst_mtu(skb.as_raw()) } {
        return Err(EMSGSIZE);
    }
    // Also says no to a second state, and to a route that leads elsewhere than the state's device.
    // SAFETY: The skb is ours, and its route is one with the state `x`, as was looked at above. `_rcu` says
    // that this is an RCU section, so the state's device stays.
    match unsafe { bindings::xfrm_dev_offload_ok(skb.as_raw(), x.as_raw()) } {
        true => Ok(()),
        false => Err(crate::net::operation_not_supported()),
    }
}

/// Writes a record of `operation` to the audit log, if that is on, as the stack does when a state is
/// added: with who asked for it, the state, if there is one, and whether it was done.
pub fn audit(operation: &CStr, x: Option<&State>, done: bool) {
    let x = x.map_or(core::ptr::null_mut(), State::as_raw);
    // SAFETY: The name ends with a zero byte. The state is null, or there by its type invariant.
    unsafe { bindings::xfrm_audit(operation.as_char_ptr(), x, done) }
}
