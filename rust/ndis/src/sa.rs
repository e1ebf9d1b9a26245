// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The structures of the SA requests (`ndis.h`).
//!
//! [`view`] reads them from untrusted buffers, [`build`] writes them. Header.Size is written as
//! NDIS_SIZEOF_*_REVISION_1, and every larger value is accepted.

pub mod build;
pub mod view;

use crate::algorithm::AlgorithmInfo;
use crate::object::ObjectType;
use crate::{ObjectHeader, Ptr, U16, U32};
pub use view::{AddSaView, BundleView, DeleteSaView};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS: elements of SecAssoc.
pub const MAX_EXTENSION_HEADERS: usize = 2;
/// IPSEC_OFFLOAD_V2_INBOUND, in Flags of [`AddSaFixed`] and [`AddSaEx`].
pub const INBOUND: u32 = 0x01;
/// IPSEC_OFFLOAD_V2_IPv6, in Flags of [`AddSaFixed`] and [`AddSaEx`].
pub const IPV6: u32 = 0x10;
/// IPSEC_OFFLOAD_V2_ESN_SA, in Flags of [`SecurityAssociation`].
pub const ESN_SA: u32 = 0x01;

named! {
    /// IPSEC_OFFLOAD_V2_OPERATION.
    pub struct Operation(u32);
    /// Authentication header.
    AH = 1, "IPsecOffloadV2Ah";
    /// Encapsulating security payload.
    ESP = 2, "IPsecOffloadV2Esp";
}

named! {
    /// IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_*: a form of UDP encapsulation, or a mask of them in
    /// the capabilities.
    pub struct UdpEsp(u32);
    /// No UDP.
    NONE = 0, "IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE";
    /// UDP-encapsulated transport mode.
    TRANSPORT = 0x1, "IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT";
    /// UDP-encapsulated tunnel mode.
    TUNNEL = 0x2, "IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL";
    /// Transport mode over UDP-encapsulated tunnel mode.
    TRANSPORT_OVER_UDP_TUNNEL = 0x4,
        "IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL";
    /// UDP-encapsulated transport mode over tunnel mode.
    UDP_TRANSPORT_OVER_TUNNEL = 0x8,
        "IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL";
}

/// IPSEC_OFFLOAD_V2_SPI_TYPE. The documentation does not state the byte order: this is the one place
/// that decides, for the bytes of the packet.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Spi(pub [u8; 4]);

impl Spi {
    /// The SPI with this number (`0x100` is `00 00 01 00` in the packet).
    pub const fn new(number: u32) -> Self {
        Self(number.to_be_bytes())
    }

    /// The SPI from the bytes of the packet.
    pub const fn from_be_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The bytes of the packet.
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0
    }

    /// The SPI as a number.
    pub const fn get(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
}

/// An address of an SA, in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Address {
    /// Whether the address is zero and so restricts nothing.
    pub fn is_unspecified(&self) -> bool {
        match self {
            Self::V4(bytes) => bytes.iter().all(|&byte| byte == 0),
            Self::V6(bytes) => bytes.iter().all(|&byte| byte == 0),
        }
    }
}

/// The union of IPv4Endpoints and IPv6Endpoints. For an SA in tunnel mode: those of the tunnel. The
/// byte order of IPAddr is not documented; it is taken as network order, here only.
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
#[repr(C)]
pub struct Endpoints {
    /// SrcAddr, IPv6; its first half is SrcAddr and DestAddr of IPv4.
    pub source: [u8; 16],
    /// DestAddr, IPv6.
    pub destination: [u8; 16],
}

layout!(Endpoints, 0x20: source 0x0, destination 0x10);

impl Endpoints {
    /// SrcAddr and DestAddr of IPv4Endpoints.
    pub fn ipv4(&self) -> ([u8; 4], [u8; 4]) {
        let [a, b, c, d, e, f, g, h, ..] = self.source;
        ([a, b, c, d], [e, f, g, h])
    }

    /// The union with IPv4Endpoints.
    pub fn from_ipv4([a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]) -> Self {
        Self {
            source: [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0],
            destination: [0; 16],
        }
    }
}

/// IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION: the AH or the ESP of a bundle.
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
#[repr(C)]
pub struct SecurityAssociation {
    /// [`ESN_SA`].
    pub flags: U32,
    /// [`Operation`].
    pub operation: U32,
    /// SPI.
    pub spi: Spi,
    /// Authentication algorithm, zeros for none.
    pub authentication_algorithm: AlgorithmInfo,
    /// Encryption algorithm, zeros for none.
    pub encryption_algorithm: AlgorithmInfo,
    /// With [`ESN_SA`]: upper 32 bits of the sequence number.
    pub sequence_number_high_order: U32,
}

layout!(SecurityAssociation, 0x30:
    flags 0x00, operation 0x04, spi 0x08, authentication_algorithm 0x0c,
    encryption_algorithm 0x1c, sequence_number_high_order 0x2c);

impl SecurityAssociation {
    /// Operation.
    pub fn operation(&self) -> Operation {
        Operation(self.operation.get())
    }

    /// Whether the SA has extended sequence numbers.
    pub fn is_esn(&self) -> bool {
        self.flags.get() & ESN_SA != 0
    }
}

/// IPSEC_OFFLOAD_V2_ADD_SA up to KeyData, which has a variable length.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AddSaFixed {
    /// Type DEFAULT, revision 1.
    pub header: ObjectHeader,
    /// Zero.
    pub padding: [u8; 4],
    /// The next element, NULL for none.
    pub next: Ptr,
    /// Elements of SecAssoc that count: 1, or 2 for ESP and AH.
    pub num_ext_hdrs: U32,
    /// [`INBOUND`], [`IPV6`].
    pub flags: U32,
    /// Addresses.
    pub endpoints: Endpoints,
    /// Written by the miniport.
    pub offload_handle: Ptr,
    /// [`UdpEsp`].
    pub udp_esp_encapsulation: U32,
    /// ESP, AH, or ESP and then AH.
    pub sec_assoc: [SecurityAssociation; MAX_EXTENSION_HEADERS],
    /// Length of KeyData in bytes.
    pub key_length: U32,
}

layout!(AddSaFixed, 0xa8:
    header 0x00, padding 0x04, next 0x08, num_ext_hdrs 0x10, flags 0x14, endpoints 0x18,
    offload_handle 0x38, udp_esp_encapsulation 0x40, sec_assoc 0x44, key_length 0xa4);

/// IPSEC_OFFLOAD_V2_ADD_SA as C declares it. The keys start in its tail padding.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AddSa {
    /// Everything before the keys.
    pub fixed: AddSaFixed,
    /// First byte of the keys.
    pub key_data: [u8; 1],
    /// Tail padding, overlaid by the keys.
    pub padding: [u8; 7],
}

layout!(AddSa, 0xb0: fixed 0x00, key_data 0xa8, padding 0xa9);

impl AddSa {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1.
    pub const SIZE_1: u16 = 0xa9;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);
}

/// IPSEC_OFFLOAD_V2_ADD_SA_EX (NDIS 6.30 and later).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AddSaEx {
    /// Type DEFAULT, revision 1.
    pub header: ObjectHeader,
    /// Elements of SecAssoc that count: 1, or 2 for ESP and AH.
    pub num_ext_hdrs: U32,
    /// [`INBOUND`], [`IPV6`].
    pub flags: U32,
    /// Addresses.
    pub endpoints: Endpoints,
    /// Zero.
    pub padding: [u8; 4],
    /// Written by the miniport.
    pub offload_handle: Ptr,
    /// [`UdpEsp`].
    pub udp_esp_encapsulation: U32,
    /// ESP, AH, or ESP and then AH.
    pub sec_assoc: [SecurityAssociation; MAX_EXTENSION_HEADERS],
    /// Length of the keys in bytes.
    pub key_length: U32,
    /// Where the keys start, in bytes from the start of this structure.
    pub key_offset: U32,
    /// Reserved, of no influence.
    pub source_switch_port_id: U32,
    /// Reserved, of no influence.
    pub vlan_id: U16,
    /// Tail padding.
    pub padding1: [u8; 6],
}

layout!(AddSaEx, 0xb0:
    header 0x00, num_ext_hdrs 0x04, flags 0x08, endpoints 0x0c, padding 0x2c,
    offload_handle 0x30, udp_esp_encapsulation 0x38, sec_assoc 0x3c, key_length 0x9c,
    key_offset 0xa0, source_switch_port_id 0xa4, vlan_id 0xa8, padding1 0xaa);

impl AddSaEx {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1.
    pub const SIZE_1: u16 = 0xaa;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);
}

/// IPSEC_OFFLOAD_V2_UPDATE_SA. It names one SA: there is no list.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UpdateSa {
    /// Type DEFAULT, revision 1.
    pub header: ObjectHeader,
    /// Zero.
    pub padding: [u8; 4],
    /// The bundle.
    pub offload_handle: Ptr,
    /// [`Operation`] of the SA in the bundle.
    pub operation: U32,
    /// SPI of the SA in the bundle.
    pub spi: Spi,
    /// Upper 32 bits of the sequence number.
    pub sequence_number_high_order: U32,
    /// Tail padding.
    pub padding1: [u8; 4],
}

layout!(UpdateSa, 0x20:
    header 0x00, padding 0x04, offload_handle 0x08, operation 0x10, spi 0x14,
    sequence_number_high_order 0x18, padding1 0x1c);

impl UpdateSa {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1.
    pub const SIZE_1: u16 = 0x1c;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);

    /// The bundle.
    pub fn handle(&self) -> Option<crate::Handle> {
        self.offload_handle.handle()
    }

    /// Operation of the SA in the bundle.
    pub fn operation(&self) -> Operation {
        Operation(self.operation.get())
    }
}

/// IPSEC_OFFLOAD_V2_DELETE_SA.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DeleteSa {
    /// Type DEFAULT, revision 1.
    pub header: ObjectHeader,
    /// Zero.
    pub padding: [u8; 4],
    /// The next element, NULL for none.
    pub next: Ptr,
    /// The bundle.
    pub offload_handle: Ptr,
}

layout!(DeleteSa, 0x18: header 0x00, padding 0x04, next 0x08, offload_handle 0x10);

impl DeleteSa {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1.
    pub const SIZE_1: u16 = 0x18;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);
}
