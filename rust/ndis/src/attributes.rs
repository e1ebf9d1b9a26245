// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES (`ndis.h`): what a miniport reports at initialisation.

use crate::object::ObjectType;
use crate::{ObjectHeader, Ptr};

layout! {
    /// NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES.
    pub struct OffloadAttributes: 0x28 {
        /// Type MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES, revision 1.
        0x00: pub header: ObjectHeader,
        /// Zero.
        0x04: pub padding: [u8; 4],
        /// DefaultOffloadConfiguration: an NDIS_OFFLOAD with what is enabled.
        0x08: pub default_offload_configuration: Ptr,
        /// HardwareOffloadCapabilities: an NDIS_OFFLOAD with what the hardware can do.
        0x10: pub hardware_offload_capabilities: Ptr,
        /// DefaultTcpConnectionOffloadConfiguration. NULL here.
        0x18: pub default_tcp_connection_offload_configuration: Ptr,
        /// TcpConnectionOffloadHardwareCapabilities. NULL here.
        0x20: pub tcp_connection_offload_hardware_capabilities: Ptr,
    }
}

impl OffloadAttributes {
    /// NDIS_SIZEOF_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES_REVISION_1.
    pub const SIZE_1: u16 = 0x28;

    /// The attributes with these two images.
    pub fn new(current: Ptr, hardware: Ptr) -> Self {
        Self {
            header: ObjectHeader::new(
                ObjectType::MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES,
                1,
                Self::SIZE_1,
            ),
            default_offload_configuration: current,
            hardware_offload_capabilities: hardware,
            ..Self::default()
        }
    }
}
