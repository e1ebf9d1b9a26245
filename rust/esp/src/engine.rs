// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Crypto-only ESP: the packet has its final shape and only IV, ciphertext and ICV change.
//!
//! A packet is a slice from the ESP header to the end of the ICV (RFC 4303 section 2, RFC 4106
//! section 3):
//!
//! ```text
//! | SPI 4 | sequence 4 | IV 8 | payload, padding, pad length 1, next header 1 | ICV |
//!                              '----------- encrypted, multiple of 4 ---------'
//! ```

use crate::packet::ESP_HLEN;
use crate::seq;

/// Explicit IV in bytes (RFC 4106 section 3.1).
pub const IV_LEN: usize = 8;
/// Salt in bytes (RFC 4106 section 4).
pub const SALT_LEN: usize = 4;
/// Nonce in bytes: salt and IV.
pub const NONCE_LEN: usize = SALT_LEN + IV_LEN;
/// Longest ICV in bytes.
pub const MAX_ICV_LEN: usize = 16;
/// Pad length and next header.
const TRAILER_LEN: usize = 2;

/// What a cipher may fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AeadError {
    /// The ICV is not that of the text.
    Auth,
    /// The cipher cannot do this (an ICV of this length, a text of this size).
    Unsupported,
}

/// An AEAD with its key.
///
/// Shared between threads, so sealing and opening take `&self`.
pub trait Aead {
    /// Encrypts `text` in place and writes the ICV, of the length that `icv` has.
    ///
    /// # Errors
    ///
    /// [`AeadError::Unsupported`]; the content of `text` and `icv` is then undefined and must not be
    /// sent.
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), AeadError>;

    /// Verifies `icv` and decrypts `text` in place.
    ///
    /// # Errors
    ///
    /// `text` is then as it was before the call.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), AeadError>;
}

/// Why a packet was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The ICV is wrong.
    Auth,
    /// Padding and pad length contradict the packet's length.
    Format,
    /// No ESP packet of this SA has this length.
    Length,
    /// The cipher cannot process this packet.
    Unsupported,
}

impl From<AeadError> for Error {
    fn from(error: AeadError) -> Self {
        match error {
            AeadError::Auth => Self::Auth,
            AeadError::Unsupported => Self::Unsupported,
        }
    }
}

/// What the engine needs of an SA apart from its cipher. The salt is key material: no `Debug`.
#[derive(Clone)]
pub struct Params {
    /// First four bytes of every nonce.
    pub salt: [u8; SALT_LEN],
    /// ICV in bytes, at most [`MAX_ICV_LEN`].
    pub icv_len: u8,
    /// Extended sequence numbers: the high part is authenticated (RFC 4106 section 5).
    pub esn: bool,
    /// See [`seq::iv`]. Outbound only.
    pub iv_xor: u64,
}

/// Encrypts the packet `esp` in place.
///
/// Header, payload, padding, pad length and next header are there already; the IV and the ICV are
/// written. `esn_hi` is the high part of the packet's sequence number. `trailer_len` is what the
/// sender says is behind the payload: padding, pad length, next header and ICV.
///
/// # Errors
///
/// [`Error::Length`] and [`Error::Format`] leave the packet as it was. A packet must not be sent
/// after any error.
pub fn seal<A: Aead + ?Sized>(
    aead: &A,
    params: &Params,
    esn_hi: u32,
    trailer_len: u16,
    esp: &mut [u8],
) -> Result<(), Error> {
    let parts = Parts::split(esp, params)?;
    if parts.trailer_len()? != usize::from(trailer_len) {
        return Err(Error::Format);
    }
    *parts.iv = seq::iv(seq::join(esn_hi, parts.seq()), params.iv_xor);
    let (nonce, aad) = (
        parts.nonce(params),
        Aad::new(parts.header, esn_hi, params.esn),
    );
    Ok(aead.seal(&nonce, aad.bytes(), parts.text, parts.icv)?)
}

/// Verifies the packet `esp` and decrypts it in place; header, IV, padding and ICV stay.
///
/// `esn_hi` is the high part of the packet's sequence number (only used with ESN).
///
/// # Errors
///
/// All errors leave the packet as it was.
pub fn open<A: Aead + ?Sized>(
    aead: &A,
    params: &Params,
    esn_hi: u32,
    esp: &mut [u8],
) -> Result<(), Error> {
    let parts = Parts::split(esp, params)?;
    let (nonce, aad) = (
        parts.nonce(params),
        Aad::new(parts.header, esn_hi, params.esn),
    );
    aead.open(&nonce, aad.bytes(), parts.text, parts.icv)?;
    if let Err(error) = parts.trailer_len() {
        // Nobody may see the plaintext of a packet that is refused. Sealing it again restores the
        // ciphertext; the ICV, which was right, comes out as it is.
        aead.seal(&nonce, aad.bytes(), parts.text, parts.icv)?;
        return Err(error);
    }
    Ok(())
}

/// A packet taken apart.
struct Parts<'a> {
    header: &'a [u8; ESP_HLEN],
    iv: &'a mut [u8; IV_LEN],
    text: &'a mut [u8],
    icv: &'a mut [u8],
}

impl<'a> Parts<'a> {
    fn split(esp: &'a mut [u8], params: &Params) -> Result<Self, Error> {
        let (header, rest) = esp.split_first_chunk_mut().ok_or(Error::Length)?;
        let (iv, rest) = rest.split_first_chunk_mut().ok_or(Error::Length)?;
        let text_len = rest
            .len()
            .checked_sub(usize::from(params.icv_len))
            .ok_or(Error::Length)?;
        if text_len < TRAILER_LEN || text_len % 4 != 0 {
            return Err(Error::Length);
        }
        let (text, icv) = rest.split_at_mut_checked(text_len).ok_or(Error::Length)?;
        Ok(Self {
            header,
            iv,
            text,
            icv,
        })
    }

    /// The low part of the sequence number.
    fn seq(&self) -> u32 {
        let [_, _, _, _, lo @ ..] = *self.header;
        u32::from_be_bytes(lo)
    }

    /// Padding, pad length, next header and ICV in bytes, according to the pad length in the text.
    fn trailer_len(&self) -> Result<usize, Error> {
        let [.., pad_len, _next_header] = *self.text else {
            return Err(Error::Length);
        };
        let trailer = TRAILER_LEN.saturating_add(usize::from(pad_len));
        if trailer > self.text.len() {
            return Err(Error::Format);
        }
        Ok(trailer.saturating_add(self.icv.len()))
    }

    fn nonce(&self, params: &Params) -> [u8; NONCE_LEN] {
        let [a, b, c, d] = params.salt;
        let [e, f, g, h, i, j, k, l] = *self.iv;
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// Additional authenticated data (RFC 4106 section 5).
enum Aad {
    Short([u8; 8]),
    Extended([u8; 12]),
}

impl Aad {
    fn new(header: &[u8; ESP_HLEN], esn_hi: u32, esn: bool) -> Self {
        if !esn {
            return Self::Short(*header);
        }
        let [s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        let [h0, h1, h2, h3] = esn_hi.to_be_bytes();
        Self::Extended([s0, s1, s2, s3, h0, h1, h2, h3, l0, l1, l2, l3])
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Extended(bytes) => bytes,
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
