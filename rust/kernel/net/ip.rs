// SPDX-License-Identifier: GPL-2.0

//! Versions and addresses of IP.

use crate::bindings;

/// Length of an IPv4 header without options, in bytes.
pub(crate) const IPV4_HLEN: usize = 20;
/// Length of an IPv6 header without extension headers, in bytes.
pub(crate) const IPV6_HLEN: usize = 40;

/// The version of IP.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ip::Family;
///
/// assert!(Family::V4 != Family::V6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// The family of this number (`AF_`), `None` unless it is one of IP.
    pub(crate) fn of(number: u32) -> Option<Self> {
        match number {
            bindings::AF_INET => Some(Self::V4),
            bindings::AF_INET6 => Some(Self::V6),
            _ => None,
        }
    }

    /// The number of the address family.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::V4 => bindings::AF_INET,
            Self::V6 => bindings::AF_INET6,
        }
    }
}

/// An IP address in network byte order; IPv4 in the first four bytes, the others are zero.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ip::Address;
///
/// let mut address: Address = [0; 16];
/// address[..4].copy_from_slice(&[192, 0, 2, 1]);
/// ```
pub type Address = [u8; 16];
