// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The SA tables.

use super::sa::Sa;
use espnic_esp::packet::Esp;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use std::collections::HashMap;
use std::sync::Arc;

/// SAs by object id.
#[derive(Default)]
struct Slots {
    /// Grows to the largest id that was used; ids are below the limit.
    slots: Vec<Option<Arc<Sa>>>,
    used: usize,
}

impl Slots {
    fn get(&self, id: u32) -> Option<&Arc<Sa>> {
        self.slots.get(usize::try_from(id).ok()?)?.as_ref()
    }

    /// Puts `sa` at its id and returns what was there.
    fn put(&mut self, sa: Arc<Sa>) -> Option<Arc<Sa>> {
        let index = sa.id as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, None);
        }
        let old = self.slots.get_mut(index)?.replace(sa);
        self.used += usize::from(old.is_none());
        old
    }

    fn take(&mut self, id: u32) -> Option<Arc<Sa>> {
        let old = self.slots.get_mut(usize::try_from(id).ok()?)?.take()?;
        self.used -= 1;
        Some(old)
    }
}

/// All SAs of a NIC.
#[derive(Default)]
pub(super) struct Tables {
    outb: Slots,
    inb: Slots,
    /// Inbound SAs by SPI, the oldest first. Few share an SPI, and only with other destinations or
    /// while one replaces the other.
    by_spi: HashMap<u32, Vec<Arc<Sa>>>,
}

impl Tables {
    /// Outbound SA by id.
    pub(super) fn outbound(&self, id: u32) -> Option<&Sa> {
        self.outb.get(id).map(Arc::as_ref)
    }

    /// Inbound SA of a packet: the oldest that takes it.
    pub(super) fn inbound(&self, esp: &Esp) -> Option<&Sa> {
        self.by_spi
            .get(&esp.spi)?
            .iter()
            .find(|sa| sa.takes(esp))
            .map(Arc::as_ref)
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

    /// Adds an SA, or replaces the one with its id, which keeps its age.
    pub(super) fn put(&mut self, obj_type: u16, sa: Sa) {
        let sa = Arc::new(sa);
        if obj_type == OBJ_OUTB_SA {
            self.outb.put(sa);
            return;
        }
        let list = self.by_spi.entry(sa.spi).or_default();
        match list.iter_mut().find(|other| other.id == sa.id) {
            Some(other) => *other = Arc::clone(&sa),
            None => list.push(Arc::clone(&sa)),
        }
        self.inb.put(sa);
    }

    /// Removes an SA. Its keys are erased when the last reference goes, which is here.
    pub(super) fn remove(&mut self, obj_type: u16, id: u32) -> Option<()> {
        if obj_type == OBJ_OUTB_SA {
            return self.outb.take(id).map(drop);
        }
        let sa = self.inb.take(id)?;
        if let Some(list) = self.by_spi.get_mut(&sa.spi) {
            list.retain(|other| other.id != id);
            if list.is_empty() {
                self.by_spi.remove(&sa.spi);
            }
        }
        Some(())
    }
}
