// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AEADs by aws-lc, with ICVs of any length that ESP has.
//!
//! The safe interface of aws-lc cannot open ICVs of 8 and 12 bytes, so this goes to `EVP_AEAD`. One of
//! the modules of [`crate::crypto`] that may use `unsafe`.

use super::suite::KeyError;
use aws_lc_sys as sys;
use espnic_esp::aead::{Aead, NONCE_LEN};
use espnic_esp::engine::CipherError;
use std::cell::RefCell;
use std::ptr::NonNull;

thread_local! {
    /// The buffer for decryption. aws-lc erases its output when the ICV is wrong, but a packet that fails
    /// must stay as it came.
    static PLAINTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A key. aws-lc erases it when it is dropped.
pub struct EvpAead {
    context: NonNull<sys::EVP_AEAD_CTX>,
    icv_len: usize,
}

// SAFETY: nothing in a context belongs to a thread.
unsafe impl Send for EvpAead {}
// SAFETY: sealing and opening take the context as const; aws-lc allows them from several threads at
// once (aead.h: "a context may be used concurrently").
unsafe impl Sync for EvpAead {}

impl EvpAead {
    /// AES-GCM with a key of 16, 24 or 32 bytes.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn aes_gcm(key: &[u8], icv_len: usize) -> Result<Self, KeyError> {
        let algorithm = match key.len() {
            // SAFETY: returns a static object.
            16 => unsafe { sys::EVP_aead_aes_128_gcm() },
            // SAFETY: as above.
            24 => unsafe { sys::EVP_aead_aes_192_gcm() },
            // SAFETY: as above.
            32 => unsafe { sys::EVP_aead_aes_256_gcm() },
            _ => return Err(KeyError::Length),
        };
        if !matches!(icv_len, 8 | 12 | 16) {
            return Err(KeyError::Icv);
        }
        Self::new(algorithm, key, icv_len)
    }

    /// ChaCha20-Poly1305 with a key of 32 bytes; its ICV has 16.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn chacha20_poly1305(key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != 32 {
            return Err(KeyError::Length);
        }
        // SAFETY: returns a static object.
        Self::new(unsafe { sys::EVP_aead_chacha20_poly1305() }, key, 16)
    }

    fn new(algorithm: *const sys::EVP_AEAD, key: &[u8], icv_len: usize) -> Result<Self, KeyError> {
        // SAFETY: `algorithm` is one of aws-lc's and `key` is readable for its length; null on error.
        let context = unsafe { sys::EVP_AEAD_CTX_new(algorithm, key.as_ptr(), key.len(), icv_len) };
        let context = NonNull::new(context).ok_or(KeyError::Unavailable)?;
        Ok(Self { context, icv_len })
    }
}

impl Drop for EvpAead {
    fn drop(&mut self) {
        // SAFETY: made by `EVP_AEAD_CTX_new`, freed once.
        unsafe { sys::EVP_AEAD_CTX_free(self.context.as_ptr()) };
    }
}

impl Aead for EvpAead {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        if icv.len() != self.icv_len {
            return Err(CipherError::Unsupported);
        }
        let (mut written, text_ptr) = (0, text.as_mut_ptr());
        // SAFETY: the context is alive and only read. Input and output are the same `text.len()`
        // bytes, which aws-lc allows, and both pointers come from one mutable borrow. The other
        // buffers have the lengths given; there is no extra input.
        let done = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                self.context.as_ptr(),
                text_ptr,
                icv.as_mut_ptr(),
                &mut written,
                icv.len(),
                nonce.as_ptr(),
                nonce.len(),
                text_ptr,
                text.len(),
                std::ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        if done == 1 && written == icv.len() {
            Ok(())
        } else {
            Err(CipherError::Unsupported)
        }
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        if icv.len() != self.icv_len {
            return Err(CipherError::Unsupported);
        }
        PLAINTEXT.with_borrow_mut(|plaintext| {
            if plaintext.len() < text.len() {
                plaintext.resize(text.len(), 0);
            }
            let plaintext = plaintext.get_mut(..text.len()).unwrap_or_default();
            // SAFETY: the context is alive and only read. `plaintext` is as long as `text` and apart
            // from it. The other buffers have the lengths given.
            let done = unsafe {
                sys::EVP_AEAD_CTX_open_gather(
                    self.context.as_ptr(),
                    plaintext.as_mut_ptr(),
                    nonce.as_ptr(),
                    nonce.len(),
                    text.as_ptr(),
                    text.len(),
                    icv.as_ptr(),
                    icv.len(),
                    aad.as_ptr(),
                    aad.len(),
                )
            };
            if done == 1 {
                text.copy_from_slice(plaintext);
            }
            // Erased, because the buffer lives as long as the thread.
            plaintext.fill(0);
            match done {
                1 => Ok(()),
                _ => Err(CipherError::Auth),
            }
        })
    }
}
