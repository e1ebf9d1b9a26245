// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS IPsec offload version 2 (IPsecOV2).
//!
//! x64 layouts of the structures, the rules of a miniport as pure functions, and the envelope in
//! which requests and records cross `/dev/espnic-ndis`.
//!
//! The layouts are those of 64-bit Windows. They are views on bytes: alignment 1, every padding
//! named, little-endian fields, so that they hold on every host. Sizes and offsets are asserted at
//! compile time. The names in the documentation are those of the public NDIS documentation
//! (Microsoft's driver documentation and its headers `ndis.h` and `ntddndis.h`). What the driver has
//! no use for is left out of the kernel's build.
//!
//! Buffers come from an untrusted caller. No length, offset or pointer in them is used
//! before it was compared with the buffer; a pointer inside a request buffer is an offset from the
//! start of that buffer. Nothing here allocates, panics or uses `unsafe`. Types that carry key
//! material implement neither `Debug` nor `PartialEq`.

#![cfg_attr(not(any(kernel, test)), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[macro_use]
mod named;

pub mod algorithm;
#[cfg(not(kernel))]
pub mod attributes;
pub mod bytes;
pub mod encapsulation;
pub mod envelope;
#[cfg(not(kernel))]
pub mod indication;
pub mod keyword;
pub mod model;
pub mod nbl;
pub mod object;
pub mod offload;
pub mod oid;
pub mod oob;
pub mod parameters;
#[cfg(not(kernel))]
pub mod request;
pub mod sa;
pub mod status;

pub use bytes::Fault;
pub use object::{Handle, ObjectHeader, Ptr};
pub use oid::Oid;
pub use status::Status;
pub use zerocopy::little_endian::{U16, U32, U64};

/// Version of the NDIS interface, as `MAJOR << 16 | MINOR`, for instance `0x0006_0014` for 6.20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// NDIS 6.0 (Windows Vista).
    pub const V6_0: Self = Self(0x0006_0000);
    /// NDIS 6.1 (Windows Server 2008): the first with IPsecOV2.
    pub const V6_1: Self = Self(0x0006_0001);
    /// NDIS 6.20 (Windows 7).
    pub const V6_20: Self = Self(0x0006_0014);
    /// NDIS 6.30 (Windows 8): the first with OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX.
    pub const V6_30: Self = Self(0x0006_001e);
    /// NDIS 6.40 (Windows 8.1).
    pub const V6_40: Self = Self(0x0006_0028);
    /// NDIS 6.50 (Windows 10).
    pub const V6_50: Self = Self(0x0006_0032);
    /// NDIS 6.51 (Windows 10, version 1511).
    pub const V6_51: Self = Self(0x0006_0033);
    /// NDIS 6.60 (Windows 10, version 1607).
    pub const V6_60: Self = Self(0x0006_003c);
    /// NDIS 6.70 (Windows 10, version 1703): IPsec offload is deprecated from here on.
    pub const V6_70: Self = Self(0x0006_0046);
    /// NDIS 6.80 (Windows 10, version 1709).
    pub const V6_80: Self = Self(0x0006_0050);
    /// NDIS 6.81 (Windows 10, version 1803).
    pub const V6_81: Self = Self(0x0006_0051);
    /// NDIS 6.82 (Windows 10, version 1809).
    pub const V6_82: Self = Self(0x0006_0052);
    /// NDIS 6.83 (Windows 10, version 1903).
    pub const V6_83: Self = Self(0x0006_0053);
    /// Those that have IPsecOV2: a miniport can come up with each of them.
    pub const WITH_IPSEC_V2: [Self; 12] = [
        Self::V6_1,
        Self::V6_20,
        Self::V6_30,
        Self::V6_40,
        Self::V6_50,
        Self::V6_51,
        Self::V6_60,
        Self::V6_70,
        Self::V6_80,
        Self::V6_81,
        Self::V6_82,
        Self::V6_83,
    ];
}
