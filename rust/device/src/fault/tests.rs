// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::request::Request;
use super::*;
use crate::ipsec::faults::Algorithm;

/// Ethernet, IPv4 with protocol 50 and 40 bytes of ESP, 6 bytes of Ethernet padding.
fn esp(number: u8) -> Vec<u8> {
    let mut frame = vec![0; 14];
    frame[12..].copy_from_slice(&[0x08, 0x00]);
    frame.extend([
        0x45, 0, 0, 60, 0, 0, 0, 0, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend([0, 0, 0x10, 0, 0, 0, 0, number]);
    frame.extend([0; 38]);
    frame
}

/// The sequence number that [`esp`] gave the frame, or 0 for another protocol.
fn number(frame: &[u8]) -> u8 {
    match frame[23] {
        50 => frame[14 + 20 + 7],
        _ => 0,
    }
}

fn udp() -> Vec<u8> {
    let mut frame = esp(0);
    frame[23] = 17;
    frame
}

fn set(faults: &Faults, words: &str) {
    let words: Vec<_> = words.split(' ').collect();
    match Request::parse(&words).unwrap() {
        Request::Frames(fault) => faults.set(&fault),
        other => panic!("{other:?}"),
    }
}

/// Sends the frames with these numbers at once; the numbers that come out, and the count of faults.
fn pass(faults: &Faults, numbers: &[u8]) -> (Vec<u8>, u64) {
    let mut frames = Frames::default();
    for &number in numbers {
        frames.push(if number == 0 { udp() } else { esp(number) });
    }
    let told = faults.apply(Direction::Tx, &mut frames).faults;
    (frames.iter().map(|frame| number(frame)).collect(), told)
}

fn damaged(faults: &Faults, direction: Direction) -> Option<usize> {
    let mut frames = Frames::default();
    frames.push(esp(1));
    let told = faults.apply(direction, &mut frames).faults;
    let frame = frames.drain().next().unwrap();
    let at = frame.iter().zip(esp(1)).position(|(a, b)| *a != b);
    assert_eq!(told == 1, at.is_some());
    at
}

#[test]
fn damage_counts_down_per_direction() {
    let faults = Faults::default();
    set(&faults, "tx corrupt-icv 2");
    assert_eq!(damaged(&faults, Direction::Rx), None);
    assert_eq!(damaged(&faults, Direction::Tx), Some(14 + 60 - 1));
    assert_eq!(damaged(&faults, Direction::Tx), Some(14 + 60 - 1));
    assert_eq!(damaged(&faults, Direction::Tx), None);
    set(&faults, "rx corrupt-payload 5");
    assert_eq!(damaged(&faults, Direction::Rx), Some(14 + 20 + 16));
    faults.clear();
    assert_eq!(damaged(&faults, Direction::Rx), None);
    assert!(!faults.rx.active.load(Ordering::Relaxed));
}

#[test]
fn other_frames_are_left_alone() {
    let faults = Faults::default();
    set(&faults, "tx drop 1");
    assert_eq!(pass(&faults, &[0, 0]), (vec![0, 0], 0));
    let mut short = Frames::default();
    short.push(vec![0; 10]);
    assert_eq!(faults.apply(Direction::Tx, &mut short).faults, 0);
    assert_eq!(pass(&faults, &[0, 1, 2]), (vec![0, 2], 1));
}

#[test]
fn every_nth_frame_is_hit() {
    let faults = Faults::default();
    set(&faults, "tx drop 2 every 3");
    let (out, told) = pass(&faults, &[1, 2, 0, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((out, told), (vec![1, 2, 0, 4, 5, 7, 8, 9], 2));
    // A new request takes the place of the old one, also in its count.
    set(&faults, "tx drop 1 every 2");
    set(&faults, "tx drop 1");
    assert_eq!(pass(&faults, &[1, 2]), (vec![2], 1));
    set(&faults, "tx drop 9");
    set(&faults, "tx drop 0");
    assert_eq!(pass(&faults, &[1]), (vec![1], 0));
}

#[test]
fn frames_come_twice() {
    let faults = Faults::default();
    set(&faults, "tx duplicate 2 every 2");
    let (out, told) = pass(&faults, &[1, 2, 3, 4, 5]);
    assert_eq!((out, told), (vec![1, 2, 2, 3, 4, 4, 5], 2));
}

#[test]
fn frames_are_overtaken() {
    let faults = Faults::default();
    set(&faults, "tx reorder 2");
    let (out, told) = pass(&faults, &[1, 0, 2, 3]);
    assert_eq!((out, told), (vec![0, 2, 1], 2));
    assert_eq!(pass(&faults, &[4, 5]), (vec![4, 3, 5], 0));
    // Nothing comes to overtake.
    set(&faults, "tx reorder 1");
    assert_eq!(pass(&faults, &[6]), (vec![], 1));
    let due = faults.next_due().unwrap();
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    assert_eq!(pass(&faults, &[]), (vec![6], 0));
    assert_eq!(faults.next_due(), None);
    assert!(!faults.tx.active.load(Ordering::Relaxed));
}

#[test]
fn frames_come_later() {
    let faults = Faults::default();
    set(&faults, "delay 30 2 every 2");
    let start = Instant::now();
    assert_eq!(pass(&faults, &[1, 2, 3, 4]), (vec![1, 3], 2));
    let due = faults.next_due().unwrap();
    assert!(due >= start + Duration::from_millis(30));
    std::thread::sleep(due.saturating_duration_since(Instant::now()) + Duration::from_millis(5));
    assert_eq!(pass(&faults, &[5]), (vec![5, 2, 4], 0));
    // What is held back when the faults end still comes; what the driver has reset away does not.
    set(&faults, "tx delay 1 1");
    assert!(pass(&faults, &[6]).0.is_empty());
    faults.clear();
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(pass(&faults, &[]).0, [6]);
    set(&faults, "tx delay 1 1");
    pass(&faults, &[7]);
    faults.discard();
    std::thread::sleep(Duration::from_millis(2));
    assert!(pass(&faults, &[]).0.is_empty());
}

#[test]
fn several_faults_at_once() {
    let faults = Faults::default();
    set(&faults, "tx corrupt-icv 1");
    set(&faults, "tx corrupt-payload 1");
    set(&faults, "tx duplicate 1");
    let mut frames = Frames::default();
    frames.push(esp(1));
    assert_eq!(faults.apply(Direction::Tx, &mut frames).faults, 3);
    assert_eq!(frames.len(), 2);
    for frame in frames.iter() {
        let differ = frame.iter().zip(esp(1)).filter(|(a, b)| *a != b).count();
        assert_eq!(differ, 2);
    }
}

#[test]
fn a_bad_length_is_consistent_outside_of_esp() {
    let faults = Faults::default();
    set(&faults, "tx bad-length 3");
    let mut in_udp = esp(0);
    in_udp[23] = 17;
    in_udp[34..46].copy_from_slice(&[0x11, 0x94, 0x11, 0x94, 0, 40, 9, 9, 0, 0, 0x10, 0]);
    let mut v6 = vec![0; 12];
    v6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, 50, 64]);
    v6.extend([0xfd; 32]);
    v6.extend([0, 0, 0x10, 0]);
    v6.extend([0; 36]);
    for (frame, header) in [(esp(1), 20), (in_udp, 28), (v6, 40)] {
        let mut frames = Frames::default();
        frames.push(frame);
        assert_eq!(faults.apply(Direction::Tx, &mut frames).faults, 1);
        let frame = frames.drain().next().unwrap();
        let found = espnic_esp::packet::find(&frame).unwrap();
        assert_eq!((found.offset, found.end), (14 + header, 14 + header + 16));
        assert_eq!(frame.len(), found.end);
        if header < 40 {
            assert_eq!(
                espnic_esp::checksum::Sum::of(&frame[14..34]).folded(),
                0xffff
            );
        }
    }
}

#[test]
fn words_are_checked() {
    let parse = |text: &str| Request::parse(&text.split(' ').collect::<Vec<_>>());
    assert_eq!(parse("clear"), Ok(Request::Clear));
    assert_eq!(
        parse("rx delay 5 7 every 9"),
        Ok(Request::Frames(Fault {
            direction: Direction::Rx,
            kind: Kind::Delay(Duration::from_millis(5)),
            count: 7,
            every: 9,
        }))
    );
    assert_eq!(parse("sa-limit 3"), Ok(Request::SaLimit(Some(3))));
    assert_eq!(parse("sa-limit none"), Ok(Request::SaLimit(None)));
    assert_eq!(
        parse("refuse-algorithm aes-cbc"),
        Ok(Request::RefuseAlgorithm(Some(Algorithm::AesCbc)))
    );
    assert_eq!(
        parse("sa-delete-request 4"),
        Ok(Request::SaDeleteRequest(4))
    );
    assert_eq!(
        parse("tx corrupt-padding 4"),
        Ok(Request::CorruptPadding(4))
    );
    for (text, message) in [
        ("rx corrupt-padding 4", "only the NIC that encrypts"),
        ("sa-limit x", "not a number"),
        ("sa-limit 3 every 2", "say fault NIC with"),
        ("refuse-algorithm des", "aes-gcm"),
        ("", "say fault NIC with"),
        ("tx drop", "say fault NIC with"),
        ("tx drop -1", "not a number"),
        ("tx drop 4294967296", "not a number"),
        ("tx drop 1 every 0", "every 1"),
        ("tx drop 1 every", "say fault NIC with"),
        ("up drop 1", "say tx or rx"),
        ("tx explode 1", "say tx|rx drop"),
        ("tx delay x 1", "not a number"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn no_more_than_so_many_frames_are_held_back() {
    let faults = Faults::default();
    set(&faults, "tx delay 60000 10000");
    let mut frames = Frames::default();
    (0..MAX_HELD + 5).for_each(|_| frames.push(esp(1)));
    let made = faults.apply(Direction::Tx, &mut frames);
    assert_eq!((made.faults, made.dropped), (MAX_HELD as u64 + 5, 5));
    assert!(frames.is_empty());
    assert_eq!(faults.tx.line.lock().unwrap().held.len(), MAX_HELD);
}
