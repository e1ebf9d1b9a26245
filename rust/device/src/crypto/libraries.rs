// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The choice of a library for each kind of algorithm.

use super::backend::Backend;
use super::cbc_hmac::EspCbcHmac;
use super::cipher::Cipher;
use super::suite::{KeyError, Keys, Suite};

/// The crypto library of each kind of algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Libraries {
    /// AES-GCM, AES-GMAC and ChaCha20-Poly1305.
    pub aead: Backend,
    /// AES-CBC with HMAC.
    pub cbc_hmac: Backend,
    /// The same, for several packets at once.
    pub cbc_hmac_many: Backend,
}

impl Libraries {
    /// All of them.
    pub fn all(self) -> [Backend; 3] {
        [self.aead, self.cbc_hmac, self.cbc_hmac_many]
    }

    /// See [`Backend::transform`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn transform(self, suite: Suite, keys: &Keys<'_>) -> Result<Cipher, KeyError> {
        match suite {
            Suite::AesGcm { .. } | Suite::ChaCha20Poly1305 | Suite::AesGmac => {
                self.aead.transform(suite, keys)
            }
            Suite::AesCbc(mac) => {
                let libraries = [self.cbc_hmac, self.cbc_hmac_many];
                EspCbcHmac::new(libraries, keys.cipher, mac, keys.auth)
                    .map(|cbc| Cipher::CbcHmac(Box::new(cbc)))
            }
        }
    }
}

impl Default for Libraries {
    /// The fastest libraries on this machine. intel-ipsec-mb computes HMACs for many packets at once; with one
    /// packet aws-lc is faster.
    fn default() -> Self {
        Self {
            aead: Backend::default(),
            cbc_hmac: Backend::AwsLc,
            cbc_hmac_many: Backend::default(),
        }
    }
}

impl From<Backend> for Libraries {
    /// One library for everything.
    fn from(backend: Backend) -> Self {
        Self {
            aead: backend,
            cbc_hmac: backend,
            cbc_hmac_many: backend,
        }
    }
}
