// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::toeplitz::EXAMPLE_KEY as KEY;
use super::*;
use espnic_wire::rss::{HASH_IPV4, HASH_TCPV4, REPORT_IPV4};
use zerocopy::IntoBytes;

const PAIRS: u16 = 4;

fn command(types: u32, table: &[u16], unclassified: u16, used: u16, key: &[u8]) -> Vec<u8> {
    let head = RssHead {
        hash_types: types.into(),
        table_mask: (table.len() as u16 - 1).into(),
        unclassified: unclassified.into(),
    };
    let tail = RssTail {
        max_tx_vq: used.into(),
        key_len: key.len() as u8,
    };
    let table: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    [head.as_bytes(), &table, tail.as_bytes(), key].concat()
}

/// IPv4 to 10.0.0.`last`.
fn frame(last: u8) -> Frame {
    let mut frame = vec![0; 60];
    frame[12..16].copy_from_slice(&[0x08, 0, 0x45, 0]);
    frame[17] = 46;
    frame[23] = 1;
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, last]);
    frame.into()
}

/// The pair for a frame, and its header.
fn apply(rss: &Rss, frame: &Frame, report: bool) -> (Option<u16>, NetHdr48) {
    let mut hdr = NetHdr48::default();
    let task = rss.task(report);
    let pair = task.and_then(|task| task.apply(&mut hdr, frame));
    assert_eq!(task.and_then(|task| task.pair(frame)), pair);
    (pair, hdr)
}

fn place(rss: &Rss, frame: &Frame) -> Option<u16> {
    apply(rss, frame, false).0
}

#[test]
fn the_table_chooses_by_the_low_bits() {
    let mut rss = Rss::default();
    let table = [3, 1, 2, 0];
    let request = command(HASH_IPV4, &table, 2, 4, &KEY);
    assert_eq!(rss.set(&request, PAIRS), Some(4));
    for last in 0..40 {
        let (pair, hdr) = apply(&rss, &frame(last), true);
        assert_eq!(hdr.out.hash_report.get(), REPORT_IPV4);
        let at = hdr.out.hash_value.get() as usize % 4;
        assert_eq!(pair, Some(table[at]));
    }
    // What is not IP has no hash.
    let (pair, hdr) = apply(&rss, &vec![0; 60].into(), true);
    assert_eq!((pair, hdr), (Some(2), NetHdr48::default()));
}

#[test]
fn without_types_all_is_unclassified() {
    let mut rss = Rss::default();
    assert_eq!(rss.set(&command(0, &[0, 1], 3, 2, &[]), PAIRS), Some(4));
    assert_eq!(place(&rss, &frame(1)), Some(3));
}

fn hash_command(types: u32, key: &[u8]) -> Vec<u8> {
    let config = HashConfig {
        hash_types: types.into(),
        key_len: key.len() as u8,
        ..HashConfig::default()
    };
    [config.as_bytes(), key].concat()
}

#[test]
fn hashes_are_reported_without_a_table_too() {
    let mut rss = Rss::default();
    assert!(rss.task(true).is_none());
    assert_eq!(rss.set_hash(&hash_command(HASH_IPV4, &KEY)), Some(()));
    let (pair, hdr) = apply(&rss, &frame(1), true);
    assert_eq!((pair, hdr.out.hash_report.get()), (None, REPORT_IPV4));
    assert_ne!(hdr.out.hash_value.get(), 0);
    // Only to a driver that wants it.
    assert!(rss.task(false).is_none());
}

#[test]
fn wrong_hashes_change_nothing() {
    let mut rss = Rss::default();
    let good = hash_command(HASH_IPV4, &KEY);
    assert_eq!(rss.set_hash(&good), Some(()));
    let hash = apply(&rss, &frame(1), true);
    let mut bad: Vec<_> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    bad.extend([
        hash_command(u32::MAX, &KEY),
        hash_command(HASH_IPV4 | (1 << 6), &KEY),
        hash_command(HASH_IPV4, &[0; 41]),
        hash_command(HASH_IPV4, &[]),
    ]);
    for reserved in 4..12 {
        let mut request = good.clone();
        request[reserved] = 1;
        bad.push(request);
    }
    for request in bad {
        assert_eq!(rss.set_hash(&request), None, "{request:?}");
        assert_eq!(apply(&rss, &frame(1), true), hash);
    }
    // Nothing is left to do.
    assert_eq!(rss.set_hash(&hash_command(0, &[])), Some(()));
    assert!(rss.task(true).is_none());
}

/// The standard names no length of the key but the longest.
#[test]
fn short_keys_are_taken() {
    let mut rss = Rss::default();
    assert_eq!(rss.set_hash(&hash_command(HASH_IPV4, &KEY[..9])), Some(()));
    let mut same = Rss::default();
    let padded = [&KEY[..9], &[0; 31]].concat();
    assert_eq!(same.set_hash(&hash_command(HASH_IPV4, &padded)), Some(()));
    assert_eq!(apply(&rss, &frame(1), true), apply(&same, &frame(1), true));
}

#[test]
fn wrong_commands_change_nothing() {
    let mut rss = Rss::default();
    let good = command(HASH_IPV4, &[1, 1], 0, 2, &KEY);
    assert_eq!(rss.set(&good, PAIRS), Some(2));
    let mut bad: Vec<_> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    bad.extend([
        command(HASH_IPV4, &[2, 2, 2], 0, 2, &KEY),
        command(HASH_IPV4, &[2; 256], 0, 2, &KEY),
        command(HASH_IPV4, &[2, PAIRS], 0, 2, &KEY),
        command(HASH_IPV4, &[2, 2], PAIRS, 2, &KEY),
        command(HASH_IPV4, &[2, 2], 0, 0, &KEY),
        command(HASH_IPV4, &[2, 2], 0, PAIRS + 1, &KEY),
        command(HASH_IPV4, &[2, 2], 0, 2, &[0; 41]),
        command(HASH_IPV4, &[2, 2], 0, 2, &[]),
        // The reserved bit.
        command(HASH_IPV4, &[2, 0x8001], 0, 2, &KEY),
        command(HASH_IPV4, &[2, 2], 0x8000, 2, &KEY),
        // A type that looks at extension headers.
        command(HASH_IPV4 | (1 << 6), &[2, 2], 0, 2, &KEY),
    ]);
    for request in bad {
        assert_eq!(rss.set(&request, PAIRS), None, "{request:?}");
        assert_eq!(place(&rss, &frame(1)), Some(1));
    }
    let full = command(HASH_IPV4 | HASH_TCPV4, &[2; TABLE_MAX], 0, 2, &KEY);
    assert_eq!(full.len(), COMMAND_MAX);
    assert_eq!(rss.set(&full, PAIRS), Some(3));
    assert_eq!(place(&rss, &frame(1)), Some(2));
    rss.forget_table();
    assert_eq!(place(&rss, &frame(1)), None);
}
