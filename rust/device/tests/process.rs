// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program as a user meets it: command line, start-up errors, control socket, end.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use espnic_device::transport::{Function, Region};
use serde_json::json;
use support::remote::{ask, read_reply, Daemon, Remote, PROGRAM};
use vmm_sys_util::tempdir::TempDir;

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for word in [
        "--nic",
        "--capture",
        "--control",
        "--fault",
        "wire:NAME",
        "tap:IFNAME",
        "vfio-user-pci",
    ] {
        assert!(text.contains(word), "{word}");
    }
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8(version.stdout)
        .unwrap()
        .contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_command_lines_end_with_status_2() {
    for args in [
        &[][..],
        &["--nic", "name=n0"],
        &["--nic", "name=n0,socket=/tmp/x", "--wire", "n0,n7"],
        &["--frobnicate"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("error:"), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    let no_text = OsStr::from_bytes(b"--log-level=\xff");
    for args in [&[no_text][..], &["ctl".as_ref(), no_text]] {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("error:"), "{args:?}");
    }
}

#[test]
fn start_up_errors_name_what_to_do() {
    let dir = TempDir::new().unwrap();
    let file = dir.as_path().join("file");
    std::fs::write(&file, "x").unwrap();
    let live = dir.as_path().join("live");
    let _listener = UnixListener::bind(&live).unwrap();
    let free = dir.as_path().join("free");
    let nic = |path: &Path| format!("name=n0,socket={}", path.display());
    let capture = dir.as_path().join("no/such/dir/c.pcapng");
    let cases: &[(&[&str], &str)] = &[
        (&["--nic", &nic(&file)], "remove it or name another path"),
        (&["--nic", &nic(&live)], "stop it or name another path"),
        (
            &[
                "--nic",
                &nic(&free),
                "--control",
                &file.display().to_string(),
            ],
            "remove it",
        ),
        (
            &[
                "--nic",
                &nic(&free),
                "--capture",
                &capture.display().to_string(),
            ],
            "capture file",
        ),
    ];
    for (args, message) in cases {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            stderr(&output).contains(message),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(!free.exists(), "sockets are removed: {args:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
    assert!(live.exists());
}

#[test]
fn a_second_start_leaves_the_capture_alone() {
    let daemon = Daemon::start();
    let capture = daemon.path("wire.pcapng");
    let mut content = std::fs::read(&capture).unwrap();
    content.extend(b"frames");
    std::fs::write(&capture, &content).unwrap();
    let second = Command::new(PROGRAM)
        .current_dir(daemon.dir.as_path())
        .args(["--nic", "name=n0,socket=n0", "--capture", "wire.pcapng"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("in use by another process"));
    assert!(std::fs::read(&capture).unwrap() == content);
}

#[test]
fn signals_end_it_cleanly() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut daemon = Daemon::start_with("env", &["--default-signal=HUP"]);
        for name in ["n0", "n1", "control", "wire.pcapng"] {
            assert!(daemon.path(name).exists(), "{name}");
        }
        let _open = daemon.connect();
        daemon.signal(signal);
        assert_eq!(daemon.wait(), 0);
        for name in ["n0", "n1", "control"] {
            assert!(!daemon.path(name).exists(), "{name}");
        }
        assert!(daemon.path("wire.pcapng").exists());
    }
}

#[test]
fn nohup_is_respected() {
    let mut daemon = Daemon::start_with("env", &["--ignore-signal=HUP"]);
    daemon.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ask(&mut daemon.connect(), "stats")["ok"], true);
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), 0);
}

/// A capture without a reader blocks the start for ever.
#[test]
fn the_second_signal_ends_a_blocked_process() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.as_path().join(name).display().to_string();
    let fifo = path("fifo");
    assert!(Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap()
        .success());
    let socket = path("n0");
    let mut blocked = Command::new(PROGRAM)
        .args([
            "--nic",
            &format!("name=n0,socket={socket}"),
            "--capture",
            &fifo,
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !Path::new(&socket).exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = blocked.id().to_string();
    let mut signals = 0;
    while blocked.try_wait().unwrap().is_none() && Instant::now() < end {
        signals += 1;
        Command::new("kill").arg(&pid).status().unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    let _ = blocked.kill();
    assert_eq!(blocked.wait().unwrap().signal(), Some(15));
    assert!(signals > 1);
}

#[test]
fn a_killed_process_leaves_sockets_that_the_next_one_replaces() {
    let mut daemon = Daemon::start();
    daemon.signal("KILL");
    daemon.child.wait().unwrap();
    assert!(daemon.path("n0").exists());
    let mut next = Command::new(PROGRAM)
        .current_dir(daemon.dir.as_path())
        .args(["--nic", "name=n0,socket=n0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(next.stderr.take().unwrap());
    assert!(log.lines().any(|line| line.unwrap().ends_with("ready")));
    next.kill().unwrap();
    next.wait().unwrap();
}

#[test]
fn the_control_socket_answers_several_connections() {
    let daemon = Daemon::start();
    let (mut one, mut two) = (daemon.connect(), daemon.connect());
    let stats = ask(&mut one, "stats");
    assert_eq!(stats["ok"], true);
    assert_eq!(stats["nics"].as_object().unwrap().len(), 2);
    assert_eq!(stats["nics"]["n1"]["link"], true);
    assert_eq!(stats["nics"]["n1"]["mac"], "02:00:00:00:00:11");
    assert_eq!(stats["nics"]["n1"]["speed"], 100_000);
    assert_eq!(stats["nics"]["n1"]["port"]["tx_frames"], 0);
    assert_eq!(stats["nics"]["n1"]["virtio"]["needs_reset"], 0);
    assert_eq!(stats["nics"]["n1"]["ipsec"]["ipsec_tx_packets"], 0);
    assert_eq!(stats["capture"], json!({ "frames": 0, "lost": 0 }));
    let stats = ask(&mut two, "stats n0");
    assert_eq!(
        stats["nics"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["n0"]
    );
    for request in [
        "fault n0 tx corrupt-icv 3",
        "fault n1 rx corrupt-payload 4294967295",
        "fault n0 tx corrupt-icv 0",
        "fault n0 clear",
        "fault n1 rx drop 3 every 2",
        "fault n1 delay 10 3",
        "fault n0 misbehave rx num-buffers 3",
        "fault n0 misbehave ctrl late 50 3",
        "fault n0 clear",
        "link n0 down",
        "speed n0 2500",
        "link n0 up",
        "reset n1",
        "capture flush",
        "  capture   flush\r",
    ] {
        assert_eq!(ask(&mut one, request), json!({ "ok": true }), "{request}");
    }
    let misbehaviour = &ask(&mut two, "stats n0")["nics"]["n0"]["misbehaviour"];
    assert_eq!(misbehaviour["rx num-buffers"], 0);
    let help = ask(&mut two, "help");
    assert!(help["requests"].as_array().unwrap().len() >= 5);
    assert!(help["misbehaviours"].as_array().unwrap().len() >= 5);
}

#[test]
fn idle_connections_are_limited() {
    let daemon = Daemon::start();
    let mut open: Vec<_> = (0..64).map(|_| daemon.connect()).collect();
    for connection in &mut open {
        assert_eq!(ask(connection, "capture flush")["ok"], true);
    }
    let refusal = json!({ "ok": false, "error": "too many connections" });
    assert_eq!(read_reply(&mut daemon.connect()), refusal);
    let control = daemon.path("control").display().to_string();
    let output = run(&["ctl", "--control", &control, "capture", "flush"]);
    assert_eq!(output.status.code(), Some(1));
    let reply: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reply, refusal);
    assert_eq!(ask(&mut open[63], "capture flush")["ok"], true);
    drop(open);
    let free = || {
        run(&["ctl", "--control", &control, "help"])
            .status
            .success()
    };
    assert!((0..1000).any(|_| free()));
}

/// Idle connections can use up the descriptors; that must not be the end of every guest's NIC.
#[test]
fn the_process_survives_a_lack_of_descriptors() {
    const MOMENT: Duration = Duration::from_millis(300);
    let limited = "ulimit -n 48; exec \"$@\"";
    let daemon = Daemon::start_with("sh", &["-c", limited, "sh"]);
    let client = Remote::connect(&daemon.path("n0"));
    let mut open: Vec<_> = (0..60).map(|_| daemon.connect()).collect();
    assert_eq!(ask(&mut open[0], "stats")["ok"], true);
    std::thread::sleep(MOMENT);
    // The NIC wants to accept another client, for which there is nothing left, either.
    drop(client);
    std::thread::sleep(MOMENT);
    assert_eq!(ask(&mut open[0], "stats")["ok"], true);
    drop(open);
    assert_eq!(ask(&mut daemon.connect(), "stats")["ok"], true);
    let mut vendor = [0; 2];
    Remote::connect(&daemon.path("n0")).read(Region::Config, 0, &mut vendor);
    assert_eq!(vendor, [0xf4, 0x1a]);
}

#[test]
fn ctl_sends_requests() {
    let daemon = Daemon::start();
    let control = daemon.path("control").display().to_string();
    let ctl = |words: &[&str]| run(&[&["ctl", "--control", &control], words].concat());
    let output = ctl(&["stats", "n1"]);
    assert_eq!(output.status.code(), Some(0));
    let reply: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&reply["ok"], &reply["nics"]["n1"]["link"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        reply["nics"]["n1"]["queues"],
        json!({ "max": 2, "active": 1 })
    );
    for words in [
        "fault n0 tx drop 3 every 5",
        "fault n0 tx corrupt-padding 3",
        "fault n0 sa-limit 3",
        "fault n0 refuse-algorithm aes-gcm",
        "fault n0 sa-delete-request 1",
        "delete-above n0 8",
        "delete-above n0 none",
        "link n0 down",
    ] {
        let output = ctl(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{words}");
        assert_eq!(output.stdout, b"{\"ok\":true}\n");
    }
    let down = ctl(&["stats", "n0"]);
    let reply: serde_json::Value = serde_json::from_slice(&down.stdout).unwrap();
    assert_eq!(reply["nics"]["n0"]["link"], false);
    let output = ctl(&["fault", "n0", "tx", "drop", "-1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout)
        .unwrap()
        .contains("not a number"));
    for words in [
        ["delete-above", "n0", "few"],
        ["delete-above", "n9", "1"],
        ["speed", "n0", "0"],
        ["speed", "n9", "1"],
        // Its link is up.
        ["speed", "n1", "1000"],
    ] {
        assert_eq!(ctl(&words).status.code(), Some(1), "{words:?}");
    }
    // Wrong command lines, and no process that listens.
    assert_eq!(ctl(&[]).status.code(), Some(2));
    assert_eq!(run(&["ctl", "stats"]).status.code(), Some(2));
    let help = run(&["ctl", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout)
        .unwrap()
        .contains("Usage: espnic-device ctl --control"));
    let nobody = run(&["ctl", "--control", "/nonexistent/control", "stats"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("nobody listens at"));
}

#[test]
fn bad_requests_are_answered() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    for (request, message) in [
        ("", "say help"),
        ("reboot", "say help"),
        ("stats n7", "use one of n0, n1"),
        ("stats n0 n1", "say help"),
        ("fault n0", "fault NIC"),
        ("fault n9 clear", "use one of"),
        ("fault n0 tx corrupt-icv", "fault NIC"),
        ("fault n0 tx corrupt-icv -1", "not a number"),
        ("fault n0 tx corrupt-icv 4294967296", "not a number"),
        ("fault n0 up corrupt-icv 1", "say tx or rx"),
        ("fault n0 tx explode 1", "say tx|rx drop"),
        ("link n0", "say help"),
        ("link n0 sideways", "say help"),
        ("reset n9", "use one of"),
        ("capture start", "say help"),
    ] {
        let reply = ask(&mut connection, request);
        assert_eq!(reply["ok"], false, "{request}");
        assert!(
            reply["error"].as_str().unwrap().contains(message),
            "{request}: {reply}"
        );
    }
    connection.get_mut().write_all(b"\xff\xfe\n").unwrap();
    assert_eq!(read_reply(&mut connection)["ok"], false);
    connection.get_mut().write_all(&[b'x'; 5000]).unwrap();
    assert!(read_reply(&mut connection)["error"]
        .as_str()
        .unwrap()
        .contains("too long"));
    // The connection is closed then; others go on.
    assert_eq!(ask(&mut daemon.connect(), "capture flush")["ok"], true);
}

/// Keys and packets of guests are in its memory.
#[test]
fn a_crash_leaves_no_core_dump() {
    let unlimited = "ulimit -c unlimited; exec \"$@\"";
    let mut daemon = Daemon::start_with("sh", &["-c", unlimited, "sh"]);
    daemon.signal("ABRT");
    let status = daemon.child.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

/// The values of a line of /proc/PID/status of all threads of a process.
fn thread_status(pid: u32, name: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    threads
        .map(|thread| {
            value(std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap())
        })
        .collect()
}

#[test]
fn it_gives_up_what_it_does_not_need() {
    let mut daemon = Daemon::start();
    let _open = daemon.connect();
    let pid = daemon.child.id();
    let (filtered, stuck) = (
        thread_status(pid, "Seccomp:"),
        thread_status(pid, "NoNewPrivs:"),
    );
    // Two workers, two transports, control, capture, signals, and the first thread.
    assert!(filtered.len() >= 8);
    assert!(filtered.iter().all(|mode| mode == "2"), "{filtered:?}");
    assert!(stuck.iter().all(|flag| flag == "1"), "{stuck:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), 0);
    assert!(!daemon.path("n0").exists());
}

#[test]
fn it_keeps_everything_if_told_so() {
    let dir = TempDir::new().unwrap();
    let mut daemon = Command::new(PROGRAM)
        .current_dir(dir.as_path())
        .args(["--nic", "name=n0,socket=n0", "--no-sandbox"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(daemon.stderr.take().unwrap());
    assert!(log.lines().any(|line| line.unwrap().ends_with("ready")));
    let modes = thread_status(daemon.id(), "Seccomp:");
    let own = thread_status(std::process::id(), "Seccomp:");
    assert!(modes.iter().all(|mode| *mode == own[0]), "{modes:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
