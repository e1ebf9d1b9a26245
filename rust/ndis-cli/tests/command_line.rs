// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program without a NIC: wrong command lines, keys in what it says, closed pipes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use nix::sys::signal::Signal;

/// An interface that is not an espnic NIC, with or without the module.
const INTERFACE: &str = "lo";
const SA: &str = "add --dir in --src ::1 --dst ::2 --spi 1";

fn tool(line: &str) -> Command {
    support::tool(&format!("-i {INTERFACE} {line}"))
}

fn run(line: &str, stdin: &str) -> Output {
    support::finish(tool(line), stdin)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_values_are_the_fault_of_the_command_line() {
    for (line, wanted) in [
        ("restart --ndis 6.45", "6.30, 6.40"),
        ("raw NO_SUCH_OID", "ADD_SA_EX"),
        ("keyword *IPsecOffloadV2 7", "0 to 3"),
        ("keyword nothing", "*IPsecOffloadV1IPv4"),
        (&format!("{SA} --window 5000"), "4096 packets at most"),
        ("add --enc-key 00 --window 5000", "--window <WINDOW>: 4096"),
        ("raw 1 --length 0xffffffff", "1048576 bytes at most"),
        ("raw 1 0", "hex digits"),
        (SA, "needs an algorithm"),
        ("add --list /nonexistent", "/nonexistent"),
        ("add --list /dev/null", "no SA in the list"),
    ] {
        let output = run(line, "");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
    assert_eq!(run("list", "").status.code(), Some(1));
}

#[test]
fn no_half_of_a_key_is_repeated() {
    for line in [
        &format!("{SA} --enc aes-gcm-128 --enc-key 00010203 04050607"),
        "raw 0xfc030205 00010203 04050607",
    ] {
        let output = run(line, "");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(!text.contains("0001") && !text.contains("0405"), "{text}");
        assert!(text.contains("see --help"), "{text}");
    }
}

#[test]
fn standard_input_is_read_once() {
    let line = format!("{SA} --enc aes-cbc-128 --enc-key - --auth sha1 --auth-key -");
    let output = run(&line, "00112233445566778899aabbccddeeff");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("standard input has another use"));
    // With one use it gets as far as the device.
    let line = format!("{SA} --ah sha1 --ah-key -");
    assert_eq!(run(&line, &"00".repeat(20)).status.code(), Some(1));
    let output = run(
        "add --list -",
        &format!("{} --ah sha1 --ah-key -", &SA[4..]),
    );
    assert!(stderr(&output).contains("standard input has another use"));
}

#[test]
fn a_closed_pipe_is_no_panic() {
    for line in ["list", "nothing"] {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let output = tool(line).stderr(OwnedFd::from(writer)).output().unwrap();
        assert_eq!(
            output.status.signal(),
            Some(Signal::SIGPIPE as i32),
            "{line}"
        );
    }
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = tool("list").stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn help_is_no_failure() {
    let output = run("raw --help", "");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout)
        .unwrap()
        .contains("RequestId"));
}
