// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-device`: see the library of the same name.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use espnic_device::args::Args;
use espnic_device::ctl::{self, CtlArgs};
use espnic_device::{daemon, logging};

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == ctl::NAME)
    {
        return control();
    }
    let args = Args::from_command_line();
    logging::start(args.log_level);
    finish(daemon::run(&args).map(|()| true))
}

/// `espnic-device ctl`
fn control() -> ExitCode {
    let args = CtlArgs::parse_from(std::env::args_os().skip(1));
    finish(ctl::run(&args, &mut std::io::stdout()))
}

fn finish(result: Result<bool, impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("espnic-device: {error}");
            ExitCode::FAILURE
        }
    }
}
