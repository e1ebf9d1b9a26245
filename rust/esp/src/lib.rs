// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ESP (RFC 4303) in the caller's buffer.
//!
//! This crate has packets and rules only: the caller brings the bytes, the cipher ([`engine::Transform`])
//! and the SA's parameters. The driver uses [`seq`]; the NIC uses all of it. Nothing here allocates,
//! panics or uses `unsafe`.

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

pub mod aead;
pub mod checksum;
pub mod decap;
pub mod ds;
pub mod encap;
pub mod engine;
pub mod flow_frame;
pub mod flow_key;
pub mod inner;
pub mod ip;
pub mod lifetime;
pub mod packet;
pub mod replay;
pub mod segment;
pub mod selector;
pub mod seq;
pub mod sort;
pub mod spd;
pub mod upper;
