// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Descriptor chains, checked to their end before use.

use std::ops::Range;
use std::sync::atomic::Ordering;

use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use virtio_queue::desc::RawDescriptor;

use super::error::RingError;
use crate::memory::{GuestMap, Stretch};

/// Flag of a descriptor: the chain goes on.
pub(super) const NEXT: u16 = VRING_DESC_F_NEXT as u16;
/// Flag of a descriptor: the device writes to the buffer.
pub(super) const WRITE: u16 = VRING_DESC_F_WRITE as u16;
/// Flag of a descriptor: the buffer is a table of descriptors.
pub(super) const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// Most entries of an indirect table. The standard bounds a chain by the queue size, Linux does not
/// keep to that for indirect tables on small rings.
const MAX_INDIRECT: u32 = 1024;
/// Most bytes of a chain (2.7.5.3.1 asks for at most 2^32).
const MAX_BYTES: u64 = 1 << 32;
const DESCRIPTOR_SIZE: u32 = size_of::<RawDescriptor>() as u32;
/// Where the second half of a descriptor begins, which has its flags.
const SECOND_HALF: usize = 8;

/// A descriptor, copied from the guest once. It is two words, which stay in registers: fields that are written one
/// by one and read together would have to be in memory first.
#[derive(Clone, Copy, Default)]
pub(super) struct Descriptor {
    pub(super) addr: u64,
    /// From the lowest bit on: the length (32 bits), the flags (16), and a word (16).
    rest: u64,
}

impl Descriptor {
    /// `word` is, split, the index of the next descriptor, and packed the id of the buffer.
    #[inline(always)]
    pub(super) fn new(addr: u64, len: u32, flags: u16, word: u16) -> Self {
        Self {
            addr,
            rest: u64::from(len) | (u64::from(flags) << 32) | (u64::from(word) << 48),
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.rest as u32
    }

    #[inline(always)]
    pub(super) fn word(&self) -> u16 {
        (self.rest >> 48) as u16
    }

    /// Whether it is a buffer with these flags, and the only one of its chain.
    #[inline(always)]
    pub(super) fn is_only(&self, flags: u16) -> bool {
        (self.rest >> 32) as u16 & (NEXT | INDIRECT | WRITE) == flags
    }

    /// Whether all of `flags` are set.
    #[inline(always)]
    pub(super) fn has(&self, flags: u16) -> bool {
        (self.rest >> 32) as u16 & flags == flags
    }
}

/// What the descriptors of split and packed rings do not have in common.
pub(super) trait Form {
    /// Whether the last descriptor of a chain of several may name an indirect table.
    const MIXES: bool;

    /// Takes a descriptor apart, of which these are both halves.
    fn read(addr: u64, half: u64) -> Descriptor;

    /// Whether `desc` of `table` names an indirect table.
    fn is_indirect(table: &Table<'_>, desc: &Descriptor) -> bool;

    /// The index of the descriptor that follows `desc`, which has `index` in `table`; `None` if it is the
    /// last one of its chain.
    fn next(table: &Table<'_>, index: u32, desc: &Descriptor) -> Option<u32>;
}

/// What a table of descriptors is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// That of a queue.
    Queue {
        /// Its descriptors may name indirect tables.
        indirect: bool,
    },
    /// An indirect one.
    Indirect,
}

/// A table of descriptors.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    mem: &'a GuestMap,
    addr: u64,
    /// Number of descriptors.
    pub(super) entries: u32,
    pub(super) kind: Kind,
    /// The descriptors; `None` if they do not lie in one map. That is allowed, and needs a look at each.
    found: Option<Stretch<'a>>,
}

impl<'a> Table<'a> {
    /// The table of `entries` descriptors at the guest's address `addr`.
    // Always, as with all that follows a chain: the fields stay in registers.
    #[inline(always)]
    pub(super) fn new(mem: &'a GuestMap, addr: u64, entries: u32, kind: Kind) -> Self {
        Self {
            mem,
            addr,
            entries,
            kind,
            found: mem.stretch(addr, offset(entries, 0)),
        }
    }

    /// The descriptor `index`.
    #[inline(always)]
    pub(super) fn load<F: Form>(&self, index: u32) -> Result<Descriptor, RingError> {
        let addr = self.address(index)?;
        Ok(F::read(addr, self.word(index, SECOND_HALF)?))
    }

    /// The first half of the descriptor `index`: the address of its buffer.
    #[inline(always)]
    pub(super) fn address(&self, index: u32) -> Result<u64, RingError> {
        if index >= self.entries {
            return Err(RingError::Index);
        }
        self.word(index, 0)
    }

    #[inline(always)]
    fn word(&self, index: u32, within: usize) -> Result<u64, RingError> {
        let word = match &self.found {
            Some(found) => found.get(offset(index, within)),
            None => self.word_far(index, within)?,
        };
        word.map(u64::from_le).ok_or(RingError::Address)
    }

    #[cold]
    fn word_far(&self, index: u32, within: usize) -> Result<Option<u64>, RingError> {
        let addr = self.at(index, within)?;
        Ok(self.mem.get(addr).ok())
    }

    /// The second half of the descriptor `index`, in one go, before all that is read afterwards.
    #[inline(always)]
    pub(super) fn acquire(&self, index: u32) -> Result<u64, RingError> {
        if index >= self.entries {
            return Err(RingError::Index);
        }
        let half = match &self.found {
            Some(found) => found.load_at(offset(index, SECOND_HALF), Ordering::Acquire),
            None => {
                let addr = self.at(index, SECOND_HALF)?;
                self.mem.load_at(addr, Ordering::Acquire).ok()
            }
        };
        half.map(u64::from_le).ok_or(RingError::Ring)
    }

    fn at(&self, index: u32, within: usize) -> Result<u64, RingError> {
        let offset = offset(index, within) as u64;
        self.addr.checked_add(offset).ok_or(RingError::Ring)
    }

    /// The table that `desc` of this one refers to; nesting and a further descriptor are not allowed
    /// (2.7.5.3, 2.8.7).
    #[inline(always)]
    fn indirect(&self, desc: &Descriptor) -> Result<Self, RingError> {
        let entries = desc.len() / DESCRIPTOR_SIZE;
        let allowed = self.kind == Kind::Queue { indirect: true } && !desc.has(NEXT);
        if !allowed || entries == 0 || desc.len() % DESCRIPTOR_SIZE != 0 {
            return Err(RingError::Indirect);
        }
        if entries > MAX_INDIRECT {
            return Err(RingError::TooLong);
        }
        Ok(Self::new(self.mem, desc.addr, entries, Kind::Indirect))
    }
}

/// Where a descriptor, or what is `within` it, is in its table, which has less than 2^17 of them.
#[inline(always)]
fn offset(index: u32, within: usize) -> usize {
    index as usize * DESCRIPTOR_SIZE as usize + within
}

#[derive(Clone, Copy)]
struct Segment {
    addr: u64,
    len: u32,
}

/// What names a chain to the driver, and the room that it has in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Split: the index of its first descriptor. Packed: the id that the driver has given to the buffer.
    pub id: u16,
    /// Split: 1, for the entry of the available ring. Packed: the number of descriptors in the ring.
    pub slots: u16,
}

/// The part of a chain that is in one table, above all in the ring itself.
pub(super) struct InRing {
    /// Number of descriptors.
    pub(super) count: u32,
    /// The last one.
    pub(super) last: Descriptor,
}

/// One chain: addresses and lengths, copied from the guest once. Reused, so that the data path does
/// not allocate.
#[derive(Default)]
pub struct Chain {
    /// See [`Head`]: its id and, above it, its slots. One word, because it is read right after it was written.
    head: u32,
    segments: Vec<Segment>,
    /// How many of `segments` are readable; the rest is writable.
    readable: usize,
    readable_len: u64,
    writable_len: u64,
}

impl Chain {
    /// What names the chain to the driver.
    #[inline(always)]
    pub fn head(&self) -> Head {
        Head {
            id: self.head as u16,
            slots: (self.head >> 16) as u16,
        }
    }

    /// Says what names the chain to the driver.
    #[inline(always)]
    pub(super) fn set_head(&mut self, head: Head) {
        self.head = u32::from(head.id) | (u32::from(head.slots) << 16);
    }

    /// Whether it has one buffer.
    #[inline(always)]
    pub fn is_single(&self) -> bool {
        self.segments.len() == 1
    }

    /// Bytes that the driver wrote for the device.
    pub fn readable_len(&self) -> u64 {
        self.readable_len
    }

    /// Bytes that the device may write.
    pub fn writable_len(&self) -> u64 {
        self.writable_len
    }

    /// Follows the chain that starts with `first`, which has `index` in `queue`, and checks all of it.
    #[inline(always)]
    pub(super) fn walk<F: Form>(
        &mut self,
        queue: &Table<'_>,
        index: u32,
        first: Descriptor,
    ) -> Result<InRing, RingError> {
        self.segments.clear();
        (self.readable, self.readable_len, self.writable_len) = (0, 0, 0);
        let in_ring = self.follow::<F>(queue, index, first)?;
        if F::is_indirect(queue, &in_ring.last) {
            if in_ring.count > 1 && !F::MIXES {
                return Err(RingError::Indirect);
            }
            let table = queue.indirect(&in_ring.last)?;
            let first = table.load::<F>(0)?;
            let end = self.follow::<F>(&table, 0, first)?;
            if F::is_indirect(&table, &end.last) {
                return Err(RingError::Indirect);
            }
        }
        Ok(in_ring)
    }

    /// Takes the buffers of `desc`, which has `index` in `table`, and of those that follow it there. The last
    /// one may name an indirect table instead of a buffer.
    #[inline(always)]
    fn follow<F: Form>(
        &mut self,
        table: &Table<'_>,
        mut index: u32,
        mut desc: Descriptor,
    ) -> Result<InRing, RingError> {
        let mut count = 1;
        while !F::is_indirect(table, &desc) {
            self.add(table.mem, &desc)?;
            let Some(next) = F::next(table, index, &desc) else {
                break;
            };
            let following = table.load::<F>(next)?;
            if count >= table.entries {
                return Err(RingError::Loop);
            }
            (index, desc) = (next, following);
            count += 1;
        }
        Ok(InRing { count, last: desc })
    }

    #[inline(always)]
    fn add(&mut self, mem: &GuestMap, desc: &Descriptor) -> Result<(), RingError> {
        let (addr, len) = (desc.addr, desc.len());
        if len == 0 {
            return Err(RingError::Size);
        }
        let write = desc.has(WRITE);
        let total = if write {
            &mut self.writable_len
        } else if self.writable_len > 0 {
            return Err(RingError::Direction);
        } else {
            self.readable += 1;
            &mut self.readable_len
        };
        *total += u64::from(len);
        if *total > MAX_BYTES {
            return Err(RingError::TooLong);
        }
        if !mem.has(addr, len as usize, write) {
            return Err(RingError::Address);
        }
        self.segments.push(Segment { addr, len });
        Ok(())
    }

    /// Copies readable bytes from `at` on into `buf`. Fewer bytes in the chain are an error.
    pub fn read(&self, mem: &GuestMap, at: u64, buf: &mut [u8]) -> Result<(), RingError> {
        let (readable, _) = self.segments.split_at(self.readable);
        pieces(readable, at, buf.len(), |addr, range| {
            let part = buf.get_mut(range).ok_or(RingError::Size)?;
            mem.read(addr, part).map_err(|_| RingError::Address)
        })
    }

    /// Copies the readable bytes from the start, which are the header of a packet, to `buf`, as [`Self::read`] does.
    #[inline(always)]
    pub fn read_header(&self, mem: &GuestMap, buf: &mut [u8]) -> Result<(), RingError> {
        match self.segments.first() {
            Some(first) if self.readable > 0 && buf.len() <= first.len as usize => {
                let read = mem.read_header(first.addr, buf);
                read.map_err(|_| RingError::Address)
            }
            _ => self.read(mem, 0, buf),
        }
    }

    /// Copies `data` to the writable bytes from `at` on. Too little room is an error.
    pub fn write(&self, mem: &GuestMap, at: u64, data: &[u8]) -> Result<(), RingError> {
        let (_, writable) = self.segments.split_at(self.readable);
        pieces(writable, at, data.len(), |addr, range| {
            let part = data.get(range).ok_or(RingError::Size)?;
            mem.write(addr, part).map_err(|_| RingError::Address)
        })
    }
}

/// Goes through the parts of `segments` that hold `len` bytes after the first `skip`: `action` gets the address
/// of each, and which of the bytes it holds. If the segments end before, that is an error.
#[inline]
fn pieces(
    segments: &[Segment],
    mut skip: u64,
    len: usize,
    mut action: impl FnMut(u64, Range<usize>) -> Result<(), RingError>,
) -> Result<(), RingError> {
    let mut done = 0;
    for segment in segments {
        if done == len {
            break;
        }
        let size = u64::from(segment.len);
        if skip >= size {
            skip -= size;
            continue;
        }
        let part = (len - done).min((size - skip) as usize);
        action(segment.addr + skip, done..done + part)?;
        (skip, done) = (0, done + part);
    }
    match done == len {
        true => Ok(()),
        false => Err(RingError::Size),
    }
}
