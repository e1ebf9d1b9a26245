// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The crypto libraries, and the AEADs that they have.

use super::evp_aead;
#[cfg(target_arch = "x86_64")]
use super::ipsec_mb;
use super::prefetch::Lines;
use super::suite::KeyError;
use espnic_esp::aead::{Aead, NONCE_LEN, TAG_LEN};
use espnic_esp::engine::{CipherError, Progress};
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
        self.aes_gcm(&[0; 16], TAG_LEN).is_ok()
    }

    /// AES-GCM with a key of 16, 24 or 32 bytes and an ICV of 8, 12 or 16. The key is expanded here,
    /// once.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn aes_gcm(self, key: &[u8], icv_len: usize) -> Result<AnyAead, KeyError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb => ipsec_mb::AesGcm::new(key, icv_len).map(AnyAead::MbGcm),
            #[cfg(not(target_arch = "x86_64"))]
            Self::IpsecMb => Err(KeyError::Unavailable),
            Self::AwsLc => evp_aead::EvpAead::aes_gcm(key, icv_len).map(AnyAead::Evp),
        }
    }

    /// ChaCha20-Poly1305 with a key of 32 bytes and an ICV of 16.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn chacha20_poly1305(self, key: &[u8]) -> Result<AnyAead, KeyError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb => ipsec_mb::ChaCha20Poly1305::new(key).map(AnyAead::MbChaCha),
            #[cfg(not(target_arch = "x86_64"))]
            Self::IpsecMb => Err(KeyError::Unavailable),
            Self::AwsLc => evp_aead::EvpAead::chacha20_poly1305(key).map(AnyAead::Evp),
        }
    }
}

impl Default for Backend {
    /// The backend with the fastest AES-GCM on this machine.
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

/// An AEAD of one of the backends. Its keys are overwritten with zeroes when it is dropped.
pub enum AnyAead {
    /// AES-GCM in intel-ipsec-mb.
    #[cfg(target_arch = "x86_64")]
    MbGcm(ipsec_mb::AesGcm),
    /// ChaCha20-Poly1305 in intel-ipsec-mb.
    #[cfg(target_arch = "x86_64")]
    MbChaCha(ipsec_mb::ChaCha20Poly1305),
    /// Any in aws-lc.
    Evp(evp_aead::EvpAead),
}

impl AnyAead {
    /// What a text of `len` bytes needs of the expanded key, as far as it is worth knowing.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub fn lines(&self, len: usize) -> Lines {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(gcm) => gcm.lines(len),
            _ => Lines::NONE,
        }
    }
}

/// The AEADs whose own work hides a call. They stand apart so that the fastest one has a short way.
impl AnyAead {
    #[cold]
    fn seal_other(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(aead) => aead.seal(nonce, aad, text, icv),
            #[cfg(target_arch = "x86_64")]
            Self::MbChaCha(aead) => aead.seal(nonce, aad, text, icv),
            Self::Evp(aead) => aead.seal(nonce, aad, text, icv),
        }
    }

    #[cold]
    fn open_other(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(aead) => aead.open(nonce, aad, text, icv),
            #[cfg(target_arch = "x86_64")]
            Self::MbChaCha(aead) => aead.open(nonce, aad, text, icv),
            Self::Evp(aead) => aead.open(nonce, aad, text, icv),
        }
    }
}

impl Aead for AnyAead {
    #[inline(always)]
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(aead) => aead.seal(nonce, aad, text, icv),
            _ => self.seal_other(nonce, aad, text, icv),
        }
    }

    #[inline(always)]
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(aead) => aead.open(nonce, aad, text, icv),
            _ => self.open_other(nonce, aad, text, icv),
        }
    }

    #[inline(always)]
    fn begin_open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
        computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(aead) => aead.begin_open(nonce, aad, text, icv, computed),
            _ => self
                .open_other(nonce, aad, text, icv)
                .map(|()| Progress::Verified),
        }
    }

    #[inline(always)]
    fn is_right(&self, icv: &[u8], computed: &[u8; TAG_LEN]) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(aead) => aead.is_right(icv, computed),
            _ => false,
        }
    }
}
