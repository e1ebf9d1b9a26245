// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The checksum inside a decrypted packet.

use crate::checksum::{self, IPPROTO_TCP, IPPROTO_UDP};
use crate::engine::Opened;
use crate::packet::{address, be16, Address, IPV4_FRAGMENT, IPV4_HLEN, IPV6_HLEN};
use crate::segment::{IPPROTO_IPIP, IPPROTO_IPV6};

/// Whether the payload is TCP or UDP with a checksum that was looked at and is right.
///
/// In tunnel mode the payload is an IP packet; fragments and extension headers are not looked at. In
/// transport mode the addresses are those of the ESP packet, which `addresses` gives.
#[inline]
pub fn checksum_is_right(
    opened: &Opened<'_>,
    tunnel: bool,
    addresses: impl FnOnce() -> Option<[Address; 2]>,
) -> bool {
    let payload = opened.payload;
    match (tunnel, opened.next_header) {
        (false, protocol @ (IPPROTO_TCP | IPPROTO_UDP)) => {
            addresses().is_some_and(|[src, dst]| checksum::is_right(protocol, &src, &dst, payload))
        }
        (true, IPPROTO_IPIP) => ipv4(payload).unwrap_or(false),
        (true, IPPROTO_IPV6) => ipv6(payload).unwrap_or(false),
        _ => false,
    }
}

fn ipv4(ip: &[u8]) -> Option<bool> {
    let first = *ip.first()?;
    let hlen = usize::from(first & 0xf).checked_mul(4)?;
    if first >> 4 != 4 || hlen < IPV4_HLEN || be16(ip, 6)? & IPV4_FRAGMENT != 0 {
        return None;
    }
    let segment = ip.get(hlen..usize::from(be16(ip, 2)?))?;
    let (src, dst) = (address::<4>(ip, 12, 4)?, address::<4>(ip, 16, 4)?);
    Some(checksum::is_right(*ip.get(9)?, &src, &dst, segment))
}

fn ipv6(ip: &[u8]) -> Option<bool> {
    if ip.first()? >> 4 != 6 {
        return None;
    }
    let segment = ip.get(IPV6_HLEN..)?.get(..usize::from(be16(ip, 4)?))?;
    let (src, dst) = (address::<16>(ip, 8, 6)?, address::<16>(ip, 24, 6)?);
    Some(checksum::is_right(*ip.get(6)?, &src, &dst, segment))
}

#[cfg(test)]
#[path = "inner_tests.rs"]
mod tests;
