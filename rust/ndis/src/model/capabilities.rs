// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an adapter offers or has enabled: the content of NDIS_IPSEC_OFFLOAD_V2 as host values.

use crate::algorithm::{Authentication, Encryption};
use crate::encapsulation::IEEE_802_3;
use crate::offload::IpsecV2;
use crate::sa::UdpEsp;
use crate::U32;

/// IPsecOV2 capabilities of an adapter, or the part of them that is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Mask of encapsulations ([`crate::encapsulation`]); 802.3 always is among them (R18).
    pub encapsulation: u32,
    /// IPv4 packets. NDIS_IPSEC_OFFLOAD_V2 has no member for it: hardware always offers it, and
    /// only OID_OFFLOAD_ENCAPSULATION switches it off (C35).
    pub ipv4: bool,
    /// IPv6Supported.
    pub ipv6: bool,
    /// IPv4Options: packets with IPv4 options are processed.
    pub ipv4_options: bool,
    /// IPv6NonIPsecExtensionHeaders: packets with further extension headers are processed.
    pub ipv6_extension_headers: bool,
    /// Ah.
    pub ah: bool,
    /// Esp.
    pub esp: bool,
    /// AhEspCombined: both in one packet.
    pub ah_esp_combined: bool,
    /// Transport mode.
    pub transport: bool,
    /// Tunnel mode.
    pub tunnel: bool,
    /// TransportTunnelCombined: a transport payload inside a tunnel payload.
    pub transport_tunnel_combined: bool,
    /// LsoSupported: the LSO capabilities hold for IPsec packets as well (R24).
    pub lso: bool,
    /// ExtendedSequenceNumbers.
    pub esn: bool,
    /// UdpEsp: mask of subtypes, 0 for none (R26).
    pub udp_esp: UdpEsp,
    /// AuthenticationAlgorithms.
    pub authentication: Authentication,
    /// EncryptionAlgorithms.
    pub encryption: Encryption,
    /// SaOffloadCapacity, in bundles (R50).
    pub capacity: u32,
}

impl Capabilities {
    /// No IPsec offload.
    pub const NONE: Self = Self {
        encapsulation: 0,
        ipv4: false,
        ipv6: false,
        ipv4_options: false,
        ipv6_extension_headers: false,
        ah: false,
        esp: false,
        ah_esp_combined: false,
        transport: false,
        tunnel: false,
        transport_tunnel_combined: false,
        lso: false,
        esn: false,
        udp_esp: UdpEsp::NONE,
        authentication: Authentication(0),
        encryption: Encryption(0),
        capacity: 0,
    };

    /// Whether there is any IPsec offload at all.
    pub const fn is_offered(&self) -> bool {
        (self.ah || self.esp) && (self.ipv4 || self.ipv6)
    }

    /// The capabilities as an adapter may report them: if IPsec is offered, then with the 802.3
    /// encapsulation (R18) and with tunnel mode (R23); else nothing. Both protocols in one packet
    /// need both protocols; encryption, UDP and large sends, which need a trailer, are ESP's.
    #[must_use]
    pub fn reported(self) -> Self {
        if !self.is_offered() {
            return Self::NONE;
        }
        Self {
            encapsulation: self.encapsulation | IEEE_802_3,
            tunnel: true,
            ah_esp_combined: self.ah_esp_combined && self.ah && self.esp,
            lso: self.lso && self.esp,
            udp_esp: if self.esp { self.udp_esp } else { UdpEsp::NONE },
            encryption: if self.esp {
                self.encryption
            } else {
                Encryption(0)
            },
            ..self
        }
    }

    /// What is left when only these IP versions are processed (R17).
    #[must_use]
    pub fn of_versions(self, ipv4: bool, ipv6: bool) -> Self {
        Self {
            ipv4: self.ipv4 && ipv4,
            ipv6: self.ipv6 && ipv6,
            ..self
        }
        .reported()
    }

    /// What is left when only these protocols are enabled (R2, R4, R8).
    #[must_use]
    pub fn enabled(self, ah: bool, esp: bool) -> Self {
        Self {
            ah: self.ah && ah,
            esp: self.esp && esp,
            ..self
        }
        .reported()
    }
}

impl From<Capabilities> for IpsecV2 {
    fn from(from: Capabilities) -> Self {
        Self {
            encapsulation: U32::new(from.encapsulation),
            ipv6_supported: from.ipv6.into(),
            ipv4_options: from.ipv4_options.into(),
            ipv6_non_ipsec_extension_headers: from.ipv6_extension_headers.into(),
            ah: from.ah.into(),
            esp: from.esp.into(),
            ah_esp_combined: from.ah_esp_combined.into(),
            transport: from.transport.into(),
            tunnel: from.tunnel.into(),
            transport_tunnel_combined: from.transport_tunnel_combined.into(),
            lso_supported: from.lso.into(),
            extended_sequence_numbers: from.esn.into(),
            padding: 0,
            udp_esp: U32::new(from.udp_esp.0),
            authentication_algorithms: U32::new(from.authentication.0),
            encryption_algorithms: U32::new(from.encryption.0),
            sa_offload_capacity: U32::new(from.capacity),
        }
    }
}

impl From<&IpsecV2> for Capabilities {
    fn from(from: &IpsecV2) -> Self {
        Self {
            encapsulation: from.encapsulation.get(),
            ipv4: from.ah != 0 || from.esp != 0,
            ipv6: from.ipv6_supported != 0,
            ipv4_options: from.ipv4_options != 0,
            ipv6_extension_headers: from.ipv6_non_ipsec_extension_headers != 0,
            ah: from.ah != 0,
            esp: from.esp != 0,
            ah_esp_combined: from.ah_esp_combined != 0,
            transport: from.transport != 0,
            tunnel: from.tunnel != 0,
            transport_tunnel_combined: from.transport_tunnel_combined != 0,
            lso: from.lso_supported != 0,
            esn: from.extended_sequence_numbers != 0,
            udp_esp: from.udp_esp(),
            authentication: from.authentication(),
            encryption: from.encryption(),
            capacity: from.sa_offload_capacity.get(),
        }
    }
}
