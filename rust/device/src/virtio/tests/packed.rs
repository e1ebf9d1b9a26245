// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packed rings. The numbers are those of the standard: flags 1 (next), 2 (write), 4 (indirect), bit 7
//! (available), bit 15 (used); events 0 (on), 1 (off), 2 (at a descriptor).

use vm_memory::{Bytes, GuestAddress};

use super::super::chain::{Chain, Head};
use super::super::error::RingError;
use super::super::queue::{QueueSetup, VirtQueue, MAX_QUEUE_SIZE};
use super::{descriptor, map, memory, ACROSS, DATA, INSIDE, PAGE};
use crate::memory::GuestMap;

/// Not a power of two.
const SIZE: u16 = 5;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// The driver's side.
pub(super) struct Driver<'a> {
    mem: &'a GuestMap,
    setup: QueueSetup,
    /// Descriptors that were made available since the beginning.
    avail: u16,
}

impl<'a> Driver<'a> {
    pub(super) fn new(mem: &'a GuestMap, [desc, driver, device]: [u64; 3]) -> Self {
        let setup = QueueSetup {
            size: SIZE,
            desc,
            driver,
            device,
            packed: true,
            indirect: true,
            event_idx: false,
        };
        Self {
            mem,
            setup,
            avail: 0,
        }
    }

    pub(super) fn start(&self) -> VirtQueue {
        VirtQueue::start(&self.setup, self.mem).unwrap()
    }

    fn put(&self, addr: u64, data: &[u8]) {
        self.mem.write_slice(data, GuestAddress(addr)).unwrap();
    }

    fn get<const N: usize>(&self, addr: u64) -> [u8; N] {
        let mut data = [0; N];
        self.mem.read_slice(&mut data, GuestAddress(addr)).unwrap();
        data
    }

    fn get16(&self, addr: u64) -> u16 {
        u16::from_le_bytes(self.get(addr))
    }

    /// Where descriptor `number` is, and the flags that make it available.
    fn slot(&self, number: u16) -> (u64, u16) {
        let at = self.setup.desc + 16 * u64::from(number % SIZE);
        let first = number / SIZE % 2 == 0;
        (at, if first { AVAIL } else { USED })
    }

    /// Makes a chain available: address, length, flags of each buffer. The last descriptor has the id.
    pub(super) fn list(&mut self, id: u16, parts: &[(u64, u32, u16)]) {
        for (number, &(addr, len, flags)) in parts.iter().enumerate().rev() {
            let (at, avail) = self.slot(self.avail + number as u16);
            let last = number + 1 == parts.len();
            let (flags, id) = match last {
                true => (flags, id),
                false => (flags | NEXT, 0xabcd),
            };
            self.put(at, &descriptor(addr, len, [id, flags | avail]));
        }
        self.avail += parts.len() as u16;
    }

    fn offer(&mut self, id: u16) {
        self.list(id, &[(DATA, 8, 0)]);
    }

    /// Length, id and flags of descriptor `number`.
    fn seen(&self, number: u16) -> (u32, u16, u16) {
        let (at, _) = self.slot(number);
        let len = u32::from_le_bytes(self.get(at + 8));
        (len, self.get16(at + 12), self.get16(at + 14))
    }

    /// Whether descriptor `number` is used.
    fn is_used(&self, number: u16) -> bool {
        let wanted = match number / SIZE % 2 {
            0 => AVAIL | USED,
            _ => 0,
        };
        self.seen(number).2 & (AVAIL | USED) == wanted
    }

    /// Sets the driver's event.
    fn want(&self, place: u16, flags: u16) {
        self.put(self.setup.driver, &place.to_le_bytes());
        self.put(self.setup.driver + 2, &flags.to_le_bytes());
    }

    /// The device's event: place and flags.
    fn wanted(&self) -> [u16; 2] {
        [0, 2].map(|at| self.get16(self.setup.device + at))
    }
}

fn pop(queue: &mut VirtQueue, mem: &GuestMap) -> Option<Head> {
    let mut chain = Chain::default();
    queue.pop(mem, &mut chain).unwrap().then(|| chain.head())
}

/// The error of the next chain.
fn error(queue: &mut VirtQueue, mem: &GuestMap) -> Option<RingError> {
    queue.pop(mem, &mut Chain::default()).err()
}

#[test]
fn rings_may_cross_maps() {
    let (table, _file) = memory();
    let mem = table.view();
    for [desc, ..] in [INSIDE, ACROSS] {
        let mut driver = Driver::new(&mem, [desc + 64, INSIDE[1], INSIDE[2]]);
        driver.put(driver.setup.desc, &[0; 16 * SIZE as usize]);
        let mut queue = driver.start();
        // Many times around the ring, with ids that say nothing of the place.
        for number in 0..7 * SIZE {
            driver.put(DATA, &[number as u8; 8]);
            assert_eq!(pop(&mut queue, &mem), None, "{number}");
            driver.offer(1000 + number);
            assert!(queue.has_work(&mem).unwrap());
            let mut chain = Chain::default();
            assert!(queue.pop(&mem, &mut chain).unwrap());
            let mut read = [0; 8];
            chain.read(&mem, 0, &mut read).unwrap();
            assert_eq!(read, [number as u8; 8]);
            assert_eq!(pop(&mut queue, &mem), None, "{number}");
            queue.push_used(&mem, chain.head(), number.into()).unwrap();
            assert!(!driver.is_used(number), "not yet");
            assert!(queue.publish(&mem).unwrap());
            assert!(driver.is_used(number));
            let (len, id, flags) = driver.seen(number);
            assert_eq!((len, id), (number.into(), 1000 + number));
            assert_eq!(flags & WRITE != 0, number > 0, "2.8.3");
        }
    }
}

#[test]
fn chains_go_over_the_end_and_are_used_as_one() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    let parts = [(DATA, 3, 0), (DATA + 3, 5, 0), (DATA + 8, 4, WRITE)];
    driver.put(DATA, b"abcdefgh");
    for round in 0..20u16 {
        driver.list(round, &parts);
        let mut chain = Chain::default();
        assert!(queue.pop(&mem, &mut chain).unwrap(), "{round}");
        assert_eq!(
            chain.head(),
            Head {
                id: round,
                slots: 3
            }
        );
        assert_eq!((chain.readable_len(), chain.writable_len()), (8, 4));
        let mut read = [0; 8];
        chain.read(&mem, 0, &mut read).unwrap();
        assert_eq!(&read, b"abcdefgh");
        queue.push_used(&mem, chain.head(), 4).unwrap();
        queue.publish(&mem).unwrap();
        // One descriptor is used, and the others are skipped.
        assert!(driver.is_used(3 * round) && !driver.is_used(3 * round + 1));
        assert_eq!(driver.seen(3 * round).1, round);
    }
}

#[test]
fn a_batch_becomes_visible_from_its_first_descriptor_on() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    driver.list(7, &[(DATA, 4, 0), (DATA, 4, 0)]);
    driver.offer(8);
    driver.offer(9);
    let heads = [(); 3].map(|()| pop(&mut queue, &mem).unwrap());
    assert_eq!(heads.map(|head| head.slots), [2, 1, 1]);
    // In another order than they came.
    for head in [heads[1], heads[2], heads[0]] {
        queue.push_used(&mem, head, 0).unwrap();
    }
    // A driver looks at the first one.
    assert!(!driver.is_used(0));
    assert!(driver.is_used(1) && driver.is_used(2));
    queue.publish(&mem).unwrap();
    let ids = [0, 1, 2].map(|number| driver.seen(number).1);
    assert!(driver.is_used(0));
    assert_eq!(ids, [8, 9, 7]);
    assert!(!queue.publish(&mem).unwrap(), "nothing new");
    // The next one goes behind the room of all three.
    driver.offer(3);
    let head = pop(&mut queue, &mem).unwrap();
    queue.push_used(&mem, head, 0).unwrap();
    queue.publish(&mem).unwrap();
    assert!(driver.is_used(4));
}

#[test]
fn chains_that_were_given_back_come_again() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    // The place is near the end of the ring.
    for id in 0..4 {
        driver.offer(id);
        let head = pop(&mut queue, &mem).unwrap();
        queue.push_used(&mem, head, 0).unwrap();
    }
    queue.publish(&mem).unwrap();
    driver.list(1, &[(DATA, 4, 0), (DATA, 4, 0)]);
    driver.offer(2);
    for _ in 0..2 {
        let heads = [(); 2].map(|()| pop(&mut queue, &mem).unwrap());
        assert_eq!(heads.map(|head| (head.id, head.slots)), [(1, 2), (2, 1)]);
        assert_eq!(pop(&mut queue, &mem), None);
        assert!(!queue.enable_kicks(&mem).unwrap());
        queue.unpop(3);
        assert!(queue.enable_kicks(&mem).unwrap(), "they are available");
    }
}

#[test]
fn indirect_tables_have_all_their_descriptors() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    driver.put(DATA, b"indirect");
    // The second descriptor crosses a border. Flags but WRITE, and ids, mean nothing here.
    let place = 0x3000 - 24;
    let other = NEXT | INDIRECT | AVAIL | USED;
    driver.put(place, &descriptor(DATA, 4, [99, 0]));
    driver.put(place + 16, &descriptor(DATA + 4, 4, [98, other]));
    driver.put(place + 32, &descriptor(DATA + 8, 2, [97, WRITE]));
    driver.list(6, &[(place, 48, INDIRECT | WRITE)]);
    let (mut chain, mut read) = (Chain::default(), [0; 8]);
    assert!(queue.pop(&mem, &mut chain).unwrap());
    assert_eq!(chain.head(), Head { id: 6, slots: 1 });
    assert_eq!((chain.readable_len(), chain.writable_len()), (8, 2));
    chain.read(&mem, 0, &mut read).unwrap();
    assert_eq!(&read, b"indirect");
}

#[test]
fn bad_indirect_tables_are_refused() {
    let (table, _file) = memory();
    let mem = table.view();
    let place = 0x3800;
    let with = |indirect: bool, parts: &[(u64, u32, u16)]| {
        let mut driver = Driver::new(&mem, [0x1800, 0x2800, 0x2900]);
        driver.setup.indirect = indirect;
        driver.put(0x1800, &[0; 16 * SIZE as usize]);
        driver.put(place, &descriptor(DATA, 4, [0, 0]));
        let mut queue = driver.start();
        driver.list(0, parts);
        error(&mut queue, &mem)
    };
    assert_eq!(with(true, &[(place, 16, INDIRECT)]), None);
    let bad = Some(RingError::Indirect);
    assert_eq!(with(false, &[(place, 16, INDIRECT)]), bad);
    for len in [0, 1, 15, 17, 24] {
        assert_eq!(with(true, &[(place, len, INDIRECT)]), bad, "{len}");
    }
    // A list has descriptors of one kind (2.8.5, 2.8.19).
    assert_eq!(with(true, &[(DATA, 4, 0), (place, 16, INDIRECT)]), bad);
    assert_eq!(with(true, &[(place, 16, INDIRECT), (DATA, 4, 0)]), bad);
    let long = Some(RingError::TooLong);
    assert_eq!(with(true, &[(place, 16 * 1025, INDIRECT)]), long);
}

#[test]
fn a_list_longer_than_the_ring_is_an_error() {
    let (table, _file) = memory();
    let mem = table.view();
    let driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    for number in 0..SIZE {
        let (at, avail) = driver.slot(number);
        driver.put(at, &descriptor(DATA, 4, [0, NEXT | avail]));
    }
    assert_eq!(error(&mut queue, &mem), Some(RingError::Loop));
    // With an end, the same is as long as a list can be.
    let (at, avail) = driver.slot(SIZE - 1);
    driver.put(at, &descriptor(DATA, 4, [3, avail]));
    let all = Head { id: 3, slots: SIZE };
    assert_eq!(pop(&mut queue, &mem), Some(all));
}

#[test]
fn descriptors_that_the_device_has_cannot_be_given_again() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    for id in 0..3 {
        driver.offer(id);
    }
    let first = pop(&mut queue, &mem).unwrap();
    for _ in 0..2 {
        pop(&mut queue, &mem).unwrap();
    }
    // The list goes on where the device has not given back.
    driver.list(9, &[(DATA, 4, 0); 4]);
    assert_eq!(error(&mut queue, &mem), Some(RingError::Index));
    assert_eq!(error(&mut queue, &mem), Some(RingError::Index));
    queue.push_used(&mem, first, 0).unwrap();
    driver.avail -= 4;
    driver.list(9, &[(DATA, 4, 0); 3]);
    assert_eq!(pop(&mut queue, &mem).unwrap().slots, 3);
}

#[test]
fn flags_are_read_once() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(&mem, INSIDE);
    let mut queue = driver.start();
    driver.offer(1);
    let head = pop(&mut queue, &mem).unwrap();
    // The driver takes it back, and changes what it was. It is the device's all the same.
    driver.put(driver.slot(0).0, &descriptor(0, 0, [55, 0]));
    assert_eq!(pop(&mut queue, &mem), None);
    queue.push_used(&mem, head, 8).unwrap();
    queue.publish(&mem).unwrap();
    assert_eq!(driver.seen(0), (8, 1, AVAIL | USED | WRITE));
    // Neither is what is used available again, nor what is available for the next round.
    driver.put(driver.slot(1).0 + 14, &(AVAIL | USED).to_le_bytes());
    assert_eq!(pop(&mut queue, &mem), None);
    driver.put(driver.slot(1).0 + 14, &USED.to_le_bytes());
    assert_eq!(pop(&mut queue, &mem), None);
    assert!(!queue.has_work(&mem).unwrap());
}

#[test]
fn the_driver_says_when_it_wants_interrupts() {
    let (table, _file) = memory();
    let mem = table.view();
    for event_idx in [false, true] {
        let mut driver = Driver::new(&mem, INSIDE);
        driver.put(INSIDE[0], &[0; 16 * SIZE as usize]);
        driver.setup.event_idx = event_idx;
        let mut queue = driver.start();
        let mut use_some = |driver: &mut Driver<'_>, count: u16| {
            for _ in 0..count {
                driver.offer(0);
                let head = pop(&mut queue, &mem).unwrap();
                queue.push_used(&mem, head, 0).unwrap();
            }
            queue.publish(&mem).unwrap()
        };
        driver.want(0, 0);
        assert!(use_some(&mut driver, 1), "1");
        driver.want(0, 1);
        assert!(!use_some(&mut driver, 1), "2");
        // The value that is reserved, and the reserved bits.
        driver.want(0, 3);
        assert!(use_some(&mut driver, 1), "3");
        driver.want(0, 0xfffd);
        assert!(!use_some(&mut driver, 1), "4");
        // Descriptor 1 of the next round, in which the wrap counter is 0; only if negotiated.
        driver.want(1, 2);
        assert_eq!(use_some(&mut driver, 1), !event_idx, "5");
        assert_eq!(use_some(&mut driver, 1), !event_idx, "6");
        assert!(use_some(&mut driver, 1), "7");
        assert_eq!(use_some(&mut driver, 1), !event_idx, "8");
        // The same descriptor in the round after that, in the middle of a batch.
        driver.want(1 | (1 << 15), 2);
        assert!(use_some(&mut driver, 5), "13");
        assert_eq!(use_some(&mut driver, 4), !event_idx, "17");
    }
}

#[test]
fn the_device_says_when_it_wants_notifications() {
    let (table, _file) = memory();
    let mem = table.view();
    for (event_idx, on) in [(false, 0), (true, 2)] {
        let mut driver = Driver::new(&mem, INSIDE);
        driver.put(INSIDE[0], &[0; 16 * SIZE as usize]);
        driver.put(INSIDE[2], &[0; 4]);
        driver.setup.event_idx = event_idx;
        let mut queue = driver.start();
        for number in 0..3 * SIZE {
            queue.disable_kicks(&mem).unwrap();
            assert_eq!(driver.wanted()[1], 1);
            assert_eq!(queue.is_idle(&mem), Ok(false));
            assert!(!queue.enable_kicks(&mem).unwrap());
            assert_eq!(queue.is_idle(&mem), Ok(true));
            let wrap = if number / SIZE % 2 == 0 { 1 << 15 } else { 0 };
            let place = if event_idx { (number % SIZE) | wrap } else { 0 };
            assert_eq!(driver.wanted(), [place, on], "{number}");
            driver.offer(0);
            assert_eq!(queue.is_idle(&mem), Ok(false));
            assert!(queue.enable_kicks(&mem).unwrap());
            let head = pop(&mut queue, &mem).unwrap();
            queue.push_used(&mem, head, 0).unwrap();
            queue.publish(&mem).unwrap();
        }
    }
}

#[test]
fn memory_that_goes_takes_no_chain_along() {
    for page in 0..3 {
        let (mut table, file) = memory();
        let mem = table.view();
        let mut driver = Driver::new(&mem, INSIDE);
        let mut queue = driver.start();
        driver.put(driver.setup.desc, &[0; 16 * SIZE as usize]);
        driver.offer(4);
        driver.offer(5);
        let head = pop(&mut queue, &mem).unwrap();
        queue.push_used(&mem, head, 7).unwrap();
        table.unmap(PAGE * (page + 1), PAGE);
        let less = table.view();
        assert!(!queue.is_in(&less));
        let ring = Err(RingError::Ring);
        match page {
            0 => assert_eq!(queue.pop(&less, &mut Chain::default()), ring),
            // It is visible, so it must be told.
            1 => assert_eq!(queue.publish(&less), Ok(true)),
            _ => assert_eq!(queue.enable_kicks(&less), ring),
        }
        map(&mut table, &file, page);
        let again = table.view();
        queue.publish(&again).unwrap();
        assert_eq!(driver.seen(0).0, 7, "{page}");
        assert!(driver.is_used(0));
        assert_eq!(pop(&mut queue, &again).map(|head| head.id), Some(5));
    }
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let (mut table, file) = memory();
    let start = |table: &crate::memory::MapTable, places: [u64; 3], size: u16| {
        let mem = table.view();
        let mut driver = Driver::new(&mem, places);
        driver.setup.size = size;
        VirtQueue::start(&driver.setup, &mem).map(drop)
    };
    let [desc, driver, device] = INSIDE;
    for size in [1, 3, SIZE, 128] {
        assert_eq!(start(&table, INSIDE, size), Ok(()), "{size}");
    }
    let end = 5 * PAGE;
    for places in [
        [desc + 8, driver, device],
        [desc, driver + 2, device],
        [desc, driver, device + 1],
        [end - 16, driver, device],
        [desc, end, device],
        [desc, driver, end],
        [u64::MAX - 15, driver, device],
    ] {
        assert_eq!(start(&table, places, SIZE), Err(RingError::Ring));
    }
    for size in [0, MAX_QUEUE_SIZE + 1, 1 << 15, u16::MAX] {
        assert_eq!(start(&table, INSIDE, size), Err(RingError::Ring), "{size}");
    }
    // The device writes to the ring and to its event.
    for (page, result) in [
        (0, Err(RingError::Ring)),
        (1, Ok(())),
        (2, Err(RingError::Ring)),
    ] {
        table.unmap(PAGE * (page + 1), PAGE);
        let part = Some((file.try_clone().unwrap(), PAGE * page));
        table.map(PAGE * (page + 1), PAGE, false, part).unwrap();
        assert_eq!(start(&table, INSIDE, SIZE), result, "{page}");
        table.unmap(PAGE * (page + 1), PAGE);
        map(&mut table, &file, page);
    }
}
