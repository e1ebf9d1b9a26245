// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-ndis`: NDIS IPsec offload requests to an espnic NIC, and what comes back.
//!
//! A command makes the bytes of an OID request, `/dev/espnic-ndis` answers them, and the answer is
//! shown as text or as JSON. Both come from the same value, so nothing is shown in one form only.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

use std::process::ExitCode;

use clap::Parser;

mod algorithm;
mod args;
mod command;
mod device;
mod key;
mod offload;
mod record;
mod sa;
mod session;
mod show;
mod system;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    match session::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("espnic-ndis: {error}");
            ExitCode::FAILURE
        }
    }
}
