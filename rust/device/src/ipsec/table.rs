// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The SA tables.

use super::sa::Sa;
use super::spi::SpiIndex;
use crate::crypto::{Arena, Placed, Region};
use espnic_esp::packet::Esp;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most inbound SAs with one SPI. Every packet with it is compared with all of them, so many would cost more
/// than decryption; there are few where SPIs are chosen as RFC 4301 says.
const MOST_EQUAL_SPIS: usize = 16;

/// An SA, and the place of the memory that its packets need.
struct Slot {
    sa: Placed<Sa>,
    keys: Region,
}

/// Puts an SA into the arena; `None` if there is no memory.
pub(super) fn place(sa: Sa) -> Option<Placed<Sa>> {
    static SAS: Arena<Sa> = Arena::new();
    SAS.put(sa)
}

/// SAs by object id.
#[derive(Default)]
pub(super) struct Slots {
    /// Grows to the largest id that was used; ids are below the limit.
    slots: Vec<Option<Slot>>,
    used: usize,
}

impl Slots {
    #[inline]
    fn place(&self, id: u32) -> Option<&Option<Slot>> {
        self.slots.get(usize::try_from(id).ok()?)
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Sa> {
        self.place(id)?.as_ref().map(|slot| &*slot.sa)
    }

    /// All SAs.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sa> {
        self.slots.iter().flatten().map(|slot| &*slot.sa)
    }

    /// Loads what a packet of SA `id` will need.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        if let Some(Some(slot)) = self.place(id) {
            Region::of(&*slot.sa).prefetch();
            slot.keys.prefetch();
        }
    }

    /// Loads what [`Self::prefetch`] will read.
    #[inline]
    pub(super) fn prefetch_place(&self, id: u32) {
        if let Some(place) = self.place(id) {
            Region::of(place).prefetch();
        }
    }

    /// Puts an SA at its id.
    fn put(&mut self, sa: Placed<Sa>) -> Option<Slot> {
        let index = sa.id as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let keys = sa.cipher.region();
        let old = self.slots.get_mut(index)?.replace(Slot { sa, keys });
        self.used += usize::from(old.is_none());
        old
    }

    fn take(&mut self, id: u32) -> Option<Placed<Sa>> {
        let old = self.slots.get_mut(usize::try_from(id).ok()?)?.take()?;
        self.used -= 1;
        Some(old.sa)
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
            let compared = sa.compared();
            if compared == Sa::COMPARES_ALL {
                return Some(sa);
            }
            if best.is_none_or(|best| compared > best.compared()) {
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

    /// Adds an SA, or replaces the one with its id, which has its SPI and keeps its age.
    pub(super) fn put(&mut self, obj_type: u16, sa: Placed<Sa>) {
        let (id, spi) = (sa.id, sa.spi);
        if let Some(old) = self.get(obj_type, id) {
            sa.take_over(old);
        }
        if obj_type == OBJ_OUTB_SA {
            self.outb.put(sa);
            return;
        }
        if self.inb.put(sa).is_none() {
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
