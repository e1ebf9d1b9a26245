// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that Linux lacks for a virtio network driver with IPsec offload.
//!
//! The modules mirror the C headers they wrap. This crate holds all `unsafe` code of the module;
//! the driver above it is compiled under `#![deny(unsafe_code)]`.
//!
//! Own bindings are generated (see `rust/bindings`), because the kernel's own leave out
//! `net_device`, `virtio_device` and `xfrm_state`. Types that both have (`device`, `module`) are
//! cast in this crate only.

mod bindings;
pub mod compat;
pub mod cpu;
#[cfg(espnic_ndis)]
pub mod misc;
pub mod net;
pub mod random;
pub mod rtnl;
pub mod sync;
pub mod virtio;
