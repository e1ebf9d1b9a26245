// SPDX-License-Identifier: GPL-2.0 OR MIT

//! When interrupts are due, without a clock; and what commands set.

use std::time::{Duration, Instant};

use espnic_wire::ctrl;
use espnic_wire::feature;

use super::{Limits, Moderator, Settings};

const SIZE: u16 = 256;

fn limits(packets: u32, micros: u32) -> Limits {
    Limits { packets, micros }
}

fn moderator(packets: u32, micros: u32) -> Moderator {
    Moderator {
        limits: limits(packets, micros),
        ..Moderator::default()
    }
}

/// Notes packets, and settles if they are due, like the queues do.
fn note(moderator: &mut Moderator, packets: u16, now: Instant) -> bool {
    let due = moderator.note(packets.into(), packets, SIZE, || now);
    if due {
        moderator.settle();
    }
    due
}

#[test]
fn without_limits_no_clock_is_read() {
    for (packets, micros) in [(0, 0), (0, 50), (9, 0), (1, 50)] {
        let mut moderator = moderator(packets, micros);
        assert!(moderator.note(1, 1, SIZE, || panic!("no clock")));
        assert_eq!(moderator.due(), None);
    }
    // Nor if there is nothing to tell.
    assert!(!moderator(0, 0).note(0, 0, SIZE, || panic!("no clock")));
    assert!(!moderator(9, 50).note(0, 0, SIZE, || panic!("no clock")));
}

#[test]
fn the_last_packet_of_so_many_ends_it() {
    let (mut moderator, now) = (moderator(8, 50), Instant::now());
    for _ in 0..3 {
        assert_eq!(
            [3, 3, 1, 1].map(|n| note(&mut moderator, n, now)),
            [false, false, false, true]
        );
        assert_eq!(moderator.due(), None);
    }
    assert!(note(&mut moderator, 100, now));
}

#[test]
fn the_time_since_the_first_packet_ends_it() {
    let (mut moderator, start) = (moderator(8, 50), Instant::now());
    let at = |micros| start + Duration::from_micros(micros);
    for round in [0, 1000] {
        assert!(!note(&mut moderator, 1, at(round)));
        assert!(!note(&mut moderator, 1, at(round + 49)));
        assert_eq!(moderator.due(), Some(at(round + 50)));
        assert!(!moderator.is_due(at(round + 49)) && moderator.is_due(at(round + 50)));
        assert!(note(&mut moderator, 1, at(round + 50)));
        assert!(!moderator.is_due(at(round + 1000)), "nothing is left");
    }
}

/// Also if the driver takes what it sees, and the ring turns meanwhile: the places count.
#[test]
fn half_a_ring_ends_it() {
    let (mut moderator, now) = (moderator(u32::MAX, u32::MAX), Instant::now());
    assert!(!moderator.note(1, SIZE / 2 - 1, SIZE, || now));
    assert!(moderator.note(1, 1, SIZE, || now));
    moderator.settle();
    assert!(moderator.note(1, 1, 1, || now), "a ring with one place");
}

#[test]
fn other_limits_count_from_the_same_packet() {
    let (mut moderator, start) = (moderator(15, 1000), Instant::now());
    let at = |micros| start + Duration::from_micros(micros);
    assert!(!note(&mut moderator, 10, start));
    assert!(!moderator.is_due(start));
    for (packets, micros, due) in [
        (8, 1000, true),
        (11, 1000, false),
        (0, 0, true),
        (15, 20, false),
    ] {
        moderator.limits = limits(packets, micros);
        assert_eq!(moderator.is_due(at(10)), due, "{packets} {micros}");
    }
    assert_eq!(moderator.due(), Some(at(20)));
}

/// The most that a driver can ask for.
#[test]
fn the_largest_numbers_are_numbers() {
    let (mut moderator, now) = (moderator(u32::MAX, u32::MAX), Instant::now());
    assert!(!moderator.note(usize::MAX - 1, 1, SIZE, || now) || moderator.packets == u32::MAX);
    assert!(moderator.due() > Some(now + Duration::from_secs(4000)));
}

fn data(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_last_command_for_a_queue_counts() {
    let mut settings = Settings::new(2);
    let change = |settings: &mut Settings, command, words: &[u32]| {
        settings.change(command, &data(words), |_| true, |index| index < 4)
    };
    // The example of the standard. `reserved` is in the upper half of the first word.
    for (command, words, expected) in [
        (ctrl::NOTF_COAL_RX_SET, &[1, 10][..], [1, 0, 1, 0]),
        (ctrl::NOTF_COAL_VQ_SET, &[0xffff_0000, 2, 10], [2, 0, 1, 0]),
        (ctrl::NOTF_COAL_VQ_SET, &[1, 4, 10], [2, 4, 1, 0]),
        (ctrl::NOTF_COAL_TX_SET, &[5, 10], [2, 5, 1, 5]),
    ] {
        assert_eq!(change(&mut settings, command, words), Some(()));
        assert_eq!(
            [0, 1, 2, 3].map(|index| settings.of(index).packets),
            expected
        );
    }
    // A queue that is reset has what all of its kind have.
    [0, 1].map(|index| settings.restore(index));
    assert_eq!(
        [0, 1].map(|index| settings.of(index)),
        [limits(1, 10), limits(5, 10)]
    );
    let all = |_| true;
    let got = settings.get(&data(&[1]), all).unwrap();
    assert_eq!((got.max_packets.get(), got.max_usecs.get()), (5, 10));
}

#[test]
fn bad_commands_change_nothing() {
    let mut settings = Settings::new(1);
    let both = [feature::NOTF_COAL, feature::VQ_NOTF_COAL];
    for (command, words, features) in [
        (
            ctrl::NOTF_COAL_RX_SET,
            &[3, 3][..],
            &[feature::VQ_NOTF_COAL][..],
        ),
        (ctrl::NOTF_COAL_TX_SET, &[3, 3], &[feature::VQ_NOTF_COAL]),
        (ctrl::NOTF_COAL_VQ_SET, &[0, 3, 3], &[feature::NOTF_COAL]),
        (ctrl::NOTF_COAL_RX_SET, &[3], &both),
        (ctrl::NOTF_COAL_VQ_SET, &[0, 3], &both),
        (ctrl::NOTF_COAL_VQ_SET, &[2, 3, 3], &both),
        (ctrl::NOTF_COAL_VQ_SET, &[0xffff, 3, 3], &both),
        (ctrl::NOTF_COAL_VQ_GET, &[0, 3, 3], &both),
        (9, &[3, 3, 3], &both),
    ] {
        let has = |bit| features.contains(&bit);
        let changed = settings.change(command, &data(words), has, |index| index < 2);
        assert_eq!(changed, None, "{command} {words:?}");
        assert_eq!([0, 1].map(|index| settings.of(index)), [limits(0, 0); 2]);
    }
    assert!(settings.get(&[0], |_| true).is_none());
    assert!(settings.get(&data(&[1]), |index| index != 1).is_none());
}
