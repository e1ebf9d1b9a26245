// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Guest memory as QEMU maps it, with rings that are filled as fast as possible.

use std::fs::File;
use std::sync::atomic::{fence, Ordering};
use std::sync::{Mutex, MutexGuard};

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
/// Of packed rings.
const IS_AVAIL: u16 = 1 << 7;
const IS_USED: u16 = 1 << 15;
/// What an event suppression structure of a packed ring asks for, and the wrap counter beside its place
/// (VIRTIO 1.4 section 2.8.14).
const EVENT_ALL: u16 = 0;
const EVENT_NONE: u16 = 1;
const EVENT_PLACE: u16 = 2;
const EVENT_WRAP: u16 = 1 << 15;

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

    /// Length of an indirect table.
    fn table_len(&self) -> u64 {
        DESCRIPTOR * self.parts.len() as u64
    }

    /// The buffers of a chain.
    fn address(&self, queue: u16, chain: u16) -> u64 {
        buffers(queue) + self.room * u64::from(chain)
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

/// A place of a packed ring, on the way twice around, as the event of a suppression structure.
fn wrapped(place: u16) -> u16 {
    let wrap = if place < SIZE { EVENT_WRAP } else { 0 };
    (place % SIZE) | wrap
}

/// The reverse of [`wrapped`].
fn unwrapped(event: u16) -> u16 {
    let second = event & EVENT_WRAP == 0;
    (event & !EVENT_WRAP) + if second { SIZE } else { 0 }
}

/// Descriptors from one place of a packed ring to another.
fn distance(from: u16, to: u16) -> u16 {
    to.wrapping_sub(from) % (2 * SIZE)
}

/// What the driver knows of a queue.
#[derive(Default)]
struct Progress {
    /// Chains that were made available, and those whose use was seen.
    offered: u16,
    used: u16,
    /// Packed: the next descriptor to be made available, and to be used, both on the way twice around.
    next: u16,
    back: u16,
}

/// The memory of a guest.
pub struct Memory {
    file: File,
    pub view: GuestMap,
    /// Queues are packed.
    packed: bool,
    progress: [Mutex<Progress>; QUEUES],
}

impl Memory {
    pub fn new(packed: bool) -> Result<Self, String> {
        let file = memfd_create(c"guest", MFdFlags::empty()).map_err(|error| error.to_string())?;
        let mut memory = Self {
            file: file.into(),
            view: GuestMap::default(),
            packed,
            progress: Default::default(),
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
    pub fn setup(&self, queue: u16) -> QueueSetup {
        let base = ring(queue);
        QueueSetup {
            size: SIZE,
            desc: base,
            driver: base + AVAIL,
            device: base + USED,
            packed: self.packed,
            indirect: true,
            event_idx: true,
        }
    }

    fn put(&self, address: u64, data: &[u8]) -> Result<(), String> {
        let put = self.view.write_slice(data, GuestAddress(address));
        put.map_err(|error| error.to_string())
    }

    fn get<const N: usize>(&self, address: u64) -> Result<[u8; N], String> {
        let mut data = [0; N];
        let got = self.view.read_slice(&mut data, GuestAddress(address));
        got.map(|()| data).map_err(|error| error.to_string())
    }

    /// Writes a descriptor. The next one, or the id, is `word`. Its flags come last.
    fn describe(
        &self,
        at: u64,
        [address, len]: [u64; 2],
        flags: u16,
        word: u16,
    ) -> Result<(), String> {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend((len as u32).to_le_bytes());
        if !self.packed {
            bytes.extend(flags.to_le_bytes());
        }
        bytes.extend(word.to_le_bytes());
        self.put(at, &bytes)?;
        if self.packed {
            let at = GuestAddress(at + 14);
            let stored = self.view.store(flags.to_le(), at, Ordering::Release);
            stored.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Prepares all chains of a queue, with the content of `data`, or with room that the device may write.
    pub fn prepare(&self, queue: u16, shape: &Shape, data: Option<&[u8]>) -> Result<(), String> {
        let write = if data.is_some() { 0 } else { WRITE };
        for chain in 0..shape.chains {
            if let Some(data) = data {
                self.put(shape.address(queue, chain), data)?;
            }
            match shape.form {
                // Written when it is offered, because the device overwrites it.
                Form::Direct if self.packed => {}
                Form::Direct => {
                    let first = chain * shape.descriptors();
                    self.fill(queue, shape, chain, ring(queue), first, write)?;
                }
                Form::Indirect => {
                    let table = table(queue, chain);
                    self.fill(queue, shape, chain, table, 0, write)?;
                    if !self.packed {
                        let at = ring(queue) + DESCRIPTOR * u64::from(chain);
                        self.describe(at, [table, shape.table_len()], INDIRECT, 0)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the descriptors of a chain's buffers to a table, from `first` on.
    fn fill(
        &self,
        queue: u16,
        shape: &Shape,
        chain: u16,
        table: u64,
        first: u16,
        write: u16,
    ) -> Result<(), String> {
        let mut address = shape.address(queue, chain);
        for (index, &len) in (1..).zip(&shape.parts) {
            let more = usize::from(index) < shape.parts.len();
            let flags = write | if more { NEXT } else { 0 };
            let at = table + DESCRIPTOR * u64::from(first + index - 1);
            self.describe(at, [address, len.into()], flags, first + index)?;
            address += u64::from(len);
        }
        Ok(())
    }

    fn progress(&self, queue: u16) -> Result<MutexGuard<'_, Progress>, String> {
        let progress = self.progress.get(usize::from(queue));
        progress
            .and_then(|progress| progress.lock().ok())
            .ok_or_else(|| "there is no such queue".to_owned())
    }

    /// Makes `count` prepared chains available, one after the other round the ring.
    pub fn offer(&self, queue: u16, shape: &Shape, count: u16) -> Result<(), String> {
        let mut progress = self.progress(queue)?;
        let index = progress.offered;
        progress.offered = index.wrapping_add(count);
        if self.packed {
            for index in (0..count).map(|number| index.wrapping_add(number)) {
                self.give(queue, shape, index % shape.chains, &mut progress.next)?;
            }
            return Ok(());
        }
        let base = ring(queue) + AVAIL;
        for index in (0..count).map(|number| index.wrapping_add(number)) {
            let head = index % shape.chains * shape.descriptors();
            let slot = base + 4 + 2 * u64::from(index % SIZE);
            self.put(slot, &head.to_le_bytes())?;
        }
        let at = GuestAddress(base + 2);
        let index = progress.offered.to_le();
        let stored = self.view.store(index, at, Ordering::Release);
        stored.map_err(|error| error.to_string())
    }

    /// The same. Whether the device wants to be notified (VIRTIO 1.4 sections 2.7.10 and 2.8.14).
    pub fn offer_and_ask(&self, queue: u16, shape: &Shape, count: u16) -> Result<bool, String> {
        let before = self.progress(queue)?.next;
        self.offer(queue, shape, count)?;
        // The chains must be visible before the event is read.
        fence(Ordering::SeqCst);
        let progress = self.progress(queue)?;
        if self.packed {
            let [place, flags] = [0, 2].map(|at| self.get(ring(queue) + USED + at));
            let place = unwrapped(u16::from_le_bytes(place?));
            return Ok(match u16::from_le_bytes(flags?) {
                EVENT_PLACE => distance(before, place) < distance(before, progress.next),
                flags => flags == EVENT_ALL,
            });
        }
        let event = self.get(ring(queue) + USED + 4 + 8 * u64::from(SIZE))?;
        let event = u16::from_le_bytes(event);
        Ok(progress.offered.wrapping_sub(event).wrapping_sub(1) < count)
    }

    /// Wants an interrupt when the chain `number` is used, counted from the first one.
    pub fn want_interrupt(&self, queue: u16, shape: &Shape, number: u16) -> Result<(), String> {
        let at = ring(queue) + AVAIL;
        if self.packed {
            let place = number.wrapping_mul(shape.descriptors()) % (2 * SIZE);
            let [low, high] = wrapped(place).to_le_bytes();
            let [flags, zero] = EVENT_PLACE.to_le_bytes();
            return self.put(at, &[low, high, flags, zero]);
        }
        self.put(at + 4 + 2 * u64::from(SIZE), &number.to_le_bytes())
    }

    /// Wants no interrupt. In a split ring one comes after 65536 chains none the less.
    pub fn want_no_interrupt(&self, queue: u16) -> Result<(), String> {
        match self.packed {
            true => self.put(ring(queue) + AVAIL + 2, &EVENT_NONE.to_le_bytes()),
            false => Ok(()),
        }
    }

    /// Writes a chain to a packed ring, its first descriptor last.
    fn give(&self, queue: u16, shape: &Shape, chain: u16, next: &mut u16) -> Result<(), String> {
        let write = if queue % 2 == 0 { WRITE } else { 0 };
        let (mut address, mut descriptors) = (shape.address(queue, chain), Vec::new());
        match shape.form {
            Form::Indirect => {
                let table = table(queue, chain);
                descriptors.push(([table, shape.table_len()], INDIRECT));
            }
            Form::Direct => {
                for &len in &shape.parts {
                    descriptors.push(([address, len.into()], write));
                    address += u64::from(len);
                }
            }
        }
        let count = descriptors.len();
        for (number, (buffer, flags)) in descriptors.into_iter().enumerate().rev() {
            let place = (*next + number as u16) % (2 * SIZE);
            let more = if number + 1 < count { NEXT } else { 0 };
            let owner = if place < SIZE { IS_AVAIL } else { IS_USED };
            let at = ring(queue) + DESCRIPTOR * u64::from(place % SIZE);
            self.describe(at, buffer, flags | more | owner, chain)?;
        }
        *next = (*next + count as u16) % (2 * SIZE);
        Ok(())
    }

    /// Chains of a queue that the device has used.
    pub fn used(&self, queue: u16, shape: &Shape) -> Result<u16, String> {
        if !self.packed {
            let at = GuestAddress(ring(queue) + USED + 2);
            let index = self.view.load(at, Ordering::Acquire);
            return index.map(u16::from_le).map_err(|error| error.to_string());
        }
        let mut progress = self.progress(queue)?;
        loop {
            let at = ring(queue) + DESCRIPTOR * u64::from(progress.back % SIZE) + 14;
            let flags = u16::from_le_bytes(self.get(at)?) & (IS_AVAIL | IS_USED);
            let first = progress.back < SIZE;
            if flags != if first { IS_AVAIL | IS_USED } else { 0 } {
                return Ok(progress.used);
            }
            progress.back = (progress.back + shape.descriptors()) % (2 * SIZE);
            progress.used = progress.used.wrapping_add(1);
        }
    }

    /// The buffers of a chain, for a copy that looks at no ring.
    pub fn buffers(
        &self,
        queue: u16,
        shape: &Shape,
        chain: u16,
        len: usize,
    ) -> Option<VolatileSlice<'_>> {
        let address = shape.address(queue, chain % shape.chains);
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

fn table(queue: u16, chain: u16) -> u64 {
    ring(queue) + TABLES + TABLE_ROOM * u64::from(chain)
}

fn buffers(queue: u16) -> u64 {
    BUFFERS + u64::from(queue) * BUFFERS_ROOM
}
