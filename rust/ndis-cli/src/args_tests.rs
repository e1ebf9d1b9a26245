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
    let Command::Update(words) = args.command else {
        panic!("another command")
    };
    let found = (words.handle, words.spi, words.high);
    assert_eq!(found, (0x100_0001, 256, 3));
    let add = "espnic-ndis -i eth0 add --dir in --src ::1 --dst ::2 --spi 1 --sport 0x1194";
    assert!(parse(add).is_ok());
    assert!(parse("espnic-ndis -i eth0 follow --count 0x10").is_ok());
    assert!(parse("espnic-ndis -i eth0 keyword *IPsecOffloadV2 0x3").is_ok());
}

#[test]
fn add_takes_an_sa_or_a_list() {
    assert!(parse("espnic-ndis -i eth0 add --list /tmp/x").is_ok());
    assert!(parse("espnic-ndis -i eth0 add --list /tmp/x --spi 1").is_err());
    assert!(parse("espnic-ndis -i eth0 add --dir in --spi 1").is_err());
    let error = parse("espnic-ndis -i eth0 add --list /tmp/x --esn").unwrap_err();
    assert!(error.to_string().contains("cannot be used with"), "{error}");
    assert!(parse("espnic-ndis -i eth0 add --no-wait").is_err());
    let line = "espnic-ndis -i eth0 add --dir in --src ::1 --dst ::2 --spi 1 --esn";
    let Command::Add(add) = parse(line).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(add.sa.unwrap().esn, Some(0));
    assert_eq!(add.envelope.window, 64);
    assert!(
        parse(&format!("{line} --auth sha1")).is_err(),
        "without a key"
    );
}

#[test]
fn an_interface_can_be_named() {
    let offline = parse("espnic-ndis decode 00").unwrap();
    assert!(offline.interface.is_none());
    assert!(parse("espnic-ndis -i eth0 list --json").unwrap().json);
}

#[test]
fn lines_of_a_session_have_no_options_before_the_command() {
    assert!(Line::try_parse_from(["list"]).is_ok());
    assert!(Line::try_parse_from(["-i", "eth0", "list"]).is_err());
}

#[test]
fn values_that_the_module_does_not_know_are_refused_here() {
    for line in [
        "restart --ndis 6.45",
        "keyword nothing",
        "keyword *IPsecOffloadV2 seven",
        "add --list x --window 5000",
        "raw 1 --window 0x1001",
        "raw 1 --length 0xffffffff",
        "raw NO_SUCH_OID",
        "check --offers some update 1 --spi 1 --high 1",
        "encode list",
        "encapsulation --ipv4 perhaps",
        "follow --time -1",
    ] {
        assert!(
            parse(&format!("espnic-ndis -i eth0 {line}")).is_err(),
            "{line}"
        );
    }
    assert!(parse("espnic-ndis -i eth0 restart --ndis 6.83").is_ok());
}

#[test]
fn follow_shows_the_kinds_that_are_named() {
    let follow = |words: &str| {
        let line = format!("espnic-ndis -i eth0 follow {words}");
        match parse(&line).unwrap().command {
            Command::Follow(follow) => (follow.shown(), follow.wanted()),
            _ => panic!("another command"),
        }
    };
    assert_eq!(follow(""), (WANT_ALL, WANT_ALL));
    assert_eq!(follow("--answer"), (WANT_ALL, WANT_ALL));
    assert_eq!(follow("--send"), (WANT_SEND, WANT_SEND));
    assert_eq!(
        follow("--send --answer"),
        (WANT_SEND, WANT_SEND | WANT_RECEIVE)
    );
    let both = WANT_INDICATIONS | WANT_RECEIVE;
    assert_eq!(follow("--indications --receive"), (both, both));
}

#[test]
fn a_default_is_told_once() {
    for command in Args::command().get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let help = command.render_long_help().to_string();
        for part in help.split("\n\n") {
            assert!(part.matches("[default:").count() < 2, "{name}: {part}");
        }
    }
}

#[test]
fn a_complaint_does_not_repeat_keys() {
    for line in [
        "espnic-ndis -i eth0 add --dir in --enc aes-gcm-128 --enc-key 00010203 04050607",
        "espnic-ndis -i eth0 add --auth-key=00010203 04050607",
        "espnic-ndis -i eth0 raw 0xfc030205 00010203 04050607",
        "espnic-ndis decode ADD_SA 00010203 04050607",
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.to_string().contains("04050607"), "{error}");
        let text = guarded(&error, line.split_whitespace()).unwrap();
        assert!(!text.contains("0001") && !text.contains("0405"), "{text}");
        assert!(text.contains("see --help"), "{text}");
    }
    for line in [
        "espnic-ndis -i eth0 raw --help",
        "espnic-ndis -i eth0 nothing",
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(guarded(&error, line.split_whitespace()), None, "{error}");
    }
}

#[test]
fn encapsulation_has_a_word_for_each_ip_version() {
    let of = |line: &str| {
        let line = format!("espnic-ndis -i eth0 encapsulation {line}");
        match parse(&line).unwrap().command {
            Command::Encapsulation(words) => words,
            _ => panic!("another command"),
        }
    };
    assert!(of("").is_query());
    assert!(!of("keep").is_query());
    let words = of("on --ipv6 off");
    assert_eq!(
        (words.state, words.ipv6),
        (Some(Switch::On), Some(Switch::Off))
    );
    assert!(!of("--ipv4 off").is_query());
}

#[test]
fn help_knows_versions_oids_and_keywords() {
    let help = |name: &str| {
        let mut all = Args::command();
        let command = all.find_subcommand_mut(name).unwrap();
        command.render_long_help().to_string()
    };
    assert!(help("restart").contains("6.30"));
    assert!(help("check").contains("6.83"));
    assert!(help("raw").contains("UPDATE_SA"));
    assert!(help("keyword").contains("EnabledOffload: 0"));
    assert!(help("add").contains("always refuses"));
}
