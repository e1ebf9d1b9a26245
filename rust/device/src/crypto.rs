// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ciphers of the NIC, by intel-ipsec-mb (x86-64) or by aws-lc (everywhere).
//!
//! All implement [`espnic_esp::engine::Transform`], so the engine depends on none of them. `unsafe` is
//! needed to call the libraries, to place keys and to prefetch; it is confined to four modules.

#[allow(unsafe_code)]
mod arena;
pub mod aws_lc;
pub mod cbc_hmac;
#[allow(unsafe_code)]
pub mod evp_aead;
pub mod gmac;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod ipsec_mb;
mod iv;
mod libraries;
#[allow(unsafe_code)]
mod prefetch;
mod same;
mod suite;

pub(crate) use arena::{Arena, Placed};
pub use libraries::Libraries;
pub use prefetch::Region;
pub use suite::{Hash, KeyError, Keys, Suite};

use cbc_hmac::EspCbcHmac;
use espnic_esp::aead::{Aead, EspAead, NONCE_LEN, TAG_LEN};
use espnic_esp::engine::{CipherError, Transform, LONG_IV_LEN};
use gmac::EspGmac;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroize;

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

    /// The transform of an SA. Keys are expanded here, once.
    ///
    /// # Errors
    ///
    /// See [`KeyError`]; also if there is a key that the suite does not use.
    pub fn transform(self, suite: Suite, keys: &Keys<'_>) -> Result<Cipher, KeyError> {
        let unused = match suite {
            Suite::AesGcm { .. } | Suite::ChaCha20Poly1305 => keys.auth,
            Suite::AesGmac => keys.cipher,
            Suite::AesCbc(_) => &[],
        };
        if !unused.is_empty() {
            return Err(KeyError::Length);
        }
        let esp_aead = |aead, icv_len| {
            Cipher::Aead(EspAead {
                aead,
                salt: keys.salt,
                icv_len,
            })
        };
        match suite {
            Suite::AesGcm { icv_len } => self
                .aes_gcm(keys.cipher, icv_len.into())
                .map(|aead| esp_aead(aead, icv_len)),
            Suite::ChaCha20Poly1305 => self
                .chacha20_poly1305(keys.cipher)
                .map(|aead| esp_aead(aead, TAG_LEN as u8)),
            Suite::AesGmac => self.aes_gcm(keys.auth, TAG_LEN).map(|gcm| {
                Cipher::Gmac(EspGmac {
                    gcm,
                    salt: keys.salt,
                })
            }),
            Suite::AesCbc(hash) => {
                EspCbcHmac::new(self, keys.cipher, hash, keys.auth).map(Cipher::CbcHmac)
            }
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
    /// Where the expanded key is, as far as it is worth knowing.
    pub fn region(&self) -> Region {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::MbGcm(gcm) => gcm.region(),
            _ => Region::default(),
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
            #[cfg(target_arch = "x86_64")]
            Self::MbChaCha(aead) => aead.seal(nonce, aad, text, icv),
            Self::Evp(aead) => aead.seal(nonce, aad, text, icv),
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
            #[cfg(target_arch = "x86_64")]
            Self::MbChaCha(aead) => aead.open(nonce, aad, text, icv),
            Self::Evp(aead) => aead.open(nonce, aad, text, icv),
        }
    }
}

/// The transform of an SA, with its keys, which are erased when it is dropped.
pub enum Cipher {
    /// AES-GCM or ChaCha20-Poly1305.
    Aead(EspAead<AnyAead>),
    /// AES-GMAC.
    Gmac(EspGmac<AnyAead>),
    /// AES-CBC with HMAC.
    CbcHmac(EspCbcHmac),
}

impl Cipher {
    /// Where the expanded key is, as far as it is worth knowing.
    pub fn region(&self) -> Region {
        match self {
            Self::Aead(esp) => esp.aead.region(),
            Self::Gmac(esp) => esp.gcm.region(),
            Self::CbcHmac(_) => Region::default(),
        }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        match self {
            Self::Aead(aead) => aead.salt.zeroize(),
            Self::Gmac(gmac) => gmac.salt.zeroize(),
            Self::CbcHmac(_) => (),
        }
    }
}

impl Transform for Cipher {
    #[inline(always)]
    fn seal(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        match self {
            Self::Aead(aead) => aead.seal(esn_hi, esp),
            Self::Gmac(gmac) => gmac.seal(esn_hi, esp),
            Self::CbcHmac(cbc) => cbc.seal(esn_hi, esp),
        }
    }

    #[inline(always)]
    fn open(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        match self {
            Self::Aead(aead) => aead.open(esn_hi, esp),
            Self::Gmac(gmac) => gmac.open(esn_hi, esp),
            Self::CbcHmac(cbc) => cbc.open(esn_hi, esp),
        }
    }

    fn random_iv(&self) -> Result<[u8; LONG_IV_LEN], CipherError> {
        match self {
            Self::Aead(aead) => aead.random_iv(),
            Self::Gmac(gmac) => gmac.random_iv(),
            Self::CbcHmac(cbc) => cbc.random_iv(),
        }
    }
}

#[cfg(test)]
mod tests;
