// SPDX-License-Identifier: GPL-2.0

//! Received ESP packets that go directly to XFRM.
//!
//! The stack's receive offload (GRO) hands ESP to `xfrm_input()` before any other part sees the packet.
//! ESP in UDP must go there directly as well, because the UDP socket in between would check its own
//! policies (X73). GRO does not always do that for such packets.

#[cfg(espnic_kunit)]
mod tests;

use super::state::IPPROTO_ESP;
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
        skbuff::RxPacket, //
    }, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};

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
    pub fn offset(&self) -> usize {
        let ip = match self.family {
            Family::V4 => IPV4_HLEN,
            Family::V6 => IPV6_HLEN,
        };
        let udp = if self.in_udp { UDP_HLEN } else { 0 };
        ETH_HLEN.wrapping_add(ip).wrapping_add(udp)
    }

    /// The family of the addresses around ESP.
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

impl Poll<'_> {
    /// Hands an ESP packet to XFRM after [`RxSkb::set_rx_offload`]; ESP is at `place`.
    ///
    /// [`RxSkb::set_rx_offload`]: crate::net::skbuff::RxSkb::set_rx_offload
    ///
    /// # Errors
    ///
    /// The packet, if its IP header is not valid; give it to the stack.
    pub fn receive_esp(&self, skb: RxPacket, place: EspPlace) -> Result<(), RxPacket> {
        let offset = place.offset().saturating_sub(ETH_HLEN);
        // SAFETY: The skb is valid and ours alone; it is not made longer.
        let trim = || unsafe { bindings::skb_trim(skb.as_raw(), place.len) };
        let trimmed = skb.len() >= place.len && trim() == 0;
        let sound =
            place.family == Family::V6 || skb.head().first_chunk().is_some_and(is_sum_right);
        if !trimmed || !sound || skb.head().len() <= offset {
            return Err(skb);
        }
        // SAFETY: The skb is valid by its type invariant.
        let xo = unsafe { bindings::xfrm_offload(skb.as_raw()) };
        if xo.is_null() {
            return Err(skb);
        }
        // SAFETY: The skb is valid and ours alone, and longer than the offset in its linear part, as
        // was asked above. Without `set_protocol` before it changes nothing.
        if !unsafe { bindings::xfrm_place_esp(skb.as_raw(), offset as u32) } {
            return Err(skb);
        }
        // SAFETY: Not null, so it is in the secpath of the skb, which `set_rx_offload` made: no other
        // skb shares that.
        unsafe { (*xo).flags |= bindings::XFRM_GRO };
        let (destination, next_header) = match place.family {
            Family::V4 => (16, 0),
            Family::V6 => (24, 6),
        };
        let family = place.family.number();
        let encapsulation = if place.in_udp {
            bindings::UDP_ENCAP_ESPINUDP as c_int
        } else {
            0
        };
        let _guard = rcu::read_lock();
        // SAFETY: The skb is valid and ours alone, and a NAPI context lives while it polls.
        unsafe { bindings::skb_mark_napi_id(skb.as_raw(), self.napi().as_raw()) };
        // SAFETY: The control block is that of whoever owns the skb. By the type invariant of the place
        // the address and the next header are in front of ESP, so they are inside of the packet.
        unsafe { bindings::xfrm_input_cb(skb.as_raw(), family, destination, next_header) };
        let protocol = IPPROTO_ESP.into();
        // SAFETY: The skb is given away. It has a device, a network header and data at ESP, its control
        // block is filled in, softirqs are off while a NAPI context polls, and this is an RCU section.
        // XFRM reads SPI and sequence number from the packet itself, after asking whether it has them.
        unsafe { bindings::xfrm_input(skb.into_raw(), protocol, 0, encapsulation) };
        Ok(())
    }
}

/// Whether the checksum of an IPv4 header without options (RFC 791 section 3.1) is right.
fn is_sum_right(header: &[u8; IPV4_HLEN]) -> bool {
    let sum = header
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk())
        .fold(0u32, |sum, &pair| {
            sum.wrapping_add(u16::from_be_bytes(pair).into())
        });
    (sum & 0xffff).wrapping_add(sum >> 16) == 0xffff
}
