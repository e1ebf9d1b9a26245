// SPDX-License-Identifier: GPL-2.0

//! The algorithms of states that the driver makes.

use super::{
    allocate,
    Draft, //
};
use crate::{
    bindings,
    net::operation_not_supported, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// The algorithms of an ESP state, by their names in the kernel's crypto API. Has no `Debug`: it
/// carries the key.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::create::Algorithm;
///
/// /// AES-128-GCM: a key of 16 bytes and a salt of 4.
/// fn gcm(key: &[u8; 20]) -> Algorithm<'_> {
///     Algorithm::Aead {
///         name: c"rfc4106(gcm(aes))",
///         key,
///         icv_bits: 128,
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub enum Algorithm<'a> {
    /// Encryption and authentication in one, such as `rfc4106(gcm(aes))`.
    Aead {
        /// The name.
        name: &'a CStr,
        /// Key and salt.
        key: &'a [u8],
        /// ICV length in bits.
        icv_bits: u32,
    },
    /// Encryption, such as `cbc(aes)`, and authentication, such as `hmac(sha256)`.
    CipherAndAuth {
        /// The cipher's name.
        cipher: &'a CStr,
        /// The cipher's key.
        cipher_key: &'a [u8],
        /// The authentication's name.
        auth: &'a CStr,
        /// The authentication's key.
        auth_key: &'a [u8],
        /// ICV length in bits.
        icv_bits: u32,
    },
}

impl Draft {
    pub(super) fn set_algorithm(&self, algorithm: &Algorithm<'_>) -> Result {
        match *algorithm {
            Algorithm::Aead {
                name,
                key,
                icv_bits,
            } => self.set_aead(name, key, icv_bits),
            Algorithm::CipherAndAuth {
                cipher,
                cipher_key,
                auth,
                auth_key,
                icv_bits,
            } => {
                self.set_auth(auth, auth_key, icv_bits)?;
                self.set_cipher(cipher, cipher_key)
            }
        }
    }

    fn set_aead(&self, name: &CStr, key: &[u8], icv_bits: u32) -> Result {
        let bits = i32::try_from(icv_bits).map_err(|_| EINVAL)?;
        // SAFETY: The name is a C string. The answer is null or an entry of a static table.
        let known = unsafe { bindings::xfrm_aead_get_byname(name.as_char_ptr(), bits, 1) };
        if known.is_null() {
            return Err(operation_not_supported());
        }
        let key_bits = bit_length(key)?;
        let aead: NonNull<bindings::xfrm_algo_aead> = allocate(key.len())?;
        let aead = aead.as_ptr();
        // SAFETY: The structure is zeroed, ours alone, and has room for the key behind it.
        unsafe {
            copy_name(&mut (*aead).alg_name, name);
            (*aead).alg_key_len = key_bits;
            (*aead).alg_icv_len = icv_bits;
            copy_key((&raw mut (*aead).alg_key).cast(), key);
        }
        let x = self.as_raw();
        // SAFETY: Nobody else knows the state, which owns the structure from here on. An AEAD's
        // description has that member of the union; these fields of the table never change.
        unsafe {
            (*x).aead = aead;
            (*x).props.ealgo = (*known).desc.sadb_alg_id;
            (*x).geniv = (*known).uinfo.aead.geniv;
        }
        Ok(())
    }

    fn set_auth(&self, name: &CStr, key: &[u8], icv_bits: u32) -> Result {
        // SAFETY: The name is a C string. The answer is null or an entry of a static table.
        let known = unsafe { bindings::xfrm_aalg_get_byname(name.as_char_ptr(), 1) };
        if known.is_null() {
            return Err(operation_not_supported());
        }
        // SAFETY: Not null. An authentication's description has that member of the union, which never
        // changes.
        if icv_bits > u32::from(unsafe { (*known).uinfo.auth.icv_fullbits }) {
            return Err(EINVAL);
        }
        let key_bits = bit_length(key)?;
        let auth: NonNull<bindings::xfrm_algo_auth> = allocate(key.len())?;
        let auth = auth.as_ptr();
        // SAFETY: The structure is zeroed, ours alone, and has room for the key behind it.
        unsafe {
            copy_name(&mut (*auth).alg_name, name);
            (*auth).alg_key_len = key_bits;
            (*auth).alg_trunc_len = icv_bits;
            copy_key((&raw mut (*auth).alg_key).cast(), key);
        }
        let x = self.as_raw();
        // SAFETY: Nobody else knows the state, which owns the structure from here on. This field of
        // the table never changes.
        unsafe {
            (*x).aalg = auth;
            (*x).props.aalgo = (*known).desc.sadb_alg_id;
        }
        Ok(())
    }

    fn set_cipher(&self, name: &CStr, key: &[u8]) -> Result {
        // SAFETY: The name is a C string. The answer is null or an entry of a static table.
        let known = unsafe { bindings::xfrm_ealg_get_byname(name.as_char_ptr(), 1) };
        if known.is_null() {
            return Err(operation_not_supported());
        }
        let key_bits = bit_length(key)?;
        let cipher: NonNull<bindings::xfrm_algo> = allocate(key.len())?;
        let cipher = cipher.as_ptr();
        // SAFETY: The structure is zeroed, ours alone, and has room for the key behind it.
        unsafe {
            copy_name(&mut (*cipher).alg_name, name);
            (*cipher).alg_key_len = key_bits;
            copy_key((&raw mut (*cipher).alg_key).cast(), key);
        }
        let x = self.as_raw();
        // SAFETY: Nobody else knows the state, which owns the structure from here on. A cipher's
        // description has that member of the union; these fields of the table never change.
        unsafe {
            (*x).ealg = cipher;
            (*x).props.ealgo = (*known).desc.sadb_alg_id;
            (*x).geniv = (*known).uinfo.encr.geniv;
        }
        Ok(())
    }
}

fn copy_name(field: &mut [c_char; 64], name: &CStr) {
    // The last byte stays zero.
    let room = field.iter_mut().take(63);
    room.zip(name.to_bytes())
        .for_each(|(to, &from)| *to = from as c_char);
}

fn bit_length(key: &[u8]) -> Result<u32> {
    let bits = key.len().checked_mul(8).ok_or(EINVAL)?;
    u32::try_from(bits).map_err(|_| EINVAL)
}

/// # Safety
///
/// `to` is valid for writes of the key's length.
unsafe fn copy_key(to: *mut u8, key: &[u8]) {
    // SAFETY: The key is valid for reads, and `to` by the contract for writes. It was allocated for
    // this copy, so the two do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(key.as_ptr(), to, key.len()) }
}
