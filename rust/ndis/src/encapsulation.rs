// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_OFFLOAD_ENCAPSULATION (`ndis.h`) and the encapsulations (`ntddndis.h`).

use crate::bytes::prefix;
use crate::object::ObjectType;
use crate::{Fault, ObjectHeader, U32};

/// NDIS_ENCAPSULATION_NOT_SUPPORTED.
pub const NOT_SUPPORTED: u32 = 0x00;
/// NDIS_ENCAPSULATION_NULL.
pub const NULL: u32 = 0x01;
/// NDIS_ENCAPSULATION_IEEE_802_3.
pub const IEEE_802_3: u32 = 0x02;
/// NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q.
pub const IEEE_802_3_P_AND_Q: u32 = 0x04;
/// NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB.
pub const IEEE_802_3_P_AND_Q_IN_OOB: u32 = 0x08;
/// NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED.
pub const IEEE_LLC_SNAP_ROUTED: u32 = 0x10;

/// Whether one of the encapsulations in `mask` has `bytes` bytes in front of the IP header.
pub const fn has_header(mask: u32, bytes: usize) -> bool {
    let with = match bytes {
        0 => NULL,
        14 => IEEE_802_3 | IEEE_802_3_P_AND_Q_IN_OOB,
        // A tag.
        18 => IEEE_802_3_P_AND_Q,
        // LLC and SNAP.
        22 => IEEE_LLC_SNAP_ROUTED,
        _ => 0,
    };
    mask & with != 0
}

named! {
    /// NDIS_OFFLOAD_SET_*: value of Enabled.
    pub struct Set(u32);
    /// Leaves it as it is.
    NO_CHANGE = 0, "NDIS_OFFLOAD_SET_NO_CHANGE";
    /// Offloads are active.
    ON = 1, "NDIS_OFFLOAD_SET_ON";
    /// Offloads are inactive.
    OFF = 2, "NDIS_OFFLOAD_SET_OFF";
}

layout! {
    /// One IP version in [`OffloadEncapsulation`].
    pub struct Family: 0xc {
        /// [`Set`].
        0x0: pub enabled: U32,
        /// EncapsulationType: one of the encapsulations.
        0x4: pub encapsulation_type: U32,
        /// HeaderSize: bytes in front of the IP header.
        0x8: pub header_size: U32,
    }
}

impl Family {
    /// Enabled.
    pub fn enabled(&self) -> Set {
        Set(self.enabled.get())
    }

    /// The setting as a protocol driver may make it: with [`Set::ON`] an encapsulation and its
    /// Ethernet header, else zeros.
    pub fn new(enabled: Set, encapsulation_type: u32, header_size: u32) -> Self {
        let only_on = |value| U32::new(if enabled == Set::ON { value } else { 0 });
        Self {
            enabled: U32::new(enabled.0),
            encapsulation_type: only_on(encapsulation_type),
            header_size: only_on(header_size),
        }
    }

    /// Whether the other members go with Enabled: one of the two encapsulations that a protocol
    /// driver may name, with an Ethernet header as it has, or else zeros.
    pub fn is_legal(&self) -> bool {
        let size = self.header_size.get();
        match (self.enabled(), self.encapsulation_type.get()) {
            // With a tag where there is one.
            (Set::ON, IEEE_802_3) => size == 14 || size == 18,
            (Set::ON, IEEE_LLC_SNAP_ROUTED) => size != 0,
            (Set::ON, _) => false,
            (_, kind) => kind == 0 && size == 0,
        }
    }
}

layout! {
    /// NDIS_OFFLOAD_ENCAPSULATION.
    pub struct OffloadEncapsulation: 0x1c {
        /// Type OFFLOAD_ENCAPSULATION, revision 1.
        0x00: pub header: ObjectHeader,
        /// IPv4.
        0x04: pub ipv4: Family,
        /// IPv6.
        0x10: pub ipv6: Family,
    }
}

impl OffloadEncapsulation {
    /// NDIS_SIZEOF_OFFLOAD_ENCAPSULATION_REVISION_1.
    pub const SIZE_1: u16 = 0x1c;

    /// The structure with these contents.
    pub fn new(ipv4: Family, ipv6: Family) -> Self {
        Self {
            header: ObjectHeader::new(ObjectType::OFFLOAD_ENCAPSULATION, 1, Self::SIZE_1),
            ipv4,
            ipv6,
        }
    }

    /// Reads the structure from the start of the buffer.
    pub fn parse(buffer: &[u8]) -> Result<Self, Fault> {
        let value: Self = prefix(buffer, 0, usize::from(Self::SIZE_1))?;
        value
            .header
            .check(ObjectType::OFFLOAD_ENCAPSULATION, 1, Self::SIZE_1)?;
        Ok(value)
    }
}
