// SPDX-License-Identifier: GPL-2.0 OR MIT

//! State objects: what an SA of the standard has counted, and its replay window
//! ([`espnic_wire::state`]).
//!
//! They come and go with the SA of the same id and can only be read. Crypto-only SAs count nothing, so
//! they have none.

use super::sa::{Mode, Sa};
use crate::admin::Refused;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use espnic_wire::state::{SaState, OBJ_INB_STATE, OBJ_OUTB_STATE};

/// The type of the SAs whose state the objects of this type are.
pub(super) fn sa_type(obj_type: u16) -> Option<u16> {
    match obj_type {
        OBJ_OUTB_STATE => Some(OBJ_OUTB_SA),
        OBJ_INB_STATE => Some(OBJ_INB_SA),
        _ => None,
    }
}

/// The object of `sa`.
pub(super) fn query(sa: &Sa) -> Result<Vec<u8>, Refused> {
    let Mode::Packet(packet) = &sa.mode else {
        return Err(Refused::MISSING);
    };
    let (state, bitmap) = packet.state();
    let mut object = vec![0; SaState::LEN + bitmap.len()];
    state
        .write(&bitmap, &mut object)
        .map_err(|_| Refused::FIELD)?;
    Ok(object)
}
