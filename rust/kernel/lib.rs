// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that Linux lacks for a virtio network driver with IPsec offload.
//!
//! The modules mirror the C headers they wrap. This crate holds all `unsafe` code of the module;
//! the driver above it is compiled under `#![deny(unsafe_code)]`.
//!
//! # Soundness
//!
//! No safe call into this crate may cause undefined behaviour, whatever the driver does. The arguments
//! stand where the things are: who owns a network device and when its callbacks can run in
//! [`net::device`], what a run of NAPI allows in [`net::napi`], who owns a packet in [`net::skbuff`],
//! how long a virtio device can be used in [`virtio`], and a queue in [`virtio::queue`].
//!
//! What a context forbids by other means (sleeping where that is not allowed, taking a lock twice) is
//! said in the documentation of each function: it hangs or warns, as in C, but breaks no memory. So does
//! keeping for ever what somebody waits for: a device, or a queue.
//!
//! There are no references to memory that C writes meanwhile: C structures are [`Opaque`], and their
//! fields are read and written through raw pointers.
//!
//! [`Opaque`]: kernel::types::Opaque
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
#[cfg(espnic_ndis)]
pub mod work;
