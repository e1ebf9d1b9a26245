// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-CBC with HMAC. The library has these as jobs only: one is submitted and, because there is no
//! other to go with it, flushed at once.

use super::super::suite::{KeyError, CBC_START, IV_START};
use super::{sys, Manager};
use espnic_esp::engine::{CipherError, LONG_IV_LEN};
use espnic_wire::algorithm::Mac;
use std::cell::RefCell;
use zeroize::{Zeroize, ZeroizeOnDrop};

thread_local! {
    /// At most one job is in it, and only while [`run`] runs.
    static MANAGER: RefCell<Option<Manager>> = const { RefCell::new(None) };
}

/// Round keys of AES-256, which has the most, and hashed blocks of SHA-512, whose state is largest.
/// The library wants 16-byte alignment.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
struct Expanded {
    encrypt: [u8; 240],
    decrypt: [u8; 240],
    ipad: [u8; 64],
    opad: [u8; 64],
}

/// Keys, expanded once. Zeroised when they are dropped.
pub struct CbcHmac {
    expanded: Box<Expanded>,
    key_len: u64,
    hash: sys::IMB_HASH_ALG,
}

impl CbcHmac {
    /// Expands a cipher key of 16, 24 or 32 bytes and a MAC key of the length that `mac` takes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`], or [`KeyError::Unavailable`] if the library fails its self-test.
    pub fn new(cipher_key: &[u8], mac: Mac, mac_key: &[u8]) -> Result<Self, KeyError> {
        if !matches!(cipher_key.len(), 16 | 24 | 32) {
            return Err(KeyError::Length);
        }
        if mac_key.len() != mac.row().key_len {
            return Err(KeyError::Length);
        }
        let hash = match mac {
            Mac::HmacSha1 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_1,
            Mac::HmacSha256 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_256,
            Mac::HmacSha384 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_384,
            Mac::HmacSha512 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_512,
        };
        let mut expanded = Box::new(Expanded {
            encrypt: [0; 240],
            decrypt: [0; 240],
            ipad: [0; 64],
            opad: [0; 64],
        });
        with_manager(|manager| expand(manager, cipher_key, hash, mac_key, &mut expanded))
            .map_err(|_| KeyError::Unavailable)?;
        Ok(Self {
            expanded,
            key_len: cipher_key.len() as u64,
            hash,
        })
    }

    /// See [`super::super::cbc_hmac::Keys::encrypt`].
    pub(in super::super) fn encrypt(
        &self,
        esp: &mut [u8],
        end: usize,
        hashed: usize,
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        let text = end.checked_sub(CBC_START);
        let text = text.filter(|_| end <= esp.len() && hashed <= esp.len());
        let text = text.ok_or(CipherError::Unsupported)?;
        let base = esp.as_mut_ptr();
        run(|job| {
            self.cipher(job, base, text, sys::IMB_CIPHER_DIRECTION_IMB_DIR_ENCRYPT);
            self.hash(job, hashed, icv);
            job.chain_order = sys::IMB_CHAIN_ORDER_IMB_ORDER_CIPHER_HASH;
        })
    }

    /// See [`super::super::cbc_hmac::Keys::mac`].
    pub(in super::super) fn mac(&self, data: &[u8], icv: &mut [u8]) -> Result<(), CipherError> {
        run(|job| {
            job.__bindgen_anon_1.src = data.as_ptr();
            job.cipher_mode = sys::IMB_CIPHER_MODE_IMB_CIPHER_NULL;
            job.cipher_direction = sys::IMB_CIPHER_DIRECTION_IMB_DIR_ENCRYPT;
            self.hash(job, data.len(), icv);
            job.chain_order = sys::IMB_CHAIN_ORDER_IMB_ORDER_HASH_CIPHER;
        })
    }

    /// See [`super::super::cbc_hmac::Keys::decrypt`].
    pub(in super::super) fn decrypt(&self, esp: &mut [u8], end: usize) -> Result<(), CipherError> {
        let text = end.checked_sub(CBC_START).filter(|_| end <= esp.len());
        let text = text.ok_or(CipherError::Unsupported)?;
        let base = esp.as_mut_ptr();
        run(|job| {
            self.cipher(job, base, text, sys::IMB_CIPHER_DIRECTION_IMB_DIR_DECRYPT);
            job.hash_alg = sys::IMB_HASH_ALG_IMB_AUTH_NULL;
            job.chain_order = sys::IMB_CHAIN_ORDER_IMB_ORDER_CIPHER_HASH;
        })
    }

    /// `len` bytes of text in place, in the packet at `base`.
    fn cipher(
        &self,
        job: &mut sys::IMB_JOB,
        base: *mut u8,
        len: usize,
        direction: sys::IMB_CIPHER_DIRECTION,
    ) {
        job.cipher_mode = sys::IMB_CIPHER_MODE_IMB_CIPHER_CBC;
        job.cipher_direction = direction;
        job.enc_keys = self.expanded.encrypt.as_ptr().cast();
        job.dec_keys = self.expanded.decrypt.as_ptr().cast();
        job.key_len_in_bytes = self.key_len;
        job.__bindgen_anon_1.src = base;
        job.__bindgen_anon_2.dst = base.wrapping_add(CBC_START);
        job.__bindgen_anon_3.cipher_start_src_offset_in_bytes = CBC_START as u64;
        job.__bindgen_anon_4.msg_len_to_cipher_in_bytes = len as u64;
        job.iv = base.wrapping_add(IV_START);
        job.iv_len_in_bytes = LONG_IV_LEN as u64;
    }

    /// The first `len` bytes.
    fn hash(&self, job: &mut sys::IMB_JOB, len: usize, icv: &mut [u8]) {
        job.hash_alg = self.hash;
        job.hash_start_src_offset_in_bytes = 0;
        job.__bindgen_anon_5.msg_len_to_hash_in_bytes = len as u64;
        job.auth_tag_output = icv.as_mut_ptr();
        job.auth_tag_output_len_in_bytes = icv.len() as u64;
        job.u.HMAC._hashed_auth_key_xor_ipad = self.expanded.ipad.as_ptr();
        job.u.HMAC._hashed_auth_key_xor_opad = self.expanded.opad.as_ptr();
    }
}

/// Expands both keys.
fn expand(
    manager: &Manager,
    cipher_key: &[u8],
    hash: sys::IMB_HASH_ALG,
    mac_key: &[u8],
    expanded: &mut Expanded,
) -> Result<(), CipherError> {
    let all = manager.fields();
    let expand = match cipher_key.len() {
        16 => all.keyexp_128,
        24 => all.keyexp_192,
        32 => all.keyexp_256,
        _ => None,
    };
    let expand = expand.ok_or(CipherError::Unsupported)?;
    // SAFETY: the key has the length that the function was chosen for; the arrays have room for the
    // most round keys (15 of 16 bytes) and are aligned to 16 bytes by their offsets.
    unsafe {
        expand(
            cipher_key.as_ptr().cast(),
            expanded.encrypt.as_mut_ptr().cast(),
            expanded.decrypt.as_mut_ptr().cast(),
        );
    }
    // SAFETY: the manager is valid, the key readable for its length, and the arrays have room for the
    // largest hash state (64 bytes).
    unsafe {
        sys::imb_hmac_ipad_opad(
            manager.as_ptr(),
            hash,
            mac_key.as_ptr().cast(),
            mac_key.len(),
            expanded.ipad.as_mut_ptr().cast(),
            expanded.opad.as_mut_ptr().cast(),
        );
    }
    Ok(())
}

/// Calls `work` with the manager of this thread, which is replaced if `work` fails: nothing may stay in
/// it that points to buffers of a caller.
fn with_manager(work: impl FnOnce(&Manager) -> Result<(), CipherError>) -> Result<(), CipherError> {
    MANAGER.with_borrow_mut(|slot| {
        let manager = match slot {
            Some(manager) => manager,
            None => slot.insert(Manager::new().map_err(|_| CipherError::Unsupported)?),
        };
        work(manager).inspect_err(|_| *slot = None)
    })
}

/// Runs one job to its end. What `describe` points to must stay valid until this returns; the callers
/// hold borrows of all of it, and no pointer leaves a buffer.
fn run(describe: impl FnOnce(&mut sys::IMB_JOB)) -> Result<(), CipherError> {
    with_manager(|manager| {
        let all = manager.fields();
        let (Some(next), Some(submit), Some(flush)) =
            (all.get_next_job, all.submit_job, all.flush_job)
        else {
            return Err(CipherError::Unsupported);
        };
        // SAFETY: the manager is valid and used by this thread only. It returns a job of its own.
        let job = unsafe { next(manager.as_ptr()).as_mut() }.ok_or(CipherError::Unsupported)?;
        describe(job);
        let job: *const sys::IMB_JOB = job;
        // SAFETY: the job describes valid buffers: see above. The library checks lengths and pointers
        // for null and refuses a job that is not complete.
        let mut done = unsafe { submit(manager.as_ptr()) };
        if done.is_null() {
            // SAFETY: the manager is valid. It completes the only job that is in it.
            done = unsafe { flush(manager.as_ptr()) };
        }
        // SAFETY: null, or a job in the manager, which is alive.
        let status = unsafe { done.as_ref() }.map(|job| job.status);
        if std::ptr::eq(done, job) && status == Some(sys::IMB_STATUS_IMB_STATUS_COMPLETED) {
            Ok(())
        } else {
            Err(CipherError::Unsupported)
        }
    })
}
