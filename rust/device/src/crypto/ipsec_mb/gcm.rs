// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-GCM.

mod key;

use super::super::ct_eq::ct_eq;
use super::super::prefetch::Lines;
use super::super::suite::KeyError;
use super::sys;
use espnic_esp::aead::{Aead, NONCE_LEN, TAG_LEN};
use espnic_esp::engine::{CipherError, Progress};
use key::{Crypt, Functions, Key};
use std::arch::x86_64::{__m128i, _mm_set_epi64x};
use std::mem::MaybeUninit;

/// A nonce or AAD in one register's worth of memory.
///
/// The library loads 16 bytes (of which it masks what is too much). If they have just been written in
/// parts, or something beside them has, the processor waits until all instructions before are done, and
/// loses the overlap of one packet with the next: half of the time of a small packet.
struct Wide(__m128i);

impl Wide {
    /// Copies the 8 or 12 bytes that ESP has; `None` for other lengths.
    #[inline(always)]
    fn new(bytes: &[u8]) -> Option<Self> {
        let (low, rest) = bytes.split_first_chunk::<8>()?;
        let high = match rest {
            [] => 0,
            [a, b, c, d] => u32::from_ne_bytes([*a, *b, *c, *d]).into(),
            _ => return None,
        };
        let low = i64::from_ne_bytes(*low);
        // SAFETY: SSE2 is part of x86-64.
        Some(Self(unsafe { _mm_set_epi64x(high, low) }))
    }

    fn as_ptr(&self) -> *const u8 {
        (&raw const self.0).cast()
    }
}

/// A key, expanded once. Zeroised when it is dropped.
pub struct AesGcm {
    key: Key,
    icv_len: IcvLen,
}

/// The length of an ICV (RFC 4106 section 6). Few values, so that the compiler can tell AES-GCM from the other
/// ciphers of an SA without a word of its own.
#[derive(Clone, Copy)]
enum IcvLen {
    Eight = 8,
    Twelve = 12,
    Sixteen = 16,
}

impl IcvLen {
    const fn new(len: usize) -> Option<Self> {
        match len {
            8 => Some(Self::Eight),
            12 => Some(Self::Twelve),
            16 => Some(Self::Sixteen),
            _ => None,
        }
    }
}

impl AesGcm {
    /// Expands a key of 16, 24 or 32 bytes; the ICV has 8, 12 or 16 (RFC 4106 section 6).
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`], [`KeyError::Icv`], or [`KeyError::Unavailable`] if the library fails its
    /// self-test.
    pub fn new(key: &[u8], icv_len: usize) -> Result<Self, KeyError> {
        let icv_len = IcvLen::new(icv_len).ok_or(KeyError::Icv)?;
        let functions = Functions::for_key(key)?;
        Ok(Self {
            key: Key::expand(functions, key).ok_or(KeyError::Unavailable)?,
            icv_len,
        })
    }

    /// Runs `function` over `text` in place and writes the tag that it computed to `tag`.
    #[inline(always)]
    fn run(
        &self,
        function: Crypt,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CipherError> {
        if tag.len() != self.icv_len as usize {
            return Err(CipherError::Unsupported);
        }
        // Not through options of pointers: then the options would be in memory, too, beside the bytes.
        if let (Some(nonce), Some(wide)) = (Wide::new(nonce), Wide::new(aad)) {
            let (nonce_ptr, aad_ptr) = (nonce.as_ptr(), wide.as_ptr());
            // SAFETY: both have 16 bytes, of which those in front are the nonce and the AAD, and live until
            // the end of this block.
            unsafe { self.call(function, nonce_ptr, aad_ptr, aad.len(), text, tag) };
        } else {
            self.run_unusual(function, nonce, aad, text, tag);
        }
        Ok(())
    }

    /// With AAD of a length that ESP does not have.
    #[cold]
    fn run_unusual(
        &self,
        function: Crypt,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) {
        // SAFETY: the nonce has its length, and the AAD the one that is given.
        unsafe { self.call(function, nonce.as_ptr(), aad.as_ptr(), aad.len(), text, tag) };
    }

    /// Calls `function`; see [`Self::run`].
    ///
    /// # Safety
    ///
    /// `nonce` must have the 12 bytes that the library reads, and `aad` must have `aad_len` bytes.
    #[inline(always)]
    unsafe fn call(
        &self,
        function: Crypt,
        nonce: *const u8,
        aad: *const u8,
        aad_len: usize,
        text: &mut [u8],
        tag: &mut [u8],
    ) {
        let mut context = MaybeUninit::<sys::gcm_context_data>::uninit();
        let text_ptr = text.as_mut_ptr();
        // SAFETY:
        // - the key was expanded by the function of the same key length, is only read, and has all that
        //   the functions of this processor read;
        // - `context` is private to this call and written before it is read;
        // - input and output are the same `text.len()` bytes, which the library allows, and both
        //   pointers come from one mutable borrow;
        // - the caller vouches for `nonce` and `aad`; `tag` has its length.
        unsafe {
            function(
                self.key.as_ptr(),
                context.as_mut_ptr(),
                text_ptr,
                text_ptr,
                text.len() as u64,
                nonce,
                aad,
                aad_len as u64,
                tag.as_mut_ptr(),
                tag.len() as u64,
            );
        }
    }
}

impl AesGcm {
    /// Makes the text again what was received: the library has decrypted before the tag was known.
    /// Encrypting with the same nonce does it.
    #[cold]
    fn close(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<(), CipherError> {
        let mut unused = [0; TAG_LEN];
        let unused = unused.get_mut(..self.icv_len as usize);
        let unused = unused.ok_or(CipherError::Unsupported)?;
        self.run(self.key.functions.encrypt, nonce, aad, text, unused)?;
        Err(CipherError::Auth)
    }

    /// What a text of `len` bytes needs of the expanded key.
    #[inline]
    pub fn lines(&self, len: usize) -> Lines {
        self.key.lines(len)
    }
}

impl Aead for AesGcm {
    #[inline(always)]
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        self.run(self.key.functions.encrypt, nonce, aad, text, icv)
    }

    #[inline(always)]
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        let mut computed = [0; TAG_LEN];
        self.begin_open(nonce, aad, text, icv, &mut computed)?;
        if self.is_right(icv, &computed) {
            return Ok(());
        }
        self.close(nonce, aad, text)
    }

    #[inline(always)]
    fn begin_open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
        computed: &mut [u8; TAG_LEN],
    ) -> Result<Progress, CipherError> {
        let computed = computed.get_mut(..icv.len());
        let computed = computed.ok_or(CipherError::Unsupported)?;
        self.run(self.key.functions.decrypt, nonce, aad, text, computed)?;
        Ok(Progress::Computed)
    }

    #[inline(always)]
    fn is_right(&self, icv: &[u8], computed: &[u8; TAG_LEN]) -> bool {
        computed
            .get(..icv.len())
            .is_some_and(|computed| ct_eq(computed, icv))
    }
}
