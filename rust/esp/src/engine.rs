// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Crypto-only ESP: the packet has its final shape and only IV, ciphertext and ICV change.
//!
//! A packet is a slice from the ESP header to the end of the ICV (RFC 4303 section 2):
//!
//! ```text
//! | SPI 4 | sequence 4 | IV 8 or 16 | payload, padding, pad length 1, next header 1 | ICV |
//!                                   '---------- encrypted, fills blocks ----------'
//! ```
//!
//! A [`Transform`] encrypts and authenticates it; [`crate::aead`] makes one from any AEAD.

use crate::packet::ESP_HLEN;
use crate::seq;

/// Explicit IV of AEADs in bytes (RFC 4106 section 3.1, RFC 7634 section 2, RFC 4543 section 3.1).
pub const IV_LEN: usize = 8;
/// Explicit IV of AES-CBC in bytes (RFC 3602 section 2.1).
pub const LONG_IV_LEN: usize = 16;
/// ICV of AEADs in bytes, the longest.
pub const TAG_LEN: usize = 16;
/// Longest ICV in bytes (RFC 4868: HMAC-SHA-512-256).
pub const MAX_ICV_LEN: usize = 32;
/// RFC 4303 section 2.4: pad length and next header end a word of four bytes.
pub const ESP_ALIGN: u8 = 4;
/// Pad length and next header.
const TRAILER_LEN: usize = 2;

/// An error of a cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherError {
    /// The ICV is not that of the text.
    Auth,
    /// The cipher cannot do this (an ICV of this length, a text of this size).
    Unsupported,
}

/// How far a packet has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is decrypted, and its ICV was right.
    Verified,
    /// It is decrypted, and its ICV has yet to be compared.
    Computed,
}

/// The cryptography of an SA, with its keys.
///
/// Works on a packet (see the module), whose lengths the engine has checked against the [`Layout`]. Both
/// functions get the high part of the sequence number if it is authenticated. Several threads call them
/// at once.
pub trait Transform {
    /// Encrypts the packet in place under the IV that it has, and writes the ICV.
    ///
    /// # Errors
    ///
    /// [`CipherError::Unsupported`]; the content of the packet is then undefined and must not be sent.
    fn seal(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError>;

    /// Verifies the ICV and decrypts the packet in place.
    ///
    /// # Errors
    ///
    /// The packet is then as it was before the call.
    fn open(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError>;

    /// Decrypts the packet in place like [`Transform::open`], but may leave it to the caller to verify the
    /// ICV: with [`Progress::Computed`], the one that the packet should have is in the first bytes of
    /// `computed`. Then [`Transform::is_right`] must be asked before anybody sees the text.
    ///
    /// # Errors
    ///
    /// As for [`Transform::open`].
    #[inline]
    fn begin_open(
        &self,
        esn_hi: Option<u32>,
        esp: &mut [u8],
        _computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        self.open(esn_hi, esp).map(|()| Progress::Verified)
    }

    /// Whether the packet has the ICV that [`Transform::begin_open`] has computed. Takes the same time for
    /// all wrong ones. If not, [`Transform::close`] must follow.
    #[inline]
    fn is_right(&self, _esp: &[u8], _computed: &[u8; TAG_LEN]) -> bool {
        false
    }

    /// Makes a packet with a wrong ICV again what it was before [`Transform::begin_open`].
    ///
    /// # Errors
    ///
    /// [`CipherError::Unsupported`], if there is nothing like it; never after [`Progress::Computed`].
    fn close(&self, _esn_hi: Option<u32>, _esp: &mut [u8]) -> Result<(), CipherError> {
        Err(CipherError::Unsupported)
    }

    /// An unpredictable IV, for transforms whose IV is not made of the sequence number.
    ///
    /// # Errors
    ///
    /// [`CipherError::Unsupported`] if there is none.
    fn random_iv(&self) -> Result<[u8; LONG_IV_LEN], CipherError>;
}

/// The reason for which a packet was not processed.
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

impl From<CipherError> for Error {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Auth => Self::Auth,
            CipherError::Unsupported => Self::Unsupported,
        }
    }
}

/// Lengths of the parts of a packet, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Explicit IV: [`IV_LEN`] or [`LONG_IV_LEN`].
    pub iv_len: u8,
    /// ICV, at most [`MAX_ICV_LEN`].
    pub icv_len: u8,
    /// The text from behind the IV through next header is a multiple of this: [`ESP_ALIGN`], or the
    /// block size of the cipher. A power of two.
    pub block: u8,
}

impl Layout {
    /// The lengths of a transform with an 8-byte IV and no block size: all AEADs.
    pub const fn aead(icv_len: u8) -> Self {
        Self {
            iv_len: IV_LEN as u8,
            icv_len,
            block: ESP_ALIGN,
        }
    }
}

/// The parameters of an SA that the engine needs, apart from its transform.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Lengths.
    pub layout: Layout,
    /// Extended sequence numbers: the high part is authenticated (RFC 4303 section 2.2.1).
    pub esn: bool,
    /// See [`seq::iv`]. Outbound only, and not with long IVs.
    pub iv_xor: u64,
}

/// The contents of a decrypted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Payload without padding.
    pub payload: &'a [u8],
    /// The protocol of the payload.
    pub next_header: u8,
}

/// Padding that a text of `len` bytes needs so that with pad length and next header it fills blocks.
#[inline]
pub const fn padding(len: usize, layout: &Layout) -> usize {
    match beyond_blocks(len.saturating_add(TRAILER_LEN), layout) {
        0 => 0,
        over => (layout.block as usize).saturating_sub(over),
    }
}

/// Bytes by which a text of `len` bytes exceeds whole blocks, whose size is a power of two.
#[inline]
const fn beyond_blocks(len: usize, layout: &Layout) -> usize {
    len & (layout.block as usize).wrapping_sub(1)
}

/// Encrypts the packet `esp` in place.
///
/// Header, payload, padding, pad length and next header must be there already; this writes the IV and the
/// ICV. `esn_hi` is the high part of the packet's sequence number. `trailer_len` is the sender's length of
/// padding, pad length, next header and ICV together.
///
/// # Errors
///
/// [`Error::Length`] and [`Error::Format`] leave the packet as it was. A packet must not be sent
/// after any error.
// Always: as a call it would take a packet of 64 bytes a tenth of its time.
#[inline(always)]
pub fn seal<T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    trailer_len: usize,
    esp: &mut [u8],
) -> Result<(), Error> {
    begin_seal(transform, params, esn_hi, trailer_len, esp)?;
    Ok(transform.seal(params.esn.then_some(esn_hi), esp)?)
}

/// The first part of [`seal`]: checks the packet and writes the IV. It is in the clear afterwards;
/// [`Transform::seal`] must follow before anybody sees it.
///
/// # Errors
///
/// Those of [`seal`].
#[inline(always)]
pub fn begin_seal<T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    trailer_len: usize,
    esp: &mut [u8],
) -> Result<(), Error> {
    let layout = params.layout;
    let text = text(esp, &layout)?;
    let (payload, _) = take_apart(text)?;
    let behind = text.len().saturating_sub(payload);
    if behind.saturating_add(layout.icv_len.into()) != trailer_len {
        return Err(Error::Format);
    }
    let (header, rest) = esp
        .split_first_chunk_mut::<ESP_HLEN>()
        .ok_or(Error::Length)?;
    let [_, _, _, _, lo @ ..] = *header;
    if usize::from(layout.iv_len) == LONG_IV_LEN {
        *rest.first_chunk_mut().ok_or(Error::Length)? = transform.random_iv()?;
    } else {
        let number = seq::join(esn_hi, u32::from_be_bytes(lo));
        *rest.first_chunk_mut().ok_or(Error::Length)? = seq::iv(number, params.iv_xor);
    }
    Ok(())
}

/// Verifies the packet `esp` and decrypts it in place; header, IV, padding and ICV stay.
///
/// `esn_hi` is the high part of the packet's sequence number (only used with ESN).
///
/// # Errors
///
/// All errors leave the packet as it was. If the cipher cannot restore it, it is all zero.
// Always: as a call it would return its result through memory, and reading that back costs each packet
// some nanoseconds.
#[inline(always)]
pub fn open<'a, T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    esp: &'a mut [u8],
) -> Result<Opened<'a>, Error> {
    text(esp, &params.layout)?;
    transform.open(params.esn.then_some(esn_hi), esp)?;
    end_open(transform, params, esn_hi, esp)
}

/// The part of [`open`] behind [`Transform::open`], for a packet whose length [`check_length`] has found right:
/// what is in it.
///
/// # Errors
///
/// Those of [`open`].
#[inline(always)]
pub fn end_open<'a, T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    esp: &'a mut [u8],
) -> Result<Opened<'a>, Error> {
    if let Err(error) = opened(&params.layout, esp) {
        if let Err(error) = hide(transform, params, esn_hi, esp) {
            // It cannot happen, as the packet was opened; a text must not be seen even so.
            esp.fill(0);
            return Err(error);
        }
        return Err(error);
    }
    opened(&params.layout, esp)
}

/// Whether the packet has the length of one of this SA.
///
/// # Errors
///
/// [`Error::Length`].
#[inline]
pub fn check_length(params: &Params, esp: &[u8]) -> Result<(), Error> {
    text(esp, &params.layout).map(drop)
}

/// The first part of [`open`]: decrypts; see [`Transform::begin_open`]. [`verify`] and [`opened`] must follow.
///
/// A receiver of several packets does this with some of them before it looks at the first: the cipher works
/// on the next packet while it finishes the one before, unless something waits for its result in between.
///
/// # Errors
///
/// Those of the cipher, and [`Error::Length`]; they leave the packet as it was.
#[inline(always)]
pub fn begin_open<T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    esp: &mut [u8],
    computed: &mut [u8; TAG_LEN],
) -> Result<Progress, Error> {
    text(esp, &params.layout)?;
    Ok(transform.begin_open(params.esn.then_some(esn_hi), esp, computed)?)
}

/// The second part of [`open`]: verifies the ICV if [`begin_open`] has not.
///
/// # Errors
///
/// [`Error::Auth`]: [`close`] must follow.
#[inline(always)]
pub fn verify<T: Transform + ?Sized>(
    transform: &T,
    esp: &[u8],
    progress: Progress,
    computed: &[u8; TAG_LEN],
) -> Result<(), Error> {
    let right = progress == Progress::Verified || transform.is_right(esp, computed);
    right.then_some(()).ok_or(Error::Auth)
}

/// Makes a packet with a wrong ICV again what was received.
///
/// # Errors
///
/// Those of the cipher, which has just worked on this packet.
#[cold]
pub fn close<T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    esp: &mut [u8],
) -> Result<(), Error> {
    Ok(transform.close(params.esn.then_some(esn_hi), esp)?)
}

/// The third part of [`open`]: the content of the authentic packet `esp`.
///
/// # Errors
///
/// The plaintext of a refused packet must not be visible: [`hide`] must follow.
#[inline(always)]
pub fn opened<'a>(layout: &Layout, esp: &'a [u8]) -> Result<Opened<'a>, Error> {
    // Its length has been looked at before.
    let end = esp.len().checked_sub(layout.icv_len.into());
    let text = end.and_then(|end| esp.get(start(layout)..end));
    let text = text.ok_or(Error::Length)?;
    let (len, next_header) = take_apart(text)?;
    Ok(Opened {
        payload: text.get(..len).ok_or(Error::Format)?,
        next_header,
    })
}

/// Encrypts a packet again that was authentic. This restores the ciphertext and the same ICV,
/// which was right.
///
/// # Errors
///
/// Those of the cipher, which has just worked on this packet.
#[cold]
pub fn hide<T: Transform + ?Sized>(
    transform: &T,
    params: &Params,
    esn_hi: u32,
    esp: &mut [u8],
) -> Result<(), Error> {
    Ok(transform.seal(params.esn.then_some(esn_hi), esp)?)
}

/// Header and IV.
#[inline]
const fn start(layout: &Layout) -> usize {
    ESP_HLEN.saturating_add(layout.iv_len as usize)
}

/// Payload, padding, pad length and next header of a packet that has all its parts, and whose text fills
/// blocks.
#[inline]
fn text<'a>(esp: &'a [u8], layout: &Layout) -> Result<&'a [u8], Error> {
    let end = esp.len().checked_sub(layout.icv_len.into());
    let text = end.and_then(|end| esp.get(start(layout)..end));
    match text {
        Some(text) if text.len() >= TRAILER_LEN && beyond_blocks(text.len(), layout) == 0 => {
            Ok(text)
        }
        _ => Err(Error::Length),
    }
}

/// Length of the payload in a clear text, and the next header.
#[inline]
fn take_apart(text: &[u8]) -> Result<(usize, u8), Error> {
    let [padded @ .., pad_len, next_header] = text else {
        return Err(Error::Length);
    };
    let payload = padded.len().checked_sub((*pad_len).into());
    Ok((payload.ok_or(Error::Format)?, *next_header))
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(crate) mod tests;
