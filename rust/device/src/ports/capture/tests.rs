// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::time::Instant;
use vmm_sys_util::tempdir::TempDir;

/// Interface, length on the wire and bytes of every frame of a file.
fn frames(path: &Path) -> Vec<(u32, u32, Vec<u8>)> {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            let data = packet.data.to_vec();
            frames.push((packet.interface_id, packet.original_len, data));
        }
    }
    frames
}

#[test]
fn the_file_reads_back() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("c.pcapng");
    let capture = Capture::create(&path, &["n0", "n1"], Limits::default()).unwrap();
    let before = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    capture.write(1, [&[0xab; 61][..]]);
    capture.write(0, [&[0xcd; 1514][..]]);
    capture.flush().unwrap();

    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            packets.push(packet.into_owned());
        }
    }
    let names: Vec<_> = reader
        .interfaces()
        .iter()
        .map(|interface| match &interface.options[0] {
            InterfaceDescriptionOption::IfName(name) => name.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["n0", "n1"]);
    let seen: Vec<_> = packets
        .iter()
        .map(|p| (p.interface_id, p.data.len()))
        .collect();
    assert_eq!(seen, [(1, 61), (0, 1514)]);
    assert_eq!(packets[0].data[..], [0xab; 61]);
    let age = packets[0].timestamp.saturating_sub(before);
    assert!(packets[0].timestamp >= before && age < Duration::from_secs(60));
    assert_eq!((capture.frames(), capture.lost()), (2, 0));
}

#[test]
fn a_directory_is_no_file() {
    let dir = TempDir::new().unwrap();
    assert!(Capture::create(dir.as_path(), &["n0"], Limits::default()).is_err());
}

#[test]
fn the_file_keeps_its_limit() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("c.pcapng");
    let limits = Limits {
        file: Some(10_000),
        frame: None,
    };
    let capture = Capture::create(&path, &["n0"], limits).unwrap();
    for number in 0..100 {
        capture.write(0, [&[number; 1001][..]]);
    }
    let error = capture.flush().unwrap_err().to_string();
    assert!(error.contains("limit of 10000 bytes"), "{error}");
    // What comes later may be small; it is not in the file, either.
    capture.write(0, [&[0; 60][..]]);
    assert!(capture.flush().is_err());
    let size = std::fs::metadata(&path).unwrap().len();
    assert!((8_900..=10_000).contains(&size), "{size}");
    let kept = frames(&path);
    assert_eq!(kept.len(), 9);
    assert!((0..).zip(&kept).all(|(n, frame)| frame.2 == [n; 1001]));
    assert_eq!((capture.frames(), capture.lost()), (9, 92));
}

#[test]
fn long_frames_are_cut() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("c.pcapng");
    let limits = Limits {
        file: None,
        frame: Some(64),
    };
    let capture = Capture::create(&path, &["n0"], limits).unwrap();
    capture.write(0, [&[1; 1514][..], &[2; 60], &[3; 64]]);
    capture.flush().unwrap();
    let expected = [
        (0, 1514, vec![1; 64]),
        (0, 60, vec![2; 60]),
        (0, 64, vec![3; 64]),
    ];
    assert_eq!(frames(&path), expected);
}

/// A pipe without a reader stands for a disk that has come to a standstill.
#[test]
fn nobody_waits_for_a_slow_disk() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let mut reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let capture = Capture::create(&path, &["n0"], Limits::default()).unwrap();
    let frame = vec![0; 1 << 20];
    let start = Instant::now();
    let written = 2 * QUEUE / frame.len();
    for _ in 0..written {
        capture.write(0, [frame.as_slice()]);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let lost = capture.lost();
    assert!(
        (written as u64 / 4..written as u64).contains(&lost),
        "{lost}"
    );
    assert_eq!(capture.frames() + lost, written as u64);
    // The disk recovers; that frames are missing is not forgotten.
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while reader.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
    let error = capture.flush().unwrap_err().to_string();
    assert!(
        error.contains(&format!("{lost} frames are missing")),
        "{error}"
    );
}
