// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the structures have in common: NDIS_OBJECT_HEADER, pointers, handles.

use crate::bytes::{prefix, view};
use crate::{Fault, U16, U64};
use core::num::NonZeroU64;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

named! {
    /// NDIS_OBJECT_TYPE_* (`ntddndis.h`).
    pub struct ObjectType(u8);
    /// The SA structures and NDIS_OFFLOAD_PARAMETERS.
    DEFAULT = 0x80, "NDIS_OBJECT_TYPE_DEFAULT";
    /// NDIS_OID_REQUEST.
    OID_REQUEST = 0x96, "NDIS_OBJECT_TYPE_OID_REQUEST";
    /// NDIS_STATUS_INDICATION.
    STATUS_INDICATION = 0x98, "NDIS_OBJECT_TYPE_STATUS_INDICATION";
    /// NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES.
    MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES = 0xa0,
        "NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES";
    /// NDIS_OFFLOAD.
    OFFLOAD = 0xa7, "NDIS_OBJECT_TYPE_OFFLOAD";
    /// NDIS_OFFLOAD_ENCAPSULATION.
    OFFLOAD_ENCAPSULATION = 0xa8, "NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION";
}

layout! {
    /// NDIS_OBJECT_HEADER.
    pub struct ObjectHeader: 0x4 {
        /// [`ObjectType`].
        0x0: pub object_type: u8,
        /// Revision of the structure, from 1.
        0x1: pub revision: u8,
        /// Size of the structure in bytes, as its revision has it (NDIS_SIZEOF_*_REVISION_n).
        0x2: pub size: U16,
    }
}

impl ObjectHeader {
    /// A header.
    pub const fn new(object_type: ObjectType, revision: u8, size: u16) -> Self {
        Self {
            object_type: object_type.0,
            revision,
            size: U16::new(size),
        }
    }

    /// Whether this is a header of that type and revision with at least that Size. The
    /// documentation asks for NDIS_SIZEOF_*_REVISION_n, header comments for the size of the
    /// structure with its tail padding: both are accepted.
    pub fn check(&self, object_type: ObjectType, revision: u8, size: u16) -> Result<(), Fault> {
        if self.object_type != object_type.0 {
            Err(Fault::Type)
        } else if self.revision != revision {
            Err(Fault::Revision)
        } else if self.size.get() < size {
            Err(Fault::Size)
        } else {
            Ok(())
        }
    }
}

/// Reads a structure of this type in any revision from the start of the buffer. `size` knows how
/// long the revisions are; members that the one at hand does not have are zero.
pub(crate) fn any_revision<T>(
    buffer: &[u8],
    object_type: ObjectType,
    size: impl Fn(u8) -> Result<u16, Fault>,
) -> Result<T, Fault>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes,
{
    let header: &ObjectHeader = view(buffer, 0)?;
    if header.object_type != object_type.0 {
        return Err(Fault::Type);
    }
    let size = size(header.revision)?;
    if header.size.get() < size {
        return Err(Fault::Size);
    }
    prefix(buffer, 0, usize::from(size))
}

/// A pointer, 8 bytes. In a request buffer that crosses from user space it is an offset from the
/// start of that buffer, or a handle.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Ptr(pub U64);

impl Ptr {
    /// NULL.
    pub const NULL: Self = Self(U64::new(0));

    /// The pointer as a number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The handle in this place, `None` for NULL.
    pub fn handle(self) -> Option<Handle> {
        Handle::new(self.get())
    }
}

impl From<Option<Handle>> for Ptr {
    fn from(handle: Option<Handle>) -> Self {
        Self(U64::new(handle.map_or(0, Handle::get)))
    }
}

/// OffloadHandle: what the miniport calls an SA bundle that is offloaded. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(NonZeroU64);

impl Handle {
    /// The handle with this value, `None` for 0.
    pub const fn new(value: u64) -> Option<Self> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The value.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}
