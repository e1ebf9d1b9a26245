// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The transform of an SA: one type for all suites and libraries.

use super::backend::{AnyAead, Backend};
use super::cbc_hmac::EspCbcHmac;
use super::gmac::EspGmac;
use super::prefetch::Lines;
use super::suite::{KeyError, Keys, Suite};
use espnic_esp::aead::{EspAead, TAG_LEN};
use espnic_esp::engine::{CipherError, Progress, Transform, LONG_IV_LEN};
use zeroize::Zeroize;

impl Backend {
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
                Cipher::Gmac(Box::new(EspGmac {
                    gcm,
                    salt: keys.salt,
                }))
            }),
            Suite::AesCbc(hash) => EspCbcHmac::new([self; 2], keys.cipher, hash, keys.auth)
                .map(|cbc| Cipher::CbcHmac(Box::new(cbc))),
        }
    }
}

/// The transform of an SA, with its keys, which are erased when it is dropped.
///
/// There are many, and each should take little of a cache line. So what is larger than the AEADs is apart.
pub enum Cipher {
    /// AES-GCM or ChaCha20-Poly1305.
    Aead(EspAead<AnyAead>),
    /// AES-GMAC.
    Gmac(Box<EspGmac<AnyAead>>),
    /// AES-CBC with HMAC.
    CbcHmac(Box<EspCbcHmac>),
}

const _: () = assert!(size_of::<Cipher>() <= 32);

impl Cipher {
    /// What a text of `len` bytes needs of the expanded key, as far as it is worth knowing.
    #[inline]
    pub fn lines(&self, len: usize) -> Lines {
        match self {
            Self::Aead(esp) => esp.aead.lines(len),
            Self::Gmac(esp) => esp.gcm.lines(len),
            Self::CbcHmac(_) => Lines::NONE,
        }
    }

    /// Whether received packets wait for others; then [`Self::joint`] is some.
    #[inline(always)]
    pub fn opens_joint(&self) -> bool {
        matches!(self, Self::CbcHmac(cbc) if cbc.opens_joint())
    }

    /// The transform, if several packets are worked on together; see [`super::joint`].
    #[inline(always)]
    pub fn joint(&self) -> Option<&EspCbcHmac> {
        match self {
            Self::CbcHmac(cbc) if cbc.is_joint() => Some(cbc.as_ref()),
            _ => None,
        }
    }
}

/// The suites whose own work hides a call. They stand apart so that AES-GCM has a short way.
impl Cipher {
    #[cold]
    fn seal_other(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        match self {
            Self::Aead(aead) => aead.seal(esn_hi, esp),
            Self::Gmac(gmac) => gmac.seal(esn_hi, esp),
            Self::CbcHmac(cbc) => cbc.seal(esn_hi, esp),
        }
    }

    #[cold]
    fn open_other(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        match self {
            Self::Aead(aead) => aead.open(esn_hi, esp),
            Self::Gmac(gmac) => gmac.open(esn_hi, esp),
            Self::CbcHmac(cbc) => cbc.open(esn_hi, esp),
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
            _ => self.seal_other(esn_hi, esp),
        }
    }

    #[inline(always)]
    fn open(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        match self {
            Self::Aead(aead) => aead.open(esn_hi, esp),
            _ => self.open_other(esn_hi, esp),
        }
    }

    #[inline(always)]
    fn begin_open(
        &self,
        esn_hi: Option<u32>,
        esp: &mut [u8],
        computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        match self {
            Self::Aead(aead) => aead.begin_open(esn_hi, esp, computed),
            _ => self.open_other(esn_hi, esp).map(|()| Progress::Verified),
        }
    }

    #[inline(always)]
    fn is_right(&self, esp: &[u8], computed: &[u8; TAG_LEN]) -> bool {
        match self {
            Self::Aead(aead) => aead.is_right(esp, computed),
            _ => false,
        }
    }

    fn close(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        match self {
            Self::Aead(aead) => aead.close(esn_hi, esp),
            _ => Err(CipherError::Unsupported),
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
