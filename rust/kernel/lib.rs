// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that Linux lacks for a virtio network driver with IPsec offload.
//!
//! [`net`] is the network's half, [`virtio`] the bus's half, and [`virtio::net`] the place where they meet.
//! The modules mirror the C headers they wrap. This crate holds all `unsafe` code of the module;
//! the driver above it is compiled under `#![deny(unsafe_code)]`.
//!
//! # Soundness
//!
//! No safe call into this crate may cause undefined behaviour, whatever the driver does. Each argument
//! for that is in the module that it is about: [`net::netdevice`] says who owns a network device and
//! when its callbacks can run, [`net::napi`] what a run of NAPI allows, [`net::skbuff`] who owns a
//! packet, [`virtio`] how long a virtio device can be used, and [`virtio::virtqueue`] how long a queue.
//!
//! The documentation of each function names the contexts that forbid it. A violation (sleeping in
//! atomic context, taking a lock twice) hangs or warns, as in C, but breaks no memory. So does keeping a
//! device or a queue for ever while another thread waits for it.
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
#[cfg(char_device)]
pub mod misc;
pub mod net;
pub mod random;
pub mod rtnl;
pub mod sync;
pub mod virtio;
#[cfg(char_device)]
pub mod work;
