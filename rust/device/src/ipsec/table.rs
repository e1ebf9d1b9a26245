// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The SA tables.

use super::sa::Sa;
use crate::crypto::Region;
use espnic_esp::packet::Esp;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// An SA, and where the memory is that its packets will need.
#[derive(Clone)]
struct Slot {
    sa: Arc<Sa>,
    keys: Region,
}

impl Slot {
    fn new(sa: Sa) -> Self {
        let keys = sa.cipher.region();
        Self {
            sa: Arc::new(sa),
            keys,
        }
    }

    /// Loads what a packet of the SA will need.
    fn prefetch(&self) {
        Region::of(self.sa.as_ref()).prefetch();
        self.keys.prefetch();
    }
}

/// SAs by object id.
#[derive(Default)]
struct Slots {
    /// Grows to the largest id that was used; ids are below the limit.
    slots: Vec<Option<Slot>>,
    used: usize,
}

impl Slots {
    #[inline]
    fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(id).ok()?)?.as_ref()
    }

    #[inline]
    fn get(&self, id: u32) -> Option<&Arc<Sa>> {
        self.slot(id).map(|slot| &slot.sa)
    }

    /// Puts an SA at its id, in place of what was there.
    fn put(&mut self, slot: Slot) {
        let index = slot.sa.id as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        if let Some(place) = self.slots.get_mut(index) {
            self.used += usize::from(place.replace(slot).is_none());
        }
    }

    fn take(&mut self, id: u32) -> Option<Arc<Sa>> {
        let old = self.slots.get_mut(usize::try_from(id).ok()?)?.take()?;
        self.used -= 1;
        Some(old.sa)
    }
}

/// Spreads SPIs, which IKE daemons draw at random and people count up. Whoever could choose them to
/// collide has the right to create SAs, and harms only himself.
#[derive(Default)]
struct SpiHasher(u64);

impl Hasher for SpiHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        let product = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The SAs with one SPI, the oldest first. Few share an SPI, and only with other destinations or while
/// one replaces the other.
struct SameSpi {
    first: Slot,
    rest: Vec<Slot>,
}

/// All SAs of a NIC.
#[derive(Default)]
pub(super) struct Tables {
    outb: Slots,
    inb: Slots,
    by_spi: HashMap<u32, SameSpi, BuildHasherDefault<SpiHasher>>,
}

impl Tables {
    /// Outbound SA by id.
    #[inline]
    pub(super) fn outbound(&self, id: u32) -> Option<&Sa> {
        self.outb.get(id).map(Arc::as_ref)
    }

    /// Inbound SA of a packet that was found in `frame`: the oldest that takes it.
    #[inline]
    pub(super) fn inbound(&self, esp: &Esp, frame: &[u8]) -> Option<&Sa> {
        let same = self.by_spi.get(&esp.spi)?;
        if same.first.sa.takes(esp, frame) {
            return Some(&same.first.sa);
        }
        let slot = same.rest.iter().find(|slot| slot.sa.takes(esp, frame));
        slot.map(|slot| slot.sa.as_ref())
    }

    /// Loads what an outbound packet of SA `id` will need.
    #[inline]
    pub(super) fn prefetch_outbound(&self, id: u32) {
        if let Some(slot) = self.outb.slot(id) {
            slot.prefetch();
        }
    }

    /// Loads what [`Tables::prefetch_outbound`] will need.
    #[inline]
    pub(super) fn prefetch_outbound_slot(&self, id: u32) {
        if let Some(slot) = usize::try_from(id)
            .ok()
            .and_then(|id| self.outb.slots.get(id))
        {
            Region::of(slot).prefetch();
        }
    }

    /// Loads what an inbound packet with this SPI will need.
    #[inline]
    pub(super) fn prefetch_inbound(&self, spi: u32) {
        if let Some(same) = self.by_spi.get(&spi) {
            same.first.prefetch();
        }
    }

    /// Loads what [`Tables::prefetch_inbound`] will need, and the SA.
    #[inline]
    pub(super) fn prefetch_inbound_slot(&self, spi: u32) {
        if let Some(same) = self.by_spi.get(&spi) {
            Region::of(same.first.sa.as_ref()).prefetch();
        }
    }

    /// Number of inbound and of outbound SAs.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.inb.used, self.outb.used)
    }

    /// SA object by type and id.
    pub(super) fn get(&self, obj_type: u16, id: u32) -> Option<&Arc<Sa>> {
        match obj_type {
            OBJ_OUTB_SA => self.outb.get(id),
            OBJ_INB_SA => self.inb.get(id),
            _ => None,
        }
    }

    /// Adds an SA, or replaces the one with its id, which has its SPI and keeps its age.
    pub(super) fn put(&mut self, obj_type: u16, sa: Sa) {
        let slot = Slot::new(sa);
        if obj_type == OBJ_OUTB_SA {
            self.outb.put(slot);
            return;
        }
        let (id, spi) = (slot.sa.id, slot.sa.spi);
        self.inb.put(slot.clone());
        let Some(same) = self.by_spi.get_mut(&spi) else {
            let rest = Vec::new();
            self.by_spi.insert(spi, SameSpi { first: slot, rest });
            return;
        };
        let mut all = std::iter::once(&mut same.first).chain(&mut same.rest);
        match all.find(|other| other.sa.id == id) {
            Some(other) => *other = slot,
            None => same.rest.push(slot),
        }
    }

    /// Removes an SA. Its keys are erased when the last reference goes, which is here.
    pub(super) fn remove(&mut self, obj_type: u16, id: u32) -> Option<()> {
        if obj_type == OBJ_OUTB_SA {
            return self.outb.take(id).map(drop);
        }
        let sa = self.inb.take(id)?;
        let same = self.by_spi.get_mut(&sa.spi)?;
        if same.first.sa.id != id {
            same.rest.retain(|other| other.sa.id != id);
        } else if same.rest.is_empty() {
            self.by_spi.remove(&sa.spi);
        } else {
            same.first = same.rest.remove(0);
        }
        Some(())
    }
}
