// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The SA tables.

use super::sa::Sa;
use super::spi::SpiIndex;
use crate::crypto::{Arena, Lines, Placed, Region};
use espnic_esp::packet::Esp;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most inbound SAs with one SPI. Every packet with it is compared with all of them, so many would cost more
/// than decryption; there are few where SPIs are chosen as RFC 4301 says.
const MOST_EQUAL_SPIS: usize = 16;

/// SAs of a part of a table: enough that the list of parts is short, few enough that a part is soon made.
const PART: usize = 256;

/// A part of a table. Parts stay where they are, so that a table grows without its SAs being moved.
struct Part {
    sas: Placed<[Option<Sa>; PART]>,
    used: usize,
}

impl Part {
    /// `None` if there is no memory.
    fn new() -> Option<Self> {
        static PARTS: Arena<[Option<Sa>; PART]> = Arena::new();
        let sas = PARTS.put([const { None }; PART])?;
        Some(Self { sas, used: 0 })
    }
}

/// What a table lacks for one more SA. It is made before the table is locked.
pub(super) struct Spare(Option<Part>);

/// SAs by object id.
#[derive(Default)]
pub(super) struct Slots {
    /// Grows to the largest id that was used; ids are below the limit. Empty parts are not there.
    parts: Vec<Option<Part>>,
    used: usize,
}

/// The part of an id, and the place there.
#[inline]
const fn place_of(id: u32) -> (usize, usize) {
    (id as usize / PART, id as usize % PART)
}

impl Slots {
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Sa> {
        let (part, place) = place_of(id);
        let part = self.parts.get(part)?.as_ref()?;
        part.sas.get(place)?.as_ref()
    }

    /// The SAs in a part of the table; `None` behind the last one.
    pub(super) fn part(&self, index: usize) -> Option<impl Iterator<Item = &Sa>> {
        let part = self.parts.get(index)?.iter();
        Some(part.flat_map(|part| part.sas.iter().flatten()))
    }

    /// What a text of `len` bytes needs of the key of SA `id`, as far as it is worth loading.
    #[inline]
    pub(super) fn key(&self, id: u32, len: usize) -> Lines {
        let sa = self.get(id);
        sa.map_or(Lines::NONE, |sa| sa.cipher.lines(len))
    }

    /// Loads SA `id`, or its first `len` bytes if those are fewer.
    #[inline]
    pub(super) fn prefetch(&self, id: u32, len: usize) {
        let (part, place) = place_of(id);
        let part = self.parts.get(part).and_then(Option::as_ref);
        if let Some(place) = part.and_then(|part| part.sas.get(place)) {
            Region::of(place).up_to(len).prefetch();
        }
    }

    /// What is missing for an SA with this id; `None` if there is no memory.
    fn spare(&self, id: u32) -> Option<Spare> {
        match self.parts.get(place_of(id).0) {
            Some(Some(_)) => Some(Spare(None)),
            _ => Part::new().map(|part| Spare(Some(part))),
        }
    }

    /// Puts an SA at its id. `spare` is what was missing for it.
    fn put(&mut self, sa: Sa, spare: Spare) -> Option<Sa> {
        let (index, place) = place_of(sa.id);
        if self.parts.len() <= index {
            self.parts.resize_with(index + 1, || None);
        }
        let part = self.parts.get_mut(index)?;
        if part.is_none() {
            *part = spare.0;
        }
        let part = part.as_mut()?;
        let old = part.sas.get_mut(place)?.replace(sa);
        let new = usize::from(old.is_none());
        part.used += new;
        self.used += new;
        old
    }

    fn take(&mut self, id: u32) -> Option<Sa> {
        let (index, place) = place_of(id);
        let slot = self.parts.get_mut(index)?;
        let part = slot.as_mut()?;
        let old = part.sas.get_mut(place)?.take()?;
        part.used -= 1;
        self.used -= 1;
        if part.used == 0 {
            *slot = None;
        }
        Some(old)
    }
}

/// All SAs of a NIC.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) outb: Slots,
    pub(super) inb: Slots,
    pub(super) by_spi: SpiIndex,
    /// Number of inbound SAs whose deletion the NIC has asked for.
    asked: AtomicUsize,
}

impl Tables {
    /// Inbound SA of a packet that was found in `frame`: of those that take it the most specific, and the
    /// oldest of them. `by_rule` tells whether a rule of the flow filter sent the packet to IPsec.
    // Always: as a call it would need the packet in memory.
    #[inline(always)]
    pub(super) fn inbound(&self, esp: &Esp, frame: &[u8], by_rule: bool) -> Option<&Sa> {
        let mut best: Option<&Sa> = None;
        for sa in self.by_spi.ids(esp.spi).filter_map(|id| self.inb.get(id)) {
            if !sa.takes(esp, frame, by_rule) {
                continue;
            }
            if sa.compares_all() {
                return Some(sa);
            }
            if best.is_none_or(|best| sa.compared() > best.compared()) {
                best = Some(sa);
            }
        }
        best
    }

    /// Whether one more SA may have this SPI; outbound ones are not found by it.
    pub(super) fn admits(&self, obj_type: u16, spi: u32) -> bool {
        obj_type != OBJ_INB_SA || self.by_spi.ids(spi).count() < MOST_EQUAL_SPIS
    }

    /// Number of inbound and of outbound SAs.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.inb.used, self.outb.used)
    }

    /// Number of inbound SAs whose deletion the NIC has asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Counts an SA whose deletion the NIC asks for.
    pub(super) fn count_asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// SA object by type and id.
    pub(super) fn get(&self, obj_type: u16, id: u32) -> Option<&Sa> {
        match obj_type {
            OBJ_OUTB_SA => self.outb.get(id),
            OBJ_INB_SA => self.inb.get(id),
            _ => None,
        }
    }

    /// What is missing for an SA with this id; `None` if there is no memory.
    pub(super) fn spare(&self, obj_type: u16, id: u32) -> Option<Spare> {
        match obj_type {
            OBJ_OUTB_SA => self.outb.spare(id),
            _ => self.inb.spare(id),
        }
    }

    /// Adds an SA, or replaces the one with its id, which has its SPI and keeps its age. `spare` is what was
    /// missing for it.
    pub(super) fn put(&mut self, obj_type: u16, sa: Sa, spare: Spare) {
        let (id, spi) = (sa.id, sa.spi);
        if let Some(old) = self.get(obj_type, id) {
            sa.take_over(old);
        }
        if obj_type == OBJ_OUTB_SA {
            self.outb.put(sa, spare);
            return;
        }
        if self.inb.put(sa, spare).is_none() {
            self.by_spi.insert(spi, id);
        }
    }

    /// Removes an SA. Its keys are erased here.
    pub(super) fn remove(&mut self, obj_type: u16, id: u32) -> Option<()> {
        if obj_type == OBJ_OUTB_SA {
            return self.outb.take(id).map(drop);
        }
        let sa = self.inb.take(id)?;
        self.by_spi.remove(sa.spi, id);
        *self.asked.get_mut() -= usize::from(sa.last.asked());
        Some(())
    }
}
