// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The transform for the algorithms and keys of an SA object.

use crate::admin::Refused;
use crate::crypto::{Cipher, Hash, KeyError, Keys, Libraries, Suite};
use espnic_wire::cap::{self, XSaEntry};
use espnic_wire::sa::{SaObject, KEY_MAX};
use zeroize::Zeroizing;

/// The suite that `object` asks for, with its keys.
///
/// Refuses the object unless the driver has accepted an entry with its mode, algorithms, key and ICV
/// lengths, and options.
pub(super) fn choose(
    libraries: Libraries,
    object: &SaObject,
    entries: &[XSaEntry],
) -> Result<(Suite, Cipher), Refused> {
    let mut rooms = Zeroizing::new([[0; KEY_MAX]; 2]);
    let [cipher_room, auth_room] = &mut *rooms;
    let cipher_key = object.cipher_key(cipher_room).map_err(|_| Refused::FIELD)?;
    let auth_key = object.auth_key(auth_room).map_err(|_| Refused::FIELD)?;
    let (kind, suite) = suite(object).ok_or(Refused::FIELD)?;
    let (algo, key_len) = match kind {
        cap::KIND_AEAD => (object.tail.aead_algo.get().into(), cipher_key.len()),
        cap::KIND_MAC => (0, auth_key.len()),
        _ => (object.std.cipher_algo.get(), cipher_key.len()),
    };
    let taken = |entry: &XSaEntry| {
        entry.mode == object.std.mode
            && entry.kind == kind
            && u64::from(entry.algo.get()) == algo
            && u64::from(entry.mac.get()) == object.std.auth_algo.get()
            && object.std.options.get() & !u64::from(entry.flags.get()) == 0
            && entry.allows(key_len, object.tail.icv_len.into())
    };
    if !entries.iter().any(taken) {
        return Err(Refused::FIELD);
    }
    let keys = Keys {
        cipher: cipher_key,
        auth: auth_key,
        salt: object.std.salt,
    };
    let cipher = libraries
        .transform(suite, &keys)
        .map_err(|error| match error {
            KeyError::Length | KeyError::Icv => Refused::FIELD,
            KeyError::Unavailable => Refused::RESOURCE,
        })?;
    Ok((suite, cipher))
}

/// Kind and suite, by algorithm ids alone.
fn suite(object: &SaObject) -> Option<(u8, Suite)> {
    let icv_len = object.tail.icv_len;
    let algorithms = (
        object.tail.aead_algo.get(),
        object.std.cipher_algo.get(),
        object.std.auth_algo.get(),
    );
    let cbc = |hash: Hash| {
        (hash.icv_len() == usize::from(icv_len)).then_some((cap::KIND_CIPHER, Suite::AesCbc(hash)))
    };
    match algorithms {
        (cap::AEAD_GCM, 0, 0) => Some((cap::KIND_AEAD, Suite::AesGcm { icv_len })),
        (cap::AEAD_CHACHA20_POLY1305, 0, 0) => Some((cap::KIND_AEAD, Suite::ChaCha20Poly1305)),
        (0, 0, cap::MAC_GMAC_AES) => Some((cap::KIND_MAC, Suite::AesGmac)),
        (0, cap::CIPHER_AES_CBC, cap::MAC_HMAC_SHA1) => cbc(Hash::Sha1),
        (0, cap::CIPHER_AES_CBC, cap::MAC_HMAC_SHA256) => cbc(Hash::Sha256),
        (0, cap::CIPHER_AES_CBC, cap::MAC_HMAC_SHA384) => cbc(Hash::Sha384),
        (0, cap::CIPHER_AES_CBC, cap::MAC_HMAC_SHA512) => cbc(Hash::Sha512),
        _ => None,
    }
}
