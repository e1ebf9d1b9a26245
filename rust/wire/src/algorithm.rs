// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The algorithms that driver and NIC know.
//!
//! This is their only table. What the NIC offers, what the driver takes, the words of control requests
//! and the identifiers of NDIS are made of it; `Documentation/architecture.rst` says what else a new row
//! needs.

use crate::cap::{self, XSaEntry};
use crate::sa::SaObject;
use crate::{U16, U32, U64};
use core::ffi::CStr;

/// What is to be known of a [`Cipher`].
pub struct CipherRow {
    /// [`cap::KIND_AEAD`]; [`cap::KIND_CIPHER`], which needs a [`Mac`]; or [`cap::KIND_MAC`].
    pub kind: u8,
    /// AEAD id, cipher id or MAC id, by `kind`.
    pub id: u16,
    /// Lengths of its key in bytes, without the salt.
    pub key_lens: &'static [usize],
    /// Lengths of its ICV in bytes; empty if a [`Mac`] makes the ICV.
    pub icv_lens: &'static [usize],
    /// Name in Linux (XFRM).
    pub linux: &'static CStr,
    /// Name in control requests to the NIC.
    pub name: &'static str,
}

/// What is to be known of a [`Mac`].
pub struct MacRow {
    /// MAC id.
    pub id: u16,
    /// Length of its key in bytes.
    pub key_len: usize,
    /// Length of its ICV in bytes.
    pub icv_len: usize,
    /// Name in Linux (XFRM).
    pub linux: &'static CStr,
}

/// Makes the algorithms and their rows, so that there is none without the other.
macro_rules! table {
    ($(#[$attr:meta])* pub enum $name:ident: $row:ident {
        $($(#[$doc:meta])* $variant:ident { $($field:ident: $value:expr,)* })*
    }) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of the NIC's list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What is to be known of it.
            pub const fn row(self) -> &'static $row {
                match self {
                    $(Self::$variant => &$row { $($field: $value,)* },)*
                }
            }
        }
    };
}

/// Key lengths of AES in bytes.
const AES_KEYS: &[usize] = &[16, 24, 32];

table! {
    /// An AEAD, a cipher, or a MAC that has a nonce and takes the place of both.
    pub enum Cipher: CipherRow {
        /// AES-GCM (RFC 4106).
        AesGcm {
            kind: cap::KIND_AEAD,
            id: cap::AEAD_GCM as u16,
            key_lens: AES_KEYS,
            icv_lens: &[8, 12, 16],
            linux: c"rfc4106(gcm(aes))",
            name: "aes-gcm",
        }
        /// ChaCha20-Poly1305 (RFC 7634).
        ChaCha20Poly1305 {
            kind: cap::KIND_AEAD,
            id: cap::AEAD_CHACHA20_POLY1305 as u16,
            key_lens: &[32],
            icv_lens: &[16],
            linux: c"rfc7539esp(chacha20,poly1305)",
            name: "chacha20-poly1305",
        }
        /// AES-GMAC (RFC 4543): no encryption.
        AesGmac {
            kind: cap::KIND_MAC,
            id: cap::MAC_GMAC_AES as u16,
            key_lens: AES_KEYS,
            icv_lens: &[16],
            linux: c"rfc4543(gcm(aes))",
            name: "aes-gmac",
        }
        /// AES-CBC (RFC 3602), with a MAC.
        AesCbc {
            kind: cap::KIND_CIPHER,
            id: cap::CIPHER_AES_CBC as u16,
            key_lens: AES_KEYS,
            icv_lens: &[],
            linux: c"cbc(aes)",
            name: "aes-cbc",
        }
    }
}

table! {
    /// The MAC beside a cipher that has none of its own. The key is as long as the hash (RFC 2404 section
    /// 3, RFC 4868 section 2.1.1).
    pub enum Mac: MacRow {
        /// HMAC-SHA-1-96 (RFC 2404).
        HmacSha1 {
            id: cap::MAC_HMAC_SHA1 as u16,
            key_len: 20,
            icv_len: 12,
            linux: c"hmac(sha1)",
        }
        /// HMAC-SHA-256-128 (RFC 4868).
        HmacSha256 {
            id: cap::MAC_HMAC_SHA256 as u16,
            key_len: 32,
            icv_len: 16,
            linux: c"hmac(sha256)",
        }
        /// HMAC-SHA-384-192 (RFC 4868).
        HmacSha384 {
            id: cap::MAC_HMAC_SHA384 as u16,
            key_len: 48,
            icv_len: 24,
            linux: c"hmac(sha384)",
        }
        /// HMAC-SHA-512-256 (RFC 4868).
        HmacSha512 {
            id: cap::MAC_HMAC_SHA512 as u16,
            key_len: 64,
            icv_len: 32,
            linux: c"hmac(sha512)",
        }
    }
}

impl Cipher {
    /// Whether it needs a MAC beside it.
    pub const fn needs_mac(self) -> bool {
        self.row().kind == cap::KIND_CIPHER
    }

    /// The one that `word` of a control request names.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.row().name == word)
    }

    /// The one that Linux knows by `name`.
    pub fn in_linux(name: &[u8]) -> Option<Self> {
        let named = |one: &Self| one.row().linux.to_bytes() == name;
        Self::ALL.iter().copied().find(named)
    }
}

impl Mac {
    /// The one that Linux knows by `name`.
    pub fn in_linux(name: &[u8]) -> Option<Self> {
        let named = |one: &Self| one.row().linux.to_bytes() == name;
        Self::ALL.iter().copied().find(named)
    }
}

/// What protects the packets of an SA: a cipher, and the MAC if it needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    cipher: Cipher,
    mac: Option<Mac>,
}

impl Suite {
    /// This cipher and MAC; `None` unless the cipher needs a MAC and there is one, or neither.
    pub fn new(cipher: Cipher, mac: Option<Mac>) -> Option<Self> {
        (cipher.needs_mac() == mac.is_some()).then_some(Self { cipher, mac })
    }

    /// All of them, in the order of the NIC's list.
    pub fn all() -> impl Iterator<Item = Self> {
        let macs = || Mac::ALL.iter().copied().map(Some).chain([None]);
        Cipher::ALL
            .iter()
            .flat_map(move |&cipher| macs().filter_map(move |mac| Self::new(cipher, mac)))
    }

    /// The one that the algorithm ids of `object` name.
    pub fn of(object: &SaObject) -> Option<Self> {
        let ids = (
            object.tail.aead_algo.get(),
            object.base.cipher_algo.get(),
            object.base.auth_algo.get(),
        );
        Self::all().find(|suite| suite.ids() == ids)
    }

    /// The cipher, AEAD or GMAC.
    pub const fn cipher(self) -> Cipher {
        self.cipher
    }

    /// The MAC beside the cipher.
    pub const fn mac(self) -> Option<Mac> {
        self.mac
    }

    /// Ids of AEAD, cipher and MAC, as an SA object has them; 0 for none.
    fn ids(self) -> (u32, u64, u64) {
        let row = self.cipher.row();
        match row.kind {
            cap::KIND_AEAD => (row.id.into(), 0, 0),
            cap::KIND_MAC => (0, 0, row.id.into()),
            _ => (
                0,
                row.id.into(),
                self.mac.map_or(0, |mac| mac.row().id.into()),
            ),
        }
    }

    /// Writes the algorithm ids and the keys to `object`. `key` is that of [`Self::cipher`], `auth_key` that
    /// of [`Self::mac`].
    pub fn write(self, object: &mut SaObject, key: &[u8], auth_key: &[u8]) {
        let (aead, cipher, mac) = self.ids();
        object.tail.aead_algo = U32::new(aead);
        object.base.cipher_algo = U64::new(cipher);
        object.base.auth_algo = U64::new(mac);
        match self.cipher.row().kind {
            cap::KIND_MAC => object.set_auth_key(key),
            _ => {
                object.set_cipher_key(key);
                object.set_auth_key(auth_key);
            }
        }
    }

    /// The entry of a NIC that has all of it, in `mode` and with `options` (constants of [`cap`]).
    pub fn entry(self, mode: u8, options: u16) -> XSaEntry {
        let row = self.cipher.row();
        let mac = self.mac.map(Mac::row);
        let (algo, mac_id) = match row.kind {
            cap::KIND_MAC => (0, row.id),
            _ => (row.id, mac.map_or(0, |mac| mac.id)),
        };
        let mac_icv = mac.map_or(0, |mac| cap::length_bit(mac.icv_len));
        XSaEntry {
            mode,
            kind: row.kind,
            flags: U16::new(options),
            algo: U16::new(algo),
            mac: U16::new(mac_id),
            key_lens: U32::new(bits(row.key_lens.iter().map(|len| len / 4))),
            icv_lens: U32::new(bits(row.icv_lens.iter().copied()) | mac_icv),
        }
    }

    /// As [`Self::entry`], with this length of the cipher's key and this length of the ICV only; `None` if
    /// the suite does not have them.
    pub fn single(
        self,
        mode: u8,
        options: u16,
        key_len: usize,
        icv_len: usize,
    ) -> Option<XSaEntry> {
        let whole = self.entry(mode, options);
        whole.allows(key_len, icv_len).then_some(XSaEntry {
            key_lens: U32::new(cap::length_bit(key_len / 4)),
            icv_lens: U32::new(cap::length_bit(icv_len)),
            ..whole
        })
    }
}

fn bits(lens: impl Iterator<Item = usize>) -> u32 {
    lens.fold(0, |bits, len| bits | cap::length_bit(len))
}

#[cfg(test)]
#[path = "algorithm_tests.rs"]
mod tests;
