// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The suites of an SA: which algorithms there are, their keys and the lengths of their parts.

use espnic_esp::aead::{SALT_LEN, TAG_LEN};
use espnic_esp::engine::{Layout, LONG_IV_LEN};
use espnic_esp::packet::ESP_HLEN;
use espnic_wire::algorithm::Mac;

/// Where the IV starts in an ESP packet.
pub(super) const IV_START: usize = ESP_HLEN;
/// Where the text starts.
pub(super) const CBC_START: usize = IV_START + LONG_IV_LEN;

/// The most packets that a library works on together. The processors with the widest registers hash as many
/// at once.
pub(super) const MOST_JOINT: usize = 16;

/// Why a key was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The algorithm has no key of this length.
    #[error("the algorithm has no key of this length")]
    Length,
    /// The algorithm has no ICV of this length.
    #[error("the algorithm has no ICV of this length")]
    Icv,
    /// The library cannot be used on this machine.
    #[error("the crypto library does not work on this machine")]
    Unavailable,
}

/// The algorithms that protect the packets of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-GCM (RFC 4106).
    AesGcm {
        /// ICV in bytes: 8, 12 or 16.
        icv_len: u8,
    },
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-GMAC (RFC 4543): no encryption.
    AesGmac,
    /// AES-CBC (RFC 3602) with HMAC (RFC 2404, RFC 4868).
    AesCbc(Mac),
}

impl Suite {
    /// Lengths of the parts of a packet.
    pub const fn layout(self) -> Layout {
        match self {
            Self::AesGcm { icv_len } => Layout::aead(icv_len),
            Self::ChaCha20Poly1305 | Self::AesGmac => Layout::aead(TAG_LEN as u8),
            Self::AesCbc(mac) => Layout {
                iv_len: LONG_IV_LEN as u8,
                icv_len: mac.row().icv_len as u8,
                block: 16,
            },
        }
    }
}

/// Key material of an SA, borrowed from an owner that erases it.
pub struct Keys<'a> {
    /// Key of the cipher or AEAD, without the salt; empty if there is none.
    pub cipher: &'a [u8],
    /// Key of the MAC; empty if there is none.
    pub auth: &'a [u8],
    /// Salt of AEADs and GMAC.
    pub salt: [u8; SALT_LEN],
}
