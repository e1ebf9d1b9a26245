// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The transform for the algorithms and keys of an SA object.

use super::capability::{Agreed, X_OPTIONS};
use crate::admin::Refused;
use crate::crypto::{Cipher, KeyError, Keys, Libraries, Suite};
use espnic_wire::algorithm;
use espnic_wire::cap;
use espnic_wire::sa::{SaObject, KEY_MAX};
use zeroize::Zeroizing;

/// The suite that `object` asks for, with its keys.
///
/// Refuses the object unless the driver has accepted an entry with its mode, algorithms, key and ICV
/// lengths, and options.
pub(super) fn choose(
    libraries: Libraries,
    object: &SaObject,
    agreed: &Agreed,
) -> Result<(Suite, Cipher), Refused> {
    let mut rooms = Zeroizing::new([[0; KEY_MAX]; 2]);
    let [cipher_room, auth_room] = &mut *rooms;
    let cipher_key = object.cipher_key(cipher_room).map_err(|_| Refused::FIELD)?;
    let auth_key = object.auth_key(auth_room).map_err(|_| Refused::FIELD)?;
    let known = algorithm::Suite::of(object).ok_or(Refused::FIELD)?;
    let key_len = match known.cipher().row().kind {
        cap::KIND_MAC => auth_key.len(),
        _ => cipher_key.len(),
    };
    let icv_len = match agreed.x_ipsec {
        true => object.tail.icv_len,
        false => usual_icv_len(known),
    };
    // Lossless: these options have two bits.
    let options = (object.base.options.get() & u64::from(X_OPTIONS)) as u16;
    let wanted = known.single(object.base.mode, options, key_len, icv_len.into());
    if !agreed.allows(object, &wanted.ok_or(Refused::FIELD)?) {
        return Err(Refused::FIELD);
    }
    let suite = suite(known, icv_len).ok_or(Refused::FIELD)?;
    let keys = Keys {
        cipher: cipher_key,
        auth: auth_key,
        salt: object.base.salt,
    };
    let cipher = libraries
        .transform(suite, &keys)
        .map_err(|error| match error {
            KeyError::Length | KeyError::Icv => Refused::FIELD,
            KeyError::Unavailable => Refused::RESOURCE,
        })?;
    Ok((suite, cipher))
}

/// Length of the ICV where an object cannot say it: that of the RFC, and of several the longest.
fn usual_icv_len(known: algorithm::Suite) -> u8 {
    let of_cipher = || known.cipher().row().icv_lens.iter().copied().max();
    let len = known.mac().map(|mac| mac.row().icv_len).or_else(of_cipher);
    // At most 32.
    len.unwrap_or(0) as u8
}

/// The suite of the crypto libraries.
fn suite(known: algorithm::Suite, icv_len: u8) -> Option<Suite> {
    Some(match known.cipher() {
        algorithm::Cipher::AesGcm => Suite::AesGcm { icv_len },
        algorithm::Cipher::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
        algorithm::Cipher::AesGmac => Suite::AesGmac,
        algorithm::Cipher::AesCbc => Suite::AesCbc(known.mac()?),
    })
}
