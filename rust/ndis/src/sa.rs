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

layout! {
    /// The union of IPv4Endpoints and IPv6Endpoints. For an SA in tunnel mode: those of the tunnel. The
    /// byte order of IPAddr is not documented; it is taken as network order, here only.
    pub struct Endpoints: 0x20 {
        /// SrcAddr, IPv6; its first half is SrcAddr and DestAddr of IPv4.
        0x0: pub source: [u8; 16],
        /// DestAddr, IPv6.
        0x10: pub destination: [u8; 16],
    }
}

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

layout! {
    /// IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION: the AH or the ESP of a bundle.
    pub struct SecurityAssociation: 0x30 {
        /// [`ESN_SA`].
        0x00: pub flags: U32,
        /// [`Operation`].
        0x04: pub operation: U32,
        /// SPI.
        0x08: pub spi: Spi,
        /// Authentication algorithm, zeros for none.
        0x0c: pub authentication_algorithm: AlgorithmInfo,
        /// Encryption algorithm, zeros for none.
        0x1c: pub encryption_algorithm: AlgorithmInfo,
        /// With [`ESN_SA`]: upper 32 bits of the sequence number.
        0x2c: pub sequence_number_high_order: U32,
    }
}

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

layout! {
    /// IPSEC_OFFLOAD_V2_ADD_SA up to KeyData, which has a variable length.
    pub struct AddSaFixed: 0xa8 {
        /// Type DEFAULT, revision 1.
        0x00: pub header: ObjectHeader,
        /// Zero.
        0x04: pub padding: [u8; 4],
        /// The next element, NULL for none.
        0x08: pub next: Ptr,
        /// Elements of SecAssoc that count: 1, or 2 for ESP and AH.
        0x10: pub num_ext_hdrs: U32,
        /// [`INBOUND`], [`IPV6`].
        0x14: pub flags: U32,
        /// Addresses.
        0x18: pub endpoints: Endpoints,
        /// Written by the miniport.
        0x38: pub offload_handle: Ptr,
        /// [`UdpEsp`].
        0x40: pub udp_esp_encapsulation: U32,
        /// ESP, AH, or ESP and then AH.
        0x44: pub sec_assoc: [SecurityAssociation; MAX_EXTENSION_HEADERS],
        /// Length of KeyData in bytes.
        0xa4: pub key_length: U32,
    }
}

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

const _: () = {
    assert!(size_of::<AddSa>() == 0xb0);
    assert!(core::mem::offset_of!(AddSa, key_data) == 0xa8);
    assert!(core::mem::offset_of!(AddSa, padding) == 0xa9);
};

impl AddSa {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1.
    pub const SIZE_1: u16 = 0xa9;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);
}

layout! {
    /// IPSEC_OFFLOAD_V2_ADD_SA_EX (NDIS 6.30 and later).
    pub struct AddSaEx: 0xb0 {
        /// Type DEFAULT, revision 1.
        0x00: pub header: ObjectHeader,
        /// Elements of SecAssoc that count: 1, or 2 for ESP and AH.
        0x04: pub num_ext_hdrs: U32,
        /// [`INBOUND`], [`IPV6`].
        0x08: pub flags: U32,
        /// Addresses.
        0x0c: pub endpoints: Endpoints,
        /// Zero.
        0x2c: pub padding: [u8; 4],
        /// Written by the miniport.
        0x30: pub offload_handle: Ptr,
        /// [`UdpEsp`].
        0x38: pub udp_esp_encapsulation: U32,
        /// ESP, AH, or ESP and then AH.
        0x3c: pub sec_assoc: [SecurityAssociation; MAX_EXTENSION_HEADERS],
        /// Length of the keys in bytes.
        0x9c: pub key_length: U32,
        /// Where the keys start, in bytes from the start of this structure.
        0xa0: pub key_offset: U32,
        /// Reserved, of no influence.
        0xa4: pub source_switch_port_id: U32,
        /// Reserved, of no influence.
        0xa8: pub vlan_id: U16,
        /// Tail padding.
        0xaa: pub padding1: [u8; 6],
    }
}

impl AddSaEx {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1.
    pub const SIZE_1: u16 = 0xaa;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);
}

layout! {
    /// IPSEC_OFFLOAD_V2_UPDATE_SA. It names one SA: there is no list.
    pub struct UpdateSa: 0x20 {
        /// Type DEFAULT, revision 1.
        0x00: pub header: ObjectHeader,
        /// Zero.
        0x04: pub padding: [u8; 4],
        /// The bundle.
        0x08: pub offload_handle: Ptr,
        /// [`Operation`] of the SA in the bundle.
        0x10: pub operation: U32,
        /// SPI of the SA in the bundle.
        0x14: pub spi: Spi,
        /// Upper 32 bits of the sequence number.
        0x18: pub sequence_number_high_order: U32,
        /// Tail padding.
        0x1c: pub padding1: [u8; 4],
    }
}

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

layout! {
    /// IPSEC_OFFLOAD_V2_DELETE_SA.
    pub struct DeleteSa: 0x18 {
        /// Type DEFAULT, revision 1.
        0x00: pub header: ObjectHeader,
        /// Zero.
        0x04: pub padding: [u8; 4],
        /// The next element, NULL for none.
        0x08: pub next: Ptr,
        /// The bundle.
        0x10: pub offload_handle: Ptr,
    }
}

impl DeleteSa {
    /// NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1.
    pub const SIZE_1: u16 = 0x18;
    /// Header of revision 1.
    pub const HEADER: ObjectHeader = ObjectHeader::new(ObjectType::DEFAULT, 1, Self::SIZE_1);
}
