// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_sound() {
    Args::command().debug_assert();
    Line::command().debug_assert();
    SaLine::command().debug_assert();
}

#[test]
fn numbers_are_decimal_or_hexadecimal() {
    let args = parse("espnic-ndis -i eth0 update 0x1000001 --spi 0x100 --high 3").unwrap();
    let Command::Update {
        handle, spi, high, ..
    } = args.command
    else {
        panic!("another command")
    };
    assert_eq!((handle, spi, high), (0x100_0001, 256, 3));
    for wrong in ["0x100000000", "-1", "ten", ""] {
        assert!(number(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn add_takes_an_sa_or_a_list() {
    assert!(parse("espnic-ndis -i eth0 add --list /tmp/x").is_ok());
    assert!(parse("espnic-ndis -i eth0 add --list /tmp/x --spi 1").is_err());
    assert!(parse("espnic-ndis -i eth0 add --dir in --spi 1").is_err());
    let line = "espnic-ndis -i eth0 add --dir in --src ::1 --dst ::2 --spi 1 --esn";
    let Command::Add(add) = parse(line).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(add.sa.unwrap().esn, Some(0));
    assert_eq!(add.envelope.window, 64);
    assert!(
        parse(&format!("{line} --enc null")).is_err(),
        "without a key"
    );
}

#[test]
fn an_interface_is_needed() {
    assert!(parse("espnic-ndis list").is_err());
    assert!(parse("espnic-ndis -i eth0 list --json").unwrap().json);
}

#[test]
fn lines_of_a_session_have_no_options_before_the_command() {
    assert!(Line::try_parse_from(["list"]).is_ok());
    assert!(Line::try_parse_from(["-i", "eth0", "list"]).is_err());
}
