// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `espnic-device ctl`: one request to the control socket of a running process.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use serde_json::Value;

/// The word by which the command is chosen.
pub const NAME: &str = "ctl";
/// The longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(10);

const AFTER_HELP: &str = "\
The request `help` lists the requests. Exit status: 0 if the request was carried out,
1 if not or if nobody answers, 2 for a wrong command line.

Example: espnic-device ctl --control /tmp/control fault n0 tx drop 3 every 5";

/// Send a request to a running espnic-device and print its reply, a JSON object
#[derive(Debug, Parser)]
#[command(
    name = "espnic-device ctl",
    bin_name = "espnic-device ctl",
    version,
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub struct CtlArgs {
    /// The control socket of the process
    #[arg(long, value_name = "PATH")]
    pub control: PathBuf,

    /// The request
    #[arg(required = true, value_name = "WORD", allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Sends the request, prints the reply to `out`, and says whether the request was carried out.
pub fn run(args: &CtlArgs, out: &mut impl Write) -> Result<bool, String> {
    let path = args.control.display();
    let reply = ask(&args.control, &args.words.join(" ")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("nobody listens at {path}: start espnic-device with --control {path}")
        }
        _ => format!("no answer from {path}: {error}"),
    })?;
    let value: Value = serde_json::from_str(&reply)
        .map_err(|error| format!("{path} does not speak like espnic-device: {error}"))?;
    writeln!(out, "{}", reply.trim_end()).map_err(|error| format!("cannot print: {error}"))?;
    Ok(value.get("ok") == Some(&Value::Bool(true)))
}

fn ask(path: &Path, request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // One line is one request, even if a word has a line break.
    let request = request.replace('\n', " ");
    let sent = stream.write_all(format!("{request}\n").as_bytes());
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    // A process with too many connections answers before it reads a request.
    if reply.is_empty() {
        sent?;
    }
    Ok(reply)
}
