// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound SAs by SPI: flat tables, eight entries to a cache line, so that one load from memory finds an SA
//! among any number.
//!
//! There is a fixed number of tables, and the SPI says which one it is in. So one of them grows at a time, and
//! packets wait for a small part of the work only. They use open addressing with linear probing. Entries with
//! the same home place keep their order, so SAs with one SPI stand in the order of their creation.

use crate::crypto::Region;

/// Number of tables: with a million SAs each has 8192 places, which is 64 KiB to be moved. A power of two.
const TABLES: usize = 256;
/// Smallest table, a cache line.
const LEAST: usize = 8;

/// The content of a place. SPI 0, which no SA has (RFC 4303 section 2.1), marks a free place.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Entry {
    spi: u32,
    id: u32,
}

/// Bits of an SPI, in another order: the upper ones choose the table, those in the middle the place. IKE daemons
/// draw SPIs at random, people count them up; this spreads both. Only a user who may create SAs can make them
/// collide, and harms only their own traffic.
#[inline]
const fn spread(spi: u32) -> u64 {
    (spi as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Ids of SAs by SPI. Few SAs share an SPI: only with different destinations, or while one replaces the
/// other.
#[derive(Default)]
pub(super) struct SpiIndex {
    /// None before the first SA.
    tables: Vec<Table>,
}

impl SpiIndex {
    #[inline]
    fn at(spi: u32) -> usize {
        (spread(spi) >> (u64::BITS - TABLES.trailing_zeros())) as usize
    }

    #[inline]
    fn table(&self, spi: u32) -> &Table {
        static EMPTY: Table = Table {
            places: Vec::new(),
            used: 0,
        };
        self.tables.get(Self::at(spi)).unwrap_or(&EMPTY)
    }

    /// The ids of the SAs with this SPI, the oldest first.
    #[inline]
    pub(super) fn ids(&self, spi: u32) -> impl Iterator<Item = u32> + '_ {
        self.table(spi).ids(spi)
    }

    /// Loads what [`Self::ids`] will read.
    #[inline]
    pub(super) fn prefetch(&self, spi: u32) {
        self.table(spi).prefetch(spi);
    }

    /// Adds an SA, which is younger than those with the same SPI.
    pub(super) fn insert(&mut self, spi: u32, id: u32) {
        if self.tables.is_empty() {
            self.tables.resize_with(TABLES, Table::default);
        }
        if let Some(table) = self.tables.get_mut(Self::at(spi)) {
            table.insert(spi, id);
        }
    }

    /// Removes an SA.
    pub(super) fn remove(&mut self, spi: u32, id: u32) {
        if let Some(table) = self.tables.get_mut(Self::at(spi)) {
            table.remove(spi, id);
        }
    }
}

/// One of the tables.
#[derive(Default)]
struct Table {
    /// A power of two, or none.
    places: Vec<Entry>,
    used: usize,
}

impl Table {
    /// The home place of an SPI.
    #[inline]
    fn home(&self, spi: u32) -> usize {
        (spread(spi) >> 32) as usize & self.mask()
    }

    #[inline]
    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    /// The ids of the SAs with this SPI, the oldest first.
    #[inline]
    fn ids(&self, spi: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.home(spi);
        std::iter::from_fn(move || loop {
            let entry = self.places.get(at).filter(|entry| entry.spi != 0)?;
            at = (at + 1) & self.mask();
            if entry.spi == spi {
                return Some(entry.id);
            }
        })
    }

    /// Loads what [`Self::ids`] will read.
    #[inline]
    fn prefetch(&self, spi: u32) {
        if let Some(entry) = self.places.get(self.home(spi)) {
            Region::of(entry).prefetch();
        }
    }

    /// Adds an SA, which is younger than those with the same SPI.
    fn insert(&mut self, spi: u32, id: u32) {
        // A quarter stays free: searches end at a free place.
        if (self.used + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.put(Entry { spi, id });
        self.used += 1;
    }

    fn put(&mut self, entry: Entry) {
        let mut at = self.home(entry.spi);
        while let Some(place) = self.places.get_mut(at) {
            if place.spi == 0 {
                *place = entry;
                return;
            }
            at = (at + 1) & self.mask();
        }
    }

    fn grow(&mut self) {
        let len = (self.places.len() * 2).max(LEAST);
        let old = std::mem::replace(&mut self.places, vec![Entry::default(); len]);
        // From a free place on, so that a run that goes around the end keeps its order.
        let start = old.iter().position(|entry| entry.spi == 0).unwrap_or(0);
        let (end, begin) = old.split_at(start);
        for &entry in begin.iter().chain(end).filter(|entry| entry.spi != 0) {
            self.put(entry);
        }
    }

    /// Removes an SA; those behind it close the gap.
    fn remove(&mut self, spi: u32, id: u32) {
        let Some(mut gap) = self.find(Entry { spi, id }) else {
            return;
        };
        self.used -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask();
            let entry = self.places.get(at).copied().unwrap_or_default();
            if entry.spi == 0 {
                break;
            }
            // It may move unless its home is between the gap and its place.
            let from_home = at.wrapping_sub(self.home(entry.spi)) & self.mask();
            let from_gap = at.wrapping_sub(gap) & self.mask();
            if from_home >= from_gap {
                self.set(gap, entry);
                gap = at;
            }
        }
        self.set(gap, Entry::default());
    }

    fn set(&mut self, at: usize, entry: Entry) {
        if let Some(place) = self.places.get_mut(at) {
            *place = entry;
        }
    }

    fn find(&self, wanted: Entry) -> Option<usize> {
        let mut at = self.home(wanted.spi);
        loop {
            let entry = self.places.get(at).filter(|entry| entry.spi != 0)?;
            if *entry == wanted {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list in the order of creation, with few SPIs, so that they collide.
        #[test]
        fn finds_what_a_list_finds(steps in proptest::collection::vec((any::<bool>(), 1..12u32, 0..4u32), 0..300)) {
            let (mut index, mut list) = (Table::default(), Vec::<Entry>::new());
            for (step, (add, spi, which)) in steps.into_iter().enumerate() {
                // Neighbours and equal low bits.
                let spi = if spi < 8 { spi } else { (spi << 29) | 1 };
                if add {
                    let entry = Entry { spi, id: step as u32 };
                    index.insert(entry.spi, entry.id);
                    list.push(entry);
                } else if let Some(at) = list.iter().position(|entry| entry.spi == spi && entry.id % 4 == which) {
                    index.remove(spi, list.remove(at).id);
                } else {
                    index.remove(spi, u32::MAX);
                }
                for spi in list.iter().map(|entry| entry.spi).chain([spi, 77]) {
                    let ids: Vec<_> = list.iter().filter(|entry| entry.spi == spi).map(|entry| entry.id).collect();
                    prop_assert_eq!(index.ids(spi).collect::<Vec<_>>(), ids);
                }
                prop_assert_eq!(index.used, list.len());
            }
        }
    }

    #[test]
    fn order_survives_growth_around_the_end() {
        let mut index = Table::default();
        index.insert(1, 0);
        index.remove(1, 0);
        // Enough to make the table grow twice; all with one SPI whose home is the last place.
        let spi = (1..).find(|&spi| index.home(spi) == LEAST - 1).unwrap();
        (0..40).for_each(|id| index.insert(spi, id));
        assert!(index.ids(spi).eq(0..40));
    }

    /// SPIs that were counted up, drawn at random, or differ in their upper bits only, as the bytes of a counter
    /// in the wrong order do.
    #[test]
    fn all_tables_share_the_sas() {
        let kinds: [fn(u32) -> u32; 3] = [
            |n| n + 256,
            |n| (n + 256).wrapping_mul(0x2545_f491),
            |n| (n + 1).swap_bytes(),
        ];
        const SAS: u32 = 100_000;
        for spi in kinds {
            let mut index = SpiIndex::default();
            assert_eq!(index.ids(spi(1)).next(), None);
            (0..SAS).for_each(|id| index.insert(spi(id), id));
            let most = index.tables.iter().map(|table| table.used).max();
            assert!(most < Some(2 * SAS as usize / TABLES), "{most:?}");
            for id in 0..SAS {
                assert!(index.ids(spi(id)).eq([id]), "{id}");
            }
            (0..SAS).for_each(|id| index.remove(spi(id), id));
            assert!(index.tables.iter().all(|table| table.used == 0));
        }
    }
}
