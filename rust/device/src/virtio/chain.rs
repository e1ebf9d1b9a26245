// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Descriptor chains, checked to their end before use.

use std::ops::Range;

use virtio_queue::desc::split::Descriptor;
use virtio_queue::desc::RawDescriptor;
use vm_memory::VolatileArrayRef;

use super::error::RingError;
use crate::memory::GuestMap;

/// Most entries of an indirect table. The standard bounds a chain by the queue size, Linux does not
/// keep to that for indirect tables on small rings.
const MAX_INDIRECT: u32 = 1024;
/// Most bytes of a chain (2.7.5.3.1 asks for at most 2^32).
const MAX_BYTES: u64 = 1 << 32;
const DESCRIPTOR_SIZE: u32 = size_of::<Descriptor>() as u32;

/// A table of descriptors.
#[derive(Clone, Copy)]
pub struct Table {
    /// Guest address.
    pub addr: u64,
    /// Number of descriptors.
    pub entries: u32,
    /// Whether a descriptor of it may refer to an indirect table.
    pub indirect: bool,
}

impl Table {
    /// The descriptors; `None` if they do not lie in one map. That is allowed, and needs a look at each.
    fn find<'a>(&self, mem: &'a GuestMap) -> Option<VolatileArrayRef<'a, RawDescriptor>> {
        mem.table(self.addr, self.entries as usize)
    }

    /// The descriptor `index`.
    #[cold]
    fn read(&self, mem: &GuestMap, index: u32) -> Result<RawDescriptor, RingError> {
        let offset = u64::from(index) * u64::from(DESCRIPTOR_SIZE);
        let addr = self.addr.checked_add(offset).ok_or(RingError::Ring)?;
        mem.get(addr).map_err(|_| RingError::Address)
    }
}

#[derive(Clone, Copy)]
struct Segment {
    addr: u64,
    len: u32,
}

/// One chain: addresses and lengths, copied from the guest once. Reused, so that the data path does
/// not allocate.
#[derive(Default)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    /// How many of `segments` are readable; the rest is writable.
    readable: usize,
    readable_len: u64,
    writable_len: u64,
}

impl Chain {
    /// Index of the first descriptor, which names the chain in the used ring.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Bytes that the driver wrote for the device.
    pub fn readable_len(&self) -> u64 {
        self.readable_len
    }

    /// Bytes that the device may write.
    pub fn writable_len(&self) -> u64 {
        self.writable_len
    }

    /// Follows the chain that starts at `head` in `table`, and checks all of it.
    pub(super) fn walk(
        &mut self,
        mem: &GuestMap,
        table: &Table,
        head: u16,
    ) -> Result<(), RingError> {
        *self = Self {
            head,
            segments: std::mem::take(&mut self.segments),
            ..Self::default()
        };
        self.segments.clear();
        let mut table = *table;
        let mut entries = table.find(mem);
        let (mut index, mut visited) = (u32::from(head), 0);
        loop {
            if index >= table.entries {
                return Err(RingError::Index);
            }
            if visited >= table.entries {
                return Err(RingError::Loop);
            }
            visited += 1;
            let desc = Descriptor::from(match &entries {
                Some(entries) => entries.load(index as usize),
                None => table.read(mem, index)?,
            });
            if desc.refers_to_indirect_table() {
                table = indirect_table(&table, &desc)?;
                entries = table.find(mem);
                (index, visited) = (0, 0);
                continue;
            }
            self.add(mem, &desc)?;
            if !desc.has_next() {
                return Ok(());
            }
            index = desc.next().into();
        }
    }

    fn add(&mut self, mem: &GuestMap, desc: &Descriptor) -> Result<(), RingError> {
        if desc.len() == 0 {
            return Err(RingError::Size);
        }
        let write = desc.is_write_only();
        let total = if write {
            &mut self.writable_len
        } else if self.writable_len > 0 {
            return Err(RingError::Direction);
        } else {
            self.readable += 1;
            &mut self.readable_len
        };
        *total += u64::from(desc.len());
        if *total > MAX_BYTES {
            return Err(RingError::TooLong);
        }
        let (addr, len) = (desc.addr().0, desc.len());
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

    /// Copies `data` to the writable bytes from `at` on. Too little room is an error.
    pub fn write(&self, mem: &GuestMap, at: u64, data: &[u8]) -> Result<(), RingError> {
        let (_, writable) = self.segments.split_at(self.readable);
        pieces(writable, at, data.len(), |addr, range| {
            let part = data.get(range).ok_or(RingError::Size)?;
            mem.write(addr, part).map_err(|_| RingError::Address)
        })
    }
}

/// The table that `desc` refers to; nesting and a further descriptor are not allowed (2.7.5.3).
fn indirect_table(table: &Table, desc: &Descriptor) -> Result<Table, RingError> {
    let entries = desc.len() / DESCRIPTOR_SIZE;
    if !table.indirect || desc.has_next() || entries == 0 || desc.len() % DESCRIPTOR_SIZE != 0 {
        return Err(RingError::Indirect);
    }
    if entries > MAX_INDIRECT {
        return Err(RingError::TooLong);
    }
    Ok(Table {
        addr: desc.addr().0,
        entries,
        indirect: false,
    })
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
