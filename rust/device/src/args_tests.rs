// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;

fn parse(words: &[&str]) -> Result<Args, String> {
    let words = std::iter::once("espnic-device").chain(words.iter().copied());
    let mut args = Args::try_parse_from(words).map_err(|e| e.to_string())?;
    args.resolve()?;
    Ok(args)
}

const N0: &str = "name=n0,socket=/tmp/n0";
const N1: &str = "name=n1,socket=/tmp/n1";

#[test]
fn defaults() {
    let args = parse(&["--nic", N0]).unwrap();
    let nic = &args.nics[0];
    assert_eq!((nic.name.as_str(), nic.port.as_ref()), ("n0", None));
    let config = nic.config(1);
    assert_eq!(config.mac, [2, 0, 0, 0, 0, 0x11]);
    assert_eq!(config.mtu, 1500);
    assert!(config.ipsec && config.x_ipsec && config.admin_vq && !config.packed);
    assert!(config.guest_csum && config.coalescing);
    assert!(config.access_platform && !nic.antispoof);
    assert_eq!((nic.sas, nic.delete_above), (4096, None));
    assert_eq!(config.speed, 100_000);
    assert!(nic.poll.is_some());
    assert_eq!(args.log_level, LevelFilter::Info);
}

#[test]
fn everything_set() {
    let nic = "name=n0,socket=/s,mac=02:00:00:00:00:aB,mtu=9000,ipsec=off,x-ipsec=off,port=tap:t0,admin-vq=off,\
               speed=25000,sas=1048576,delete-above=3600,antispoof=on,access-platform=off,packed=on,guest-csum=off,coalescing=off,\
               poll-us=7";
    let args = parse(&[
        "--nic",
        nic,
        "--capture",
        "/c",
        "--control",
        "/k",
        "--fault",
        "n0:tx:corrupt-icv:3",
        "--log-level",
        "debug",
        "--crypto",
        "aws-lc",
    ])
    .unwrap();
    let config = args.nics[0].config(0);
    assert_eq!(config.mac, [2, 0, 0, 0, 0, 0xab]);
    assert_eq!(config.mtu, 9000);
    assert!(!config.ipsec && !config.x_ipsec && !config.admin_vq);
    assert!(!config.access_platform && config.packed && args.nics[0].antispoof);
    assert!(!config.guest_csum && !config.coalescing);
    assert_eq!(config.speed, 25_000);
    assert_eq!(args.nics[0].delete_above, Some(3600));
    assert_eq!(args.nics[0].sas, 1 << 20);
    assert_eq!(args.nics[0].port, Some(PortSpec::Tap("t0".into())));
    assert_eq!(config.poll, Duration::from_micros(7));
    let fault = &args.faults[0];
    assert_eq!(
        fault.request,
        Request::parse(&["tx", "corrupt-icv", "3"]).unwrap()
    );
    assert_eq!(args.crypto, Some(Backend::AwsLc));
}

/// Workers that look for work must not take the processors of the guest.
#[test]
fn workers_look_for_work_where_there_are_processors() {
    let words = [
        "--nic",
        "name=n0,socket=/0,queues=1",
        "--nic",
        "name=n1,socket=/1,queues=3",
    ];
    for (processors, poll) in [(1, 0), (7, 0), (8, 50), (64, 50)] {
        let mut args = parse(&words).unwrap();
        args.nics.iter_mut().for_each(|nic| nic.poll = None);
        args.nics[1].poll = Some(Duration::ZERO);
        args.choose_poll(processors);
        let polls = [0, 1].map(|nic| args.nics[nic].config(0).poll.as_micros());
        assert_eq!(polls, [poll, 0], "{processors} processors");
    }
}

#[test]
fn misbehaviour_from_the_start() {
    let nic = format!("{N0},device-config=off");
    let args = parse(&["--nic", &nic, "--fault", "n0:misbehave:config:mtu:1:9"]).unwrap();
    assert!(!args.nics[0].config(0).device_config);
    let words = ["misbehave", "config", "mtu", "1", "9"];
    assert_eq!(args.faults[0].request, Request::parse(&words).unwrap());
    assert!(parse(&["--nic", N0]).unwrap().nics[0].device_config);
    assert!(parse(&["--nic", N0, "--fault", "n0:misbehave:rx:nothing:1"]).is_err());
}

#[test]
fn wire_option_connects() {
    let args = parse(&["--nic", N0, "--nic", N1, "--wire", "n0,n1"]).unwrap();
    assert!(matches!(&args.nics[0].port, Some(PortSpec::Wire(_))));
    assert_eq!(args.nics[0].port, args.nics[1].port);
}

#[test]
fn ports_are_shown_as_they_are_given() {
    for text in ["wire:w0", "switch:s0", "tap:tap0", "none"] {
        let port: PortSpec = text.parse().unwrap();
        assert_eq!(port.to_string(), text);
    }
}

#[test]
fn wrong_command_lines_say_what_to_do() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "--nic"),
        (&["--nic", "name=n0"], "`socket=PATH` is missing"),
        (&["--nic", "socket=/s"], "`name=NAME` is missing"),
        (&["--nic", "n0"], "`n0` is not KEY=VALUE"),
        (&["--nic", "name=a b,socket=/s"], "is not a name"),
        (
            &["--nic", "name=n0,socket=/s,guest-csum=off"],
            "needs `ipsec=off`",
        ),
        (&["--nic", "name=n0,socket="], "needs a path"),
        (
            &["--nic", "name=n0,socket=/s,colour=red"],
            "unknown key `colour`",
        ),
        (&["--nic", "name=n0,socket=/s,mtu=67"], "is not an MTU"),
        (&["--nic", "name=n0,socket=/s,mtu=65536"], "is not an MTU"),
        (
            &["--nic", "name=n0,socket=/s,poll-us=1001"],
            "microseconds from 0 to 1000",
        ),
        (
            &["--nic", "name=n0,socket=/s,poll-us=-1"],
            "microseconds from 0 to 1000",
        ),
        (
            &["--nic", "name=n0,socket=/s,mac=02:00"],
            "is not a MAC address",
        ),
        (
            &["--nic", "name=n0,socket=/s,mac=02:00:00:00:00:00:00"],
            "is not a MAC address",
        ),
        (
            &["--nic", "name=n0,socket=/s,mac=+2:00:00:00:00:00"],
            "is not a MAC address",
        ),
        (
            &["--nic", "name=n0,socket=/s,mac=01:00:00:00:00:00"],
            "group address",
        ),
        (
            &["--nic", "name=n0,socket=/s,ipsec=yes"],
            "`ipsec` is on or off",
        ),
        (
            &["--nic", "name=n0,socket=/s,port=lan"],
            "wire:NAME, switch:NAME, tap:IFNAME or none",
        ),
        (
            &["--nic", "name=n0,socket=/s,port=tap:a-very-long-interface"],
            "cannot name",
        ),
        (&["--nic", "name=n0,socket=/s,name=n1"], "given twice"),
        (&["--nic", N0, "--nic", N0], "two NICs are named"),
        (
            &["--nic", N0, "--nic", "name=n1,socket=/tmp/n0"],
            "used twice",
        ),
        (
            &[
                "--nic",
                N0,
                "--nic",
                "name=n1,socket=/s,mac=02:00:00:00:00:10",
            ],
            "two NICs have the MAC address 02:00:00:00:00:10",
        ),
        (&["--nic", N0, "--control", "/tmp/n0"], "used twice"),
        (&["--nic", N0, "--wire", "n0"], "at least two"),
        (
            &["--nic", N0, "--wire", "n0,n9"],
            "`n9`, which no --nic has",
        ),
        (
            &[
                "--nic",
                "name=n0,socket=/s,port=none",
                "--nic",
                N1,
                "--wire",
                "n0,n1",
            ],
            "already has",
        ),
        (
            &["--nic", N0, "--fault", "n1:tx:corrupt-icv:1"],
            "which no --nic has",
        ),
        (
            &["--nic", N0, "--fault", "n0:up:corrupt-icv:1"],
            "not a direction",
        ),
        (
            &["--nic", N0, "--fault", "n0:tx:melt:1"],
            "not a fault of frames",
        ),
        (
            &["--nic", N0, "--fault", "n0:tx:corrupt-icv:-1"],
            "not a number",
        ),
        (&["--nic", N0, "--fault", "n0:tx"], "say fault NIC with"),
        (&["--nic", N0, "--fault", "n0"], "not NIC:FAULT"),
        (&["--nic", "name=n0,socket=s,queues=0"], "from 1 to 8"),
        (&["--nic", "name=n0,socket=s,queues=9"], "from 1 to 8"),
        (
            &["--nic", "name=n0,socket=s,delete-above=few"],
            "not a number",
        ),
        (&["--nic", "name=n0,socket=s,sas=0"], "from 1 to 1048576"),
        (
            &["--nic", "name=n0,socket=s,sas=1048577"],
            "from 1 to 1048576",
        ),
        (&["--nic", "name=n0,socket=s,speed=0"], "is not a speed"),
        (
            &["--nic", "name=n0,socket=s,speed=2147483648"],
            "is not a speed",
        ),
        (&["--nic", N0, "--log-level", "loud"], "--log-level"),
        (&["--nic", N0, "--crypto", "rot13"], "--crypto"),
        (&["--nic", N0, "stray"], "stray"),
    ];
    for (words, message) in cases {
        let error = parse(words).expect_err(&format!("{words:?} was accepted"));
        assert!(error.contains(message), "{words:?}: {error}");
    }
}

#[test]
fn capture_limits() {
    let limits = |words: &[&str]| {
        parse(&[&["--nic", N0, "--capture", "c"], words].concat())
            .map(|args| (args.capture_limit.0, args.capture_snaplen))
    };
    assert_eq!(limits(&[]), Ok((Some(4 << 30), None)));
    for (text, size) in [
        ("none", None),
        ("1", Some(1)),
        ("3K", Some(3 << 10)),
        ("500M", Some(500 << 20)),
        ("2T", Some(2 << 40)),
    ] {
        assert_eq!(limits(&["--capture-limit", text]), Ok((size, None)));
    }
    for text in [
        "",
        "0",
        "0G",
        "G",
        "1g",
        "-1",
        "1.5G",
        "99999999999T",
        "\u{e9}",
    ] {
        let error = limits(&[&format!("--capture-limit={text}")]).unwrap_err();
        assert!(error.contains("is not a size"), "{text}: {error}");
    }
    let cut = limits(&["--capture-snaplen", "96"]);
    assert_eq!(cut.map(|(_, cut)| cut), Ok(Some(96)));
    assert!(limits(&["--capture-snaplen", "0"]).is_err());
    assert!(parse(&["--nic", N0, "--capture-snaplen", "96"]).is_err());
}
