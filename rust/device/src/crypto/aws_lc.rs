// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-GCM by aws-lc. ICVs of 16 bytes only: its safe interface cannot open shorter ones.

use super::KeyError;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM, AES_192_GCM, AES_256_GCM};
use espnic_esp::aead::{Aead, NONCE_LEN};
use espnic_esp::engine::CipherError;
use std::cell::RefCell;

const ICV_LEN: usize = 16;

thread_local! {
    /// Where packets are decrypted to. aws-lc erases its output when the ICV is wrong, but a packet
    /// that fails has to stay as it came.
    static PLAINTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A key. aws-lc zeroises it when it is dropped.
pub struct AesGcm(LessSafeKey);

impl AesGcm {
    /// Expands a key of 16, 24 or 32 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`].
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return Err(KeyError::Length),
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| KeyError::Unavailable)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl Aead for AesGcm {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        if icv.len() != ICV_LEN {
            return Err(CipherError::Unsupported);
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        icv.copy_from_slice(tag.map_err(|_| CipherError::Unsupported)?.as_ref());
        Ok(())
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        if icv.len() != ICV_LEN {
            return Err(CipherError::Unsupported);
        }
        PLAINTEXT.with_borrow_mut(|plaintext| {
            if plaintext.len() < text.len() {
                plaintext.resize(text.len(), 0);
            }
            let plaintext = plaintext.get_mut(..text.len()).unwrap_or_default();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .open_separate_gather(nonce, Aad::from(aad), text, icv, plaintext)
                .map_err(|_| CipherError::Auth)?;
            text.copy_from_slice(plaintext);
            Ok(())
        })
    }
}
