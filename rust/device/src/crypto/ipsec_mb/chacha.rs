// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ChaCha20-Poly1305.

use super::super::ct_eq::ct_eq;
use super::super::suite::KeyError;
use super::{sys, Manager};
use espnic_esp::aead::{Aead, NONCE_LEN, TAG_LEN};
use espnic_esp::engine::CipherError;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;

type Context = sys::chacha20_poly1305_context_data;
/// Starts a message: (key, context, nonce, AAD, its length).
type Init = unsafe extern "C" fn(*const c_void, *mut Context, *const c_void, *const c_void, u64);
/// Encrypts or decrypts: (key, context, out, in, length).
type Update = unsafe extern "C" fn(*const c_void, *mut Context, *mut c_void, *const c_void, u64);
/// Ends a message: (context, tag, its length).
type Finish = unsafe extern "C" fn(*mut Context, *mut c_void, u64);

#[derive(Clone, Copy)]
struct Functions {
    init: Init,
    encrypt: Update,
    decrypt: Update,
    finish: Finish,
}

impl Functions {
    fn load() -> Option<Self> {
        let manager = Manager::new().ok()?;
        let all = manager.fields();
        Some(Self {
            init: all.chacha20_poly1305_init?,
            encrypt: all.chacha20_poly1305_enc_update?,
            decrypt: all.chacha20_poly1305_dec_update?,
            finish: all.chacha20_poly1305_finalize?,
        })
    }
}

/// A key. Zeroised when it is dropped.
pub struct ChaCha20Poly1305 {
    functions: &'static Functions,
    key: Box<Zeroizing<[u8; KEY_LEN]>>,
}

impl ChaCha20Poly1305 {
    /// Takes a key of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`], or [`KeyError::Unavailable`] if the library fails its self-test.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        static LOADED: OnceLock<Option<Functions>> = OnceLock::new();
        let functions = LOADED
            .get_or_init(Functions::load)
            .as_ref()
            .ok_or(KeyError::Unavailable)?;
        if key.len() != KEY_LEN {
            return Err(KeyError::Length);
        }
        let mut stored = Box::new(Zeroizing::new([0; KEY_LEN]));
        stored.copy_from_slice(key);
        Ok(Self {
            functions,
            key: stored,
        })
    }

    /// Runs `update` over `text` in place and returns the tag.
    fn run(
        &self,
        update: Update,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let mut context = MaybeUninit::<Context>::uninit();
        let (context, key) = (context.as_mut_ptr(), self.key.as_ptr().cast());
        let text_ptr: *mut c_void = text.as_mut_ptr().cast();
        let mut tag = [0; TAG_LEN];
        // SAFETY:
        // - `key` has the 32 bytes and `nonce` the 12 bytes that the library reads;
        // - `context` is private to this call and initialised by the first of the three;
        // - input and output are the same `text.len()` bytes, which the library allows, and both
        //   pointers come from one mutable borrow;
        // - `aad` and `tag` have the lengths given.
        unsafe {
            (self.functions.init)(
                key,
                context,
                nonce.as_ptr().cast(),
                aad.as_ptr().cast(),
                aad.len() as u64,
            );
            update(key, context, text_ptr, text_ptr, text.len() as u64);
            (self.functions.finish)(context, tag.as_mut_ptr().cast(), tag.len() as u64);
        }
        tag
    }
}

impl Aead for ChaCha20Poly1305 {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        if icv.len() != TAG_LEN {
            return Err(CipherError::Unsupported);
        }
        icv.copy_from_slice(&self.run(self.functions.encrypt, nonce, aad, text));
        Ok(())
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        if icv.len() != TAG_LEN {
            return Err(CipherError::Unsupported);
        }
        let computed = self.run(self.functions.decrypt, nonce, aad, text);
        if ct_eq(&computed, icv) {
            return Ok(());
        }
        // The library has decrypted before the tag was known. Encrypting with the same nonce brings
        // the received bytes back.
        self.run(self.functions.encrypt, nonce, aad, text);
        Err(CipherError::Auth)
    }
}
