// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A queue by itself, with rings at places where no driver would put them. Here are split ones.

mod buffers;
mod packed;

use std::fs::File;

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::tempfile::TempFile;

use super::chain::{Chain, Head};
use super::error::RingError;
use super::queue::{QueueSetup, VirtQueue};
use crate::memory::{GuestMap, MapTable};

const PAGE: u64 = 0x1000;
const SIZE: u16 = 16;
/// Where the buffers are.
const DATA: u64 = 0x1100;

/// Four pages from 0x1000 on, each a map of its own.
fn memory() -> (MapTable, File) {
    let file = TempFile::new().unwrap().into_file();
    file.set_len(4 * PAGE).unwrap();
    let mut table = MapTable::default();
    for page in 0..4 {
        map(&mut table, &file, page);
    }
    (table, file)
}

fn map(table: &mut MapTable, file: &File, page: u64) {
    let part = Some((file.try_clone().unwrap(), PAGE * page));
    table.map(PAGE * (page + 1), PAGE, true, part).unwrap();
}

/// Every ring lies across a border, and one used entry does so, too.
const ACROSS: [u64; 3] = [0x1f80, 0x2ff0, 0x3fc0];
/// Every ring lies in one map.
const INSIDE: [u64; 3] = [0x1800, 0x2800, 0x3800];

/// A descriptor, whose last two words depend on the form of the ring.
fn descriptor(addr: u64, len: u32, words: [u16; 2]) -> Vec<u8> {
    let mut bytes = addr.to_le_bytes().to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend(words.map(u16::to_le_bytes).as_flattened());
    bytes
}

/// The driver's side.
struct Driver {
    setup: QueueSetup,
    avail: u16,
}

impl Driver {
    fn new([desc, driver, device]: [u64; 3]) -> Self {
        let setup = QueueSetup {
            size: SIZE,
            desc,
            driver,
            device,
            packed: false,
            indirect: true,
            event_idx: false,
        };
        Self { setup, avail: 0 }
    }

    fn put(&self, mem: &GuestMap, addr: u64, data: &[u8]) {
        mem.write_slice(data, GuestAddress(addr)).unwrap();
    }

    fn describe(&self, mem: &GuestMap, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
        self.put(mem, at, &descriptor(addr, len, [flags, next]));
    }

    /// Makes the chain at `head` available.
    fn offer(&mut self, mem: &GuestMap, head: u16) {
        let slot = u64::from(self.avail % SIZE);
        self.put(mem, self.setup.driver + 4 + 2 * slot, &head.to_le_bytes());
        self.avail = self.avail.wrapping_add(1);
        self.show(mem, self.avail);
    }

    fn show(&self, mem: &GuestMap, index: u16) {
        self.put(mem, self.setup.driver + 2, &index.to_le_bytes());
    }

    /// The used index, and the entry before it.
    fn used(&self, mem: &GuestMap) -> (u16, [u8; 8]) {
        let (mut index, mut entry) = ([0; 2], [0; 8]);
        let at = GuestAddress(self.setup.device + 2);
        mem.read_slice(&mut index, at).unwrap();
        let index = u16::from_le_bytes(index);
        let slot = u64::from(index.wrapping_sub(1) % SIZE);
        let at = GuestAddress(self.setup.device + 4 + 8 * slot);
        mem.read_slice(&mut entry, at).unwrap();
        (index, entry)
    }
}

#[test]
fn rings_may_cross_maps() {
    let (table, _file) = memory();
    for places in [INSIDE, ACROSS] {
        let mem = table.view();
        let mut driver = Driver::new(places);
        let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
        let mut chain = Chain::default();
        // Twice around the ring, with every descriptor.
        for number in 0..2 * SIZE {
            let head = number % SIZE;
            let at = driver.setup.desc + 16 * u64::from(head);
            let text = [number as u8; 8];
            driver.put(&mem, DATA, &text);
            driver.describe(&mem, at, DATA, 8, 0, 0);
            assert!(!queue.pop(&mem, &mut chain).unwrap(), "{number}");
            driver.offer(&mem, head);
            assert!(queue.has_work(&mem).unwrap());
            assert!(queue.pop(&mem, &mut chain).unwrap(), "{number}");
            let mut read = [0; 8];
            chain.read(&mem, 0, &mut read).unwrap();
            assert_eq!((chain.head().id, read), (head, text));
            queue.push_used(&mem, chain.head(), number.into()).unwrap();
            assert_eq!(driver.used(&mem).0, number, "not yet");
            assert!(queue.publish(&mem).unwrap());
            let entry = u64::from(head) | (u64::from(number) << 32);
            assert_eq!(driver.used(&mem), (number + 1, entry.to_le_bytes()));
        }
    }
}

#[test]
fn an_indirect_table_may_cross_maps() {
    let (table, _file) = memory();
    let mem = table.view();
    // The second descriptor itself crosses the border.
    let (mut driver, place) = (Driver::new(INSIDE), 0x3000 - 24);
    let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
    driver.put(&mem, DATA, b"indirect");
    driver.describe(&mem, place, DATA, 4, 1, 1);
    driver.describe(&mem, place + 16, DATA + 4, 4, 0, 0);
    driver.describe(&mem, driver.setup.desc, place, 32, 4, 0);
    driver.offer(&mem, 0);
    let (mut chain, mut read) = (Chain::default(), [0; 8]);
    assert!(queue.pop(&mem, &mut chain).unwrap());
    chain.read(&mem, 0, &mut read).unwrap();
    assert!(!chain.is_single());
    assert_eq!(&read, b"indirect");
}

#[test]
fn memory_that_goes_takes_no_chain_along() {
    for (page, error) in [
        (0, RingError::Address),
        (1, RingError::Ring),
        (2, RingError::Ring),
    ] {
        let (mut table, file) = memory();
        let mut driver = Driver::new(INSIDE);
        let mut chain = Chain::default();
        let mem = table.view();
        let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
        driver.describe(&mem, driver.setup.desc, DATA, 8, 0, 0);
        driver.offer(&mem, 0);
        driver.offer(&mem, 0);
        assert!(queue.pop(&mem, &mut chain).unwrap());
        table.unmap(PAGE * (page + 1), PAGE);
        let less = table.view();
        assert!(!queue.is_in(&less));
        let failed = match page {
            2 => queue.push_used(&less, chain.head(), 0).err(),
            _ => queue.pop(&less, &mut chain).err(),
        };
        assert_eq!(failed, Some(error), "{page}");
        map(&mut table, &file, page);
        let mem = table.view();
        assert!(queue.pop(&mem, &mut chain).unwrap(), "{page}");
        queue.push_used(&mem, chain.head(), 7).unwrap();
        queue.publish(&mem).unwrap();
        assert_eq!(driver.used(&mem).0, 1);
        assert!(!queue.pop(&mem, &mut chain).unwrap());
    }
}

#[test]
fn an_interrupt_is_not_lost_with_the_event() {
    for event_idx in [false, true] {
        let (mut table, _file) = memory();
        let mem = table.view();
        let mut driver = Driver::new(INSIDE);
        driver.setup.event_idx = event_idx;
        let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
        let mut chain = Chain::default();
        driver.describe(&mem, driver.setup.desc, DATA, 8, 0, 0);
        driver.offer(&mem, 0);
        assert!(queue.pop(&mem, &mut chain).unwrap());
        queue.push_used(&mem, chain.head(), 0).unwrap();
        table.unmap(2 * PAGE, PAGE);
        assert_eq!(queue.publish(&table.view()), Ok(true));
        assert_eq!(driver.used(&mem).0, 1);
    }
}

#[test]
fn an_index_that_jumps_is_an_error_when_it_is_read() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(INSIDE);
    let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
    let mut chain = Chain::default();
    driver.describe(&mem, driver.setup.desc, DATA, 8, 0, 0);
    driver.offer(&mem, 0);
    driver.offer(&mem, 0);
    assert!(queue.pop(&mem, &mut chain).unwrap());
    // What has been seen counts; what the driver writes meanwhile is read when that is taken.
    driver.show(&mem, 3 + SIZE);
    assert!(queue.pop(&mem, &mut chain).unwrap());
    for _ in 0..2 {
        let error = queue.pop(&mem, &mut chain).err();
        assert_eq!(error, Some(RingError::Index));
    }
    // Chains that are given back are there again.
    driver.show(&mem, 2);
    queue.unpop(2);
    assert!(queue.has_work(&mem).unwrap());
}

#[test]
fn chains_that_were_given_back_come_again() {
    let (table, _file) = memory();
    let mem = table.view();
    let mut driver = Driver::new(INSIDE);
    let mut queue = VirtQueue::start(&driver.setup, &mem).unwrap();
    let mut chain = Chain::default();
    for head in 0..3u16 {
        let at = driver.setup.desc + 16 * u64::from(head);
        driver.describe(&mem, at, DATA, 8, 2, 0);
        driver.offer(&mem, head);
    }
    for _ in 0..2 {
        for head in 0..3u16 {
            assert!(queue.pop(&mem, &mut chain).unwrap());
            assert!(chain.is_single());
            assert_eq!(chain.head(), Head { id: head, slots: 1 });
        }
        assert!(!queue.pop(&mem, &mut chain).unwrap());
        assert!(!queue.enable_kicks(&mem).unwrap());
        queue.unpop(3);
        assert!(queue.enable_kicks(&mem).unwrap(), "they are available");
    }
}
