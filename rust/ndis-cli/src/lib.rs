// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-ndis`: NDIS IPsec offload requests to an espnic NIC, and what comes back.
//!
//! A command makes the bytes of an OID request ([`sa`], [`command`]), `/dev/espnic-ndis` answers
//! them ([`device`]), and the answer is shown as text or as JSON ([`show`]). Both come from the same
//! value, so nothing is shown in one form only. Keys are never shown.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod algorithm;
pub mod args;
pub mod command;
pub mod device;
pub mod input;
pub mod key;
pub mod keyword;
pub mod offload;
pub mod record;
pub mod sa;
pub mod session;
pub mod show;
pub mod system;
pub mod value;
