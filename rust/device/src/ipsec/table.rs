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

    /// Puts `sa` at its id and returns what was there.
    fn put(&mut self, sa: Arc<Sa>) -> Option<Slot> {
        let index = sa.id as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        let keys = sa.cipher.region();
        let old = self.slots.get_mut(index)?.replace(Slot { sa, keys });
        self.used += usize::from(old.is_none());
        old
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

/// Ids of the SAs with one SPI, the oldest first. Few share an SPI, and only with other destinations or
/// while one replaces the other.
struct Ids {
    first: u32,
    rest: Vec<u32>,
}

/// All SAs of a NIC.
#[derive(Default)]
pub(super) struct Tables {
    outb: Slots,
    inb: Slots,
    by_spi: HashMap<u32, Ids, BuildHasherDefault<SpiHasher>>,
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
        let ids = self.by_spi.get(&esp.spi)?;
        let taking = |id| self.inb.get(id).filter(|sa| sa.takes(esp, frame));
        let sa = match taking(ids.first) {
            Some(sa) => sa,
            None => ids.rest.iter().find_map(|&id| taking(id))?,
        };
        Some(sa.as_ref())
    }

    /// Loads what an outbound packet of SA `id` will need.
    #[inline]
    pub(super) fn prefetch_outbound(&self, id: u32) {
        if let Some(slot) = self.outb.slot(id) {
            slot.prefetch();
        }
    }

    /// Loads what an inbound packet with this SPI will need.
    #[inline]
    pub(super) fn prefetch_inbound(&self, spi: u32) {
        let ids = self.by_spi.get(&spi);
        if let Some(slot) = ids.and_then(|ids| self.inb.slot(ids.first)) {
            slot.prefetch();
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
        let (id, spi) = (sa.id, sa.spi);
        let sa = Arc::new(sa);
        if obj_type == OBJ_OUTB_SA {
            self.outb.put(sa);
        } else if self.inb.put(sa).is_none() {
            match self.by_spi.get_mut(&spi) {
                Some(ids) => ids.rest.push(id),
                None => {
                    let rest = Vec::new();
                    self.by_spi.insert(spi, Ids { first: id, rest });
                }
            }
        }
    }

    /// Removes an SA. Its keys are erased when the last reference goes, which is here.
    pub(super) fn remove(&mut self, obj_type: u16, id: u32) -> Option<()> {
        if obj_type == OBJ_OUTB_SA {
            return self.outb.take(id).map(drop);
        }
        let sa = self.inb.take(id)?;
        let ids = self.by_spi.get_mut(&sa.spi)?;
        if ids.first != id {
            ids.rest.retain(|&other| other != id);
        } else if ids.rest.is_empty() {
            self.by_spi.remove(&sa.spi);
        } else {
            ids.first = ids.rest.remove(0);
        }
        Some(())
    }
}
