// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-CBC and HMAC of OpenSSL, one packet after the other, as programs without several buffers do it.
//!
//! The NIC does not use OpenSSL, so the library is loaded at run time, if it is there. This is the only
//! module of the benchmark with `unsafe`.

use crate::compare::BATCH;
use crate::engines::Way;
use crate::packets::{self, Kind, MAC_KEY};
use espnic_device::testing::ESP;
use espnic_wire::algorithm::Mac;
use std::ffi::{c_int, c_uint, c_void, CStr};
use std::mem::transmute_copy;
use std::ptr::{null, null_mut, NonNull};
use std::time::{Duration, Instant};

/// Header of ESP and IV.
const TEXT: usize = 8 + 16;

type New = unsafe extern "C" fn() -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type Algorithm = unsafe extern "C" fn() -> *const c_void;
type CipherInit = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    *mut c_void,
    *const u8,
    *const u8,
    c_int,
) -> c_int;
type Padding = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type CipherUpdate =
    unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_int, *const u8, c_int) -> c_int;
type MacInit =
    unsafe extern "C" fn(*mut c_void, *const c_void, c_int, *const c_void, *mut c_void) -> c_int;
type MacUpdate = unsafe extern "C" fn(*mut c_void, *const u8, usize) -> c_int;
type MacFinal = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_uint) -> c_int;

/// The functions of libcrypto, which stays loaded.
pub struct Library {
    handle: NonNull<c_void>,
    cipher_new: New,
    cipher_free: Free,
    aes: Algorithm,
    cipher_init: CipherInit,
    padding: Padding,
    cipher_update: CipherUpdate,
    mac_new: New,
    mac_free: Free,
    mac_init: MacInit,
    mac_update: MacUpdate,
    mac_final: MacFinal,
}

/// The function `name` of a library as a function pointer of type `F`.
///
/// # Safety
///
/// The function must have that type.
unsafe fn function<F>(library: NonNull<c_void>, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the handle is that of a library that stays loaded.
    let address = NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) })?;
    // SAFETY: of the size of a pointer, not null, and the caller vouches for the type.
    Some(unsafe { transmute_copy(&address) })
}

impl Library {
    /// `None` if it is not there.
    pub fn load() -> Option<Self> {
        // SAFETY: the name is a string; what the library does when it is loaded is harmless.
        let handle = unsafe { libc::dlopen(c"libcrypto.so.3".as_ptr(), libc::RTLD_NOW) };
        let handle = NonNull::new(handle)?;
        // SAFETY: the types are those of openssl/evp.h and openssl/hmac.h, version 3.
        unsafe {
            Some(Self {
                handle,
                cipher_new: function(handle, c"EVP_CIPHER_CTX_new")?,
                cipher_free: function(handle, c"EVP_CIPHER_CTX_free")?,
                aes: function(handle, c"EVP_aes_128_cbc")?,
                cipher_init: function(handle, c"EVP_CipherInit_ex")?,
                padding: function(handle, c"EVP_CIPHER_CTX_set_padding")?,
                cipher_update: function(handle, c"EVP_CipherUpdate")?,
                mac_new: function(handle, c"HMAC_CTX_new")?,
                mac_free: function(handle, c"HMAC_CTX_free")?,
                mac_init: function(handle, c"HMAC_Init_ex")?,
                mac_update: function(handle, c"HMAC_Update")?,
                mac_final: function(handle, c"HMAC_Final")?,
            })
        }
    }

    /// The keys of SA 0, expanded once. `None` if OpenSSL does not take them.
    pub fn keys(&self, mac: Mac) -> Option<Keys<'_>> {
        let digest = match mac {
            Mac::HmacSha1 => c"EVP_sha1",
            Mac::HmacSha256 => c"EVP_sha256",
            Mac::HmacSha384 => c"EVP_sha384",
            Mac::HmacSha512 => c"EVP_sha512",
        };
        // SAFETY: it takes nothing and returns a constant object, as all of these do.
        let digest: Algorithm = unsafe { function(self.handle, digest)? };
        // SAFETY: they allocate, or return null.
        let (ciphers, hmac) = unsafe {
            let new = || NonNull::new((self.cipher_new)());
            ([new()?, new()?], NonNull::new((self.mac_new)())?)
        };
        let keys = Keys {
            library: self,
            ciphers,
            hmac,
            icv_len: mac.row().icv_len,
        };
        let (key, mac_key) = (packets::key(0), vec![MAC_KEY; mac.row().key_len]);
        // SAFETY: the contexts are alive, and the keys have the lengths that the algorithms take.
        let done = unsafe {
            let [encrypt, decrypt] = ciphers.map(NonNull::as_ptr);
            let start = |context, encrypts| {
                (self.cipher_init)(
                    context,
                    (self.aes)(),
                    null_mut(),
                    key.as_ptr(),
                    null(),
                    encrypts,
                ) & (self.padding)(context, 0)
            };
            let (mac_key_ptr, len) = (mac_key.as_ptr().cast(), mac_key.len() as c_int);
            start(encrypt, 1)
                & start(decrypt, 0)
                & (self.mac_init)(hmac.as_ptr(), mac_key_ptr, len, digest(), null_mut())
        };
        (done == 1).then_some(keys)
    }
}

/// Expanded keys.
pub struct Keys<'a> {
    library: &'a Library,
    /// To encrypt and to decrypt with.
    ciphers: [NonNull<c_void>; 2],
    hmac: NonNull<c_void>,
    icv_len: usize,
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        // SAFETY: made by the functions that belong to these, freed once.
        unsafe {
            for context in self.ciphers {
                (self.library.cipher_free)(context.as_ptr());
            }
            (self.library.mac_free)(self.hmac.as_ptr());
        }
    }
}

impl Keys<'_> {
    /// Encrypts or decrypts the text of an ESP packet in place, up to `end`.
    fn cipher(&mut self, way: Way, esp: &mut [u8], end: usize) -> bool {
        let [encrypt, decrypt] = self.ciphers;
        let (context, encrypts) = match way {
            Way::Encrypt => (encrypt, 1),
            Way::Decrypt => (decrypt, 0),
        };
        let (head, text) = esp[..end].split_at_mut(TEXT);
        let (text_ptr, mut written) = (text.as_mut_ptr(), 0);
        // SAFETY: the context has its key; the IV has 16 bytes; input and output are the same
        // `text.len()` bytes, which OpenSSL allows. Without padding it writes as many.
        let done = unsafe {
            let iv = head[8..].as_ptr();
            (self.library.cipher_init)(context.as_ptr(), null(), null_mut(), null(), iv, encrypts)
                & (self.library.cipher_update)(
                    context.as_ptr(),
                    text_ptr,
                    &mut written,
                    text_ptr,
                    text.len() as c_int,
                )
        };
        done == 1 && written as usize == text.len()
    }

    fn mac(&mut self, data: &[u8]) -> Option<[u8; 64]> {
        let (mut icv, hmac) = ([0; 64], self.hmac.as_ptr());
        // SAFETY: the context has its key; no digest is longer than 64 bytes.
        let done = unsafe {
            (self.library.mac_init)(hmac, null(), 0, null(), null_mut())
                & (self.library.mac_update)(hmac, data.as_ptr(), data.len())
                & (self.library.mac_final)(hmac, icv.as_mut_ptr(), null_mut())
        };
        (done == 1).then_some(icv)
    }

    /// Encrypts an ESP packet, or verifies and decrypts it.
    fn run(&mut self, way: Way, esp: &mut [u8]) -> bool {
        let end = esp.len() - self.icv_len;
        if way == Way::Encrypt && !self.cipher(way, esp, end) {
            return false;
        }
        let Some(icv) = self.mac(&esp[..end]) else {
            return false;
        };
        let icv = &icv[..self.icv_len];
        match way {
            Way::Encrypt => {
                esp[end..].copy_from_slice(icv);
                true
            }
            Way::Decrypt => esp[end..] == *icv && self.cipher(way, esp, end),
        }
    }
}

/// A batch of packets that are laid out like those of the engine.
pub fn batch(keys: &mut Keys<'_>, kind: Kind, way: Way, len: usize) -> Duration {
    let mut batch: Vec<_> = (0..BATCH)
        .map(|n| packets::frame(kind, 0, n as u32, len).1)
        .collect();
    if way == Way::Decrypt {
        for frame in &mut batch {
            assert!(
                keys.run(Way::Encrypt, &mut frame[ESP..]),
                "OpenSSL has failed"
            );
        }
    }
    let start = Instant::now();
    for frame in &mut batch {
        assert!(keys.run(way, &mut frame[ESP..]), "OpenSSL has failed");
    }
    start.elapsed()
}
