// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-ndis`: see the library of the same package.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use espnic_ndis_cli::args::Args;
use espnic_ndis_cli::session;

fn main() -> ExitCode {
    match session::run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("espnic-ndis: {error}");
            ExitCode::FAILURE
        }
    }
}
