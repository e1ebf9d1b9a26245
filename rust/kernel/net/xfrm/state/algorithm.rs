// SPDX-License-Identifier: GPL-2.0

//! The algorithms of a state, with their keys.

use super::{
    fixed,
    State, //
};
use kernel::prelude::*;

/// The encryption algorithm of a state. Has no `Debug`: it leads to the key.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::State;
///
/// fn is_aes_cbc(x: &State) -> bool {
///     x.cipher().is_some_and(|cipher| cipher.name == b"cbc(aes)")
/// }
/// ```
pub struct Cipher<'a> {
    /// The name in the kernel's crypto API, such as `cbc(aes)`.
    pub name: &'a [u8],
    /// The key.
    pub key: &'a [u8],
}

/// The authentication algorithm of a state. Has no `Debug`: it leads to the key.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::State;
///
/// fn icv_bytes(x: &State) -> Option<u32> {
///     Some(x.auth()?.icv_bits / 8)
/// }
/// ```
pub struct Auth<'a> {
    /// The name in the kernel's crypto API, such as `hmac(sha256)`.
    pub name: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// ICV length in bits.
    pub icv_bits: u32,
}

/// The AEAD of a state. Has no `Debug`: it leads to the key.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::State;
///
/// /// Key and salt.
/// fn key(x: &State) -> Option<&[u8]> {
///     Some(x.aead()?.key)
/// }
/// ```
pub struct Aead<'a> {
    /// The name in the kernel's crypto API, such as `rfc4106(gcm(aes))`.
    pub name: &'a [u8],
    /// Key and salt.
    pub key: &'a [u8],
    /// ICV length in bits.
    pub icv_bits: u32,
}

impl State {
    /// The separate authentication algorithm, if the state has one.
    pub fn auth(&self) -> Option<Auth<'_>> {
        let auth = fixed!(self, aalg);
        if auth.is_null() {
            return None;
        }
        // SAFETY: Not null, so by the type invariants it lives as long as the state, nobody writes to
        // it, and behind it are as many bits of key as it says.
        unsafe {
            Some(Auth {
                name: name(&raw const (*auth).alg_name),
                key: key((&raw const (*auth).alg_key).cast(), (*auth).alg_key_len),
                icv_bits: (*auth).alg_trunc_len,
            })
        }
    }

    /// The separate encryption algorithm, if the state has one.
    pub fn cipher(&self) -> Option<Cipher<'_>> {
        let cipher = fixed!(self, ealg);
        if cipher.is_null() {
            return None;
        }
        // SAFETY: Not null, so by the type invariants it lives as long as the state, nobody writes to
        // it, and behind it are as many bits of key as it says.
        unsafe {
            Some(Cipher {
                name: name(&raw const (*cipher).alg_name),
                key: key((&raw const (*cipher).alg_key).cast(), (*cipher).alg_key_len),
            })
        }
    }

    /// The name of the IV generator, such as `seqiv`; empty if there is none.
    pub fn iv_generator(&self) -> &[u8] {
        let geniv = fixed!(self, geniv);
        if geniv.is_null() {
            return &[];
        }
        // SAFETY: Not null, so it is a C string, to which by the type invariants nobody writes and
        // which lives as long as the state.
        unsafe { CStr::from_char_ptr(geniv.cast()) }.to_bytes()
    }

    /// ICV length in bits; `None` without authentication.
    pub fn icv_bits(&self) -> Option<u32> {
        let (aead, auth) = (fixed!(self, aead), fixed!(self, aalg));
        if !aead.is_null() {
            // SAFETY: Not null, so by the type invariants it lives, and nobody writes to it.
            return Some(unsafe { (*aead).alg_icv_len });
        }
        // SAFETY: As for the AEAD; evaluated only if it is not null.
        (!auth.is_null()).then(|| unsafe { (*auth).alg_trunc_len })
    }

    /// The AEAD, if the state has one.
    pub fn aead(&self) -> Option<Aead<'_>> {
        let aead = fixed!(self, aead);
        if aead.is_null() {
            return None;
        }
        // SAFETY: Not null, so by the type invariants it lives as long as the state, nobody writes to
        // it, and behind it are as many bits of key as it says.
        unsafe {
            Some(Aead {
                name: name(&raw const (*aead).alg_name),
                key: key((&raw const (*aead).alg_key).cast(), (*aead).alg_key_len),
                icv_bits: (*aead).alg_icv_len,
            })
        }
    }
}

/// An algorithm's name without the zeros behind it.
///
/// # Safety
///
/// `field` points to a name that does not change during `'a`.
unsafe fn name<'a>(field: *const [c_char; 64]) -> &'a [u8] {
    // SAFETY: By the contract valid and unchanged during `'a`. CAST: `c_char` is `u8` in the kernel.
    let field: &[u8; 64] = unsafe { &*field.cast() };
    let end = field.iter().position(|&c| c == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or_default()
}

/// # Safety
///
/// `ptr` points to `bits` valid bits that do not change during `'a`.
unsafe fn key<'a>(ptr: *const u8, bits: u32) -> &'a [u8] {
    // SAFETY: By the contract the bytes are valid and unchanged; `ptr` is not null, and an allocation
    // is no longer than `isize::MAX`.
    unsafe { core::slice::from_raw_parts(ptr, (bits / 8) as usize) }
}
