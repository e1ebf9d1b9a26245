// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ESP by other hands: the AEADs of RustCrypto, and nonce, additional data and padding as the RFCs have them.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use chacha20poly1305::ChaCha20Poly1305;
use espnic_device::crypto::Suite;

/// ICV in bytes before it is cut.
const TAG_LEN: usize = 16;
/// SPI, sequence number and IV.
const HEAD_LEN: usize = 16;

/// An SA with an AEAD.
pub struct Oracle<'a> {
    /// The algorithm; not AES-CBC.
    pub suite: Suite,
    /// Its key.
    pub key: &'a [u8],
    /// Its salt.
    pub salt: [u8; 4],
}

impl Oracle<'_> {
    /// Encrypts `text`, of which nothing is checked, and puts it into an ESP packet. `esn_hi` is the part of
    /// the sequence number that is authenticated but not sent.
    pub fn packet(
        &self,
        spi: u32,
        seq: u32,
        esn_hi: Option<u32>,
        iv: [u8; 8],
        text: &[u8],
    ) -> Vec<u8> {
        // RFC 4106 section 5, RFC 7634 section 2.1.
        let mut aad = spi.to_be_bytes().to_vec();
        aad.extend(esn_hi.iter().flat_map(|hi| hi.to_be_bytes()));
        aad.extend(seq.to_be_bytes());
        let nonce: [u8; 12] = [&self.salt[..], &iv].concat().try_into().unwrap();
        let mut packet = [&spi.to_be_bytes()[..], &seq.to_be_bytes(), &iv, text].concat();
        let body = &mut packet[HEAD_LEN..];
        let tag = match self.suite {
            Suite::AesGcm { .. } => self.gcm(&nonce, &aad, body),
            Suite::ChaCha20Poly1305 => ChaCha20Poly1305::new_from_slice(self.key)
                .unwrap()
                .encrypt_in_place_detached(&nonce.into(), &aad, body)
                .unwrap()
                .into(),
            // RFC 4543 section 3.3: IV and text are additional data as well.
            Suite::AesGmac => {
                aad.extend(iv);
                aad.extend_from_slice(body);
                self.gcm(&nonce, &aad, &mut [])
            }
            Suite::AesCbc(_) => panic!("this is no AEAD"),
        };
        packet.extend(&tag[..self.suite.layout().icv_len.into()]);
        packet
    }

    fn gcm(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = nonce.into();
        let tag = match self.key.len() {
            16 => Aes128Gcm::new_from_slice(self.key)
                .unwrap()
                .encrypt_in_place_detached(nonce, aad, text),
            24 => AesGcm::<Aes192, U12>::new_from_slice(self.key)
                .unwrap()
                .encrypt_in_place_detached(nonce, aad, text),
            _ => Aes256Gcm::new_from_slice(self.key)
                .unwrap()
                .encrypt_in_place_detached(nonce, aad, text),
        };
        tag.unwrap().into()
    }
}

/// What stands behind a payload of `len` bytes (RFC 4303 section 2.4): the shortest padding to a multiple
/// of `block` and so many blocks more as the pad length allows, pad length, next header.
pub fn trailer(len: usize, block: usize, more: u8, next_header: u8) -> Vec<u8> {
    let mut pad = 0usize;
    while (len + pad + 2) % block != 0 {
        pad += 1;
    }
    for _ in 0..more {
        if pad + block <= 255 {
            pad += block;
        }
    }
    let mut trailer: Vec<u8> = (1..=pad).map(|n| n as u8).collect();
    trailer.extend([pad as u8, next_header]);
    trailer
}
