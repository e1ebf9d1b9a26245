// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sizes that belong to the algorithms, in bytes. An identifier that names no single algorithm has
//! none.

use crate::algorithm::{Authentication, Encryption};

/// Bytes of salt that follow the key of AES-GCM (RFC 4106) and AES-GMAC (RFC 4543).
pub const SALT: usize = 4;

impl Encryption {
    /// Bytes of its key, without a salt.
    pub fn key_length(self) -> Option<usize> {
        Some(match self {
            Self::NONE => 0,
            Self::DES_CBC => 8,
            Self::AES_GCM_128 | Self::AES_CBC_128 => 16,
            Self::TRIPLE_DES_CBC | Self::AES_GCM_192 | Self::AES_CBC_192 => 24,
            Self::AES_GCM_256 | Self::AES_CBC_256 => 32,
            _ => return None,
        })
    }

    /// Bytes of salt behind its key.
    pub fn salt_length(self) -> usize {
        if self.is_combined() {
            SALT
        } else {
            0
        }
    }

    /// Bytes of initialisation vector in each packet.
    pub fn iv_length(self) -> usize {
        match self {
            Self::DES_CBC | Self::TRIPLE_DES_CBC => 8,
            Self::AES_GCM_128 | Self::AES_GCM_192 | Self::AES_GCM_256 => 8,
            Self::AES_CBC_128 | Self::AES_CBC_192 | Self::AES_CBC_256 => 16,
            _ => 0,
        }
    }

    /// Bytes to a multiple of which payload and ESP trailer are padded (RFC 4303 section 2.4).
    pub fn alignment(self) -> usize {
        match self {
            Self::DES_CBC | Self::TRIPLE_DES_CBC => 8,
            Self::AES_CBC_128 | Self::AES_CBC_192 | Self::AES_CBC_256 => 16,
            _ => 4,
        }
    }
}

impl Authentication {
    /// Bytes of its key, without a salt.
    pub fn key_length(self) -> Option<usize> {
        Some(match self {
            Self::MD5 | Self::AES_GCM_128 => 16,
            Self::SHA_1 => 20,
            Self::AES_GCM_192 => 24,
            Self::SHA_256 | Self::AES_GCM_256 => 32,
            _ => return None,
        })
    }

    /// Bytes of salt behind its key.
    pub fn salt_length(self) -> usize {
        match self {
            Self::AES_GCM_128 | Self::AES_GCM_192 | Self::AES_GCM_256 => SALT,
            _ => 0,
        }
    }

    /// Bytes of initialisation vector in each ESP packet that it alone protects: AES-GMAC has one
    /// (RFC 4543 section 3), others have none.
    pub fn iv_length(self) -> usize {
        match self {
            Self::AES_GCM_128 | Self::AES_GCM_192 | Self::AES_GCM_256 => 8,
            _ => 0,
        }
    }

    /// Bytes of integrity value in each packet (C29: RFC 2403, 2404, 4868, 4543).
    pub fn icv_length(self) -> u32 {
        match self {
            Self::MD5 | Self::SHA_1 => 12,
            Self::SHA_256 | Self::AES_GCM_128 | Self::AES_GCM_192 | Self::AES_GCM_256 => 16,
            _ => 0,
        }
    }
}
