// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_OFFLOAD_PARAMETERS (`ntddndis.h`): the settings of OID_TCP_OFFLOAD_PARAMETERS.

use crate::bytes::{put, range};
use crate::object::{any_revision, ObjectType};
use crate::{Fault, ObjectHeader, U32};
use zerocopy::IntoBytes as _;

/// NDIS_OFFLOAD_PARAMETERS_SKIP_REGISTRY_UPDATE, in [`OffloadParameters::flags`].
pub const SKIP_REGISTRY_UPDATE: u32 = 0x1;

/// NDIS_OFFLOAD_PARAMETERS_TX_RX_ENABLED, the highest value of a checksum member.
pub const TX_RX_ENABLED: u8 = 4;
/// NDIS_OFFLOAD_PARAMETERS_*_ENABLED, the highest value of a member that is on or off.
pub const ENABLED: u8 = 2;

/// Last revision that is known here. Later ones have the same members first.
pub const LAST_REVISION: u8 = 5;

named! {
    /// NDIS_OFFLOAD_PARAMETERS_IPSECV2_*, and with the same values _IPSECV1_*.
    pub struct IpsecSetting(u8);
    /// Leaves the setting as it is.
    NO_CHANGE = 0, "NDIS_OFFLOAD_PARAMETERS_NO_CHANGE";
    /// Off.
    DISABLED = 1, "NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED";
    /// AH, both directions.
    AH_ENABLED = 2, "NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED";
    /// ESP, both directions.
    ESP_ENABLED = 3, "NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED";
    /// AH and ESP, both directions.
    AH_AND_ESP_ENABLED = 4, "NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED";
}

impl IpsecSetting {
    /// What is enabled: (AH, ESP). `None` for no change and for values without a meaning.
    pub fn enabled(self) -> Option<(bool, bool)> {
        match self {
            Self::DISABLED => Some((false, false)),
            Self::AH_ENABLED => Some((true, false)),
            Self::ESP_ENABLED => Some((false, true)),
            Self::AH_AND_ESP_ENABLED => Some((true, true)),
            _ => None,
        }
    }
}

layout! {
    /// NDIS_OFFLOAD_PARAMETERS, revision 5. 0 in any member means no change.
    pub struct OffloadParameters: 0x24 {
        /// Type DEFAULT.
        0x00: pub header: ObjectHeader,
        /// IPv4Checksum.
        0x04: pub ipv4_checksum: u8,
        /// TCPIPv4Checksum.
        0x05: pub tcp_ipv4_checksum: u8,
        /// UDPIPv4Checksum.
        0x06: pub udp_ipv4_checksum: u8,
        /// TCPIPv6Checksum.
        0x07: pub tcp_ipv6_checksum: u8,
        /// UDPIPv6Checksum.
        0x08: pub udp_ipv6_checksum: u8,
        /// LsoV1.
        0x09: pub lso_v1: u8,
        /// IPsecV1: [`IpsecSetting`].
        0x0a: pub ipsec_v1: u8,
        /// LsoV2IPv4.
        0x0b: pub lso_v2_ipv4: u8,
        /// LsoV2IPv6.
        0x0c: pub lso_v2_ipv6: u8,
        /// TcpConnectionIPv4.
        0x0d: pub tcp_connection_ipv4: u8,
        /// TcpConnectionIPv6.
        0x0e: pub tcp_connection_ipv6: u8,
        /// Zero.
        0x0f: pub padding: u8,
        /// [`SKIP_REGISTRY_UPDATE`].
        0x10: pub flags: U32,
        /// IPsecV2, for both IP versions: [`IpsecSetting`]. From revision 2.
        0x14: pub ipsec_v2: u8,
        /// IPsecV2IPv4, of an adapter that offloads IPv4 only: [`IpsecSetting`]. From revision 2.
        0x15: pub ipsec_v2_ipv4: u8,
        /// RscIPv4. From revision 3.
        0x16: pub rsc_ipv4: u8,
        /// RscIPv6. From revision 3.
        0x17: pub rsc_ipv6: u8,
        /// EncapsulatedPacketTaskOffload. From revision 3.
        0x18: pub encapsulated_packet_task_offload: u8,
        /// EncapsulationTypes. From revision 3.
        0x19: pub encapsulation_types: u8,
        /// Zero.
        0x1a: pub padding1: [u8; 2],
        /// EncapsulationProtocolParameters. From revision 4.
        0x1c: pub encapsulation_protocol_parameters: U32,
        /// UdpSegmentation.IPv4. From revision 5.
        0x20: pub udp_segmentation_ipv4: u8,
        /// UdpSegmentation.IPv6. From revision 5.
        0x21: pub udp_segmentation_ipv6: u8,
        /// Tail padding.
        0x22: pub padding2: [u8; 2],
    }
}

/// NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_n; that of the last known revision for later ones.
pub fn size(revision: u8) -> Result<u16, Fault> {
    match revision {
        0 => Err(Fault::Revision),
        1 => Ok(0x14),
        2 => Ok(0x16),
        3 => Ok(0x1a),
        4 => Ok(0x20),
        _ => Ok(0x22),
    }
}

impl OffloadParameters {
    /// Parameters that change nothing.
    pub fn new(revision: u8) -> Result<Self, Fault> {
        Ok(Self {
            header: ObjectHeader::new(ObjectType::DEFAULT, revision, size(revision)?),
            ..Self::default()
        })
    }

    /// Reads any revision from the start of the buffer; members that it does not have are zero.
    pub fn parse(buffer: &[u8]) -> Result<Self, Fault> {
        any_revision(buffer, ObjectType::DEFAULT, size)
    }

    /// The settings of checksums: IP, TCP and UDP over IPv4, TCP and UDP over IPv6. 1 is off, 2
    /// send, 3 receive, 4 both.
    pub fn checksums(&self) -> [u8; 5] {
        [
            self.ipv4_checksum,
            self.tcp_ipv4_checksum,
            self.udp_ipv4_checksum,
            self.tcp_ipv6_checksum,
            self.udp_ipv6_checksum,
        ]
    }

    /// The settings of large sends: version 1, version 2 over IPv4 and over IPv6. 1 is off, 2 on.
    pub fn large_sends(&self) -> [u8; 3] {
        [self.lso_v1, self.lso_v2_ipv4, self.lso_v2_ipv6]
    }

    /// Whether every member that selects something has one of its values: checksums for send,
    /// receive, both or neither, IPsec as [`IpsecSetting`], the others on or off.
    pub fn has_known_values(&self) -> bool {
        let checksums = self.checksums();
        let switches = [
            self.lso_v1,
            self.lso_v2_ipv4,
            self.lso_v2_ipv6,
            self.tcp_connection_ipv4,
            self.tcp_connection_ipv6,
            self.rsc_ipv4,
            self.rsc_ipv6,
            self.encapsulated_packet_task_offload,
            self.udp_segmentation_ipv4,
            self.udp_segmentation_ipv6,
        ];
        let ipsec = [self.ipsec_v1(), self.ipsec_v2(), self.ipsec_v2_ipv4()];
        checksums.iter().all(|&value| value <= TX_RX_ENABLED)
            && switches.iter().all(|&value| value <= ENABLED)
            && ipsec.iter().all(|setting| setting.name().is_some())
    }

    /// Writes the members of the revision in the header and returns the length.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let size = usize::from(size(self.header.revision)?);
        put(buffer, 0, range(self.as_bytes(), 0, size)?)
    }

    /// IPsecV1.
    pub fn ipsec_v1(&self) -> IpsecSetting {
        IpsecSetting(self.ipsec_v1)
    }

    /// IPsecV2.
    pub fn ipsec_v2(&self) -> IpsecSetting {
        IpsecSetting(self.ipsec_v2)
    }

    /// IPsecV2IPv4.
    pub fn ipsec_v2_ipv4(&self) -> IpsecSetting {
        IpsecSetting(self.ipsec_v2_ipv4)
    }
}
