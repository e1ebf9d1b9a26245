// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One command, or a session of many with one open device.

use std::io::BufRead;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use serde_json::json;

use crate::args::{Args, Command, Line};
use crate::command::{self, Done};
use crate::device::{Device, Error};
use crate::{show, system};
use espnic_ndis::envelope::{WANT_ALL, WANT_INDICATIONS, WANT_RECEIVE, WANT_SEND};

const TICK: Duration = Duration::from_millis(50);

/// Does what the command line says; whether all of it succeeded.
pub fn run(args: &Args) -> Result<bool, String> {
    let result = Device::open(&args.interface, wanted(&args.command)).and_then(|mut device| {
        match &args.command {
            Command::Session => session(&mut device, args.json),
            command => single(&mut device, command, args.json),
        }
    });
    result.map_err(|error| match error {
        Error::Usage(text) => Args::command()
            .error(clap::error::ErrorKind::ValueValidation, text)
            .exit(),
        Error::Failed(text) => text,
    })
}

/// Which records the command reads.
fn wanted(command: &Command) -> u32 {
    match command {
        Command::Parameters(_) | Command::Encapsulation { .. } | Command::Restart { .. } => {
            WANT_INDICATIONS
        }
        Command::Session => WANT_ALL,
        Command::Follow(follow) => {
            let flag = |on, bit| if on { bit } else { 0 };
            let named = flag(follow.indications, WANT_INDICATIONS)
                | flag(follow.receive || follow.answer, WANT_RECEIVE)
                | flag(follow.send, WANT_SEND);
            if named == 0 {
                WANT_ALL
            } else {
                named
            }
        }
        _ => 0,
    }
}

fn single(device: &mut Device, command: &Command, json: bool) -> Result<bool, Error> {
    system::catch_signals();
    let done = command::run(device, command, json, false)?;
    if done.hold && done.ok {
        eprintln!("espnic-ndis: the SAs stay until this process gets SIGINT or SIGTERM");
        while !system::stopped() {
            std::thread::sleep(TICK);
        }
    }
    Ok(done.ok)
}

/// What is wrong with a line. The words of one with keys are not repeated.
fn complaint(line: &str, error: &clap::Error) -> String {
    if line.contains("-key") {
        error.kind().to_string()
    } else {
        error.to_string()
    }
}

/// Commands from standard input until it ends. A command that fails does not end the session.
fn session(device: &mut Device, json: bool) -> Result<bool, Error> {
    let mut all = true;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::Failed(format!("cannot read: {error}")))?;
        let words = line.split_whitespace();
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let result = Line::try_parse_from(words)
            .map_err(|error| Error::Usage(complaint(&line, &error)))
            .and_then(|line| match line.command {
                Command::Session => Err(Error::Usage("this is a session".into())),
                command => command::run(device, &command, json, true),
            });
        match result {
            Ok(Done { ok, .. }) => all &= ok,
            Err(Error::Usage(text) | Error::Failed(text)) => {
                all = false;
                show::print(json, &json!({"ok": false, "error": text.trim_end()}))?;
            }
        }
    }
    Ok(all)
}
