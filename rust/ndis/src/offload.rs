// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_OFFLOAD (`ntddndis.h`): what an adapter offers, or what of it is enabled.

mod parts;

use crate::bytes::{put, range};
use crate::object::{any_revision, ObjectType};
use crate::{Fault, ObjectHeader, Version, U32};
pub use parts::{
    two_bits, v1_ah, v1_esp, v1_udp_esp, Checksum, ChecksumPart, IpsecV1, IpsecV2, Lso, LsoV1,
    LsoV2,
};
use zerocopy::IntoBytes as _;

/// NDIS_OFFLOAD_NOT_SUPPORTED.
pub const NOT_SUPPORTED: u32 = 0;
/// NDIS_OFFLOAD_SUPPORTED.
pub const SUPPORTED: u32 = 1;

/// NDIS_OFFLOAD_FLAGS_GROUP_CHECKSUM_CAPABILITIES, in [`Offload::flags`].
pub const FLAGS_GROUP_CHECKSUM_CAPABILITIES: u32 = 0x1;
/// IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE, in [`Offload::flags`], from NDIS 6.30.
pub const AND_TCP_CHECKSUM_COEXISTENCE: u32 = 0x2;
/// IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE, in [`Offload::flags`], from NDIS 6.30.
pub const AND_UDP_CHECKSUM_COEXISTENCE: u32 = 0x4;

/// Last revision that is known here. Later ones have the same members first.
pub const LAST_REVISION: u8 = 6;

layout! {
    /// NDIS_OFFLOAD, revision 6.
    pub struct Offload: 0xd8 {
        /// Type OFFLOAD.
        0x00: pub header: ObjectHeader,
        /// Checksums.
        0x04: pub checksum: Checksum,
        /// Large send offload, version 1.
        0x24: pub lso_v1: LsoV1,
        /// IPsec offload, version 1.
        0x34: pub ipsec_v1: IpsecV1,
        /// Large send offload, version 2.
        0x50: pub lso_v2: LsoV2,
        /// `FLAGS_` and `_COEXISTENCE` constants.
        0x6c: pub flags: U32,
        /// IPsec offload, version 2. From revision 2; ask [`Offload::ipsec_v2`].
        0x70: pub ipsec_v2: IpsecV2,
        /// Receive segment coalescing. From revision 3. Not offered.
        0x90: pub rsc: [u8; 2],
        /// Zero.
        0x92: pub padding: [u8; 2],
        /// EncapsulatedPacketTaskOffloadGre. From revision 3. Not offered.
        0x94: pub encapsulated_gre: [u8; 8],
        /// EncapsulatedPacketTaskOffloadVxlan. From revision 4. Not offered.
        0x9c: pub encapsulated_vxlan: [u8; 0x14],
        /// EncapsulationTypes. From revision 4. Not offered.
        0xb0: pub encapsulation_types: u8,
        /// Zero.
        0xb1: pub padding1: [u8; 3],
        /// Rfc6877Xlat. From revision 5. Not offered.
        0xb4: pub rfc6877_xlat: [u8; 8],
        /// UdpSegmentation. From revision 6. Not offered.
        0xbc: pub udp_segmentation: [u8; 0x1c],
    }
}

/// The revision of NDIS_OFFLOAD that a miniport of this version reports.
pub fn revision(version: Version) -> u8 {
    match version {
        v if v < Version::V6_1 => 1,
        v if v < Version::V6_30 => 2,
        v if v < Version::V6_50 => 3,
        v if v < Version::V6_70 => 4,
        v if v < Version::V6_83 => 5,
        _ => 6,
    }
}

/// NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_n; that of the last known revision for later ones.
pub fn size(revision: u8) -> Result<u16, Fault> {
    match revision {
        0 => Err(Fault::Revision),
        1 => Ok(0x70),
        2 => Ok(0x90),
        3 => Ok(0x9c),
        4 => Ok(0xb1),
        5 => Ok(0xbc),
        _ => Ok(0xd8),
    }
}

impl Offload {
    /// Reads any revision from the start of the buffer; members that it does not have are zero.
    pub fn parse(buffer: &[u8]) -> Result<Self, Fault> {
        any_revision(buffer, ObjectType::OFFLOAD, size)
    }

    /// Writes the structure as a miniport of this version reports it and returns its length.
    /// Members and flags that the version does not have are left out.
    pub fn encode(&self, version: Version, buffer: &mut [u8]) -> Result<usize, Fault> {
        let revision = revision(version);
        let size = size(revision)?;
        let mut image = *self;
        image.header = ObjectHeader::new(ObjectType::OFFLOAD, revision, size);
        if version < Version::V6_30 {
            let later = AND_TCP_CHECKSUM_COEXISTENCE | AND_UDP_CHECKSUM_COEXISTENCE;
            image.flags = U32::new(image.flags.get() & !later);
        }
        put(buffer, 0, range(image.as_bytes(), 0, usize::from(size))?)
    }

    /// IPsecV2, which only revision 2 and later have.
    pub fn ipsec_v2(&self) -> Option<&IpsecV2> {
        let is_there =
            self.header.object_type == ObjectType::OFFLOAD.0 && self.header.revision >= 2;
        is_there.then_some(&self.ipsec_v2)
    }
}
