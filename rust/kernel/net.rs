// SPDX-License-Identifier: GPL-2.0

//! Networking: devices, socket buffers, NAPI, ethtool, XFRM offload.

pub mod dim;
pub mod ethtool;
pub mod ip;
#[cfg(xfrm_configure)]
pub mod namespace;
pub mod napi;
pub mod neighbour;
pub mod netdevice;
pub mod netlink;
pub mod notifier;
pub mod page_pool;
pub mod skbuff;
pub mod xdp;
pub mod xfrm;

use kernel::error::Error;

/// `EOPNOTSUPP`, which the kernel crate does not name (its `ENOTSUPP` is another, internal code).
pub fn operation_not_supported() -> Error {
    Error::from_errno(-(crate::bindings::EOPNOTSUPP as kernel::ffi::c_int))
}

/// `EADDRNOTAVAIL`, which the kernel crate names since 7.3 only.
pub fn address_not_available() -> Error {
    Error::from_errno(-(crate::bindings::EADDRNOTAVAIL as kernel::ffi::c_int))
}
