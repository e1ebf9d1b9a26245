// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS IPsec offload version 2 (IPsecOV2).
//!
//! x64 layouts of the structures, the rules of a miniport as pure functions, and the envelope in
//! which requests and records cross `/dev/espnic-ndis`. Nothing here allocates, panics or uses
//! `unsafe`. Types that carry key material implement neither `Debug` nor `PartialEq`.

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

pub mod envelope;
