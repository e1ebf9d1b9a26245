// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The members of NDIS_OFFLOAD that matter for IPsec (`ntddndis.h`). C declares words of two-bit
//! fields in them; here these are integers, and a field is the number of its lowest bit.

use crate::algorithm::{Authentication, Encryption};
use crate::sa::UdpEsp;
use crate::U32;

/// The two-bit field at bit `shift`, [`SUPPORTED`](super::SUPPORTED) or not.
pub const fn two_bits(shift: u32, supported: bool) -> u32 {
    match (supported, 1u32.checked_shl(shift)) {
        (true, Some(bit)) => bit,
        _ => 0,
    }
}

layout! {
    /// Checksum offload of one IP version and direction.
    pub struct ChecksumPart: 0x8 {
        /// Encapsulation ([`crate::encapsulation`]).
        0x0: pub encapsulation: U32,
        /// Two-bit fields; IPv4: IpOptionsSupported, TcpOptionsSupported, TcpChecksum, UdpChecksum,
        /// IpChecksum; IPv6: IpExtensionHeadersSupported and the next three of them.
        0x4: pub bits: U32,
    }
}

layout! {
    /// NDIS_TCP_IP_CHECKSUM_OFFLOAD.
    pub struct Checksum: 0x20 {
        /// IPv4Transmit.
        0x00: pub ipv4_transmit: ChecksumPart,
        /// IPv4Receive.
        0x08: pub ipv4_receive: ChecksumPart,
        /// IPv6Transmit.
        0x10: pub ipv6_transmit: ChecksumPart,
        /// IPv6Receive.
        0x18: pub ipv6_receive: ChecksumPart,
    }
}

layout! {
    /// Encapsulation and limits of large send offload.
    pub struct Lso: 0xc {
        /// Encapsulation ([`crate::encapsulation`]).
        0x0: pub encapsulation: U32,
        /// MaxOffLoadSize, bytes.
        0x4: pub max_offload_size: U32,
        /// MinSegmentCount.
        0x8: pub min_segment_count: U32,
    }
}

layout! {
    /// NDIS_TCP_LARGE_SEND_OFFLOAD_V1.
    pub struct LsoV1: 0x10 {
        /// IPv4.
        0x0: pub ipv4: Lso,
        /// Two-bit fields TcpOptions (0) and IpOptions (2).
        0xc: pub bits: U32,
    }
}

layout! {
    /// NDIS_TCP_LARGE_SEND_OFFLOAD_V2.
    pub struct LsoV2: 0x1c {
        /// IPv4.
        0x00: pub ipv4: Lso,
        /// IPv6.
        0x0c: pub ipv6: Lso,
        /// IPv6, two-bit fields IpExtensionHeadersSupported (0) and TcpOptionsSupported (2).
        0x18: pub ipv6_bits: U32,
    }
}

/// Fields of [`IpsecV1::ipv4_ah`].
pub mod v1_ah {
    /// Md5.
    pub const MD5: u32 = 0;
    /// Sha_1.
    pub const SHA_1: u32 = 2;
    /// Transport.
    pub const TRANSPORT: u32 = 4;
    /// Tunnel.
    pub const TUNNEL: u32 = 6;
    /// Send.
    pub const SEND: u32 = 8;
    /// Receive.
    pub const RECEIVE: u32 = 10;
}

/// Fields of [`IpsecV1::ipv4_esp`].
pub mod v1_esp {
    /// Des.
    pub const DES: u32 = 0;
    /// Reserved.
    pub const RESERVED: u32 = 2;
    /// TripleDes.
    pub const TRIPLE_DES: u32 = 4;
    /// NullEsp.
    pub const NULL_ESP: u32 = 6;
    /// Transport.
    pub const TRANSPORT: u32 = 8;
    /// Tunnel.
    pub const TUNNEL: u32 = 10;
    /// Send.
    pub const SEND: u32 = 12;
    /// Receive.
    pub const RECEIVE: u32 = 14;
}

/// UDP-ESP of version 1, in [`IpsecV1::flags`]. The first four are for the system's own use, the
/// last four (port 4500) for drivers.
pub mod v1_udp_esp {
    /// IPSEC_TPT_UDPESP_ENCAPTYPE_IKE.
    pub const TRANSPORT_IKE: u32 = 0x01;
    /// IPSEC_TUN_UDPESP_ENCAPTYPE_IKE.
    pub const TUNNEL_IKE: u32 = 0x02;
    /// IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE.
    pub const TRANSPORT_OVER_TUNNEL_IKE: u32 = 0x04;
    /// IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE.
    pub const TRANSPORT_OVER_PURE_TUNNEL_IKE: u32 = 0x08;
    /// IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER.
    pub const TRANSPORT_OTHER: u32 = 0x10;
    /// IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER.
    pub const TUNNEL_OTHER: u32 = 0x20;
    /// IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER.
    pub const TRANSPORT_OVER_TUNNEL_OTHER: u32 = 0x40;
    /// IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER.
    pub const TRANSPORT_OVER_PURE_TUNNEL_OTHER: u32 = 0x80;
}

layout! {
    /// NDIS_IPSEC_OFFLOAD_V1.
    pub struct IpsecV1: 0x1c {
        /// Supported.Encapsulation.
        0x00: pub encapsulation: U32,
        /// Supported.AhEspCombined.
        0x04: pub ah_esp_combined: U32,
        /// Supported.TransportTunnelCombined.
        0x08: pub transport_tunnel_combined: U32,
        /// Supported.IPv4Options.
        0x0c: pub ipv4_options: U32,
        /// Supported.Flags: [`v1_udp_esp`].
        0x10: pub flags: U32,
        /// IPv4AH: [`v1_ah`].
        0x14: pub ipv4_ah: U32,
        /// IPv4ESP: [`v1_esp`].
        0x18: pub ipv4_esp: U32,
    }
}

layout! {
    /// NDIS_IPSEC_OFFLOAD_V2. The members of one byte are BOOLEAN: 0 or 1.
    pub struct IpsecV2: 0x20 {
        /// Encapsulation ([`crate::encapsulation`]); 802.3 always is among them.
        0x00: pub encapsulation: U32,
        /// IPv6Supported.
        0x04: pub ipv6_supported: u8,
        /// IPv4Options.
        0x05: pub ipv4_options: u8,
        /// IPv6NonIPsecExtensionHeaders.
        0x06: pub ipv6_non_ipsec_extension_headers: u8,
        /// Ah.
        0x07: pub ah: u8,
        /// Esp.
        0x08: pub esp: u8,
        /// AhEspCombined.
        0x09: pub ah_esp_combined: u8,
        /// Transport.
        0x0a: pub transport: u8,
        /// Tunnel.
        0x0b: pub tunnel: u8,
        /// TransportTunnelCombined.
        0x0c: pub transport_tunnel_combined: u8,
        /// LsoSupported.
        0x0d: pub lso_supported: u8,
        /// ExtendedSequenceNumbers.
        0x0e: pub extended_sequence_numbers: u8,
        /// Zero.
        0x0f: pub padding: u8,
        /// UdpEsp, a mask of [`UdpEsp`].
        0x10: pub udp_esp: U32,
        /// AuthenticationAlgorithms, a mask of [`Authentication`].
        0x14: pub authentication_algorithms: U32,
        /// EncryptionAlgorithms, a mask of [`Encryption`].
        0x18: pub encryption_algorithms: U32,
        /// SaOffloadCapacity, in bundles.
        0x1c: pub sa_offload_capacity: U32,
    }
}

impl IpsecV2 {
    /// UdpEsp.
    pub fn udp_esp(&self) -> UdpEsp {
        UdpEsp(self.udp_esp.get())
    }

    /// AuthenticationAlgorithms.
    pub fn authentication(&self) -> Authentication {
        Authentication(self.authentication_algorithms.get())
    }

    /// EncryptionAlgorithms.
    pub fn encryption(&self) -> Encryption {
        Encryption(self.encryption_algorithms.get())
    }
}
