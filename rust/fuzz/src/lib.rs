// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the fuzz targets share. A target turns the bytes that the fuzzer thinks up into calls, and panics
//! when something comes out that must not. `tools/fuzz` builds and runs them.

pub mod bytes;
pub mod esp;
#[allow(clippy::new_without_default, missing_docs)]
pub mod guest;
pub mod ndis;
pub mod sa;

pub use bytes::Bytes;
// Their sources look for these two at the root of the crate.
use ndis::{fixture, table};
