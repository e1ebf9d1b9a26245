// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-device`: see the library of the same name.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use log::LevelFilter;

use espnic_device::args::Args;
use espnic_device::daemon;

/// The vfio-user crate reports every connection in detail at level info; here that is debugging.
fn start_log(level: LevelFilter) {
    let transport = if level == LevelFilter::Info {
        LevelFilter::Warn
    } else {
        level
    };
    env_logger::Builder::new()
        .filter_level(level)
        .filter_module("vfio_user", transport)
        .init();
}

fn main() -> ExitCode {
    let args = Args::from_command_line();
    start_log(args.log_level);
    match daemon::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("espnic-device: {error}");
            ExitCode::FAILURE
        }
    }
}
