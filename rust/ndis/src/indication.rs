// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_STATUS_INDICATION (`ndis.h`).

use crate::bytes::{prefix, put, range};
use crate::object::ObjectType;
use crate::{Fault, ObjectHeader, Ptr, Status, U32, U64};
use zerocopy::IntoBytes as _;

layout! {
    /// NDIS_STATUS_INDICATION.
    pub struct StatusIndication: 0x70 {
        /// Type STATUS_INDICATION, revision 1.
        0x00: pub header: ObjectHeader,
        /// Zero.
        0x04: pub padding: [u8; 4],
        /// SourceHandle.
        0x08: pub source_handle: Ptr,
        /// PortNumber.
        0x10: pub port_number: U32,
        /// StatusCode.
        0x14: pub status_code: U32,
        /// Flags.
        0x18: pub flags: U32,
        /// Zero.
        0x1c: pub padding1: [u8; 4],
        /// DestinationHandle.
        0x20: pub destination_handle: Ptr,
        /// RequestId.
        0x28: pub request_id: Ptr,
        /// StatusBuffer.
        0x30: pub status_buffer: Ptr,
        /// StatusBufferSize in bytes.
        0x38: pub status_buffer_size: U32,
        /// Guid.
        0x3c: pub guid: [u8; 16],
        /// Zero.
        0x4c: pub padding2: [u8; 4],
        /// NdisReserved.
        0x50: pub ndis_reserved: [Ptr; 4],
    }
}

impl StatusIndication {
    /// NDIS_SIZEOF_STATUS_INDICATION_REVISION_1.
    pub const SIZE_1: u16 = 0x70;

    /// Writes an indication and, right behind it, its status buffer; returns the length of both.
    /// StatusBuffer is the offset of the status buffer.
    pub fn encode(status: Status, contents: &[u8], buffer: &mut [u8]) -> Result<usize, Fault> {
        let size = u32::try_from(contents.len()).map_err(|_| Fault::Size)?;
        let indication = Self {
            header: ObjectHeader::new(ObjectType::STATUS_INDICATION, 1, Self::SIZE_1),
            status_code: U32::new(status.0),
            status_buffer: Ptr(U64::new(u64::from(Self::SIZE_1))),
            status_buffer_size: U32::new(size),
            ..Self::default()
        };
        let at = put(buffer, 0, indication.as_bytes())?;
        put(buffer, at, contents)
    }

    /// Reads an indication and its status buffer.
    pub fn parse(buffer: &[u8]) -> Result<(Self, &[u8]), Fault> {
        let indication: Self = prefix(buffer, 0, usize::from(Self::SIZE_1))?;
        indication
            .header
            .check(ObjectType::STATUS_INDICATION, 1, Self::SIZE_1)?;
        let at = usize::try_from(indication.status_buffer.get()).map_err(|_| Fault::Link)?;
        let len = usize::try_from(indication.status_buffer_size.get()).map_err(|_| Fault::Link)?;
        let contents = if len == 0 {
            &[]
        } else if at < usize::from(Self::SIZE_1) {
            return Err(Fault::Link);
        } else {
            range(buffer, at, len)?
        };
        Ok((indication, contents))
    }

    /// StatusCode.
    pub fn status(&self) -> Status {
        Status(self.status_code.get())
    }
}
