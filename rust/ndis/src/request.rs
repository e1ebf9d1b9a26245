// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_OID_REQUEST (`ndis.h`).

use crate::object::{any_revision, ObjectType};
use crate::oid::RequestType;
use crate::{Fault, ObjectHeader, Oid, Ptr, U16, U32};

layout! {
    /// NDIS_OID_REQUEST, revision 2. The members from Oid on are a union of three forms.
    pub struct OidRequest: 0xf8 {
        /// Type OID_REQUEST.
        0x00: pub header: ObjectHeader,
        /// [`RequestType`].
        0x04: pub request_type: U32,
        /// PortNumber.
        0x08: pub port_number: U32,
        /// Timeout in seconds, 0 for none.
        0x0c: pub timeout: U32,
        /// RequestId, by which a request is cancelled.
        0x10: pub request_id: Ptr,
        /// RequestHandle.
        0x18: pub request_handle: Ptr,
        /// [`Oid`].
        0x20: pub oid: U32,
        /// Zero.
        0x24: pub padding: [u8; 4],
        /// InformationBuffer.
        0x28: pub information_buffer: Ptr,
        /// Query, set: InformationBufferLength. Method: InputBufferLength.
        0x30: pub information_buffer_length: U32,
        /// Query: BytesWritten. Set: BytesRead. Method: OutputBufferLength.
        0x34: pub bytes_done: U32,
        /// Query, set: BytesNeeded. Method: MethodId.
        0x38: pub bytes_needed: U32,
        /// Method: BytesWritten.
        0x3c: pub method_bytes_written: U32,
        /// Method: BytesRead.
        0x40: pub method_bytes_read: U32,
        /// Method: BytesNeeded.
        0x44: pub method_bytes_needed: U32,
        /// NdisReserved.
        0x48: pub ndis_reserved: [u8; 0x80],
        /// MiniportReserved.
        0xc8: pub miniport_reserved: [u8; 0x10],
        /// SourceReserved.
        0xd8: pub source_reserved: [u8; 0x10],
        /// SupportedRevision.
        0xe8: pub supported_revision: u8,
        /// Reserved1.
        0xe9: pub reserved1: u8,
        /// Reserved2.
        0xea: pub reserved2: U16,
        /// SwitchId. From revision 2.
        0xec: pub switch_id: U32,
        /// VPortId. From revision 2.
        0xf0: pub vport_id: U32,
        /// Flags. From revision 2.
        0xf4: pub flags: U32,
    }
}

/// NDIS_SIZEOF_OID_REQUEST_REVISION_n; that of the last known revision for later ones.
pub fn size(revision: u8) -> Result<u16, Fault> {
    match revision {
        0 => Err(Fault::Revision),
        1 => Ok(0xec),
        _ => Ok(0xf8),
    }
}

impl OidRequest {
    /// A query or set request of revision 1, without an information buffer.
    pub fn new(request_type: RequestType, oid: Oid) -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::OID_REQUEST, 1, 0xec),
            request_type: U32::new(request_type.0),
            oid: U32::new(oid.0),
            ..Self::default()
        }
    }

    /// Reads any revision from the start of the buffer; members that it does not have are zero.
    pub fn parse(buffer: &[u8]) -> Result<Self, Fault> {
        any_revision(buffer, ObjectType::OID_REQUEST, size)
    }

    /// RequestType.
    pub fn request_type(&self) -> RequestType {
        RequestType(self.request_type.get())
    }

    /// Oid.
    pub fn oid(&self) -> Oid {
        Oid(self.oid.get())
    }
}
