// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Support of the tests: a virtual machine without QEMU, and the program as a process.

#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod breach;
pub mod busy;
pub mod driver;
pub mod failure;
pub mod features;
pub mod fields;
pub mod misbehaviour;
pub mod packets;
pub mod remote;
pub mod rig;
pub mod ring;
pub mod sas;

// No test uses all of it.
#[allow(unused_imports)]
pub use rig::*;
