// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The window against a set of all numbers that were accepted.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn window(size: u32, esn: bool, top: u64) -> Window<Vec<u64>> {
    Window::new(size, esn, top, vec![!0; words(size).unwrap()]).unwrap()
}

/// A receiver that forgets nothing.
#[derive(Default)]
struct Model {
    received: BTreeSet<u64>,
    top: u64,
    size: u32,
}

impl Model {
    fn check(&self, number: u64) -> Verdict {
        if self.size == 0 {
            Verdict::Fresh
        } else if number == 0 || number + u64::from(self.size) <= self.top {
            Verdict::Late
        } else if self.received.contains(&number) {
            Verdict::Replay
        } else {
            Verdict::Fresh
        }
    }

    fn accept(&mut self, number: u64) {
        self.received.insert(number);
        self.top = self.top.max(number);
    }
}

#[test]
fn as_many_words_as_the_window_needs() {
    for (size, expected) in [
        (0, 1),
        (1, 1),
        (64, 1),
        (65, 2),
        (128, 2),
        (129, 4),
        (4096, 64),
    ] {
        assert_eq!(words(size), Some(expected), "{size}");
    }
    assert_eq!([4097, u32::MAX].map(words), [None; 2]);
    assert!(Window::new(65, false, 0, [0; 1]).is_none());
    assert!(Window::new(65, false, 0, [0; 3]).is_none());
    assert!(Window::new(4097, false, 0, [0; 128]).is_none());
    let window = Window::new(4096, true, 7, [0; 64]).unwrap();
    assert_eq!((window.size(), window.top()), (4096, 7));
}

#[test]
fn a_packet_is_accepted_once() {
    let mut window = window(32, false, 0);
    assert_eq!(window.check(1), Verdict::Fresh);
    assert_eq!(window.check(1), Verdict::Fresh, "checking changes nothing");
    assert_eq!(window.accept(1), Verdict::Fresh);
    assert_eq!(
        (window.check(1), window.accept(1)),
        (Verdict::Replay, Verdict::Replay)
    );
    assert_eq!(window.accept(3), Verdict::Fresh);
    assert_eq!(window.accept(2), Verdict::Fresh);
    assert_eq!(window.accept(2), Verdict::Replay);
}

#[test]
fn both_edges_of_the_window() {
    for size in [1, 2, 31, 32, 33, 63, 64, 65, 100, 4095, 4096] {
        let mut window = window(size, false, 0);
        let size = u64::from(size);
        assert_eq!(window.accept(10_000), Verdict::Fresh);
        let last = 10_001 - size;
        if size > 1 {
            assert_eq!(window.accept(last), Verdict::Fresh, "{size}");
        }
        assert_eq!(window.accept(last), Verdict::Replay, "{size}");
        assert_eq!(window.accept(last - 1), Verdict::Late, "{size}");
        // By one packet the last one falls out.
        assert_eq!(window.accept(10_001), Verdict::Fresh);
        assert_eq!(window.accept(last), Verdict::Late);
        assert_eq!(window.top(), 10_001);
    }
}

#[test]
fn no_packet_has_number_zero() {
    for esn in [false, true] {
        let mut window = window(64, esn, 0);
        assert_eq!(window.accept(0), Verdict::Late);
        window.accept(5);
        assert_eq!(window.accept(0), Verdict::Late);
        assert_eq!(window.accept(1), Verdict::Fresh);
    }
}

#[test]
fn below_zero_is_late() {
    let mut window = window(32, true, 0);
    let number = window.number(0xffff_ffff);
    assert_eq!(number, u64::MAX);
    assert_eq!(window.accept(number), Verdict::Late);
    assert_eq!(window.top(), 0);
    assert_eq!(window.accept(1 << 63), Verdict::Late);
    assert_eq!(window.accept((1 << 63) - 1), Verdict::Fresh);
}

#[test]
fn numbers_never_start_again() {
    let mut window = window(32, true, u64::MAX);
    assert_eq!(window.accept(u64::MAX), Verdict::Fresh);
    for number in [0, 1, 2] {
        assert_eq!(window.accept(number), Verdict::Late);
    }
    assert_eq!(window.top(), u64::MAX);
}

#[test]
fn without_a_size_nothing_is_checked() {
    let mut window = window(0, false, 0);
    for number in [7, 7, 0, 3] {
        assert_eq!(window.accept(number), Verdict::Fresh);
    }
    assert_eq!(window.top(), 7);
    assert!(window.export(&mut []) && !window.export(&mut [0; 4]));
}

#[test]
fn the_high_half_follows_the_window() {
    let mut window = window(64, true, 0xffff_fff0);
    assert_eq!(window.number(0xffff_fff1), 0xffff_fff1);
    assert_eq!(window.number(2), 0x1_0000_0002);
    assert_eq!(window.accept(0x1_0000_0002), Verdict::Fresh);
    assert_eq!(window.number(0xffff_fff8), 0xffff_fff8);
    assert_eq!(window.accept(0xffff_fff8), Verdict::Fresh);
    assert_eq!(window.accept(0xffff_fff8), Verdict::Replay);
    assert_eq!(window.accept(0x1_0000_0001), Verdict::Fresh);
    let plain = super::tests::window(64, false, 0xffff_fff0);
    assert_eq!(plain.number(2), 2);
}

#[test]
fn the_bitmap_is_that_of_xfrm() {
    let mut window = window(64, true, 0);
    for number in [1, 3, 64, 65] {
        window.accept(number);
    }
    let mut bitmap = [0xee; 8];
    assert!(window.export(&mut bitmap));
    // Number 65 has the place of number 1, 64 the last one.
    assert_eq!(bitmap, [0b101, 0, 0, 0, 0, 0, 0, 0x80]);
    assert!(!window.export(&mut [0; 4]) && !window.import(9, &[0; 12]));
    assert_eq!(window.top(), 65);
    // Not a multiple of 32.
    let mut window = super::tests::window(33, false, 0);
    window.accept(34);
    window.accept(33);
    let mut bitmap = [0xee; 8];
    assert!(window.export(&mut bitmap));
    assert_eq!(bitmap, [1, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn the_small_bitmap_is_that_of_xfrm() {
    let mut window = window(32, false, 0);
    for number in [100, 99, 69] {
        window.accept(number);
    }
    assert_eq!(window.export_legacy(), 0x8000_0003);
    let mut other = super::tests::window(32, false, 0);
    other.import_legacy(100, 0x8000_0003);
    for number in [100, 99, 69] {
        assert_eq!(other.check(number), Verdict::Replay);
    }
    assert_eq!(other.check(98), Verdict::Fresh);
    // Bits for numbers that do not exist.
    other.import_legacy(2, u32::MAX);
    assert_eq!(other.export_legacy(), 3);
}

#[test]
fn a_highest_number_without_its_bit_has_not_come() {
    let mut window = window(32, false, 100);
    assert_eq!(window.check(100), Verdict::Fresh);
    assert_eq!(window.accept(100), Verdict::Fresh);
    assert_eq!(window.accept(100), Verdict::Replay);
}

fn sizes() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..=4096, Just(32), Just(64), Just(4096), 1u32..10]
}

proptest! {
    #[test]
    fn verdicts_are_those_of_the_model(
        size in sizes(), start in prop_oneof![Just(0u64), 0xffff_e000u64..0x1_0000_2000],
        steps in prop::collection::vec((prop_oneof![0u64..4, 0u64..5000, 0u64..200_000], 0u64..5000, any::<bool>()), 1..200)
    ) {
        let mut window = window(size, true, start);
        let mut model = Model { top: start, size, ..Model::default() };
        for (ahead, late, authentic) in steps {
            for number in [model.top + ahead, model.top.saturating_sub(late)] {
                let verdict = model.check(number);
                prop_assert_eq!(window.check(number), verdict, "{}", number);
                if authentic {
                    prop_assert_eq!(window.accept(number), verdict);
                    if verdict == Verdict::Fresh {
                        model.accept(number);
                    }
                }
                prop_assert_eq!(window.top(), model.top);
            }
        }
    }

    /// Of all that a network may do to a stream nothing comes through twice, and in time nothing is lost.
    #[test]
    fn a_stream_comes_through_once(
        size in 32u32..=4096, start in 0xffff_f800u64..0x1_0000_0800,
        order in prop::collection::vec((0u64..40, 1usize..4), 1..300)
    ) {
        let mut window = window(size, true, start);
        let mut received = BTreeSet::new();
        for (i, (late, copies)) in order.into_iter().enumerate() {
            let number = start + 40 + i as u64 - late.min(31);
            for _ in 0..copies {
                let found = window.number(seq::lo(number));
                prop_assert_eq!(found, number);
                prop_assert_eq!(window.accept(number) == Verdict::Fresh, received.insert(number));
            }
        }
    }

    /// Each number of the window has the place that XFRM looks for it at, which is told from its own words:
    /// the place of the highest number, and from there backwards.
    #[test]
    fn the_bitmap_keeps_what_was_received(
        size in 1u32..=4096, start in prop_oneof![1u64..9000, 0xffff_f000u64..0x1_0000_1000],
        behind in prop::collection::vec(0u64..5000, 0..60)
    ) {
        let mut window = window(size, true, 0);
        window.accept(start);
        for late in behind {
            window.accept(start.saturating_sub(late));
        }
        let mut bitmap = vec![0xee; size.div_ceil(32) as usize * 4];
        prop_assert!(window.export(&mut bitmap));
        let top_place = i64::from(seq::lo(start).wrapping_sub(1) % size);
        for late in 0..u64::from(size).min(start) {
            let place = (top_place - late as i64).rem_euclid(i64::from(size)) as usize;
            let set = (bitmap[place / 8] >> (place % 8)) & 1 != 0;
            prop_assert_eq!(set, window.check(start - late) == Verdict::Replay);
        }
        let mut other = super::tests::window(size, true, 3);
        prop_assert!(other.import(start, &bitmap));
        for late in 0..u64::from(size) + 2 {
            let number = start.saturating_sub(late);
            prop_assert_eq!(other.check(number), window.check(number));
        }
        if size <= 32 {
            let mut small = super::tests::window(size, false, 0);
            small.import_legacy(start, window.export_legacy());
            prop_assert_eq!(small.export_legacy(), window.export_legacy());
        }
    }

    #[test]
    fn any_bitmap_can_be_taken(size in sizes(), top: u64, bitmap in prop::collection::vec(any::<u8>(), 0..520)) {
        let mut window = window(size, true, 0);
        let fits = bitmap.len() == size.div_ceil(32) as usize * 4;
        prop_assert_eq!(window.import(top, &bitmap), fits);
        window.accept(top.wrapping_add(1));
    }
}
