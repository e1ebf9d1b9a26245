// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-ndis`: see the library of the same package.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use espnic_ndis_cli::args::{guarded, Args};
use espnic_ndis_cli::error::Error;
use espnic_ndis_cli::{session, show, system};

/// The exit status for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    system::end_with_closed_pipes();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return unparsed(&error),
    };
    match session::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Error::Usage(text)) => {
            let error = Args::command().error(ErrorKind::ValueValidation, text);
            let _ = error.print();
            ExitCode::from(USAGE)
        }
        Err(Error::Failed(text)) => {
            show::say(&text);
            ExitCode::FAILURE
        }
    }
}

/// Prints help, or the fault of the command line.
fn unparsed(error: &clap::Error) -> ExitCode {
    match guarded(error, std::env::args_os()) {
        Some(text) => show::say(&text),
        None => {
            let _ = error.print();
        }
    }
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}
