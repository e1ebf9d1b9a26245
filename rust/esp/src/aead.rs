// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AEADs in ESP: nonce, additional data, and the places of the parts (RFC 4106, RFC 7634).

use crate::engine::{CipherError, Progress, Transform, IV_LEN, LONG_IV_LEN};
use crate::packet::ESP_HLEN;
use crate::seq;

/// Salt in bytes (RFC 4106 section 4).
pub const SALT_LEN: usize = 4;
/// Nonce in bytes: salt and IV.
pub const NONCE_LEN: usize = SALT_LEN + IV_LEN;
pub use crate::engine::TAG_LEN;

/// An AEAD with its key.
///
/// Shared between threads, so sealing and opening take `&self`.
pub trait Aead {
    /// Encrypts `text` in place and writes the ICV, of the length that `icv` has.
    ///
    /// # Errors
    ///
    /// [`CipherError::Unsupported`]; the content of `text` and `icv` is then undefined and must not be
    /// sent.
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError>;

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
    ) -> Result<(), CipherError>;

    /// See [`Transform::begin_open`].
    ///
    /// # Errors
    ///
    /// As for [`Aead::open`].
    #[inline]
    fn begin_open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
        _computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        self.open(nonce, aad, text, icv)
            .map(|()| Progress::Verified)
    }

    /// See [`Transform::is_right`]; `icv` is that of the packet.
    #[inline]
    fn is_right(&self, _icv: &[u8], _computed: &[u8; TAG_LEN]) -> bool {
        false
    }
}

/// An AEAD as an ESP transform. The salt is key material: it has no `Debug`, and its owner must erase it.
#[derive(Clone)]
pub struct EspAead<A> {
    /// The cipher.
    pub aead: A,
    /// First four bytes of every nonce.
    pub salt: [u8; SALT_LEN],
    /// ICV in bytes, at most [`TAG_LEN`].
    pub icv_len: u8,
}

impl<A: Aead> Transform for EspAead<A> {
    #[inline(always)]
    fn seal(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        // The compiler knows the length in the usual case, in which most checks then are gone.
        match self.icv_len {
            LONGEST => self.seal_with(LONGEST, esn_hi, esp),
            shorter => self.seal_short(shorter, esn_hi, esp),
        }
    }

    #[inline(always)]
    fn open(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        let parts = Parts::split(esp, self.icv_len).ok_or(CipherError::Unsupported)?;
        let nonce = nonce(&self.salt, parts.iv);
        with_aad(parts.header, esn_hi, |aad| {
            self.aead.open(&nonce, aad, parts.text, parts.icv)
        })
    }

    #[inline(always)]
    fn begin_open(
        &self,
        esn_hi: Option<u32>,
        esp: &mut [u8],
        computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        // As above.
        match self.icv_len {
            LONGEST => self.begin_open_with(LONGEST, esn_hi, esp, computed),
            shorter => self.begin_open_short(shorter, esn_hi, esp, computed),
        }
    }

    #[inline(always)]
    fn is_right(&self, esp: &[u8], computed: &[u8; TAG_LEN]) -> bool {
        match self.icv_len {
            LONGEST => {
                let icv = esp.last_chunk::<TAG_LEN>();
                icv.is_some_and(|icv| self.aead.is_right(icv, computed))
            }
            shorter => self.is_right_short(shorter, esp, computed),
        }
    }

    #[cold]
    fn close(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        // Encrypting with the same nonce does it. The ICV that comes out is not the packet's.
        let parts = Parts::split(esp, self.icv_len).ok_or(CipherError::Unsupported)?;
        let mut icv = [0; TAG_LEN];
        let icv = icv
            .get_mut(..self.icv_len.into())
            .ok_or(CipherError::Unsupported)?;
        let nonce = nonce(&self.salt, parts.iv);
        with_aad(parts.header, esn_hi, |aad| {
            self.aead.seal(&nonce, aad, parts.text, icv)
        })
    }

    fn random_iv(&self) -> Result<[u8; LONG_IV_LEN], CipherError> {
        Err(CipherError::Unsupported)
    }
}

/// The length of an ICV as SAs have it.
const LONGEST: u8 = TAG_LEN as u8;

/// With an ICV of this length.
impl<A: Aead> EspAead<A> {
    #[inline(always)]
    fn seal_with(
        &self,
        icv_len: u8,
        esn_hi: Option<u32>,
        esp: &mut [u8],
    ) -> Result<(), CipherError> {
        let parts = Parts::split(esp, icv_len).ok_or(CipherError::Unsupported)?;
        let nonce = nonce(&self.salt, parts.iv);
        with_aad(parts.header, esn_hi, |aad| {
            self.aead.seal(&nonce, aad, parts.text, parts.icv)
        })
    }

    #[inline(never)]
    fn seal_short(
        &self,
        icv_len: u8,
        esn_hi: Option<u32>,
        esp: &mut [u8],
    ) -> Result<(), CipherError> {
        self.seal_with(icv_len, esn_hi, esp)
    }

    #[inline(always)]
    fn begin_open_with(
        &self,
        icv_len: u8,
        esn_hi: Option<u32>,
        esp: &mut [u8],
        computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        let Parts {
            header,
            iv,
            text,
            icv,
        } = Parts::split(esp, icv_len).ok_or(CipherError::Unsupported)?;
        let nonce = nonce(&self.salt, iv);
        with_aad(header, esn_hi, |aad| {
            self.aead.begin_open(&nonce, aad, text, icv, computed)
        })
    }

    #[inline(never)]
    fn begin_open_short(
        &self,
        icv_len: u8,
        esn_hi: Option<u32>,
        esp: &mut [u8],
        computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        self.begin_open_with(icv_len, esn_hi, esp, computed)
    }

    #[inline(never)]
    fn is_right_short(&self, icv_len: u8, esp: &[u8], computed: &[u8; TAG_LEN]) -> bool {
        let start = esp.len().checked_sub(icv_len.into());
        start
            .and_then(|start| esp.get(start..))
            .is_some_and(|icv| self.aead.is_right(icv, computed))
    }
}

/// The parts of a packet.
struct Parts<'a> {
    header: &'a [u8; ESP_HLEN],
    iv: &'a [u8; IV_LEN],
    text: &'a mut [u8],
    icv: &'a mut [u8],
}

impl<'a> Parts<'a> {
    #[inline]
    fn split(esp: &'a mut [u8], icv_len: u8) -> Option<Self> {
        let (header, rest) = esp.split_first_chunk_mut()?;
        let (iv, rest) = rest.split_first_chunk_mut()?;
        let text_len = rest.len().checked_sub(icv_len.into())?;
        let (text, icv) = rest.split_at_mut_checked(text_len)?;
        Some(Self {
            header,
            iv,
            text,
            icv,
        })
    }
}

/// The nonce for an explicit IV.
#[inline]
pub fn nonce(salt: &[u8; SALT_LEN], iv: &[u8; IV_LEN]) -> [u8; NONCE_LEN] {
    // In the words in which ciphers read it: reading in other parts than those written stalls for longer
    // than a small packet takes.
    let iv = u64::from_le_bytes(*iv);
    let start = u64::from(u32::from_le_bytes(*salt)) | (iv << 32);
    let mut nonce = [0; NONCE_LEN];
    let (low, high) = nonce.split_at_mut(8);
    low.copy_from_slice(&start.to_le_bytes());
    high.copy_from_slice(&seq::hi(iv).to_le_bytes());
    nonce
}

/// Calls `run` with the additional authenticated data (RFC 4106 section 5): the ESP header, with ESN [`extended`].
// Always: `run` calls the cipher, for each of both lengths by itself.
#[inline(always)]
fn with_aad<R>(header: &[u8; ESP_HLEN], esn_hi: Option<u32>, run: impl FnOnce(&[u8]) -> R) -> R {
    match esn_hi {
        Some(hi) => run(&extended(header, hi)),
        None => run(header),
    }
}

/// The ESP header with the high half of the sequence number in its middle.
#[inline]
fn extended(header: &[u8; ESP_HLEN], esn_hi: u32) -> [u8; ESP_HLEN + 4] {
    // In words, as for the nonce.
    let header = u64::from_le_bytes(*header);
    let esn_hi = u32::from_le_bytes(esn_hi.to_be_bytes());
    let start = u64::from(seq::lo(header)) | (u64::from(esn_hi) << 32);
    let mut extended = [0; ESP_HLEN + 4];
    let (low, high) = extended.split_at_mut(8);
    low.copy_from_slice(&start.to_le_bytes());
    high.copy_from_slice(&seq::hi(header).to_le_bytes());
    extended
}
