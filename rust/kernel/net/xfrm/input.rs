// SPDX-License-Identifier: GPL-2.0

//! Received ESP packets that go directly to XFRM.
//!
//! The stack's receive offload (GRO) hands ESP to `xfrm_input()` before any other part sees the packet.
//! The driver knows of a packet that it is ESP and of which state, so it may do the same at once (X94).
//! ESP in UDP must go there directly in any case, because the UDP socket in between would check its own
//! policies (X73). GRO does not always do that for such packets.

mod frame;
#[cfg(espnic_kunit)]
mod tests;

use super::{
    secpath::{
        EspMark,
        RxMark, //
    },
    state::IPPROTO_ESP, //
};
use crate::{
    bindings,
    net::{
        ip::{
            Address,
            Family,
            IPV4_HLEN,
            IPV6_HLEN, //
        },
        napi::Poll,
        skbuff::{
            RxPacket,
            RxSkb, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};

pub use frame::EspFrame;

/// Lengths of headers, in bytes.
const ETH_HLEN: usize = 14;
const UDP_HLEN: usize = 8;

const IPPROTO_UDP: u8 = 17;

/// Where ESP is in a frame without VLAN tags, IPv4 options and IPv6 extension headers.
///
/// # Invariants
///
/// [`Self::offset`] is behind the Ethernet header and the whole IP header of [`Self::family`], and at most
/// 62. It need not be inside of any packet: who follows it into one checks that.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::input::EspPlace;
///
/// // Ethernet, and IPv4 with the protocol 50.
/// let mut frame = [0; 34];
/// frame[12] = 8;
/// frame[14] = 0x45;
/// frame[23] = 50;
/// assert!(EspPlace::find(&frame).is_some_and(|place| place.offset() == 34));
/// ```
#[derive(Clone, Copy)]
pub struct EspPlace {
    family: Family,
    /// Whether there is a UDP header in front of ESP.
    pub in_udp: bool,
    /// The length of the IP packet in bytes, from its own header.
    len: u32,
}

impl EspPlace {
    /// Finds ESP in `frame`, the beginning of a frame with its Ethernet header.
    pub fn find(frame: &[u8]) -> Option<Self> {
        let (ethernet, ip) = frame.split_at_checked(ETH_HLEN)?;
        // INVARIANT: The lengths that `offset` adds up are 14, 20 or 40, and 8: 62 at most.
        match ethernet.last_chunk()? {
            [0x08, 0x00] => {
                let header: &[u8; IPV4_HLEN] = ip.first_chunk()?;
                let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
                let in_udp = header[9] == IPPROTO_UDP;
                let is_ours = in_udp || header[9] == IPPROTO_ESP;
                (header[0] == 0x45 && !fragment && is_ours).then_some(Self {
                    family: Family::V4,
                    in_udp,
                    len: u16::from_be_bytes([header[2], header[3]]).into(),
                })
            }
            [0x86, 0xdd] => {
                let header: &[u8; IPV6_HLEN] = ip.first_chunk()?;
                let payload = u32::from(u16::from_be_bytes([header[4], header[5]]));
                let is_ours = header[6] == IPPROTO_ESP;
                (header[0] >> 4 == 6 && is_ours).then_some(Self {
                    family: Family::V6,
                    in_udp: false,
                    len: payload.saturating_add(IPV6_HLEN as u32),
                })
            }
            _ => None,
        }
    }

    /// Offset of the ESP header from the start of the frame, in bytes.
    #[inline]
    pub fn offset(&self) -> usize {
        let ip = match self.family {
            Family::V4 => IPV4_HLEN,
            Family::V6 => IPV6_HLEN,
        };
        let udp = if self.in_udp { UDP_HLEN } else { 0 };
        ETH_HLEN.wrapping_add(ip).wrapping_add(udp)
    }

    /// Where the IP packet ends in the frame by its own header, in bytes. It need not be inside of the frame.
    #[inline]
    pub fn end(&self) -> usize {
        // CAST: At most the length of an IPv6 packet.
        ETH_HLEN.wrapping_add(self.len as usize)
    }

    /// The family of the addresses around ESP.
    #[inline]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The destination address in `frame`, as in [`super::State::destination`].
    pub fn destination(&self, frame: &[u8]) -> Option<Address> {
        let (at, len) = match self.family {
            Family::V4 => (ETH_HLEN.wrapping_add(16), 4),
            Family::V6 => (ETH_HLEN.wrapping_add(24), 16),
        };
        let bytes = frame.get(at..at.wrapping_add(len))?;
        let mut address = [0; 16];
        address.get_mut(..len)?.copy_from_slice(bytes);
        Some(address)
    }
}

impl RxSkb {
    /// Takes off what is behind the IP packet whose ESP is at `place`, such as padding of Ethernet. False if
    /// the packet is incomplete, or its IP header not valid: XFRM must not get it.
    #[inline]
    pub fn trim_esp(&mut self, place: EspPlace) -> bool {
        // CAST: See there.
        let end = place.end() as u32;
        let is_sound = match place.family {
            Family::V4 => {
                let header = self.head().get(ETH_HLEN..);
                header
                    .and_then(|header| header.first_chunk())
                    .is_some_and(is_sum_right)
            }
            Family::V6 => true,
        };
        // SAFETY: The skb is valid and ours alone; it is not made longer.
        let trim = || unsafe { bindings::skb_trim(self.as_raw(), end) } == 0;
        is_sound && (self.len() == end || self.len() > end && trim())
    }
}

impl Poll<'_> {
    /// Marks an ESP packet as [`RxSkb::share_esp_mark`] does, and hands it to XFRM: [`RxSkb::into_packet`] and
    /// [`Self::receive_esp`] in one. ESP is at `place`, and [`EspFrame::find_whole`] has found it there. The conditions of
    /// these functions hold.
    ///
    /// # Errors
    ///
    /// The packet, as it was, if it is too short, has a mark or other extensions already, or if its ESP is in UDP.
    #[inline]
    pub fn receive_marked_esp(
        &self,
        _guard: &rcu::Guard,
        skb: RxSkb,
        place: EspPlace,
        mark: &mut EspMark,
    ) -> Result<(), RxSkb> {
        if place.in_udp || skb.head().len() <= place.offset() || skb.has_extensions() {
            return Err(skb);
        }
        let (raw, napi, queue) = (skb.as_raw(), self.napi().as_raw(), self.index());
        let family = place.family.number();
        let (extensions, output_mark) = mark.share();
        // XFRM gets it.
        core::mem::forget(skb);
        // SAFETY: The skb is valid, ours alone and given away. It has no extensions that would be lost, and ESP without UDP
        // in front is in its linear part, as was asked above. The extensions have a secpath, and come with a reference.
        // Who else has them, and why XFRM may change the secpath, says `EspMark`. A NAPI context lives while it polls,
        // with softirqs off, and its device is registered. This is an RCU section.
        unsafe {
            bindings::xfrm_receive_marked_esp(raw, napi, queue, family, extensions, output_mark)
        };
        Ok(())
    }

    /// Marks a packet as [`RxSkb::share_rx_mark`] does, and delivers it: [`RxSkb::into_packet`] and [`Self::receive`] in
    /// one. The frame has no VLAN tags, and an IP packet of `family`. The conditions of these functions hold.
    ///
    /// # Errors
    ///
    /// The packet, as it was, if it is too short for an Ethernet header, or has a mark or other extensions already.
    #[inline]
    pub fn receive_marked(
        &self,
        skb: RxSkb,
        family: Family,
        mark: &mut RxMark,
    ) -> Result<(), RxSkb> {
        if skb.head().len() < ETH_HLEN || skb.has_extensions() {
            return Err(skb);
        }
        let (raw, napi, queue) = (skb.as_raw(), self.napi().as_raw(), self.index());
        let (extensions, output_mark) = mark.share();
        // The stack gets it.
        core::mem::forget(skb);
        // SAFETY: The skb is valid, ours alone and given away. It has no extensions that would be lost, and an Ethernet header
        // in its linear part, as was asked above. The extensions have a secpath, and come with a reference. This is a run of
        // the context by the invariant, and its device is registered.
        unsafe {
            bindings::napi_gro_receive_marked(
                raw,
                napi,
                queue,
                family.number(),
                extensions,
                output_mark,
            )
        };
        Ok(())
    }

    /// Whether receive offload (GRO) is on for the device: then the stack decrypts ESP, or takes the
    /// device's word for it, before anything else sees the packet.
    pub fn has_receive_offload(&self) -> bool {
        // SAFETY: The device of a running context is registered.
        unsafe { !bindings::netif_elide_gro(self.netdev()) }
    }

    /// Hands an ESP packet to XFRM after [`RxSkb::trim_esp`] and [`RxSkb::set_rx_offload`]; ESP is at `place`. In an RCU
    /// section, as `guard` says, which does for all packets of the run.
    ///
    /// So does receive offload (`esp4_gro_receive()`, `esp6_gro_receive()`), after a search for packets of
    /// the same flow that ESP never finds any for (X94). With that off, the packet must go to
    /// [`Self::receive`]: netfilter and packet sockets see it before XFRM does.
    ///
    /// # Errors
    ///
    /// The packet, if it has no mark; give it to the stack.
    #[inline]
    pub fn receive_esp(
        &self,
        _guard: &rcu::Guard,
        skb: RxPacket,
        place: EspPlace,
    ) -> Result<(), RxPacket> {
        let offset = place.offset().saturating_sub(ETH_HLEN);
        if skb.head().len() <= offset {
            return Err(skb);
        }
        let family = place.family.number();
        let encapsulation = if place.in_udp {
            bindings::UDP_ENCAP_ESPINUDP as c_int
        } else {
            0
        };
        let (raw, napi, offset) = (skb.as_raw(), self.napi().as_raw(), offset as u32);
        // SAFETY: The skb is valid and ours alone, has a device, and is longer than the offset in its linear part,
        // as was asked above. By the type invariant of the place the address and the next header are in
        // front of that. Its secpath is changed while it does not come to anybody who looks there:
        // `set_rx_offload` made it for this skb, or `share_esp_mark` says who else has it. A NAPI context lives
        // while it polls, with softirqs off. This is an RCU section. XFRM reads SPI and sequence number from the
        // packet itself, after asking whether it has them.
        if !unsafe { bindings::xfrm_receive_esp(raw, napi, family, offset, encapsulation) } {
            return Err(skb);
        }
        // XFRM has it now.
        core::mem::forget(skb);
        Ok(())
    }
}

/// Whether the checksum of an IPv4 header without options (RFC 791 section 3.1) is right. Order of bytes and
/// width of the words do not matter to the sum (RFC 1071 section 2).
#[inline]
fn is_sum_right(header: &[u8; IPV4_HLEN]) -> bool {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *header;
    let first = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let [a, b, c, d, e, f, g, h, rest @ ..] = rest;
    let second = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    // A carry comes back at the other end. It leaves no other one: a sum that carries is not the highest number.
    let add = |a: u64, b: u64| {
        let (sum, carry) = a.overflowing_add(b);
        sum.wrapping_add(carry.into())
    };
    let sum = add(add(first, second), u32::from_ne_bytes(rest).into());
    // With its halves exchanged and added a number has the sum of both in its upper half, with the carry from below.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
    sum == 0xffff
}
