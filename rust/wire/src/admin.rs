// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Administration commands (VIRTIO 1.4 section 2.13), self group.
//!
//! The driver writes a [`Command`] into its buffer and reads the answer with [`Reply::parse`]; the
//! NIC takes it apart with [`Request::parse`]. MODIFY and QUERY have the opcodes of the command text,
//! the table of opcodes has them the other way round.

use crate::{put, Error, U16, U32, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $opcode:literal,)*) => {
        $($(#[$doc])* pub const $name: u16 = $opcode;)*

        /// Bitmap of the opcodes above.
        pub const OPS_ALL: u64 = 0 $(| op_bit($name))*;
    };
}

opcodes! {
    /// Opcode: which opcodes does the group support?
    OP_LIST_QUERY = 0x0,
    /// Opcode: the driver will use these opcodes.
    OP_LIST_USE = 0x1,
    /// Opcode: which capabilities are there?
    OP_CAP_ID_LIST_QUERY = 0x7,
    /// Opcode: content of a capability.
    OP_DEVICE_CAP_GET = 0x8,
    /// Opcode: what the driver will use of a capability.
    OP_DRIVER_CAP_SET = 0x9,
    /// Opcode: create an object.
    OP_OBJ_CREATE = 0xa,
    /// Opcode: replace the content of an object.
    OP_OBJ_MODIFY = 0xb,
    /// Opcode: read an object.
    OP_OBJ_QUERY = 0xc,
    /// Opcode: destroy an object.
    OP_OBJ_DESTROY = 0xd,
}

/// Opcodes that are legal before LIST_USE: LIST_QUERY and LIST_USE.
pub const OPS_INITIAL: u64 = op_bit(OP_LIST_QUERY) | op_bit(OP_LIST_USE);

/// The bit of an opcode in the first word of a bitmap; 0 if it belongs to a later word.
pub const fn op_bit(opcode: u16) -> u64 {
    match 1u64.checked_shl(opcode as u32) {
        Some(bit) => bit,
        None => 0,
    }
}

/// Group type: the device itself.
pub const GROUP_SELF: u16 = 0;

/// Status: done.
pub const OK: u16 = 0;
/// Status: no such capability or object.
pub const ENXIO: u16 = 6;
/// Status: try again.
pub const EAGAIN: u16 = 11;
/// Status: out of memory.
pub const ENOMEM: u16 = 12;
/// Status: in use.
pub const EBUSY: u16 = 16;
/// Status: the object exists (used by the text, absent from the table).
pub const EEXIST: u16 = 17;
/// Status: the command is wrong; the qualifier says why.
pub const EINVAL: u16 = 22;
/// Status: no room for another object.
pub const ENOSPC: u16 = 28;

/// Qualifier: nothing to say.
pub const Q_OK: u16 = 0;
/// Qualifier: no further explanation.
pub const Q_INVALID_COMMAND: u16 = 1;
/// Qualifier: the opcode is not supported or not in use.
pub const Q_INVALID_OPCODE: u16 = 2;
/// Qualifier: a field is wrong.
pub const Q_INVALID_FIELD: u16 = 3;
/// Qualifier: the group type is wrong.
pub const Q_INVALID_GROUP: u16 = 4;
/// Qualifier: the group member is wrong.
pub const Q_INVALID_MEMBER: u16 = 5;
/// Qualifier: no resources.
pub const Q_NORESOURCE: u16 = 6;
/// Qualifier: try again.
pub const Q_TRYAGAIN: u16 = 7;

layout! {
    /// Start of the readable part.
    pub struct CmdHdr {
        /// `OP_` constants.
        pub opcode: U16,
        /// [`GROUP_SELF`].
        pub group_type: U16,
        /// Zero.
        pub reserved1: [u8; 12],
        /// Zero for the self group.
        pub group_member_id: U64,
    }
}

layout! {
    /// Start of the writable part.
    pub struct ReplyHdr {
        /// [`OK`], [`ENXIO`] and so on.
        pub status: U16,
        /// `Q_` constants.
        pub status_qualifier: U16,
        /// Zero.
        pub reserved2: [u8; 4],
    }
}

layout! {
    /// Data of capability commands.
    pub struct CapHdr {
        /// Capability id ([`crate::cap`]).
        pub id: U16,
        /// Zero.
        pub reserved: [u8; 6],
    }
}

layout! {
    /// Data of object commands.
    pub struct ObjHdr {
        /// Object type ([`crate::sa`]).
        pub obj_type: U16,
        /// Zero.
        pub reserved: U16,
        /// Object id, below the limit that the driver set.
        pub id: U32,
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<CmdHdr>() == 24);
    assert!(offset_of!(CmdHdr, group_member_id) == 16);
    assert!(size_of::<ReplyHdr>() == 8);
    assert!(size_of::<CapHdr>() == 8);
    assert!(size_of::<ObjHdr>() == 8);
    assert!(offset_of!(ObjHdr, id) == 4);
};

/// A command as the driver sends it. It may refer to keys and therefore has no `Debug`.
#[derive(Clone, Copy)]
pub enum Command<'a> {
    /// Result: a bitmap of opcodes.
    ListQuery,
    /// Use exactly these opcodes (bitmap).
    ListUse(&'a [u8]),
    /// Result: a bitmap of capability ids.
    CapIdListQuery,
    /// Result: the data of this capability.
    DeviceCapGet(u16),
    /// Use this much of a capability.
    DriverCapSet {
        /// Capability id.
        id: u16,
        /// Capability data.
        data: &'a [u8],
    },
    /// Create an object.
    ObjCreate {
        /// Object type.
        obj_type: u16,
        /// Object id.
        id: u32,
        /// Object data.
        object: &'a [u8],
    },
    /// Replace the content of an object.
    ObjModify {
        /// Object type.
        obj_type: u16,
        /// Object id.
        id: u32,
        /// Object data.
        object: &'a [u8],
    },
    /// Result: the content of the object.
    ObjQuery {
        /// Object type.
        obj_type: u16,
        /// Object id.
        id: u32,
    },
    /// Destroy an object.
    ObjDestroy {
        /// Object type.
        obj_type: u16,
        /// Object id.
        id: u32,
    },
}

impl Command<'_> {
    /// The opcode of this command.
    pub const fn opcode(&self) -> u16 {
        match self {
            Self::ListQuery => OP_LIST_QUERY,
            Self::ListUse(_) => OP_LIST_USE,
            Self::CapIdListQuery => OP_CAP_ID_LIST_QUERY,
            Self::DeviceCapGet(_) => OP_DEVICE_CAP_GET,
            Self::DriverCapSet { .. } => OP_DRIVER_CAP_SET,
            Self::ObjCreate { .. } => OP_OBJ_CREATE,
            Self::ObjModify { .. } => OP_OBJ_MODIFY,
            Self::ObjQuery { .. } => OP_OBJ_QUERY,
            Self::ObjDestroy { .. } => OP_OBJ_DESTROY,
        }
    }

    /// Writes the readable part to the start of `buf` and returns its length in bytes, a multiple of
    /// 8 as the standard asks of the driver.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if `buf` is too small; its content is then undefined.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let hdr = CmdHdr {
            opcode: U16::new(self.opcode()),
            ..CmdHdr::default()
        };
        let at = put(buf, 0, hdr.as_bytes())?;
        let at = match *self {
            Self::ListQuery | Self::CapIdListQuery => at,
            Self::ListUse(bitmap) => put(buf, at, bitmap)?,
            Self::DeviceCapGet(id) => put_cap(buf, at, id, &[])?,
            Self::DriverCapSet { id, data } => put_cap(buf, at, id, data)?,
            Self::ObjCreate {
                obj_type,
                id,
                object,
            }
            | Self::ObjModify {
                obj_type,
                id,
                object,
            } => {
                let at = put_obj(buf, at, obj_type, id, true)?;
                put(buf, at, object)?
            }
            Self::ObjQuery { obj_type, id } => put_obj(buf, at, obj_type, id, true)?,
            Self::ObjDestroy { obj_type, id } => put_obj(buf, at, obj_type, id, false)?,
        };
        let end = at.checked_next_multiple_of(8).ok_or(Error::NoSpace)?;
        buf.get_mut(at..end).ok_or(Error::NoSpace)?.fill(0);
        Ok(end)
    }
}

fn put_cap(buf: &mut [u8], at: usize, id: u16, data: &[u8]) -> Result<usize, Error> {
    let hdr = CapHdr {
        id: U16::new(id),
        ..CapHdr::default()
    };
    let at = put(buf, at, hdr.as_bytes())?;
    put(buf, at, data)
}

/// Writes an object header and, unless the command has none, the flags word, which is zero for every
/// object type that we know.
fn put_obj(buf: &mut [u8], at: usize, obj_type: u16, id: u32, flags: bool) -> Result<usize, Error> {
    let hdr = ObjHdr {
        obj_type: U16::new(obj_type),
        id: U32::new(id),
        ..ObjHdr::default()
    };
    let at = put(buf, at, hdr.as_bytes())?;
    put(buf, at, if flags { &[0; 8] } else { &[] })
}

/// The answer of the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// [`OK`], [`ENXIO`] and so on; a value that is not defined means [`EINVAL`].
    pub status: u16,
    /// `Q_` constants; a value that is not defined means [`Q_INVALID_COMMAND`].
    pub qualifier: u16,
    /// The result; missing bytes are zero.
    pub result: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads a writable part of which the NIC has written `data`.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if it does not even hold a status.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let (hdr, result) = ReplyHdr::read_from_prefix(data).map_err(|_| Error::Truncated)?;
        let status = match hdr.status.get() {
            status @ (OK | ENXIO | EAGAIN | ENOMEM | EBUSY | EEXIST | EINVAL | ENOSPC) => status,
            _ => EINVAL,
        };
        let qualifier = match hdr.status_qualifier.get() {
            qualifier @ Q_OK..=Q_TRYAGAIN => qualifier,
            _ => Q_INVALID_COMMAND,
        };
        Ok(Self {
            status,
            qualifier,
            result,
        })
    }
}

/// A command as the NIC receives it. Its data may hold keys, so it has no `Debug`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The fixed part.
    pub hdr: CmdHdr,
    /// The data that follows; missing bytes are zero.
    pub data: &'a [u8],
}

impl<'a> Request<'a> {
    /// Splits a readable part of any length; missing bytes are zero.
    pub fn parse(readable: &'a [u8]) -> Self {
        Self {
            hdr: crate::read_zero_extended(readable),
            data: readable.get(size_of::<CmdHdr>()..).unwrap_or_default(),
        }
    }

    /// Header and data of a capability command.
    pub fn cap(&self) -> (CapHdr, &'a [u8]) {
        let data = self.data.get(size_of::<CapHdr>()..).unwrap_or_default();
        (crate::read_zero_extended(self.data), data)
    }

    /// Header, flags and object of an object command.
    pub fn obj(&self) -> (ObjHdr, u64, &'a [u8]) {
        let rest = self.data.get(size_of::<ObjHdr>()..).unwrap_or_default();
        let flags: U64 = crate::read_zero_extended(rest);
        let object = rest.get(size_of::<U64>()..).unwrap_or_default();
        (crate::read_zero_extended(self.data), flags.get(), object)
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
