// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Chains that are one buffer take a shorter way; all others are left for the other one.

use super::super::chain::{Chain, Head};
use super::super::error::RingError;
use super::super::queue::VirtQueue;
use super::{memory, packed, Driver, DATA, INSIDE, PAGE};
use crate::memory::{GuestMap, WritableStretch};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Address, length and flags of a buffer, and what the other way says to it: whether it takes it.
type Kind = (u64, u32, u16, Result<bool, RingError>);

/// Those that only the other way takes, or refuses.
const OTHERS: [Kind; 6] = [
    (DATA, 64, 0, Ok(true)),
    // It crosses the border of two maps.
    (2 * PAGE - 32, 64, WRITE, Ok(true)),
    (DATA, 0, WRITE, Err(RingError::Size)),
    (DATA, 64, WRITE | INDIRECT, Err(RingError::Loop)),
    (5 * PAGE - 32, 64, WRITE, Err(RingError::Address)),
    (u64::MAX - 3, 64, WRITE, Err(RingError::Address)),
];

fn take<'a>(queue: &mut VirtQueue, mem: &'a GuestMap) -> Option<(Head, WritableStretch<'a>)> {
    let places = queue.places(mem);
    queue.pop_writable(&places)
}

/// The only chain is a buffer with this head, also when it was given back, and can be used.
fn check_buffer(queue: &mut VirtQueue, mem: &GuestMap, head: Head) {
    let (first, _) = take(queue, mem).unwrap();
    assert_eq!(first, head);
    assert!(take(queue, mem).is_none(), "there is no other");
    queue.unpop(head.slots);
    let (head, room) = take(queue, mem).unwrap();
    assert_eq!(room.write_packet(&[1; 12], &[2; 53]), None, "too long");
    assert_eq!(room.write_packet(&[1; 12], &[2; 52]), Some(()));
    let mut back = [0; 64];
    mem.read(DATA, &mut back).unwrap();
    assert_eq!((&back[..12], &back[12..]), (&[1; 12][..], &[2; 52][..]));
    queue.push_used(mem, head, 64).unwrap();
    assert_eq!(queue.publish(mem), Ok(true));
}

/// The next chain is a buffer that can be read, with this text.
fn check_text(queue: &mut VirtQueue, mem: &GuestMap, text: &[u8]) {
    assert!(take(queue, mem).is_none());
    let places = queue.places(mem);
    let (head, found) = queue.pop_readable(&places).unwrap();
    let mut read = vec![0; text.len()];
    assert_eq!(found.read(0, &mut read), Some(()));
    assert_eq!((&read[..], found.size()), (text, text.len()));
    queue.push_at(&places, head, 0).unwrap();
    assert!(queue.pop_readable(&places).is_none());
}

/// The next chain is none that can be taken so, and the other way says this to it.
fn check_other(queue: &mut VirtQueue, mem: &GuestMap, expected: Result<bool, RingError>) {
    assert!(take(queue, mem).is_none(), "{expected:?}");
    let taken = queue.pop(mem, &mut Chain::default());
    match expected {
        // Split and packed rings differ in what is wrong with it.
        Err(RingError::Loop) => assert!(taken.is_err()),
        _ => assert_eq!(taken, expected),
    }
}

#[test]
fn split_buffers_are_taken_and_nothing_else() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(INSIDE);
    let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
    let desc = driver.setup.desc;
    assert!(take(&mut queue, &mem).is_none());
    driver.describe(&mem, desc + 48, DATA, 64, WRITE, 0);
    driver.offer(&mem, 3);
    check_buffer(&mut queue, &mem, Head { id: 3, slots: 1 });
    for (addr, len, flags, expected) in OTHERS {
        driver.describe(&mem, desc, addr, len, flags, 0);
        driver.offer(&mem, 0);
        check_other(&mut queue, &mem, expected);
        driver.describe(&mem, desc, DATA, 64, WRITE, 0);
        assert_eq!(take(&mut queue, &mem).is_some(), expected.is_err());
    }
    driver.put(&mem, DATA, b"text");
    driver.describe(&mem, desc, DATA, 4, 0, 0);
    driver.offer(&mem, 0);
    check_text(&mut queue, &mem, b"text");
    driver.describe(&mem, desc, DATA, 32, WRITE | NEXT, 1);
    driver.describe(&mem, desc + 16, DATA, 32, WRITE, 0);
    driver.offer(&mem, 0);
    check_other(&mut queue, &mem, Ok(true));
    // An index that jumps.
    driver.show(&mem, 100);
    check_other(&mut queue, &mem, Err(RingError::Index));
}

#[test]
fn packed_buffers_are_taken_and_nothing_else() {
    let (table, _file) = memory();
    let mem = table.view();
    for (addr, len, flags, expected) in OTHERS {
        let mut driver = packed::Driver::new(&mem, INSIDE);
        mem.write(INSIDE[0], &[0; 80]).unwrap();
        let mut queue = driver.start();
        assert!(take(&mut queue, &mem).is_none());
        // More often than the ring has places.
        for id in 0..7 {
            driver.list(id, &[(DATA, 64, WRITE)]);
            check_buffer(&mut queue, &mem, Head { id, slots: 1 });
        }
        driver.list(9, &[(addr, len, flags)]);
        check_other(&mut queue, &mem, expected);
    }
    let mut driver = packed::Driver::new(&mem, INSIDE);
    mem.write(INSIDE[0], &[0; 80]).unwrap();
    let mut queue = driver.start();
    mem.write(DATA, b"text").unwrap();
    driver.list(0, &[(DATA, 4, 0)]);
    check_text(&mut queue, &mem, b"text");
    driver.list(1, &[(DATA, 32, WRITE), (DATA + 32, 32, WRITE)]);
    check_other(&mut queue, &mem, Ok(true));
}

/// A driver that makes more available than the ring has room for.
#[test]
fn no_more_is_taken_than_the_ring_has() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = packed::Driver::new(&mem, INSIDE);
    mem.write(INSIDE[0], &[0; 80]).unwrap();
    let mut queue = driver.start();
    for id in 0..5 {
        driver.list(id, &[(DATA, 64, WRITE)]);
        assert!(take(&mut queue, &mem).is_some(), "{id}");
    }
    driver.list(5, &[(DATA, 64, WRITE)]);
    check_other(&mut queue, &mem, Err(RingError::Index));
}
