// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Out-of-band data of a packet (`ndis.h`, `ndis/nblipsec.h`, `ndis/nbllso.h`): the words in the slots
//! of NET_BUFFER_LIST.
//!
//! Send and receive have different types, because a receive word looks like a small handle. A word
//! always fills its slot of 8 bytes.

use crate::Handle;

named! {
    /// CRYPTO_*: how the checks of a received packet ended. The same for version 1 and 2.
    pub struct CryptoStatus(u16);
    /// Every check that was made ended well.
    SUCCESS = 0, "CRYPTO_SUCCESS";
    /// Failed, without a reason.
    GENERIC_ERROR = 1, "CRYPTO_GENERIC_ERROR";
    /// The AH of the transport part is wrong.
    TRANSPORT_AH_AUTH_FAILED = 2, "CRYPTO_TRANSPORT_AH_AUTH_FAILED";
    /// The ICV of the transport part's ESP is wrong.
    TRANSPORT_ESP_AUTH_FAILED = 3, "CRYPTO_TRANSPORT_ESP_AUTH_FAILED";
    /// The AH of the tunnel part is wrong.
    TUNNEL_AH_AUTH_FAILED = 4, "CRYPTO_TUNNEL_AH_AUTH_FAILED";
    /// The ICV of the tunnel part's ESP is wrong.
    TUNNEL_ESP_AUTH_FAILED = 5, "CRYPTO_TUNNEL_ESP_AUTH_FAILED";
    /// A length does not fit, for instance one too short for the SA.
    INVALID_PACKET_SYNTAX = 6, "CRYPTO_INVALID_PACKET_SYNTAX";
    /// The packet has another protocol (AH, ESP) than the SA.
    INVALID_PROTOCOL = 7, "CRYPTO_INVALID_PROTOCOL";
}

const SA_DELETE_REQ: u64 = 1 << 0;
const CRYPTO_DONE: u64 = 1 << 1;
const NEXT_CRYPTO_DONE: u64 = 1 << 2;
const HEADER_INFO_SET: u64 = 1 << 16;

/// Byte `n` (0 to 7) of a word.
fn byte(word: u64, n: usize) -> u8 {
    word.to_le_bytes().get(n).copied().unwrap_or(0)
}

/// Slot 1, receive form of NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receive {
    /// SaDeleteReq: the NIC asks for the deletion of the SA that the packet came in with.
    pub sa_delete_req: bool,
    /// CryptoDone: at least one IPsec payload was checked.
    pub crypto_done: bool,
    /// NextCryptoDone: tunnel and transport payload were checked.
    pub next_crypto_done: bool,
    /// CryptoStatus.
    pub status: CryptoStatus,
}

impl Receive {
    /// The word.
    pub fn word(self) -> u64 {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        flag(self.sa_delete_req, SA_DELETE_REQ)
            | flag(self.crypto_done, CRYPTO_DONE)
            | flag(self.next_crypto_done, NEXT_CRYPTO_DONE)
            | (u64::from(self.status.0) << 16)
    }

    /// Reads the word; reserved bits count for nothing.
    pub fn from_word(word: u64) -> Self {
        Self {
            sa_delete_req: word & SA_DELETE_REQ != 0,
            crypto_done: word & CRYPTO_DONE != 0,
            next_crypto_done: word & NEXT_CRYPTO_DONE != 0,
            status: CryptoStatus(u16::from_le_bytes([byte(word, 2), byte(word, 3)])),
        }
    }
}

/// Slot 1, receive form of NDIS_IPSEC_OFFLOAD_V1_NET_BUFFER_LIST_INFO: two 16-bit members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveV1 {
    /// Bit 0 SaDeleteReq, bit 1 CryptoDone, bit 2 NextCryptoDone.
    pub flags: u16,
    /// CryptoStatus.
    pub status: CryptoStatus,
}

impl ReceiveV1 {
    /// The word.
    pub fn word(self) -> u64 {
        let [a, b] = self.flags.to_le_bytes();
        let [c, d] = self.status.0.to_le_bytes();
        u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0])
    }

    /// Reads the word.
    pub fn from_word(word: u64) -> Self {
        Self {
            flags: u16::from_le_bytes([byte(word, 0), byte(word, 1)]),
            status: CryptoStatus(u16::from_le_bytes([byte(word, 2), byte(word, 3)])),
        }
    }
}

impl From<Receive> for ReceiveV1 {
    fn from(receive: Receive) -> Self {
        Self::from_word(receive.word())
    }
}

/// Slots 1 and 11, transmit form: the handle of the SA, 0 for none. Slot 11
/// (NDIS_IPSEC_OFFLOAD_V2_TUNNEL_NET_BUFFER_LIST_INFO) has no other form.
pub fn handle_word(handle: Option<Handle>) -> u64 {
    handle.map_or(0, Handle::get)
}

/// Slot 12, transmit form of NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendHeader {
    /// NextHeader of the ESP trailer.
    pub next_header: u8,
    /// PadLength: bytes of ESP padding.
    pub pad_length: u8,
    /// AhHeaderOffset in bytes from the IP header, 0 for no AH.
    pub ah_offset: u16,
    /// EspHeaderOffset in bytes from the IP header, 0 for no ESP.
    pub esp_offset: u16,
}

impl SendHeader {
    /// The word; `None` if an offset is no multiple of 4 or above 1020.
    pub fn word(self) -> Option<u64> {
        Some(u64::from(u32::from_le_bytes([
            self.next_header,
            self.pad_length,
            Self::units(self.ah_offset)?,
            Self::units(self.esp_offset)?,
        ])))
    }

    /// An offset in units of 4 bytes.
    fn units(offset: u16) -> Option<u8> {
        if offset & 3 == 0 {
            u8::try_from(offset >> 2).ok()
        } else {
            None
        }
    }

    /// Reads the word.
    pub fn from_word(word: u64) -> Self {
        Self {
            next_header: byte(word, 0),
            pad_length: byte(word, 1),
            ah_offset: u16::from(byte(word, 2)) << 2,
            esp_offset: u16::from(byte(word, 3)) << 2,
        }
    }
}

/// Slot 12, receive form of NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveHeader {
    /// NextHeader of the ESP trailer.
    pub next_header: u8,
    /// PadLength: bytes of ESP padding.
    pub pad_length: u8,
    /// HeaderInfoSet: the other two count.
    pub header_info_set: bool,
}

impl ReceiveHeader {
    /// What stands in the trailer of a packet that the NIC decrypted.
    pub fn new(next_header: u8, pad_length: u8) -> Self {
        Self {
            next_header,
            pad_length,
            header_info_set: true,
        }
    }

    /// The word.
    pub fn word(self) -> u64 {
        let set = if self.header_info_set {
            HEADER_INFO_SET
        } else {
            0
        };
        set | u64::from(u16::from_le_bytes([self.next_header, self.pad_length]))
    }

    /// Reads the word.
    pub fn from_word(word: u64) -> Self {
        Self {
            next_header: byte(word, 0),
            pad_length: byte(word, 1),
            header_info_set: word & HEADER_INFO_SET != 0,
        }
    }

    /// NextHeader and PadLength, if they count.
    pub fn info(self) -> Option<(u8, u8)> {
        self.header_info_set
            .then_some((self.next_header, self.pad_length))
    }
}

const MSS: u32 = 0xf_ffff;
const TCP_HEADER_OFFSET: u32 = 0x3ff;
const LSO_TYPE: u32 = 1 << 30;
const LSO_IPV6: u32 = 1 << 31;

/// Slot 2, transmit forms of NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO. The word is 0 without
/// large send offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeSend {
    /// LsoV1Transmit: IPv4.
    V1 {
        /// MSS in bytes, 20 bits.
        mss: u32,
        /// TcpHeaderOffset in bytes from the start of the frame, 10 bits.
        tcp_header_offset: u32,
    },
    /// LsoV2Transmit.
    V2 {
        /// MSS in bytes, 20 bits.
        mss: u32,
        /// TcpHeaderOffset in bytes from the start of the frame, 10 bits.
        tcp_header_offset: u32,
        /// IPVersion: IPv6.
        ipv6: bool,
    },
}

impl LargeSend {
    /// The word; `None` if a member does not fit.
    pub fn word(self) -> Option<u64> {
        let (mss, offset, form) = match self {
            Self::V1 {
                mss,
                tcp_header_offset,
            } => (mss, tcp_header_offset, 0),
            Self::V2 {
                mss,
                tcp_header_offset,
                ipv6,
            } => (
                mss,
                tcp_header_offset,
                LSO_TYPE | if ipv6 { LSO_IPV6 } else { 0 },
            ),
        };
        (mss <= MSS && offset <= TCP_HEADER_OFFSET)
            .then_some(u64::from(mss | (offset << 20) | form))
    }

    /// Reads the word; `None` for a packet without large send offload.
    pub fn from_word(word: u64) -> Option<Self> {
        let [a, b, c, d, ..] = word.to_le_bytes();
        let word = u32::from_le_bytes([a, b, c, d]);
        let mss = word & MSS;
        let tcp_header_offset = (word >> 20) & TCP_HEADER_OFFSET;
        if mss == 0 {
            None
        } else if word & LSO_TYPE == 0 {
            Some(Self::V1 {
                mss,
                tcp_header_offset,
            })
        } else {
            Some(Self::V2 {
                mss,
                tcp_header_offset,
                ipv6: word & LSO_IPV6 != 0,
            })
        }
    }

    /// The word of the completed send, LsoV1TransmitComplete (TcpPayload: bytes that were sent,
    /// 30 bits) or LsoV2TransmitComplete.
    pub fn complete(self, tcp_payload: u32) -> Option<u64> {
        match self {
            Self::V1 { .. } => (tcp_payload < LSO_TYPE).then_some(u64::from(tcp_payload)),
            Self::V2 { .. } => Some(u64::from(LSO_TYPE)),
        }
    }
}
