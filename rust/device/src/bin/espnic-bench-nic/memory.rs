// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Guest memory as QEMU maps it, with rings that are filled as fast as possible.

use std::fs::File;
use std::sync::atomic::{AtomicU16, Ordering};

use espnic_device::memory::{GuestMap, MapTable};
use espnic_device::transport::DmaMap;
use espnic_device::virtio::queue::QueueSetup;
use nix::sys::memfd::{memfd_create, MFdFlags};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, VolatileSlice};

/// The maps of a guest with 64 MiB under QEMU's machine q35: start and length. Memory of the firmware and of
/// devices divides the guest's RAM; rings and buffers of a driver are in the last part.
const MAPS: [(u64, u64); 6] = [
    (0, 0xa_0000),
    (0xc_0000, 0x2_0000),
    (0xe_0000, 0x2_0000),
    (0x10_0000, 0x70_0000),
    (0x80_0000, 0x80_0000),
    (0x100_0000, 0x300_0000),
];
const END: u64 = 0x400_0000;
/// Where rings begin, and the room for those of one queue.
const RINGS: u64 = 0x100_0000;
const RINGS_ROOM: u64 = 0x4_0000;
/// Where buffers begin, and the room for those of one queue.
const BUFFERS: u64 = 0x140_0000;
const BUFFERS_ROOM: u64 = 0x40_0000;
/// Queues that there is room for.
const QUEUES: usize = 8;
/// Where the areas of a queue begin in its room.
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
/// Indirect tables, and the room for one.
const TABLES: u64 = 0x1_0000;
const TABLE_ROOM: u64 = 0x200;
const DESCRIPTOR: u64 = 16;
/// Descriptors of a queue, as QEMU has by default.
const SIZE: u16 = 256;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// How the driver hands over a buffer, or buffers that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the queue's own descriptors.
    Direct,
    /// In a table of their own.
    Indirect,
}

/// What all chains of a queue are like. The buffers of a chain lie one behind the other.
#[derive(Clone, Debug)]
pub struct Shape {
    pub form: Form,
    /// Lengths of the buffers.
    pub parts: Vec<u32>,
    /// Number of chains.
    pub chains: u16,
    /// Distance of two chains' buffers.
    pub room: u64,
}

impl Shape {
    /// Descriptors of the queue that a chain takes.
    fn descriptors(&self) -> u16 {
        match self.form {
            Form::Direct => self.parts.len() as u16,
            Form::Indirect => 1,
        }
    }

    /// As many chains as the queue has room for, up to `most`.
    pub fn new(form: Form, parts: &[u32], most: u16) -> Self {
        let len: u32 = parts.iter().sum();
        let mut shape = Self {
            form,
            parts: parts.to_vec(),
            chains: 0,
            room: u64::from(len).next_multiple_of(64),
        };
        shape.chains = most.min(SIZE / shape.descriptors());
        shape
    }
}

/// The memory of a guest.
pub struct Memory {
    file: File,
    pub view: GuestMap,
    /// Available index of each queue.
    avail: [AtomicU16; QUEUES],
}

impl Memory {
    pub fn new() -> Result<Self, String> {
        let file = memfd_create(c"guest", MFdFlags::empty()).map_err(|error| error.to_string())?;
        let mut memory = Self {
            file: file.into(),
            view: GuestMap::default(),
            avail: Default::default(),
        };
        let long = memory.file.set_len(END);
        long.map_err(|error| error.to_string())?;
        let mut table = MapTable::default();
        for map in memory.maps() {
            let added = table.map(map.address, map.size, map.writable, map.file);
            added.map_err(|error| error.to_string())?;
        }
        memory.view = table.view();
        Ok(memory)
    }

    /// The maps, as the transport tells them to a device.
    pub fn maps(&self) -> Vec<DmaMap> {
        let file = || self.file.try_clone().ok();
        let map = |&(address, size)| DmaMap {
            address,
            size,
            writable: true,
            file: file().map(|file| (file, address)),
        };
        MAPS.iter().map(map).collect()
    }

    /// What the driver tells the device of a queue.
    pub fn setup(queue: u16) -> QueueSetup {
        let base = ring(queue);
        QueueSetup {
            size: SIZE,
            desc: base,
            driver: base + AVAIL,
            device: base + USED,
            indirect: true,
            event_idx: true,
        }
    }

    fn put(&self, address: u64, data: &[u8]) -> Result<(), String> {
        let put = self.view.write_slice(data, GuestAddress(address));
        put.map_err(|error| error.to_string())
    }

    fn describe(
        &self,
        at: u64,
        [address, len]: [u64; 2],
        flags: u16,
        next: u16,
    ) -> Result<(), String> {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend((len as u32).to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.put(at, &bytes)
    }

    /// Prepares all chains of a queue, with the content of `data`, or with room that the device may write.
    pub fn prepare(&self, queue: u16, shape: &Shape, data: Option<&[u8]>) -> Result<(), String> {
        for chain in 0..shape.chains {
            let mut address = buffers(queue) + shape.room * u64::from(chain);
            if let Some(data) = data {
                self.put(address, data)?;
            }
            let first = chain * shape.descriptors();
            let table = match shape.form {
                Form::Direct => ring(queue) + DESCRIPTOR * u64::from(first),
                Form::Indirect => {
                    let table = ring(queue) + TABLES + TABLE_ROOM * u64::from(chain);
                    let len = DESCRIPTOR * shape.parts.len() as u64;
                    let at = ring(queue) + DESCRIPTOR * u64::from(first);
                    self.describe(at, [table, len], INDIRECT, 0)?;
                    table
                }
            };
            let from = if shape.form == Form::Direct { first } else { 0 };
            for (index, &len) in (1..).zip(&shape.parts) {
                let mut flags = if data.is_some() { 0 } else { WRITE };
                if usize::from(index) < shape.parts.len() {
                    flags |= NEXT;
                }
                let at = table + DESCRIPTOR * u64::from(index - 1);
                self.describe(at, [address, len.into()], flags, from + index)?;
                address += u64::from(len);
            }
        }
        Ok(())
    }

    /// Makes `count` prepared chains available, one after the other round the ring.
    pub fn offer(&self, queue: u16, shape: &Shape, count: u16) -> Result<(), String> {
        let Some(avail) = self.avail.get(usize::from(queue)) else {
            return Err("there is no such queue".to_owned());
        };
        let index = avail.load(Ordering::Relaxed);
        let base = ring(queue) + AVAIL;
        for index in (0..count).map(|number| index.wrapping_add(number)) {
            let head = index % shape.chains * shape.descriptors();
            let slot = base + 4 + 2 * u64::from(index % SIZE);
            self.put(slot, &head.to_le_bytes())?;
        }
        let index = index.wrapping_add(count);
        avail.store(index, Ordering::Relaxed);
        let at = GuestAddress(base + 2);
        let stored = self.view.store(index.to_le(), at, Ordering::Release);
        stored.map_err(|error| error.to_string())
    }

    /// The used index of a queue.
    pub fn used(&self, queue: u16) -> Result<u16, String> {
        let at = GuestAddress(ring(queue) + USED + 2);
        let index = self.view.load(at, Ordering::Acquire);
        index.map(u16::from_le).map_err(|error| error.to_string())
    }

    /// The buffers of a chain, for a copy that looks at no ring.
    pub fn buffers(
        &self,
        queue: u16,
        shape: &Shape,
        chain: u16,
        len: usize,
    ) -> Option<VolatileSlice<'_>> {
        let address = buffers(queue) + shape.room * u64::from(chain % shape.chains);
        let access = Permissions::ReadWrite;
        let mut slices = self
            .view
            .get_slices(GuestAddress(address), len, access)
            .ok()?;
        slices.next()?.ok()
    }
}

fn ring(queue: u16) -> u64 {
    RINGS + u64::from(queue) * RINGS_ROOM
}

fn buffers(queue: u16) -> u64 {
    BUFFERS + u64::from(queue) * BUFFERS_ROOM
}
