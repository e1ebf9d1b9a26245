// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The choice of a library for each kind of algorithm.

use super::{Backend, Cipher, KeyError, Keys, Suite};

/// The crypto library of each kind of algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Libraries {
    /// AES-GCM, AES-GMAC and ChaCha20-Poly1305.
    pub aead: Backend,
    /// AES-CBC with HMAC.
    pub cbc_hmac: Backend,
}

impl Libraries {
    /// See [`Backend::transform`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn transform(self, suite: Suite, keys: &Keys<'_>) -> Result<Cipher, KeyError> {
        let backend = match suite {
            Suite::AesGcm { .. } | Suite::ChaCha20Poly1305 | Suite::AesGmac => self.aead,
            Suite::AesCbc(_) => self.cbc_hmac,
        };
        backend.transform(suite, keys)
    }
}

impl Default for Libraries {
    /// The fastest libraries on this machine. intel-ipsec-mb computes HMACs for many packets at once; the
    /// engine does one packet at a time, at which aws-lc is faster.
    fn default() -> Self {
        Self {
            aead: Backend::default(),
            cbc_hmac: Backend::AwsLc,
        }
    }
}

impl From<Backend> for Libraries {
    /// One library for everything.
    fn from(backend: Backend) -> Self {
        Self {
            aead: backend,
            cbc_hmac: backend,
        }
    }
}
