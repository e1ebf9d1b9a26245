// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What administration commands find here: the capabilities of the filter, and the life cycle of its
//! objects.

use super::{agreed, Filter, State};
use crate::admin::{Objects, Owner, Refused};
use crate::misbehave::Deed;
use espnic_wire::filter::{flags_are_known, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE};

impl Owner for Filter {
    fn ids(&self) -> &'static [u16] {
        &agreed::IDS
    }

    fn get(&self, id: u16) -> Result<Vec<u8>, Refused> {
        agreed::get(self.lock().terms, id)
    }

    fn set(&self, id: u16, data: &[u8]) -> Result<(), Refused> {
        let State { terms, agreed, .. } = &mut *self.lock();
        agreed.set(*terms, id, data)
    }

    fn has_objects(&self) -> bool {
        !self.lock().store.is_empty()
    }

    fn reset(&self) {
        let mut state = self.lock();
        *state = State::new(self.terms);
        self.publish(&mut state);
    }
}

impl Objects for Filter {
    fn types(&self) -> &'static [u16] {
        &[OBJ_GROUP, OBJ_CLASSIFIER, OBJ_RULE]
    }

    /// A full table is another error than an id beyond the limit, so CREATE looks at both.
    fn limit(&self, _obj_type: u16) -> Option<u32> {
        let state = self.lock();
        state.agreed.measure(state.terms).map(|_| u32::MAX)
    }

    fn knows_flags(&self, opcode: u16, obj_type: u16, flags: u64) -> bool {
        flags_are_known(opcode, obj_type, flags)
    }

    fn create(&self, obj_type: u16, id: u32, object: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        let State {
            terms,
            agreed,
            store,
            ..
        } = &mut *state;
        let measure = agreed.measure(*terms).ok_or(Refused::OPCODE)?;
        if self.misbehaviour.takes(Deed::RefuseFilter) {
            return Err(Refused::RESOURCE);
        }
        store.create(&measure, obj_type, id, object)?;
        self.publish(&mut state);
        Ok(())
    }

    fn modify(&self, obj_type: u16, id: u32, object: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        let State {
            terms,
            agreed,
            store,
            ..
        } = &mut *state;
        let measure = agreed.measure(*terms).ok_or(Refused::OPCODE)?;
        store.modify(&measure, obj_type, id, object)?;
        self.publish(&mut state);
        Ok(())
    }

    fn query(&self, obj_type: u16, id: u32) -> Result<Vec<u8>, Refused> {
        self.lock().store.query(obj_type, id)
    }

    fn destroy(&self, obj_type: u16, id: u32) -> Result<(), Refused> {
        let mut state = self.lock();
        state.store.destroy(obj_type, id)?;
        self.publish(&mut state);
        Ok(())
    }
}
