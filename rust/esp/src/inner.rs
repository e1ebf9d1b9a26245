// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The checksum inside a decrypted packet.

use crate::checksum::{self, Sum};
use crate::engine::Opened;
use crate::ip::{Ip, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP};

/// Whether the payload is TCP or UDP with a right checksum.
///
/// In tunnel mode the payload is an IP packet; false for fragments and for extension headers. In transport
/// mode the addresses are those of the ESP packet, whose sum `addresses` gives.
// Always: as a call it would get the packet's parts through memory, where they are written in other parts than read,
// which stalls.
#[inline(always)]
pub fn checksum_is_right(
    opened: &Opened<'_>,
    tunnel: bool,
    addresses: impl FnOnce() -> Option<Sum>,
) -> bool {
    let payload = opened.payload;
    match (tunnel, opened.next_header) {
        (false, protocol @ (IPPROTO_TCP | IPPROTO_UDP)) => {
            checksum::is_right(protocol, addresses, payload)
        }
        (true, IPPROTO_IPIP) => in_tunnel(payload, false).unwrap_or(false),
        (true, IPPROTO_IPV6) => in_tunnel(payload, true).unwrap_or(false),
        _ => false,
    }
}

fn in_tunnel(packet: &[u8], v6: bool) -> Option<bool> {
    let ip = Ip::at(packet, 0).filter(|ip| ip.v6 == v6 && !ip.fragment)?;
    let addresses = || ip.address_bytes(packet).map(Sum::of);
    Some(checksum::is_right(
        ip.protocol,
        addresses,
        ip.payload(packet)?,
    ))
}

#[cfg(test)]
#[path = "inner_tests.rs"]
mod tests;
