// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ciphers of the NIC: AES-GCM by intel-ipsec-mb (x86-64) or by aws-lc (everywhere).
//!
//! Both stand behind [`espnic_esp::aead::Aead`], so the engine knows neither. `unsafe` is needed for
//! intel-ipsec-mb only and is confined to that module.

pub mod aws_lc;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod ipsec_mb;

use espnic_esp::aead::{Aead, NONCE_LEN};
use espnic_esp::engine::CipherError;
use std::fmt;
use std::str::FromStr;

/// A crypto library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// intel-ipsec-mb; x86-64 only.
    IpsecMb,
    /// aws-lc.
    AwsLc,
}

/// Why a key was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// AES has no key of this length.
    #[error("an AES key has 16, 24 or 32 bytes")]
    Length,
    /// The library cannot be used on this machine.
    #[error("the crypto library does not work on this machine")]
    Unavailable,
}

impl Backend {
    /// All backends of this build.
    pub const ALL: &'static [Self] = if cfg!(target_arch = "x86_64") {
        &[Self::IpsecMb, Self::AwsLc]
    } else {
        &[Self::AwsLc]
    };

    /// The name that the command line uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpsecMb => "ipsec-mb",
            Self::AwsLc => "aws-lc",
        }
    }

    /// Whether the library is there and passes its own self-test.
    pub fn is_available(self) -> bool {
        self.aes_gcm(&[0; 16]).is_ok()
    }

    /// AES-GCM with a key of 16, 24 or 32 bytes. The key is expanded here, once.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn aes_gcm(self, key: &[u8]) -> Result<Cipher, KeyError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb => ipsec_mb::AesGcm::new(key).map(Cipher::IpsecMb),
            #[cfg(not(target_arch = "x86_64"))]
            Self::IpsecMb => Err(KeyError::Unavailable),
            Self::AwsLc => aws_lc::AesGcm::new(key).map(Cipher::AwsLc),
        }
    }
}

impl Default for Backend {
    /// The fastest that this machine has.
    fn default() -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|backend| backend.is_available())
            .unwrap_or(Self::AwsLc)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|backend| backend.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|backend| backend.name()).collect();
                format!(
                    "unknown crypto library `{name}`; there is {}",
                    names.join(", ")
                )
            })
    }
}

/// A key of one of the backends. Keys are overwritten with zeroes when it is dropped.
pub enum Cipher {
    /// In intel-ipsec-mb.
    #[cfg(target_arch = "x86_64")]
    IpsecMb(ipsec_mb::AesGcm),
    /// In aws-lc.
    AwsLc(aws_lc::AesGcm),
}

impl Aead for Cipher {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb(gcm) => gcm.seal(nonce, aad, text, icv),
            Self::AwsLc(gcm) => gcm.seal(nonce, aad, text, icv),
        }
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb(gcm) => gcm.open(nonce, aad, text, icv),
            Self::AwsLc(gcm) => gcm.open(nonce, aad, text, icv),
        }
    }
}

#[cfg(test)]
mod tests;
