// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A virtqueue as the driver sees it, split or packed.

use std::time::{Duration, Instant};

use espnic_wire::feature::{self, mask};

use super::driver::{Driver, NEXT};

/// Flags of a packed descriptor.
pub const AVAIL: u16 = 1 << 7;
pub const USED: u16 = 1 << 15;
/// Flags of an event of a packed ring.
const DISABLE: u16 = 1;
const DESC: u16 = 2;
/// Only the last descriptor of a list has its id.
const NO_ID: u16 = 0xffff;

/// The guest's view of one queue.
#[derive(Clone, Copy)]
pub struct Ring {
    pub size: u16,
    pub base: u64,
    /// Chains that were made available, and those whose return was noticed.
    pub avail_idx: u16,
    pub used_seen: u16,
    /// Split: the next descriptor. Packed: the next id.
    pub next_desc: u16,
    /// Packed: the next descriptor, and that of the next return, on the way twice around the ring.
    pub avail_at: u16,
    pub used_at: u16,
    /// Packed: the room of the last chain that came back.
    last: u16,
}

/// A chain that the device has.
pub struct Lent {
    pub queue: u16,
    id: u16,
    slots: u16,
}

/// Of which chains the other side wants to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    All,
    None,
    /// The one at this place; split: at this index.
    At(u16),
}

impl Ring {
    pub fn new(base: u64, size: u16) -> Self {
        Self {
            size,
            base,
            avail_idx: 0,
            used_seen: 0,
            next_desc: 0,
            avail_at: 0,
            used_at: 0,
            last: 1,
        }
    }

    pub fn desc(&self) -> u64 {
        self.base
    }

    pub fn avail(&self) -> u64 {
        self.base + 0x2000
    }

    pub fn used(&self) -> u64 {
        self.base + 0x3000
    }

    /// The address of the descriptor at a place in a packed ring.
    fn slot(&self, place: u16) -> u64 {
        self.base + 16 * u64::from(place % self.size)
    }

    /// The flags of an available descriptor there.
    fn available(&self, place: u16) -> u16 {
        if place < self.size {
            AVAIL
        } else {
            USED
        }
    }

    fn after(&self, place: u16, slots: u16) -> u16 {
        (place + slots) % (2 * self.size)
    }
}

impl Driver {
    pub fn packed(&self) -> bool {
        self.features & mask(feature::RING_PACKED) != 0
    }

    fn event_idx(&self) -> bool {
        self.features & mask(feature::EVENT_IDX) != 0
    }

    fn ring(&self, queue: u16) -> Ring {
        self.rings[usize::from(queue)]
    }

    fn ring_mut(&mut self, queue: u16) -> &mut Ring {
        &mut self.rings[usize::from(queue)]
    }

    /// Writes descriptor `index` of a table. `word` is the next one, or in packed rings the id. The last two bytes,
    /// where packed rings have the flags, come last.
    pub fn desc(&self, table: u64, index: u16, address: u64, len: u32, flags: u16, word: u16) {
        let [first, last] = match self.packed() {
            true => [word, flags],
            false => [flags, word],
        };
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(first.to_le_bytes());
        let at = table + 16 * u64::from(index);
        self.put(at, &bytes);
        self.put(at + 14, &last.to_le_bytes());
    }

    /// Makes the chain at `head` available; the device is not told. In a packed ring it is always the next
    /// descriptor.
    pub fn offer(&mut self, queue: u16, head: u16) {
        let ring = self.ring(queue);
        let index = ring.avail_idx.wrapping_add(1);
        self.ring_mut(queue).avail_idx = index;
        if self.packed() {
            let at = ring.slot(ring.avail_at);
            let id = self.get16(at + 12);
            let flags = self.get16(at + 14) & !(AVAIL | USED);
            let flags = flags | ring.available(ring.avail_at);
            self.put(at + 14, &flags.to_le_bytes());
            self.lend(queue, id, 1);
            return;
        }
        let slot = u64::from(ring.avail_idx % ring.size);
        self.put(ring.avail() + 4 + 2 * slot, &head.to_le_bytes());
        self.put(ring.avail() + 2, &index.to_le_bytes());
    }

    /// Builds a direct chain of (address, length, flags) in free descriptors and offers it. Returns what the
    /// device says when it has used it: the first descriptor, or the id.
    pub fn chain(&mut self, queue: u16, parts: &[(u64, u32, u16)]) -> u16 {
        if self.packed() {
            return self.list(queue, parts);
        }
        let ring = self.ring(queue);
        let head = ring.next_desc;
        for (number, &(address, len, flags)) in parts.iter().enumerate() {
            let index = (head + number as u16) % ring.size;
            let next = (index + 1) % ring.size;
            let more = if number + 1 < parts.len() { NEXT } else { 0 };
            self.desc(ring.desc(), index, address, len, flags | more, next);
        }
        self.ring_mut(queue).next_desc = (head + parts.len() as u16) % ring.size;
        self.offer(queue, head);
        head
    }

    /// The same in a packed ring. The flags of the first descriptor are written last.
    fn list(&mut self, queue: u16, parts: &[(u64, u32, u16)]) -> u16 {
        let (ring, slots) = (self.ring(queue), parts.len() as u16);
        let is_free = |id: &u16| {
            let mut lent = self.lent.iter();
            !lent.any(|lent| (lent.queue, lent.id) == (queue, *id))
        };
        let mut ids = (0..ring.size).map(|id| (ring.next_desc + id) % ring.size);
        // A driver that offers more than the ring holds gives an id twice.
        let id = ids.find(is_free).unwrap_or(ring.next_desc);
        for (number, &(address, len, flags)) in parts.iter().enumerate().rev() {
            let last = number + 1 == parts.len();
            let at = ring.after(ring.avail_at, number as u16);
            let flags = flags | if last { 0 } else { NEXT } | ring.available(at);
            let word = if last { id } else { NO_ID };
            self.desc(ring.desc(), at % ring.size, address, len, flags, word);
        }
        let ring = self.ring_mut(queue);
        ring.next_desc = (id + slots) % ring.size;
        ring.avail_idx = ring.avail_idx.wrapping_add(1);
        self.lend(queue, id, slots);
        id
    }

    fn lend(&mut self, queue: u16, id: u16, slots: u16) {
        self.lent.push(Lent { queue, id, slots });
        let ring = self.ring_mut(queue);
        ring.avail_at = ring.after(ring.avail_at, slots);
    }

    /// The chains that the device has used, and of packed rings those that are still to be noticed in addition
    /// to those that were.
    pub fn used_idx(&self, queue: u16) -> u16 {
        let mut ring = self.ring(queue);
        if !self.packed() {
            return self.get16(ring.used() + 2);
        }
        let mut known = Vec::new();
        while let Some((id, _)) = self.used_at(&ring) {
            let at = self.lent_at(queue, id, &known);
            ring.last = at.map_or(ring.last, |at| self.lent[at].slots);
            ring.used_at = ring.after(ring.used_at, ring.last);
            ring.used_seen = ring.used_seen.wrapping_add(1);
            known.extend(at);
        }
        ring.used_seen
    }

    /// What is used at this place of a packed ring: id and length.
    fn used_at(&self, ring: &Ring) -> Option<(u16, u32)> {
        let at = ring.slot(ring.used_at);
        let wanted = match ring.used_at < ring.size {
            true => AVAIL | USED,
            false => 0,
        };
        if self.get16(at + 14) & (AVAIL | USED) != wanted {
            return None;
        }
        let len = u32::from_le_bytes(self.get(at + 8, 4).try_into().unwrap());
        Some((self.get16(at + 12), len))
    }

    /// Which chain of `lent` has this id; the oldest one if none has. Without those that are `known`.
    fn lent_at(&self, queue: u16, id: u16, known: &[usize]) -> Option<usize> {
        let lent = self.lent.iter().enumerate();
        let mut own = lent.filter(|(at, lent)| lent.queue == queue && !known.contains(at));
        let first = own.clone().next();
        let same = own.find(|(_, lent)| lent.id == id);
        same.or(first).map(|(at, _)| at)
    }

    /// The next chain that the device has given back: its whole id, and the length.
    pub fn next_entry(&mut self, queue: u16) -> Option<(u32, u32)> {
        let ring = self.ring(queue);
        if self.packed() {
            let (id, len) = self.used_at(&ring)?;
            let at = self.lent_at(queue, id, &[]);
            // An id that is wrong on purpose has the room of some other chain.
            let slots = at.map_or(ring.last, |at| self.lent.remove(at).slots);
            let seen = self.ring_mut(queue);
            seen.last = slots;
            seen.used_at = ring.after(ring.used_at, slots);
            seen.used_seen = ring.used_seen.wrapping_add(1);
            return Some((id.into(), len));
        }
        if self.used_idx(queue) == ring.used_seen {
            return None;
        }
        let at = ring.used() + 4 + 8 * u64::from(ring.used_seen % ring.size);
        self.ring_mut(queue).used_seen = ring.used_seen.wrapping_add(1);
        let word = |at| u32::from_le_bytes(self.get(at, 4).try_into().unwrap());
        Some((word(at), word(at + 4)))
    }

    /// The next used entry: descriptor or id, and length. Waits for a NIC that is in another process.
    pub fn next_used(&mut self, queue: u16) -> Option<(u16, u32)> {
        let end = Instant::now() + self.patience;
        loop {
            if let Some((id, len)) = self.next_entry(queue) {
                return Some((id as u16, len));
            }
            if self.is_local() || Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Of which chains the device wants to be told.
    pub fn wanted_kicks(&self, queue: u16) -> Notice {
        let ring = self.ring(queue);
        let (first, second) = (self.get16(ring.used()), self.get16(ring.used() + 2));
        match (self.packed(), self.event_idx()) {
            (true, _) if second == DISABLE => Notice::None,
            (true, true) if second == DESC && first >> 15 == 1 => Notice::At(first & 0x7fff),
            (true, true) if second == DESC => Notice::At(first + ring.size),
            (true, _) => Notice::All,
            (false, true) => {
                assert_eq!(first, 0, "the flags are not used");
                let event = ring.used() + 4 + 8 * u64::from(ring.size);
                Notice::At(self.get16(event))
            }
            (false, false) if first == 0 => Notice::All,
            (false, false) => Notice::None,
        }
    }

    /// Says of which chains the driver wants to be told.
    pub fn want_interrupts(&self, queue: u16, notice: &Notice) {
        let ring = self.ring(queue);
        let words = match (self.packed(), notice) {
            (true, Notice::All) => [0, 0],
            (true, Notice::None) => [0, DISABLE],
            (true, Notice::At(place)) if *place < ring.size => [*place | (1 << 15), DESC],
            (true, Notice::At(place)) => [*place - ring.size, DESC],
            (false, Notice::At(index)) => {
                let event = ring.avail() + 4 + 2 * u64::from(ring.size);
                return self.put(event, &index.to_le_bytes());
            }
            (false, Notice::All) => return self.put(ring.avail(), &[0, 0]),
            (false, Notice::None) => return self.put(ring.avail(), &[1, 0]),
        };
        self.put(ring.avail(), words.map(u16::to_le_bytes).as_flattened());
    }
}
