// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-GMAC in ESP (RFC 4543): everything is authenticated and nothing encrypted.

use espnic_esp::aead::{nonce, Aead, SALT_LEN, TAG_LEN};
use espnic_esp::engine::{CipherError, Transform, IV_LEN, LONG_IV_LEN};
use espnic_esp::packet::ESP_HLEN;
use std::cell::RefCell;

thread_local! {
    /// The buffer in which the high half of a sequence number is inserted into a packet.
    static WITH_HIGH_HALF: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// GMAC, which is GCM of no text, as an ESP transform. Its owner must erase the salt.
pub struct EspGmac<A> {
    /// AES-GCM with an ICV of [`TAG_LEN`] bytes.
    pub gcm: A,
    /// First four bytes of every nonce.
    pub salt: [u8; SALT_LEN],
}

impl<A: Aead> EspGmac<A> {
    /// Calls `run` with the nonce, what is authenticated (RFC 4543 section 3.3: SPI, sequence number,
    /// IV, payload with padding and trailer) and the ICV.
    fn with_parts(
        &self,
        esn_hi: Option<u32>,
        esp: &mut [u8],
        run: impl FnOnce(&[u8; SALT_LEN + IV_LEN], &[u8], &mut [u8]) -> Result<(), CipherError>,
    ) -> Result<(), CipherError> {
        let end = esp
            .len()
            .checked_sub(TAG_LEN)
            .ok_or(CipherError::Unsupported)?;
        let (data, icv) = esp
            .split_at_mut_checked(end)
            .ok_or(CipherError::Unsupported)?;
        let iv = data.get(ESP_HLEN..).and_then(|rest| rest.first_chunk());
        let nonce = nonce(&self.salt, iv.ok_or(CipherError::Unsupported)?);
        let Some(hi) = esn_hi else {
            return run(&nonce, data, icv);
        };
        let (spi, rest) = data
            .split_at_checked(size_of::<u32>())
            .ok_or(CipherError::Unsupported)?;
        WITH_HIGH_HALF.with_borrow_mut(|copy| {
            copy.clear();
            copy.extend_from_slice(spi);
            copy.extend_from_slice(&hi.to_be_bytes());
            copy.extend_from_slice(rest);
            run(&nonce, copy, icv)
        })
    }
}

impl<A: Aead> Transform for EspGmac<A> {
    #[inline(never)]
    fn seal(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        self.with_parts(esn_hi, esp, |nonce, data, icv| {
            self.gcm.seal(nonce, data, &mut [], icv)
        })
    }

    #[inline(never)]
    fn open(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        self.with_parts(esn_hi, esp, |nonce, data, icv| {
            self.gcm.open(nonce, data, &mut [], icv)
        })
    }

    fn random_iv(&self) -> Result<[u8; LONG_IV_LEN], CipherError> {
        Err(CipherError::Unsupported)
    }
}
