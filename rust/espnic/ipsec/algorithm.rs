// SPDX-License-Identifier: GPL-2.0

//! The algorithm of a state, as the table of algorithms has it.

#[cfg(espnic_kunit)]
mod tests;

use espnic_esp::aead::SALT_LEN;
use espnic_wire::{
    algorithm::{
        Cipher,
        Mac,
        Suite, //
    },
    sa::SaObject, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::state::State;

/// An algorithm as an SA object describes it. The keys are the state's own memory.
pub(super) struct Algorithm<'a> {
    pub(super) suite: Suite,
    /// Bytes.
    pub(super) icv_len: u8,
    /// The key whose length the NIC's list names: cipher, AEAD or GMAC key.
    pub(super) key: &'a [u8],
    /// HMAC key.
    pub(super) auth_key: &'a [u8],
    salt: [u8; SALT_LEN],
}

/// The algorithm of `x`; the error is the extack message.
pub(super) fn of(x: &State) -> Result<Algorithm<'_>, &'static CStr> {
    match (x.aead(), x.cipher(), x.auth()) {
        (Some(_), None, None) => aead(x),
        (None, Some(_), Some(_)) => cipher_and_mac(x),
        _ => Err(c"espnic: encryption without authentication, or the reverse, is not supported"),
    }
}

fn aead(x: &State) -> Result<Algorithm<'_>, &'static CStr> {
    let unknown = c"espnic: this AEAD cannot be offloaded";
    let aead = x.aead().ok_or(unknown)?;
    let known = Cipher::in_linux(aead.name).ok_or(unknown)?;
    let suite = Suite::new(known, None).ok_or(unknown)?;
    if x.iv_generator() != b"seqiv" {
        return Err(c"espnic: only the IV generator seqiv can be offloaded for an AEAD");
    }
    let key_error = c"espnic: this key length cannot be offloaded";
    let (key, salt) = aead.key.split_last_chunk().ok_or(key_error)?;
    if !known.row().key_lens.contains(&key.len()) {
        return Err(key_error);
    }
    Ok(Algorithm {
        suite,
        icv_len: icv_len(known.row().icv_lens, aead.icv_bits)?,
        key,
        auth_key: &[],
        salt: *salt,
    })
}

fn cipher_and_mac(x: &State) -> Result<Algorithm<'_>, &'static CStr> {
    let (no_cipher, no_mac) = (
        c"espnic: this cipher cannot be offloaded",
        c"espnic: this authentication algorithm cannot be offloaded",
    );
    let (cipher, auth) = (x.cipher().ok_or(no_cipher)?, x.auth().ok_or(no_mac)?);
    let known = Cipher::in_linux(cipher.name).ok_or(no_cipher)?;
    let mac = Mac::in_linux(auth.name).ok_or(no_mac)?;
    let suite = Suite::new(known, Some(mac)).ok_or(no_cipher)?;
    if x.iv_generator() != b"echainiv" {
        return Err(c"espnic: only the IV generator echainiv can be offloaded for CBC");
    }
    if !known.row().key_lens.contains(&cipher.key.len()) || auth.key.len() != mac.row().key_len {
        return Err(c"espnic: this key length cannot be offloaded");
    }
    Ok(Algorithm {
        suite,
        icv_len: icv_len(&[mac.row().icv_len], auth.icv_bits)?,
        key: cipher.key,
        auth_key: auth.key,
        salt: [0; SALT_LEN],
    })
}

/// `bits` in bytes, if it is one of these lengths.
fn icv_len(lens: &[usize], bits: u32) -> Result<u8, &'static CStr> {
    u8::try_from(bits / 8)
        .ok()
        .filter(|&len| bits % 8 == 0 && lens.contains(&usize::from(len)))
        .ok_or(c"espnic: this ICV length cannot be offloaded")
}

impl Algorithm<'_> {
    /// Writes ids, lengths and keys to `object`.
    pub(super) fn write(&self, object: &mut SaObject) {
        object.base.salt = self.salt;
        object.tail.icv_len = self.icv_len;
        self.suite.write(object, self.key, self.auth_key);
    }
}
