// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NICs of the program through vfio-user, as QEMU sees them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::OpenOptions;
use std::process;
use std::time::{Duration, Instant};

use espnic_device::pci;
use espnic_device::testing;
use espnic_device::transport::Region;
use espnic_wire::admin::Command;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use espnic_wire::sa;
use support::driver::{self, Driver, CTRL, TX};
use support::remote::{ask, Daemon, Remote};
use support::{packets, sas};
use vmm_sys_util::tempdir::TempDir;
use zerocopy::IntoBytes;

fn connect(daemon: &Daemon, name: &str) -> Driver {
    Driver::remote(Box::new(Remote::connect(&daemon.path(name))))
}

fn exchange(a: &mut Driver, b: &mut Driver) {
    b.post_rx(2048);
    b.notify(driver::RX);
    a.send(&NetHdr48::default(), &packets::udp(77));
    assert_eq!(b.receive().unwrap().1, packets::udp(77));
}

#[test]
fn regions_are_those_of_the_function() {
    let daemon = Daemon::start();
    let driver = connect(&daemon, "n0");
    assert_eq!(
        driver.function.region_len(Region::Bar(0)),
        u64::from(pci::BAR_VIRTIO_LEN)
    );
    assert_eq!(
        driver.function.region_len(Region::Bar(1)),
        u64::from(pci::BAR_MSIX_LEN)
    );
    assert_eq!(
        driver.function.region_len(Region::Config),
        pci::CONFIG_LEN as u64
    );
    for bar in 2..6 {
        assert_eq!(driver.function.region_len(Region::Bar(bar)), 0);
    }
}

#[test]
fn frames_and_interrupts_pass_through_the_process() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (connect(&daemon, "n0"), connect(&daemon, "n1"));
    let features = driver::plain() & !mask(feature::EVENT_IDX);
    a.start(features);
    b.start(features);
    for _ in 0..10 {
        exchange(&mut a, &mut b);
        exchange(&mut b, &mut a);
    }
    // The used entry is visible before the interrupt comes.
    let arrived = |driver: &Driver| {
        (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            driver.events(TX + 1) > 0
        })
    };
    assert!(arrived(&a) && arrived(&b));
    a.clear_events();
    // A vector whose descriptor was taken away is silent; the others are not.
    a.function.set_vector(u32::from(TX) + 1, None);
    exchange(&mut a, &mut b);
    exchange(&mut b, &mut a);
    assert_eq!(a.events(TX + 1), 0);
    a.function.clear_vectors();
    exchange(&mut a, &mut b);
    let stats = ask(&mut daemon.connect(), "stats n0");
    assert_eq!(stats["nics"]["n0"]["virtio"]["tx_frames"], 12);
    assert_eq!(stats["nics"]["n0"]["port"]["rx_frames"], 11);
}

#[test]
fn a_capture_that_fails_is_told() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.as_path().join("wire.pcapng");
    assert!(process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap()
        .success());
    let reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    let mut daemon = Daemon::start_in(dir);
    let (mut a, mut b) = (connect(&daemon, "n0"), connect(&daemon, "n1"));
    a.start(driver::plain());
    b.start(driver::plain());
    exchange(&mut a, &mut b);
    let mut control = daemon.connect();
    assert_eq!(ask(&mut control, "capture flush")["ok"], true);
    // Nobody reads any more; the frames still pass.  Where another test starts a program, its copy of the
    // reader lives on for a moment.
    drop(reader);
    let failed = (0..1000).any(|_| {
        exchange(&mut a, &mut b);
        ask(&mut control, "capture flush")["ok"] == false
    });
    assert!(failed);
    exchange(&mut a, &mut b);
    let reply = ask(&mut control, "capture flush");
    assert_eq!(reply["ok"], false);
    assert!(reply["error"].as_str().unwrap().contains("not complete"));
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), 1);
}

#[test]
fn a_guest_cannot_flood_the_log() {
    let mut daemon = Daemon::start();
    let mut driver = connect(&daemon, "n0");
    assert!(driver.negotiate(driver::plain()));
    let start = Instant::now();
    for _ in 0..300 {
        driver.enable_nowhere(TX);
    }
    let stats = ask(&mut daemon.connect(), "stats n0");
    assert_eq!(stats["nics"]["n0"]["virtio"]["ring_invalid"], 300);
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), 0);
    let log = daemon.log.lock().unwrap();
    let warnings = log
        .iter()
        .filter(|line| line.contains("driver error"))
        .count();
    assert!((1..=1 + start.elapsed().as_secs() as usize).contains(&warnings));
    let others = |line: &&String| line.contains("virtio_queue");
    assert_eq!(log.iter().find(others), None);
}

#[test]
fn reset_and_memory_that_comes_and_goes() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (connect(&daemon, "n0"), connect(&daemon, "n1"));
    a.start(driver::plain());
    b.start(driver::plain());
    exchange(&mut a, &mut b);
    a.function.reset();
    a.power_on();
    assert_eq!(a.status(), 0);
    a.start(driver::plain());
    exchange(&mut a, &mut b);
    a.function
        .dma_unmap(support::MEM_START, support::MAP_BORDER - support::MEM_START);
    a.function
        .dma_unmap(support::MAP_BORDER, support::MEM_END - support::MAP_BORDER);
    a.memory = support::Memory::new();
    a.memory.attach(&mut *a.function);
    a.start(driver::plain());
    exchange(&mut a, &mut b);
}

#[test]
fn one_client_after_the_other() {
    let daemon = Daemon::start();
    let mut b = connect(&daemon, "n1");
    b.start(driver::plain());
    for _ in 0..3 {
        let mut a = connect(&daemon, "n0");
        assert_eq!(a.status(), 0);
        a.start(driver::plain());
        exchange(&mut a, &mut b);
        exchange(&mut b, &mut a);
    }
}

#[test]
fn a_client_that_speaks_nonsense_is_cut_off_and_the_next_one_is_served() {
    use std::io::{Read, Write};
    let daemon = Daemon::start();
    for message in [
        // A version message that is shorter than its header says it must be.
        &[0, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        // One whose text does not end.
        &[
            0, 0, 1, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'{', b'}',
        ],
        &[0xff; 16],
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.path("n0")).unwrap();
        stream.write_all(message).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let (mut a, mut b) = (connect(&daemon, "n0"), connect(&daemon, "n1"));
    a.start(driver::plain());
    b.start(driver::plain());
    exchange(&mut a, &mut b);
}

/// The host bridges the two TAP interfaces, so that frames go through its network stack.
#[test]
fn frames_pass_through_tap_interfaces() {
    let daemon = Daemon::start_with_taps();
    for args in [
        &["link", "add", "bridge", "type", "bridge"][..],
        &["link", "set", "t0", "master", "bridge"],
        &["link", "set", "t1", "master", "bridge"],
        &["link", "set", "bridge", "up"],
    ] {
        daemon.in_namespace(&[&["ip"], args].concat());
    }
    let (mut a, mut b) = (connect(&daemon, "n0"), connect(&daemon, "n1"));
    for driver in [&mut a, &mut b] {
        driver.start(driver::plain());
        for _ in 0..8 {
            driver.post_rx(2048);
        }
        driver.notify(driver::RX);
    }
    // Not IP, which the host's filters may look into. The bridge may take its time to forward, and
    // it has frames of its own.
    b.patience = Duration::from_millis(100);
    let mut frame = packets::udp(1000);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let mut received = || {
        a.send(&NetHdr48::default(), &frame);
        while let Some((_, other)) = b.receive() {
            b.post_rx(2048);
            b.notify(driver::RX);
            if other == frame {
                return true;
            }
        }
        false
    };
    assert!((0..100).any(|_| received()));
    let stats = ask(&mut daemon.connect(), "stats");
    assert_eq!(stats["nics"]["n0"]["link"], true);
    assert!(stats["nics"]["n0"]["port"]["tx_frames"].as_u64() > Some(0));
    assert!(stats["nics"]["n1"]["port"]["rx_frames"].as_u64() > Some(0));
}

#[test]
fn a_deleted_tap_interface_takes_the_link_with_it_and_comes_back() {
    let daemon = Daemon::start_with_taps();
    let mut a = connect(&daemon, "n0");
    a.start(driver::plain());
    let mut control = daemon.connect();
    let mut link = || ask(&mut control, "stats n0")["nics"]["n0"]["link"] == true;
    assert!(link());
    daemon.in_namespace(&["ip", "link", "del", "t0"]);
    // Down, and up again: the driver is told of both.
    let mut told = 0;
    let end = Instant::now() + Duration::from_secs(60);
    while told < 2 && Instant::now() < end {
        told += a.events(0);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((told, link()), (2, true));
    daemon.in_namespace(&["ip", "link", "set", "t0", "up"]);
}

/// Guests, memory, keys and random numbers come after the process has given up most system calls.
/// The effective capabilities of a process, as a mask of their numbers.
fn capabilities(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

#[test]
fn privileges_are_dropped() {
    // Numbers of <linux/capability.h>.
    const DAC_OVERRIDE: u64 = 1 << 1;
    const NET_ADMIN: u64 = 1 << 12;
    const IPC_LOCK: u64 = 1 << 14;
    let own = capabilities(process::id());
    let of = |daemon: &Daemon| capabilities(daemon.pid());
    assert_eq!(of(&Daemon::start()), own & (DAC_OVERRIDE | IPC_LOCK));
    let taps = DAC_OVERRIDE | IPC_LOCK | NET_ADMIN;
    assert_eq!(of(&Daemon::start_with_taps()), own & taps);
}

#[test]
fn sas_and_new_peers_work_in_the_sandbox() {
    let daemon = Daemon::start();
    for round in 1..=3 {
        let mut a = Driver::remote(Box::new(Remote::connect(&daemon.path("n0"))));
        a.start_queues(driver::ipsec(), 3);
        sas::set_up(&mut a, CTRL);
        let mut object = testing::object(sa::OBJ_OUTB_SA);
        object.tail.iv_mode = sa::IV_DEVICE;
        let create = Command::ObjCreate {
            obj_type: sa::OBJ_OUTB_SA,
            id: 3,
            object: object.as_bytes(),
        };
        sas::done(&mut a, CTRL, create);
        let (hdr, frame) = sas::esp(3, &sas::clear_payload());
        a.send(&hdr, &frame);
        let mut control = daemon.connect();
        assert_eq!(ask(&mut control, "capture flush")["ok"], true);
        let stats = ask(&mut control, "stats n0");
        assert_eq!(stats["nics"]["n0"]["ipsec"]["ipsec_tx_packets"], round);
    }
}
