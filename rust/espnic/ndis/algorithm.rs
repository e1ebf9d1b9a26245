// SPDX-License-Identifier: GPL-2.0

//! NDIS identifiers of the algorithms in the NIC's table.

use espnic_ndis::algorithm::{
    Authentication,
    Encryption, //
};
use espnic_wire::algorithm::{
    Cipher,
    Mac, //
};

/// What NDIS calls a cipher with a key of one length.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Name {
    Encryption(Encryption),
    /// Null encryption with this authentication.
    Authentication(Authentication),
}

/// The name of `cipher` with a key of `key_len` bytes, if NDIS has one.
pub(super) fn name(cipher: Cipher, key_len: usize) -> Option<Name> {
    match cipher {
        Cipher::AesGcm => match key_len {
            16 => Some(Name::Encryption(Encryption::AES_GCM_128)),
            24 => Some(Name::Encryption(Encryption::AES_GCM_192)),
            32 => Some(Name::Encryption(Encryption::AES_GCM_256)),
            _ => None,
        },
        Cipher::AesGmac => match key_len {
            16 => Some(Name::Authentication(Authentication::AES_GCM_128)),
            24 => Some(Name::Authentication(Authentication::AES_GCM_192)),
            32 => Some(Name::Authentication(Authentication::AES_GCM_256)),
            _ => None,
        },
        Cipher::AesCbc => match key_len {
            16 => Some(Name::Encryption(Encryption::AES_CBC_128)),
            24 => Some(Name::Encryption(Encryption::AES_CBC_192)),
            32 => Some(Name::Encryption(Encryption::AES_CBC_256)),
            _ => None,
        },
        Cipher::ChaCha20Poly1305 => None,
    }
}

/// The name of `mac`, if NDIS has one.
pub(super) fn mac_name(mac: Mac) -> Option<Authentication> {
    match mac {
        Mac::HmacSha1 => Some(Authentication::SHA_1),
        Mac::HmacSha256 => Some(Authentication::SHA_256),
        Mac::HmacSha384 | Mac::HmacSha512 => None,
    }
}

/// All ciphers that NDIS has, with each length of their keys.
pub(super) fn ciphers() -> impl Iterator<Item = (Cipher, usize, Name)> {
    Cipher::ALL.iter().flat_map(|&cipher| {
        let named = move |&len: &usize| Some((cipher, len, name(cipher, len)?));
        cipher.row().key_lens.iter().filter_map(named)
    })
}

/// The cipher that `wanted` names.
pub(super) fn cipher(wanted: Name) -> Option<Cipher> {
    ciphers()
        .find(|&(_, _, name)| name == wanted)
        .map(|(cipher, ..)| cipher)
}

/// All MACs that NDIS has.
pub(super) fn macs() -> impl Iterator<Item = (Mac, Authentication)> {
    let named = |&mac: &Mac| Some((mac, mac_name(mac)?));
    Mac::ALL.iter().filter_map(named)
}

/// The MAC that `wanted` names.
pub(super) fn mac(wanted: Authentication) -> Option<Mac> {
    macs().find(|&(_, name)| name == wanted).map(|(mac, _)| mac)
}
