// SPDX-License-Identifier: GPL-2.0

//! The algorithms that can be offloaded: XFRM's names, lengths and the NIC's ids.

#[cfg(espnic_kunit)]
mod tests;

use espnic_wire::{
    cap,
    sa::SaObject,
    U32,
    U64, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::state::State;

/// Bytes of the salt at the end of the key material of an AEAD.
const SALT_LEN: usize = 4;

/// An algorithm as an SA object describes it. The keys are the state's own memory.
pub(super) struct Algorithm<'a> {
    /// `cap::KIND_` constants.
    pub(super) kind: u8,
    /// Cipher or AEAD id.
    pub(super) cipher: u16,
    /// MAC id.
    pub(super) mac: u16,
    /// Bytes.
    pub(super) icv_len: u8,
    /// The key whose length the NIC's list names: cipher, AEAD or GMAC key.
    pub(super) key: &'a [u8],
    /// HMAC key.
    pub(super) auth_key: &'a [u8],
    salt: [u8; SALT_LEN],
}

/// One algorithm as XFRM names it.
struct Known {
    name: &'static [u8],
    kind: u8,
    id: u16,
    key_lens: &'static [usize],
    icv_bits: &'static [u32],
}

const AEADS: [Known; 3] = [
    Known {
        name: b"rfc4106(gcm(aes))",
        kind: cap::KIND_AEAD,
        id: cap::AEAD_GCM as u16,
        key_lens: &[16, 24, 32],
        icv_bits: &[64, 96, 128],
    },
    Known {
        name: b"rfc7539esp(chacha20,poly1305)",
        kind: cap::KIND_AEAD,
        id: cap::AEAD_CHACHA20_POLY1305 as u16,
        key_lens: &[32],
        icv_bits: &[128],
    },
    Known {
        name: b"rfc4543(gcm(aes))",
        kind: cap::KIND_MAC,
        id: cap::MAC_GMAC_AES as u16,
        key_lens: &[16, 24, 32],
        icv_bits: &[128],
    },
];

const CIPHERS: [Known; 1] = [Known {
    name: b"cbc(aes)",
    kind: cap::KIND_CIPHER,
    id: cap::CIPHER_AES_CBC as u16,
    key_lens: &[16, 24, 32],
    icv_bits: &[],
}];

const MACS: [Known; 4] = [
    Known {
        name: b"hmac(sha1)",
        kind: cap::KIND_MAC,
        id: cap::MAC_HMAC_SHA1 as u16,
        key_lens: &[20],
        icv_bits: &[96],
    },
    Known {
        name: b"hmac(sha256)",
        kind: cap::KIND_MAC,
        id: cap::MAC_HMAC_SHA256 as u16,
        key_lens: &[32],
        icv_bits: &[128],
    },
    Known {
        name: b"hmac(sha384)",
        kind: cap::KIND_MAC,
        id: cap::MAC_HMAC_SHA384 as u16,
        key_lens: &[48],
        icv_bits: &[192],
    },
    Known {
        name: b"hmac(sha512)",
        kind: cap::KIND_MAC,
        id: cap::MAC_HMAC_SHA512 as u16,
        key_lens: &[64],
        icv_bits: &[256],
    },
];

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
    let known = AEADS.iter().find(|known| known.name == aead.name);
    let known = known.ok_or(unknown)?;
    if x.iv_generator() != b"seqiv" {
        return Err(c"espnic: only the IV generator seqiv can be offloaded for an AEAD");
    }
    let key_error = c"espnic: this key length cannot be offloaded";
    let (key, salt) = aead.key.split_last_chunk().ok_or(key_error)?;
    if !known.key_lens.contains(&key.len()) {
        return Err(key_error);
    }
    let (cipher, mac) = match known.kind {
        cap::KIND_MAC => (0, known.id),
        _ => (known.id, 0),
    };
    Ok(Algorithm {
        kind: known.kind,
        cipher,
        mac,
        icv_len: icv_len(known, aead.icv_bits)?,
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
    let known_cipher = CIPHERS.iter().find(|known| known.name == cipher.name);
    let known_cipher = known_cipher.ok_or(no_cipher)?;
    let known_mac = MACS.iter().find(|known| known.name == auth.name);
    let known_mac = known_mac.ok_or(no_mac)?;
    if x.iv_generator() != b"echainiv" {
        return Err(c"espnic: only the IV generator echainiv can be offloaded for CBC");
    }
    if !known_cipher.key_lens.contains(&cipher.key.len())
        || !known_mac.key_lens.contains(&auth.key.len())
    {
        return Err(c"espnic: this key length cannot be offloaded");
    }
    Ok(Algorithm {
        kind: known_cipher.kind,
        cipher: known_cipher.id,
        mac: known_mac.id,
        icv_len: icv_len(known_mac, auth.icv_bits)?,
        key: cipher.key,
        auth_key: auth.key,
        salt: [0; SALT_LEN],
    })
}

fn icv_len(known: &Known, bits: u32) -> Result<u8, &'static CStr> {
    let error = c"espnic: this ICV length cannot be offloaded";
    if !known.icv_bits.contains(&bits) {
        return Err(error);
    }
    bits.checked_div(8)
        .and_then(|bytes| u8::try_from(bytes).ok())
        .ok_or(error)
}

impl Algorithm<'_> {
    /// Writes ids, lengths and keys to `object`.
    pub(super) fn write(&self, object: &mut SaObject) {
        object.std.salt = self.salt;
        object.tail.icv_len = self.icv_len;
        match self.kind {
            cap::KIND_AEAD => {
                object.tail.aead_algo = U32::new(u32::from(self.cipher));
                object.set_cipher_key(self.key);
            }
            cap::KIND_MAC => {
                object.std.auth_algo = U64::new(u64::from(self.mac));
                object.set_auth_key(self.key);
            }
            _ => {
                object.std.cipher_algo = U64::new(u64::from(self.cipher));
                object.std.auth_algo = U64::new(u64::from(self.mac));
                object.set_cipher_key(self.key);
                object.set_auth_key(self.auth_key);
            }
        }
    }
}
