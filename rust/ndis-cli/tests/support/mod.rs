// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program as a process.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The program with the words of a line.
pub fn tool(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_espnic-ndis"));
    command.args(line.split_whitespace());
    command
}

/// Runs it to its end.
pub fn finish(mut command: Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}
