// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-device`: see the library of the same name.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use log::LevelFilter;

use espnic_device::args::Args;
use espnic_device::ctl::{self, CtlArgs};
use espnic_device::daemon;

/// The vfio-user crate reports every connection in detail at level info; here that is debugging. What
/// virtio-queue calls an error is one of the guest, which is reported here, with the name of the NIC and
/// not without end.
fn start_log(level: LevelFilter) {
    let (transport, queues) = match level {
        LevelFilter::Debug | LevelFilter::Trace => (level, level),
        _ => (level.min(LevelFilter::Warn), LevelFilter::Off),
    };
    env_logger::Builder::new()
        .filter_level(level)
        .filter_module("vfio_user", transport)
        .filter_module("virtio_queue", queues)
        .init();
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == ctl::NAME)
    {
        return control();
    }
    let args = Args::from_command_line();
    start_log(args.log_level);
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
