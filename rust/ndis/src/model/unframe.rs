// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The way back from a packet that is framed for ESP to the one that was to be protected.
//!
//! A transport that numbers its packets itself takes from a framed one only what is inside, and
//! frames that anew (C46).

use super::bundle::Mode;
use super::packet::{self, ESP_HEADER};
use super::table::Offloaded;
use crate::oob::SendHeader;
use crate::sa::Address;
use core::ops::Range;

/// NextHeader and PadLength.
const TRAILER: usize = 2;
// Offsets in IP headers.
const IPV4_LENGTH: usize = 2;
const IPV4_PROTOCOL: usize = 9;
const IPV6_LENGTH: usize = 4;
const IPV6_NEXT_HEADER: usize = 6;
const IPV6_HEADER: usize = 40;

/// Takes the ESP of `sa` at `esp` off a packet that was found to fit, and is in clear; where the packet
/// that is left lies then. The checksum of its IPv4 header is not made new.
///
/// `None` of a packet that says not which mode it has, of a tunnel with something else than IP in it,
/// and of an IPv6 header with extensions, of which one would have to be changed.
pub fn unframe(
    packet: &mut [u8],
    sa: &Offloaded,
    header: SendHeader,
    esp: usize,
) -> Option<Range<usize>> {
    let shape = sa.esp?;
    let start = esp.checked_add(ESP_HEADER)?.checked_add(shape.iv)?;
    let end = packet.len().checked_sub(shape.icv)?.checked_sub(TRAILER)?;
    let end = end.checked_sub(usize::from(header.pad_length))?;
    let version = packet.get(start..end)?.first().map(|byte| byte >> 4);
    match (sa.mode, header.next_header, version) {
        (Mode::Tunnel, packet::PROTOCOL_IPV4, Some(4))
        | (Mode::Tunnel, packet::PROTOCOL_IPV6, Some(6)) => Some(start..end),
        (Mode::Transport, protocol, _) => join(packet, start..end, protocol),
        _ => None,
    }
}

/// Puts the packet's IP header in front of what is at `payload`.
fn join(packet: &mut [u8], payload: Range<usize>, protocol: u8) -> Option<Range<usize>> {
    let ip = packet::parse(packet)?;
    let at = payload.start.checked_sub(ip.header)?;
    packet.copy_within(..ip.header, at);
    let joined = packet.get_mut(at..payload.end)?;
    let length = joined.len();
    let (length, length_at, protocol_at) = match ip.source {
        Address::V4(_) => (length, IPV4_LENGTH, IPV4_PROTOCOL),
        Address::V6(_) if ip.header == IPV6_HEADER => {
            let length = length.checked_sub(IPV6_HEADER)?;
            (length, IPV6_LENGTH, IPV6_NEXT_HEADER)
        }
        Address::V6(_) => return None,
    };
    let length = u16::try_from(length).ok()?.to_be_bytes();
    *joined.get_mut(length_at..)?.first_chunk_mut()? = length;
    *joined.get_mut(protocol_at)? = protocol;
    Some(at..payload.end)
}
