// SPDX-License-Identifier: GPL-2.0

//! Selectors: which packets a policy or a state is for.
//!
//! C header: [`include/uapi/linux/xfrm.h`](srctree/include/uapi/linux/xfrm.h) (`struct xfrm_selector`)

use super::state::address;
use crate::{
    bindings,
    net::ip::{
        Address,
        Family, //
    }, //
};

/// A port and the bits of it that count.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::PortMask;
///
/// /// Whether packets of IKE (RFC 7296) are meant.
/// fn is_ike(ports: PortMask) -> bool {
///     ports.mask == u16::MAX && (ports.port == 500 || ports.port == 4500)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortMask {
    /// The port, as a number.
    pub port: u16,
    /// Its bits that count, as a number; 0 for any port.
    pub mask: u16,
}

/// A copy of a selector. Nothing is checked: prefixes may be longer than addresses.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     ip::Family,
///     xfrm::Selector, //
/// };
///
/// /// Whether all packets of a family are meant.
/// fn is_for_all(selector: &Selector, family: Family) -> bool {
///     selector.family.is_none_or(|of| of == family)
///         && (selector.src_len, selector.dst_len, selector.protocol) == (0, 0, 0)
///         && (selector.ifindex, selector.user) == (0, 0)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The family of the addresses; `None` for both (`AF_UNSPEC`).
    pub family: Option<Family>,
    /// Source address, network order.
    pub src: Address,
    /// Bits of it that count.
    pub src_len: u8,
    /// Destination address, network order.
    pub dst: Address,
    /// Bits of it that count.
    pub dst_len: u8,
    /// Protocol above IP, 0 for any.
    pub protocol: u8,
    /// Source port; with ICMP the type, with a mobility header its type, with GRE the high half of the
    /// key.
    pub src_port: PortMask,
    /// Destination port; with ICMP the code, with GRE the low half of the key.
    pub dst_port: PortMask,
    /// Index of the device of the packets, 0 for any.
    pub ifindex: i32,
    /// User who sends, 0 for any. The stack ignores it.
    pub user: u32,
}

impl Selector {
    pub(super) fn of(raw: &bindings::xfrm_selector) -> Self {
        let family = Family::of(raw.family.into());
        // With `AF_UNSPEC` nobody knows how long addresses are.
        let width = family.unwrap_or(Family::V6);
        // SAFETY: All members of the unions are 16 bytes of integers, which may have any value.
        let (src, dst) = unsafe { (raw.saddr.in6.in6_u.u6_addr8, raw.daddr.in6.in6_u.u6_addr8) };
        let ports = |port, mask| PortMask {
            port: u16::from_be(port),
            mask: u16::from_be(mask),
        };
        Self {
            family,
            src: address(src, Some(width)),
            src_len: raw.prefixlen_s,
            dst: address(dst, Some(width)),
            dst_len: raw.prefixlen_d,
            protocol: raw.proto,
            src_port: ports(raw.sport, raw.sport_mask),
            dst_port: ports(raw.dport, raw.dport_mask),
            ifindex: raw.ifindex,
            user: raw.user,
        }
    }
}
