// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Object commands: life cycle of objects of any type.

use super::refused::Refused;
use espnic_wire::admin::Request;

/// The objects of a part of a NIC: one type, or several that belong together. Its functions are called
/// one at a time, and only with its own types.
pub trait Objects {
    /// Their types.
    fn types(&self) -> &'static [u16];

    /// Ids of objects of this type are below this. `None` until the driver has set the capabilities
    /// that they need. `u32::MAX` if [`Objects::create`] looks at the id itself.
    fn limit(&self, obj_type: u16) -> Option<u32>;

    /// Whether CREATE, MODIFY or QUERY, as `opcode` says, may have these `flags` for an object of this type.
    /// Most types have none.
    fn knows_flags(&self, _opcode: u16, _obj_type: u16, flags: u64) -> bool {
        flags == 0
    }

    /// Creates an object with an id below the limit.
    ///
    /// # Errors
    ///
    /// [`Refused::EXISTS`], [`Refused::FIELD`] or [`Refused::RESOURCE`]; nothing has changed then.
    fn create(&self, obj_type: u16, id: u32, object: &[u8]) -> Result<(), Refused>;

    /// Replaces the data of an object by `object`.
    ///
    /// # Errors
    ///
    /// [`Refused::MISSING`], [`Refused::FIELD`] or [`Refused::RESOURCE`], or [`Refused::BUSY`] if other
    /// objects need it; nothing has changed then.
    fn modify(&self, obj_type: u16, id: u32, object: &[u8]) -> Result<(), Refused>;

    /// Data of an object.
    ///
    /// # Errors
    ///
    /// [`Refused::MISSING`].
    fn query(&self, obj_type: u16, id: u32) -> Result<Vec<u8>, Refused>;

    /// Destroys an object. When this returns, no packet uses it any more.
    ///
    /// # Errors
    ///
    /// [`Refused::MISSING`], or [`Refused::BUSY`] if other objects need it.
    fn destroy(&self, obj_type: u16, id: u32) -> Result<(), Refused>;
}

/// RESOURCE_OBJ_CREATE.
pub(super) fn create(kinds: &[&dyn Objects], request: &Request<'_>) -> Result<(), Refused> {
    let target = Target::of(kinds, request)?;
    let (_, flags, object) = request.obj();
    if !target.knows(request, flags) || target.id >= target.limit {
        return Err(Refused::FIELD);
    }
    target.kind.create(target.obj_type, target.id, object)
}

/// RESOURCE_OBJ_MODIFY.
pub(super) fn modify(kinds: &[&dyn Objects], request: &Request<'_>) -> Result<(), Refused> {
    let target = Target::of(kinds, request)?;
    let (_, flags, object) = request.obj();
    if !target.knows(request, flags) {
        return Err(Refused::FIELD);
    }
    target.kind.modify(target.obj_type, target.id, object)
}

/// RESOURCE_OBJ_QUERY.
pub(super) fn query(kinds: &[&dyn Objects], request: &Request<'_>) -> Result<Vec<u8>, Refused> {
    let target = Target::of(kinds, request)?;
    let (_, flags, _) = request.obj();
    if !target.knows(request, flags) {
        return Err(Refused::FIELD);
    }
    target.kind.query(target.obj_type, target.id)
}

/// RESOURCE_OBJ_DESTROY, which has no flags.
pub(super) fn destroy(kinds: &[&dyn Objects], request: &Request<'_>) -> Result<(), Refused> {
    let target = Target::of(kinds, request)?;
    target.kind.destroy(target.obj_type, target.id)
}

/// The object that a command names, which need not exist.
struct Target<'a> {
    kind: &'a dyn Objects,
    obj_type: u16,
    id: u32,
    /// Ids are below it.
    limit: u32,
}

impl<'a> Target<'a> {
    /// Finds the target. Commands for a type that is not in use are not supported. A type that does not
    /// exist is a wrong value, but only if commands for any type are supported.
    fn of(kinds: &[&'a dyn Objects], request: &Request<'_>) -> Result<Self, Refused> {
        let (hdr, ..) = request.obj();
        let (obj_type, id) = (hdr.obj_type.get(), hdr.id.get());
        let kind = kinds.iter().find(|kind| kind.types().contains(&obj_type));
        let Some(&kind) = kind else {
            return match kinds.iter().any(|kind| is_in_use(*kind)) {
                true => Err(Refused::FIELD),
                false => Err(Refused::OPCODE),
            };
        };
        Ok(Self {
            kind,
            obj_type,
            id,
            limit: kind.limit(obj_type).ok_or(Refused::OPCODE)?,
        })
    }

    /// Whether its kind knows the `flags` of the command.
    fn knows(&self, request: &Request<'_>, flags: u64) -> bool {
        let opcode = request.hdr.opcode.get();
        self.kind.knows_flags(opcode, self.obj_type, flags)
    }
}

fn is_in_use(kind: &dyn Objects) -> bool {
    kind.types().iter().any(|&one| kind.limit(one).is_some())
}
