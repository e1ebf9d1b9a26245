// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs and their keys are loaded ahead of the packets that need them.
//!
//! With many SAs nearly every packet finds its SA and its key in no cache. A core waits for ten to twenty lines
//! from memory at the same time. Who asks for more stands still until the first ones are there, also if nobody
//! needs the others yet. A key alone may be as large as that. So each packet asks for a little of what each of several
//! later ones needs. First comes what tells where the rest is: from the place in the index by SPI to the SA, from
//! there to the key, and the key part by part.
//!
//! The first line of something takes longest: the TLB does not know its page, and the core stands still until it has
//! found that in memory, too. It looks for several pages at the same time, if it is asked for them one after the
//! other. So the first lines are loaded in bursts, for several packets.

use super::sa::Sa;
use super::table::{Slots, Tables};
use crate::crypto::Lines;

/// The most packets of a chunk.
pub(super) const CHUNK: usize = 64;
/// With no more SAs than these, nothing is loaded ahead: they stay in the first-level cache.
const FEW: usize = 8;

/// By how many packets the places in the index by SPI are loaded ahead.
const PLACE: usize = 20;
/// The same for SAs.
const SA: usize = 14;
/// The same for the first lines of keys.
const KEY: usize = Lines::AHEAD;
const PARTS: usize = Lines::PARTS;
/// For so many packets at once.
const BURST: usize = Lines::BURST;

const _: () = assert!(PLACE >= SA + BURST && SA >= KEY + BURST && KEY > PARTS);

/// No SA has this id, and none this SPI that a packet is likely to have.
const NOTHING: u32 = u32::MAX;

/// Room for keys that are being loaded.
const KEYS: usize = (KEY + BURST).next_power_of_two();

/// A direction of packets.
pub(super) trait Direction {
    /// As much of an SA as its packets need, in bytes.
    const SA_LEN: usize;

    /// The number of SAs.
    fn len(tables: &Tables) -> usize;
    fn slots(tables: &Tables) -> &Slots;
    /// Loads what [`Self::find`] will read.
    fn prefetch(tables: &Tables, name: u32);
    /// The id of the SA of a packet that has this name; [`NOTHING`] if there is none.
    fn find(tables: &Tables, name: u32) -> u32;
}

/// Outbound packets have the id of their SA.
pub(super) struct Outbound;

impl Direction for Outbound {
    const SA_LEN: usize = Sa::FOR_OUTBOUND;

    fn len(tables: &Tables) -> usize {
        tables.len().1
    }

    fn slots(tables: &Tables) -> &Slots {
        &tables.outb
    }

    fn prefetch(_: &Tables, _: u32) {}

    fn find(_: &Tables, name: u32) -> u32 {
        name
    }
}

/// Inbound packets have an SPI.
pub(super) struct Inbound;

impl Direction for Inbound {
    const SA_LEN: usize = size_of::<Sa>();

    fn len(tables: &Tables) -> usize {
        tables.len().0
    }

    fn slots(tables: &Tables) -> &Slots {
        &tables.inb
    }

    fn prefetch(tables: &Tables, name: u32) {
        tables.by_spi.prefetch(name);
    }

    fn find(tables: &Tables, name: u32) -> u32 {
        tables.by_spi.ids(name).next().unwrap_or(NOTHING)
    }
}

/// What the packets of a chunk will probably need.
pub(super) struct Ahead<D> {
    /// Of each packet the name of its SA, and when the SA is loaded its id. [`NOTHING`] where the SA is that of the
    /// packet before, or unknown.
    names: [u32; CHUNK],
    /// The lengths of their texts, or a little more.
    lens: [u16; CHUNK],
    /// Keys that are being loaded, each at the index of its packet, modulo [`KEYS`].
    keys: [Lines; KEYS],
    /// The end of the part with names. It saves time, because most chunks have one SA.
    end: usize,
    direction: std::marker::PhantomData<D>,
}

impl<D: Direction> Ahead<D> {
    /// Begins to load for `chunk`. `name` tells what [`Direction::find`] needs, and the length of the text.
    #[inline]
    pub(super) fn new<T>(tables: &Tables, chunk: &[T], name: impl Fn(&T) -> (u32, usize)) -> Self {
        let mut ahead = Self {
            names: [NOTHING; CHUNK],
            lens: [0; CHUNK],
            keys: [Lines::NONE; KEYS],
            end: 0,
            direction: std::marker::PhantomData,
        };
        if D::len(tables) > FEW {
            ahead.note(chunk, name);
            ahead.begin(tables);
        }
        ahead
    }

    #[inline]
    fn note<T>(&mut self, chunk: &[T], name: impl Fn(&T) -> (u32, usize)) {
        let mut last = NOTHING;
        let places = self.names.iter_mut().zip(&mut self.lens);
        for (index, ((to, to_len), packet)) in places.zip(chunk).enumerate() {
            let (name, len) = name(packet);
            if name != last {
                (*to, last) = (name, name);
                *to_len = len.try_into().unwrap_or(u16::MAX);
                self.end = index + 1;
            }
        }
    }

    /// Loads for the first packets what packets before them would have loaded.
    #[inline(never)]
    fn begin(&mut self, tables: &Tables) {
        let first = |count: usize| 0..count.min(self.end);
        let (places, sas, keys) = (first(PLACE), first(SA), first(KEY));
        places.for_each(|index| self.load_place(tables, index));
        sas.for_each(|index| self.load_sa(tables, index));
        keys.clone().for_each(|index| self.find_key(tables, index));
        for index in keys {
            self.load_first(index);
            (0..PARTS.min(KEY - 1 - index)).for_each(|_| self.load_key(index));
        }
    }

    /// Whether there is nothing to be loaded.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Loads what is needed soon. Call it for all packets, one after the other, before work on them.
    #[inline(always)]
    pub(super) fn step(&mut self, tables: &Tables, index: usize) {
        if index < self.end {
            self.load(tables, index);
        }
    }

    /// [`Self::step`]; returns the SA that [`Direction::find`] has found, if there is one. Another one may be the packet's,
    /// or none.
    #[inline(always)]
    pub(super) fn step_to<'a>(&mut self, tables: &'a Tables, index: usize) -> Option<&'a Sa> {
        if index >= self.end {
            return None;
        }
        self.load(tables, index);
        D::slots(tables).get(self.name(index)?)
    }

    // Never: most chunks do not need it.
    #[inline(never)]
    fn load(&mut self, tables: &Tables, index: usize) {
        if index % BURST == 0 {
            self.load_burst(tables, index);
        }
        (1..=PARTS).for_each(|part| self.load_key(index + KEY - part));
    }

    /// Loads the first lines of what several packets from `index` on need later.
    #[inline]
    fn load_burst(&mut self, tables: &Tables, index: usize) {
        let burst = index..index + BURST;
        for index in burst.clone() {
            self.load_place(tables, index + PLACE);
        }
        for index in burst.clone() {
            self.load_sa(tables, index + SA);
        }
        for index in burst.clone() {
            self.find_key(tables, index + KEY);
        }
        for index in burst {
            self.load_first(index + KEY);
        }
    }

    #[inline]
    fn name(&self, index: usize) -> Option<u32> {
        let name = self.names.get(index).copied();
        name.filter(|&name| name != NOTHING)
    }

    #[inline]
    fn load_place(&self, tables: &Tables, index: usize) {
        if let Some(name) = self.name(index) {
            D::prefetch(tables, name);
        }
    }

    #[inline]
    fn load_sa(&mut self, tables: &Tables, index: usize) {
        let Some(name) = self.names.get_mut(index).filter(|name| **name != NOTHING) else {
            return;
        };
        *name = D::find(tables, *name);
        D::slots(tables).prefetch(*name, D::SA_LEN);
    }

    #[inline]
    fn find_key(&mut self, tables: &Tables, index: usize) {
        let len = self.lens.get(index).copied().unwrap_or(0);
        let id = self.name(index);
        let key = id.map_or(Lines::NONE, |id| D::slots(tables).key(id, len.into()));
        if let Some(place) = self.keys.get_mut(index % KEYS) {
            *place = key;
        }
    }

    #[inline]
    fn load_first(&mut self, index: usize) {
        if let Some(key) = self.keys.get_mut(index % KEYS) {
            key.prefetch_one();
        }
    }

    #[inline]
    fn load_key(&mut self, index: usize) {
        if let Some(key) = self.keys.get_mut(index % KEYS) {
            key.prefetch_some();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are SPIs, which become ids by adding this.
    const ADDED: u32 = 1000;

    struct Counted;

    impl Direction for Counted {
        const SA_LEN: usize = 1;

        fn len(_: &Tables) -> usize {
            FEW + 1
        }

        fn slots(tables: &Tables) -> &Slots {
            &tables.inb
        }

        fn prefetch(_: &Tables, name: u32) {
            assert!(name < ADDED, "an id is no SPI");
        }

        fn find(_: &Tables, name: u32) -> u32 {
            match name {
                13 => NOTHING,
                _ => name + ADDED,
            }
        }
    }

    /// Few SAs.
    struct Few;

    impl Direction for Few {
        const SA_LEN: usize = 1;

        fn len(_: &Tables) -> usize {
            FEW
        }

        fn slots(tables: &Tables) -> &Slots {
            Counted::slots(tables)
        }

        fn prefetch(_: &Tables, _: u32) {
            panic!("nothing is to be loaded");
        }

        fn find(_: &Tables, _: u32) -> u32 {
            panic!("nothing is to be loaded");
        }
    }

    /// The name that stands for the packet with this index.
    fn found(packets: &[u32], index: usize) -> u32 {
        let name = packets[index];
        match index.checked_sub(1).map(|before| packets[before]) {
            Some(before) if before == name => NOTHING,
            _ => Counted::find(&Tables::default(), name),
        }
    }

    #[test]
    fn each_sa_is_found_once_and_before_its_key_is_loaded() {
        let tables = Tables::default();
        let all: Vec<u32> = (0..CHUNK as u32).map(|n| n / 2 % 20).collect();
        for count in [1, 2, 3, 5, 6, SA, SA + 1, PLACE + 1, CHUNK - 1, CHUNK] {
            let packets = &all[..count];
            let mut ahead = Ahead::<Counted>::new(&tables, packets, |&name| (name, 64));
            for index in 0..count {
                ahead.step(&tables, index);
                for index in 0..count.min(index / BURST * BURST + KEY + BURST) {
                    assert_eq!(ahead.names[index], found(packets, index));
                }
            }
            let names = (0..count).map(|index| found(packets, index));
            assert!(ahead.names[..count].iter().copied().eq(names));
            assert!(ahead.names[count..].iter().all(|&name| name == NOTHING));
        }
    }

    #[test]
    fn with_few_sas_nothing_is_loaded() {
        let tables = Tables::default();
        let packets: Vec<u32> = (0..CHUNK as u32).collect();
        let mut ahead = Ahead::<Few>::new(&tables, &packets, |&name| (name, 64));
        (0..CHUNK).for_each(|index| ahead.step(&tables, index));
        assert!(ahead.is_empty());
    }
}
