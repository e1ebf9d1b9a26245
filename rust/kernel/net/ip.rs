// SPDX-License-Identifier: GPL-2.0

//! Versions and addresses of IP.

/// The version of IP.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ip::Family;
///
/// assert!(Family::V4 != Family::V6);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// An IP address in network byte order; IPv4 in the first four bytes, the others are zero.
pub type Address = [u8; 16];
