// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Batches against packets that are counted one by one.

use super::*;
use proptest::prelude::*;

fn packets(soft: u64, hard: u64) -> Lifetime {
    Lifetime::new(Limits {
        soft_packets: soft,
        hard_packets: hard,
        ..Limits::default()
    })
}

fn bytes(soft: u64, hard: u64) -> Lifetime {
    Lifetime::new(Limits {
        soft_bytes: soft,
        hard_bytes: hard,
        ..Limits::default()
    })
}

fn counted(passed: u32, soft: bool, hard: bool) -> Counted {
    Counted { passed, soft, hard }
}

#[test]
fn warnings_come_before_the_end() {
    for (soft, hard, fine) in [
        (0, 0, true),
        (5, 0, true),
        (0, 5, true),
        (4, 5, true),
        (5, 5, false),
        (6, 5, false),
    ] {
        let of_packets = Limits {
            soft_packets: soft,
            hard_packets: hard,
            ..Limits::default()
        };
        let of_bytes = Limits {
            soft_bytes: soft,
            hard_bytes: hard,
            ..Limits::default()
        };
        assert_eq!(of_packets.are_in_order(), fine);
        assert_eq!(of_bytes.are_in_order(), fine);
    }
}

#[test]
fn a_limit_of_three_packets_lets_three_go() {
    let mut life = packets(2, 3);
    let one = Batch::one(100);
    assert_eq!(life.count(&one), counted(1, false, false));
    assert!(!life.is_past_soft());
    assert_eq!(life.count(&one), counted(1, true, false));
    assert!(!life.is_over() && life.is_past_soft());
    assert_eq!(life.count(&one), counted(1, false, true));
    assert!(life.is_over());
    assert_eq!(life.count(&one), counted(0, false, false));
    assert_eq!((life.packets(), life.bytes()), (3, 300));
}

#[test]
fn the_packet_that_reaches_a_byte_limit_is_the_last() {
    let mut life = bytes(100, 250);
    let one = Batch::one(100);
    assert_eq!(life.count(&one), counted(1, true, false));
    assert_eq!(life.count(&one), counted(1, false, false));
    assert_eq!(life.count(&one), counted(1, false, true));
    assert_eq!(life.count(&one), counted(0, false, false));
    assert_eq!(life.bytes(), 300);
    // Exactly reached is reached.
    let mut life = bytes(0, 200);
    assert_eq!(life.count(&one), counted(1, false, false));
    assert_eq!(life.count(&one), counted(1, false, true));
}

#[test]
fn a_batch_ends_at_the_packet() {
    let batch = Batch {
        packets: 45,
        each: 1448,
        last: 100,
    };
    let mut life = packets(2_990, 3_000);
    let (mut passed, mut reports) = (0, Vec::new());
    for _ in 0..70 {
        let step = life.count(&batch);
        passed += step.passed;
        reports.extend(
            [step.soft.then_some(false), step.hard.then_some(true)]
                .into_iter()
                .flatten(),
        );
    }
    assert_eq!((passed, life.packets()), (3_000, 3_000));
    assert_eq!(reports, [false, true]);
    // 66 whole batches, and 30 packets.
    assert_eq!(life.bytes(), 66 * (44 * 1448 + 100) + 30 * 1448);
}

#[test]
fn without_limits_all_go() {
    let mut life = Lifetime::new(Limits::default());
    let batch = Batch {
        packets: u32::MAX,
        each: u32::MAX,
        last: 0,
    };
    for _ in 0..3 {
        assert_eq!(life.count(&batch), counted(u32::MAX, false, false));
    }
    assert_eq!(life.bytes(), u64::MAX, "counters stay at their end");
    assert!(!life.is_over());
}

#[test]
fn new_limits_are_reported_anew() {
    let mut life = packets(1, 2);
    let one = Batch::one(1);
    life.count(&one);
    assert_eq!(life.count(&one), counted(1, false, true));
    life.set_limits(Limits {
        soft_packets: 3,
        hard_packets: 4,
        ..Limits::default()
    });
    assert_eq!(life.count(&one), counted(1, true, false));
    assert_eq!(life.count(&one), counted(1, false, true));
    // Below what was counted: nothing goes, and that is told.
    life.set_limits(Limits {
        hard_packets: 1,
        ..Limits::default()
    });
    assert_eq!(life.count(&one), counted(0, false, true));
    assert_eq!(life.count(&one), counted(0, false, false));
}

#[test]
fn empty_packets_count_as_packets_only() {
    let mut life = bytes(0, 10);
    let empty = Batch {
        packets: 1000,
        each: 0,
        last: 0,
    };
    assert_eq!(life.count(&empty), counted(1000, false, false));
    assert_eq!((life.packets(), life.bytes()), (1000, 0));
}

fn outbound(last: u64, esn: bool, may_wrap: bool) -> Outbound {
    Outbound::new(Limits::default(), Sequence::new(last, esn, may_wrap))
}

fn batch(packets: u32) -> Batch {
    Batch {
        packets,
        each: 10,
        last: 5,
    }
}

#[test]
fn the_first_number_is_one() {
    let mut sa = outbound(0, false, false);
    let sent = sa.send(&batch(3));
    assert_eq!(
        (sent.first, sent.counted.passed, sent.overflow),
        (1, 3, false)
    );
    let sent = sa.send(&batch(1));
    assert_eq!((sent.first, sa.last()), (4, 4));
    assert_eq!((sa.lifetime.packets(), sa.lifetime.bytes()), (4, 30));
}

#[test]
fn numbers_end_once() {
    for (esn, end) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        let mut sa = outbound(end - 3, esn, false);
        let sent = sa.send(&batch(2));
        assert_eq!(
            (sent.first, sent.counted.passed, sent.overflow),
            (end - 2, 2, false)
        );
        let sent = sa.send(&batch(2));
        assert_eq!(
            (sent.first, sent.counted.passed, sent.overflow),
            (end, 1, true)
        );
        // The last packet of the batch was not the one that went.
        assert_eq!(sa.lifetime.bytes(), 15 + 10);
        let sent = sa.send(&batch(2));
        assert_eq!(
            (sent.counted.passed, sent.overflow, sa.last()),
            (0, false, end)
        );
    }
}

#[test]
fn with_esn_32_bits_are_no_end() {
    for (esn, may_wrap) in [(true, false), (false, true), (true, true)] {
        let mut sa = outbound(0xffff_fffe, esn, may_wrap);
        let sent = sa.send(&batch(4));
        assert_eq!(
            (sent.first, sent.counted.passed, sent.overflow),
            (0xffff_ffff, 4, false)
        );
        assert_eq!(sa.last(), 0x1_0000_0002);
    }
}

#[test]
fn a_limit_in_front_of_the_end_of_the_numbers_takes_no_number() {
    let limits = Limits {
        hard_packets: 2,
        ..Limits::default()
    };
    let mut sa = Outbound::new(limits, Sequence::new(0xffff_fff0, false, false));
    let sent = sa.send(&batch(40));
    assert_eq!(sent.counted, counted(2, false, true));
    assert_eq!((sent.overflow, sa.last()), (false, 0xffff_fff2));
    // And the other way round: what has no number is not counted.
    let mut sa = Outbound::new(limits, Sequence::new(0xffff_fffe, false, false));
    let sent = sa.send(&batch(40));
    assert_eq!(
        (sent.counted, sent.overflow),
        (counted(1, false, false), true)
    );
    assert_eq!(sa.lifetime.packets(), 1);
    let sent = sa.send(&batch(40));
    assert_eq!(
        (sent.counted, sent.overflow),
        (counted(0, false, false), false)
    );
}

/// Packet by packet, as the stack counts.
fn one_by_one(life: &mut Lifetime, batch: &Batch) -> Counted {
    let mut sum = Counted::default();
    for i in 0..batch.packets {
        let limits = life.limits;
        let over = |limit, count| limit != 0 && count >= limit;
        if !(over(limits.hard_packets, life.packets) || over(limits.hard_bytes, life.bytes)) {
            life.packets += 1;
            life.bytes += u64::from(if i + 1 == batch.packets {
                batch.last
            } else {
                batch.each
            });
            sum.passed += 1;
        }
        let soft = over(limits.soft_packets, life.packets) || over(limits.soft_bytes, life.bytes);
        let hard = over(limits.hard_packets, life.packets) || over(limits.hard_bytes, life.bytes);
        sum.soft |= soft && !life.soft_told;
        sum.hard |= hard && !life.hard_told;
        life.soft_told |= soft;
        life.hard_told |= hard;
    }
    sum
}

proptest! {
    #[test]
    fn batches_are_packets(
        limits in (0u64..60, 0u64..60_000, 0u64..60, 0u64..60_000),
        batches in prop::collection::vec((1u32..60, 0u32..2000, 0u32..2000), 1..20)
    ) {
        let limits = Limits {
            soft_packets: limits.0,
            soft_bytes: limits.1,
            hard_packets: limits.2,
            hard_bytes: limits.3,
        };
        let (mut life, mut model) = (Lifetime::new(limits), Lifetime::new(limits));
        let mut reports = (0, 0);
        for (packets, each, last) in batches {
            let batch = Batch { packets, each, last };
            let step = life.count(&batch);
            prop_assert_eq!(step, one_by_one(&mut model, &batch));
            prop_assert_eq!((life.packets, life.bytes), (model.packets, model.bytes));
            prop_assert_eq!(life.is_over(), model.is_over());
            reports.0 += u32::from(step.soft);
            reports.1 += u32::from(step.hard);
        }
        prop_assert!(reports.0 <= 1 && reports.1 <= 1);
    }

    #[test]
    fn every_packet_has_its_own_number(
        left in 0u64..100, esn: bool, hard in 0u64..100,
        batches in prop::collection::vec(1u32..40, 1..20)
    ) {
        let end = if esn { u64::MAX } else { u32::MAX.into() };
        let limits = Limits { hard_packets: hard, ..Limits::default() };
        let mut sa = Outbound::new(limits, Sequence::new(end - left, esn, false));
        let (mut next, mut reports) = ((end - left).wrapping_add(1), 0);
        for packets in batches {
            let sent = sa.send(&batch(packets));
            if sent.counted.passed > 0 {
                prop_assert_eq!(sent.first, next);
            }
            next = next.wrapping_add(sent.counted.passed.into());
            reports += u32::from(sent.overflow);
            prop_assert_eq!(sa.last(), next.wrapping_sub(1));
            prop_assert_eq!(sa.lifetime.packets(), sa.last() - (end - left));
        }
        prop_assert_eq!(reports, u32::from(sa.last() == end));
    }
}
