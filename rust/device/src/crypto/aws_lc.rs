// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-CBC and HMAC by aws-lc.

use super::suite::{KeyError, CBC_START, IV_START};
use aws_lc_rs::cipher::{
    DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey, AES_128,
    AES_192, AES_256,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use espnic_esp::engine::{CipherError, LONG_IV_LEN};
use espnic_wire::algorithm::Mac;

/// Keys, expanded once. aws-lc erases them when they are dropped.
pub struct CbcHmac {
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
    mac: hmac::Key,
}

impl CbcHmac {
    /// Expands a cipher key of 16, 24 or 32 bytes and a MAC key of the length that `mac` takes.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn new(cipher_key: &[u8], mac: Mac, mac_key: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match cipher_key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            _ => return Err(KeyError::Length),
        };
        if mac_key.len() != mac.row().key_len {
            return Err(KeyError::Length);
        }
        let digest = match mac {
            Mac::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Mac::HmacSha256 => hmac::HMAC_SHA256,
            Mac::HmacSha384 => hmac::HMAC_SHA384,
            Mac::HmacSha512 => hmac::HMAC_SHA512,
        };
        let key = || UnboundCipherKey::new(algorithm, cipher_key);
        Ok(Self {
            encrypt: key()
                .and_then(EncryptingKey::cbc)
                .map_err(|_| KeyError::Unavailable)?,
            decrypt: key()
                .and_then(DecryptingKey::cbc)
                .map_err(|_| KeyError::Unavailable)?,
            mac: hmac::Key::new(digest, mac_key),
        })
    }

    /// See [`super::cbc_hmac::Keys::encrypt`].
    pub(super) fn encrypt(
        &self,
        esp: &mut [u8],
        end: usize,
        hashed: usize,
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        let context = EncryptionContext::Iv128(iv(esp)?);
        let text = esp
            .get_mut(CBC_START..end)
            .ok_or(CipherError::Unsupported)?;
        self.encrypt
            .less_safe_encrypt(text, context)
            .map_err(|_| CipherError::Unsupported)?;
        self.mac(esp.get(..hashed).ok_or(CipherError::Unsupported)?, icv)
    }

    /// See [`super::cbc_hmac::Keys::mac`].
    pub(super) fn mac(&self, data: &[u8], icv: &mut [u8]) -> Result<(), CipherError> {
        let tag = hmac::sign(&self.mac, data);
        let tag = tag
            .as_ref()
            .get(..icv.len())
            .ok_or(CipherError::Unsupported)?;
        icv.copy_from_slice(tag);
        Ok(())
    }

    /// See [`super::cbc_hmac::Keys::decrypt`].
    pub(super) fn decrypt(&self, esp: &mut [u8], end: usize) -> Result<(), CipherError> {
        let context = DecryptionContext::Iv128(iv(esp)?);
        let text = esp
            .get_mut(CBC_START..end)
            .ok_or(CipherError::Unsupported)?;
        self.decrypt
            .decrypt(text, context)
            .map_err(|_| CipherError::Unsupported)?;
        Ok(())
    }
}

fn iv(esp: &[u8]) -> Result<FixedLength<LONG_IV_LEN>, CipherError> {
    let iv: Option<&[u8; LONG_IV_LEN]> = esp.get(IV_START..).and_then(|rest| rest.first_chunk());
    iv.map(FixedLength::from).ok_or(CipherError::Unsupported)
}
