// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;

fn frames(count: usize) -> Frames {
    let mut frames = Frames::default();
    (0..count).for_each(|_| frames.push(vec![0; 60]));
    frames
}

#[test]
fn a_full_backlog_counts_what_it_drops() {
    let stats = Arc::new(PortStats::default());
    let backlog = RxBacklog::new(Arc::default(), stats.clone());
    backlog.push(&mut frames(MAX_FRAMES + 3));
    assert_eq!(stats.rx_frames.get(), MAX_FRAMES as u64);
    assert_eq!(stats.rx_bytes.get(), 60 * MAX_FRAMES as u64);
    assert_eq!(stats.rx_drop_overflow.get(), 3);
    let (mut taken, mut done) = (Frames::default(), Vec::new());
    backlog.take(0, 10, &mut taken, &mut done);
    assert_eq!(taken.len(), 10);
    backlog.copy(&vec![0; 60].into());
    assert_eq!(stats.rx_drop_overflow.get(), 3);
    backlog.take(0, usize::MAX, &mut taken, &mut done);
    assert_eq!(taken.len(), MAX_FRAMES + 1);
    assert_eq!(backlog.total.get(), Amount::default());
    backlog.copy(&vec![0; MAX_BYTES].into());
    backlog.copy(&vec![0].into());
    assert_eq!(stats.rx_drop_overflow.get(), 4);
}

#[test]
fn small_frames_do_not_keep_large_buffers() {
    let stats = Arc::new(PortStats::default());
    let backlog = RxBacklog::new(Arc::default(), stats.clone());
    let mut sent = Frames::default();
    for _ in 0..MAX_FRAMES {
        let mut frame = vec![0; 1 << 16];
        frame.truncate(60);
        sent.push(frame);
    }
    backlog.push(&mut sent);
    assert_eq!(stats.rx_frames.get(), MAX_FRAMES as u64);
    assert_eq!(stats.rx_bytes.get(), 60 * MAX_FRAMES as u64);
    let waiting = backlog.parts[0].lock();
    let memory: usize = waiting.frames.iter().map(Frame::capacity).sum();
    assert_eq!(memory, backlog.total.get().bytes);
    assert!(memory <= MAX_FRAMES * SMALL);
}

#[test]
fn memory_counts_and_not_what_is_in_it() {
    let stats = Arc::new(PortStats::default());
    let backlog = RxBacklog::new(Arc::default(), stats.clone());
    let (mut taken, mut done) = (Frames::default(), Vec::new());
    let large = || {
        let mut frame = vec![0; 1 << 16];
        frame.truncate(1 << 15);
        frame
    };
    let (fit, kept) = (MAX_BYTES >> 16, MAX_EMPTY_BYTES >> 16);
    let mut sent = Frames::default();
    (0..fit + 5).for_each(|_| sent.push(large()));
    backlog.push(&mut sent);
    let counts = (stats.rx_frames.get(), stats.rx_drop_overflow.get());
    assert_eq!(counts, (fit as u64, 5));
    (0..kept + 5).for_each(|_| done.push(large().into()));
    backlog.take(0, usize::MAX, &mut taken, &mut done);
    let waiting = backlog.parts[0].lock();
    assert_eq!(backlog.total.get(), Amount::default());
    assert_eq!(waiting.empty.count(), kept);
    assert_eq!((waiting.empty.bytes(), done.len()), (MAX_EMPTY_BYTES, 0));
}

#[test]
fn buffers_go_round() {
    let backlog = RxBacklog::new(Arc::default(), Arc::default());
    let (mut sent, mut taken, mut done) = (frames(1), Frames::default(), Vec::new());
    let first = sent.iter().next().unwrap().as_ptr();
    backlog.push(&mut sent);
    assert_eq!(sent.buffer(0).capacity(), 0);
    backlog.take(0, 1, &mut taken, &mut done);
    done.extend(taken.drain());
    backlog.take(0, 1, &mut taken, &mut done);
    assert!(taken.is_empty() && done.is_empty());
    // The next sender gets the buffer for its frame.
    let mut other = frames(1);
    backlog.push(&mut other);
    let buffer = other.buffer(0);
    assert_eq!(buffer.as_ptr(), first);
    backlog.take(0, 1, &mut taken, &mut done);
    let second = taken.iter().next().unwrap().as_ptr();
    done.extend(taken.drain());
    backlog.take(0, 1, &mut taken, &mut done);
    backlog.copy(&vec![1; 40].into());
    backlog.take(0, 1, &mut taken, &mut done);
    let copy = taken.iter().next().unwrap();
    assert_eq!((copy.as_ptr(), &copy[..]), (second, &[1; 40][..]));
}

#[test]
fn memory_is_counted_however_frames_are_taken() {
    let backlog = RxBacklog::new(Arc::default(), Arc::default());
    for counts in [&[4, 6][..], &[3, 3, 3, 1], &[10], &[1, 99]] {
        let (mut taken, mut done, mut left) = (Frames::default(), Vec::new(), 10);
        backlog.push(&mut frames(10));
        for &count in counts {
            backlog.take(0, count, &mut taken, &mut done);
            left -= count.min(left);
            assert_eq!(taken.len(), 10 - left);
            let memory = backlog.parts[0].lock().bytes;
            assert_eq!((memory, backlog.total.get().bytes), (60 * left, 60 * left));
        }
        assert_eq!(left, 0);
    }
}

#[test]
fn buffers_come_back_without_new_frames() {
    let backlog = RxBacklog::new(Arc::default(), Arc::default());
    let done: Vec<_> = frames(2).drain().collect();
    let mut places = [done[1].as_ptr(), done[0].as_ptr()];
    places.sort();
    backlog.give_back(0, done.into_iter());
    let mut sent = frames(2);
    backlog.push(&mut sent);
    // The senders have both.
    let mut buffers = [(); 2].map(|()| sent.buffer(60).as_ptr());
    buffers.sort();
    assert_eq!(buffers, places);
}

/// A packet of ESP for this SPI.
fn esp(spi: u8, number: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 50, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 1, spi, 0, 0, 0, number]);
    frame.resize(74, 0);
    frame
}

fn with_parts(count: u16) -> RxBacklog {
    let backlog = RxBacklog::new(Arc::new(Wakeups::new(count)), Arc::default());
    backlog.active_pairs().store(count, Ordering::Relaxed);
    backlog
}

#[test]
fn packets_of_an_sa_stay_in_one_part_in_their_order() {
    let backlog = with_parts(4);
    let mut sent = Frames::default();
    for number in 0..100 {
        (0..32).for_each(|spi| sent.push(esp(spi, number)));
    }
    backlog.push(&mut sent);
    let frame = Frame::from(esp(0, 100));
    backlog.copy(&frame);
    let (mut seen, mut done) = ([0; 32], Vec::new());
    for part in 0..4 {
        let mut taken = Frames::default();
        backlog.take(part, usize::MAX, &mut taken, &mut done);
        assert!(taken.len() > 100);
        for frame in taken.drain() {
            assert_eq!(steer::place(&frame, 4), part);
            let (spi, number) = (usize::from(frame[37]), frame[41]);
            assert_eq!(number, seen[spi]);
            seen[spi] += 1;
            done.push(frame);
        }
    }
    assert_eq!((seen[0], &seen[1..]), (101, &[100; 31][..]));
    assert_eq!(backlog.total.get(), Amount::default());
}

#[test]
fn all_parts_have_one_limit() {
    let backlog = with_parts(8);
    let mut sent = Frames::default();
    for number in 0..MAX_FRAMES + 8 * CHUNK {
        sent.push(esp(number as u8, 0));
    }
    backlog.push(&mut sent);
    let counts = (
        backlog.stats.rx_frames.get(),
        backlog.stats.rx_drop_overflow.get(),
    );
    assert_eq!(counts, (MAX_FRAMES as u64, 8 * CHUNK as u64));
    // Buffers that come back, too.
    let mut done = Vec::new();
    for part in 0..8 {
        (0..MAX_EMPTY).for_each(|_| done.push(vec![0; 60].into()));
        backlog.take(part, 0, &mut Frames::default(), &mut done);
    }
    let kept = backlog.parts.iter().map(|part| part.lock().empty.count());
    assert_eq!(kept.sum::<usize>(), MAX_EMPTY);
}

#[test]
fn a_part_that_is_no_longer_used_can_still_be_emptied() {
    let backlog = with_parts(2);
    let in_second = (0..)
        .find(|&spi| steer::place(&esp(spi, 0).into(), 2) == 1)
        .unwrap();
    let mut sent = Frames::default();
    sent.push(esp(in_second, 0));
    backlog.push(&mut sent);
    for wrong in [0, 1, 9] {
        // More than there are workers is as many.
        backlog.active_pairs().store(wrong, Ordering::Relaxed);
        sent.push(esp(in_second, 1));
        backlog.push(&mut sent);
    }
    let mut taken = Frames::default();
    backlog.take(1, usize::MAX, &mut taken, &mut Vec::new());
    assert_eq!(taken.len(), 2);
    backlog.take(0, usize::MAX, &mut taken, &mut Vec::new());
    assert_eq!(taken.len(), 4);
}
