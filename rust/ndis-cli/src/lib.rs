// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-ndis`: NDIS IPsec offload requests to an espnic NIC, and their answers.
//!
//! A command makes the bytes of an OID request ([`sa`], [`command`]), `/dev/espnic-ndis` answers
//! them ([`device`]), and the answer is shown as text or as JSON ([`show`]). Both come from the same
//! value, so nothing is shown in one form only. Only `encode` shows keys, because that is its purpose,
//! and `decode` on request.
//!
//! `encode`, `decode` and `check` work without the device: the last one asks the model ([`offline`]).

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod algorithm;
pub mod args;
pub mod command;
pub mod decode;
pub mod device;
pub mod error;
pub mod input;
pub mod key;
pub mod keyword;
pub mod offline;
pub mod offload;
pub mod record;
pub mod rules;
pub mod sa;
pub mod session;
pub mod show;
pub mod system;
pub mod value;
