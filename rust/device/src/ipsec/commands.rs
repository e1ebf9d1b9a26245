// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What administration commands find here: the capabilities of IPsec, and the life cycle of SAs.

use super::last::Last;
use super::sa::Sa;
use super::{capability, state_object, Ipsec};
use crate::admin::{Objects, Owner, Refused};
use crate::misbehave::Deed;
use espnic_wire::cap;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use espnic_wire::state::{OBJ_INB_STATE, OBJ_OUTB_STATE};

impl Owner for Ipsec {
    fn ids(&self) -> &'static [u16] {
        capability::ids(self.agreed().x_ipsec)
    }

    fn get(&self, id: u16) -> Result<Vec<u8>, Refused> {
        let mut agreed = self.agreed();
        agreed.exaggerated |= id == cap::IPSEC_RESOURCE && self.misbehaviour.takes(Deed::SaLimits);
        capability::get(&agreed.limits(&self.config), agreed.x_ipsec, id)
    }

    fn set(&self, id: u16, data: &[u8]) -> Result<(), Refused> {
        let mut agreed = self.agreed();
        let limits = agreed.limits(&self.config);
        let x_ipsec = agreed.x_ipsec;
        agreed.caps.set(&limits, x_ipsec, id, data)
    }

    fn has_objects(&self) -> bool {
        self.read_tables().len() != (0, 0)
    }

    /// Forgets all SAs, and erases their keys.
    fn reset(&self) {
        self.forget();
    }
}

impl Objects for Ipsec {
    fn types(&self) -> &'static [u16] {
        &[OBJ_OUTB_SA, OBJ_INB_SA, OBJ_OUTB_STATE, OBJ_INB_STATE]
    }

    fn limit(&self, obj_type: u16) -> Option<u32> {
        let agreed = self.agreed();
        match state_object::sa_type(obj_type) {
            Some(sa_type) => agreed.caps.limit(sa_type).filter(|_| agreed.x_ipsec),
            None => agreed.caps.limit(obj_type),
        }
    }

    fn create(&self, obj_type: u16, id: u32, object: &[u8]) -> Result<(), Refused> {
        refuse_state(obj_type)?;
        let agreed = self.agreed();
        if self.read_tables().get(obj_type, id).is_some() {
            return Err(Refused::EXISTS);
        }
        // Only a driver that was told wrong limits exceeds the real one.
        if id >= self.config.limit(obj_type) || self.misbehaviour.refuses_create() {
            return Err(Refused::RESOURCE);
        }
        self.faults.admit(&self.read_tables(), obj_type, object)?;
        // Outside the write lock: expanding a key takes longer than a packet.
        let mut sa = Sa::new(self.config.libraries, &agreed, obj_type, id, object)?;
        sa.last = Last::new(self.room.tick());
        if !self.read_tables().admits(obj_type, sa.spi) {
            return Err(Refused::RESOURCE);
        }
        put(self, obj_type, sa)
    }

    /// Packets go on meanwhile. Commands are executed one at a time, so no other one waits to write.
    fn modify(&self, obj_type: u16, id: u32, object: &[u8]) -> Result<(), Refused> {
        refuse_state(obj_type)?;
        let agreed = self.agreed();
        let tables = self.read_tables();
        let old = tables.get(obj_type, id).ok_or(Refused::MISSING)?;
        let mut sa = Sa::new(self.config.libraries, &agreed, obj_type, id, object)?;
        sa.replace(old)?;
        drop(tables);
        put(self, obj_type, sa)
    }

    /// Keys read as zero.
    fn query(&self, obj_type: u16, id: u32) -> Result<Vec<u8>, Refused> {
        let x_ipsec = self.agreed().x_ipsec;
        let tables = self.read_tables();
        if let Some(sa_type) = state_object::sa_type(obj_type) {
            let sa = tables.get(sa_type, id).ok_or(Refused::MISSING)?;
            return state_object::query(sa);
        }
        tables
            .get(obj_type, id)
            .ok_or(Refused::MISSING)?
            .query(x_ipsec)
    }

    fn destroy(&self, obj_type: u16, id: u32) -> Result<(), Refused> {
        refuse_state(obj_type)?;
        if self.misbehaviour.takes(Deed::RefuseDestroy) {
            return Err(Refused::FIELD);
        }
        let removed = self.write_tables().remove(obj_type, id);
        removed.ok_or(Refused::MISSING)
    }
}

/// State objects can only be read.
fn refuse_state(obj_type: u16) -> Result<(), Refused> {
    match state_object::sa_type(obj_type) {
        Some(_) => Err(Refused::OPCODE),
        None => Ok(()),
    }
}

/// The key is known before the first packet is captured.
fn put(ipsec: &Ipsec, obj_type: u16, sa: Sa) -> Result<(), Refused> {
    let spare = ipsec.read_tables().spare(obj_type, sa.id);
    let spare = spare.ok_or(Refused::RESOURCE)?;
    if let Some(keys) = &ipsec.key_table {
        keys.add(&sa);
    }
    ipsec.write_tables().put(obj_type, sa, spare);
    Ok(())
}
