// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Object commands: life cycle of SAs.

use super::caps::DriverCaps;
use super::last::Last;
use super::refused::Refused;
use super::sa::Sa;
use super::table;
use super::Ipsec;
use crate::crypto::Placed;
use crate::misbehave::Deed;
use espnic_wire::admin::{ObjHdr, Request};

/// RESOURCE_OBJ_CREATE.
pub(super) fn create(
    ipsec: &Ipsec,
    caps: &DriverCaps,
    request: &Request<'_>,
) -> Result<Vec<u8>, Refused> {
    let (hdr, flags, object) = request.obj();
    let (obj_type, id) = check(caps, &hdr, flags)?;
    if id >= caps.limit(obj_type)? {
        return Err(Refused::FIELD);
    }
    if ipsec.read_tables().get(obj_type, id).is_some() {
        return Err(Refused::EXISTS);
    }
    // Only a driver that was told other limits asks for more than there are.
    if id >= ipsec.config.limit(obj_type) || ipsec.misbehaviour.refuses_create() {
        return Err(Refused::RESOURCE);
    }
    ipsec.faults.admit(&ipsec.read_tables(), obj_type, object)?;
    // Outside the write lock: expanding a key takes longer than a packet.
    let mut sa = Sa::new(
        ipsec.config.libraries,
        caps.x_entries(),
        obj_type,
        id,
        object,
    )?;
    sa.last = Last::new(ipsec.room.tick());
    if !ipsec.read_tables().admits(obj_type, sa.spi) {
        return Err(Refused::RESOURCE);
    }
    let sa = table::place(sa).ok_or(Refused::RESOURCE)?;
    put(ipsec, obj_type, sa);
    Ok(Vec::new())
}

/// The key is known before the first packet is captured.
fn put(ipsec: &Ipsec, obj_type: u16, sa: Placed<Sa>) {
    if let Some(keys) = &ipsec.key_table {
        keys.add(&sa);
    }
    ipsec.write_tables().put(obj_type, sa);
}

/// RESOURCE_OBJ_MODIFY.
pub(super) fn modify(
    ipsec: &Ipsec,
    caps: &DriverCaps,
    request: &Request<'_>,
) -> Result<Vec<u8>, Refused> {
    let (hdr, flags, object) = request.obj();
    let (obj_type, id) = check(caps, &hdr, flags)?;
    // Packets go on meanwhile; commands are executed one at a time, so nobody waits to write.
    let tables = ipsec.read_tables();
    let old = tables.get(obj_type, id).ok_or(Refused::MISSING)?;
    let mut sa = Sa::new(
        ipsec.config.libraries,
        caps.x_entries(),
        obj_type,
        id,
        object,
    )?;
    sa.replace(old)?;
    drop(tables);
    let sa = table::place(sa).ok_or(Refused::RESOURCE)?;
    put(ipsec, obj_type, sa);
    Ok(Vec::new())
}

/// RESOURCE_OBJ_QUERY. Keys read as zero.
pub(super) fn query(
    ipsec: &Ipsec,
    caps: &DriverCaps,
    request: &Request<'_>,
) -> Result<Vec<u8>, Refused> {
    let (hdr, flags, _) = request.obj();
    let (obj_type, id) = check(caps, &hdr, flags)?;
    ipsec
        .read_tables()
        .get(obj_type, id)
        .ok_or(Refused::MISSING)?
        .query()
}

/// RESOURCE_OBJ_DESTROY, which has no flags.
pub(super) fn destroy(
    ipsec: &Ipsec,
    caps: &DriverCaps,
    request: &Request<'_>,
) -> Result<Vec<u8>, Refused> {
    let (hdr, ..) = request.obj();
    let (obj_type, id) = check(caps, &hdr, 0)?;
    if ipsec.misbehaviour.takes(Deed::RefuseDestroy) {
        return Err(Refused::FIELD);
    }
    ipsec
        .write_tables()
        .remove(obj_type, id)
        .ok_or(Refused::MISSING)?;
    Ok(Vec::new())
}

/// The capabilities are set, the type is ours and no flag is set.
fn check(caps: &DriverCaps, hdr: &ObjHdr, flags: u64) -> Result<(u16, u32), Refused> {
    caps.limit(hdr.obj_type.get())?;
    if flags != 0 {
        return Err(Refused::FIELD);
    }
    Ok((hdr.obj_type.get(), hdr.id.get()))
}
