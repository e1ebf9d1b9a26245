// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One command, or a session of many with one open device.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::Parser;
use serde_json::json;

use crate::args::{guarded, Args, Command, Line};
use crate::command::{self, Ready, Way};
use crate::device::Device;
use crate::error::Error;
use crate::{input, show, system};
use espnic_ndis::envelope::{WANT_ALL, WANT_INDICATIONS};

const TICK: Duration = Duration::from_millis(50);

/// Carries out the command line; returns whether all of it succeeded.
pub fn run(args: &Args) -> Result<bool, Error> {
    match &args.command {
        Command::Session => session(interface(args)?, args.json),
        command => single(args, command),
    }
}

/// The interface, which every command with the device needs.
fn interface(args: &Args) -> Result<&str, Error> {
    let text = "this command needs a NIC: -i NAME, in front of it";
    args.interface
        .as_deref()
        .ok_or_else(|| Error::Usage(text.into()))
}

/// Which records the command reads.
fn wanted(command: &Command) -> u32 {
    match command {
        Command::Parameters(_) | Command::Encapsulation(_) | Command::Restart { .. } => {
            WANT_INDICATIONS
        }
        Command::Follow(words) => words.wanted(),
        _ => 0,
    }
}

/// Whether the command goes on until it is ended from outside.
fn stays(command: &Command) -> bool {
    match command {
        Command::Add(words) => !words.no_wait,
        Command::Follow(_) => true,
        _ => false,
    }
}

fn single(args: &Args, command: &Command) -> Result<bool, Error> {
    let json = args.json;
    // This may wait for standard input, which a signal must end.
    let job = match command::prepare(command)? {
        Ready::Device(job) => job,
        Ready::Offline(job) => return Ok(job(json)?.ok),
    };
    let interface = interface(args)?;
    if stays(command) {
        system::catch_signals();
    }
    let mut device = Device::open(interface, wanted(command))?;
    let session = false;
    let done = job(&mut device, Way { json, session })?;
    if done.hold && done.ok {
        show::say("the SAs stay until this process gets SIGINT or SIGTERM");
        while !system::stopped() {
            std::thread::sleep(TICK);
        }
    }
    Ok(done.ok)
}

/// Commands from standard input until it ends. A command that fails does not end the session.
fn session(interface: &str, json: bool) -> Result<bool, Error> {
    let mut lines = input::lines()?;
    let mut device = Device::open(interface, WANT_ALL)?;
    let mut all = true;
    while let Some(line) = lines.line()? {
        match one(&mut device, &line, json) {
            Ok(ok) => all &= ok,
            Err(Error::Usage(text) | Error::Failed(text)) => {
                all = false;
                show::print(json, &json!({"ok": false, "error": text.trim_end()}))?;
            }
        }
    }
    Ok(all)
}

/// A line of a session.
fn one(device: &mut Device, line: &[u8], json: bool) -> Result<bool, Error> {
    let line = std::str::from_utf8(line);
    let line = line.map_err(|_| Error::Usage("the line is not UTF-8".into()))?;
    let words = line.split_whitespace();
    if words
        .clone()
        .next()
        .is_none_or(|word| word.starts_with('#'))
    {
        return Ok(true);
    }
    match Line::try_parse_from(words.clone()) {
        Ok(line) => {
            let session = true;
            match command::prepare(&line.command)? {
                Ready::Device(job) => Ok(job(device, Way { json, session })?.ok),
                Ready::Offline(job) => Ok(job(json)?.ok),
            }
        }
        Err(help) if help.kind() == ErrorKind::DisplayHelp => {
            if json {
                show::print(true, &json!({"ok": true, "help": help.to_string()}))?;
            } else {
                show::write(&help.to_string())?;
            }
            Ok(true)
        }
        Err(error) => {
            let text = guarded(&error, words);
            Err(Error::Usage(text.unwrap_or_else(|| error.to_string())))
        }
    }
}
