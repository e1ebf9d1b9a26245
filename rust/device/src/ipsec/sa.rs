// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One SA: the object as the driver gave it, checked, and what the data path needs of it.

use super::admin::Refused;
use crate::crypto::{Backend, Cipher, KeyError};
use espnic_esp::engine::Params;
use espnic_esp::packet::Address;
use espnic_wire::cap::{self, XSaEntry};
use espnic_wire::sa::{self, SaObject};
use subtle::ConstantTimeEq;
use zerocopy::{FromBytes, IntoBytes};
use zeroize::{Zeroize, Zeroizing};

/// Flags that crypto-only SAs may have. The last two say something about sequence numbers, which in
/// this mode are the driver's, and change nothing here.
const FLAGS: u16 = sa::TAIL_CRYPTO_ONLY
    | sa::TAIL_MATCH_ADDR
    | sa::TAIL_DELIVER_ERR
    | sa::TAIL_SEQ_VALID
    | sa::TAIL_MAY_WRAP;

/// A crypto-only SA. Its keys are erased when it is dropped.
pub(super) struct Sa {
    /// Object id.
    pub(super) id: u32,
    /// SPI as a number.
    pub(super) spi: u32,
    /// What [`espnic_wire::hdr::SecExt::epoch`] has to be.
    pub(super) epoch: u16,
    /// Destination of inbound packets.
    pub(super) dst: Address,
    /// The expanded key.
    pub(super) cipher: Cipher,
    /// The rest of what the engine needs.
    pub(super) params: Params,
    /// The object as it was created.
    object: Box<Zeroizing<[u8; size_of::<SaObject>()]>>,
}

impl Drop for Sa {
    fn drop(&mut self) {
        self.params.salt.zeroize();
    }
}

impl Sa {
    /// Checks the `object` of a CREATE or MODIFY and expands its key.
    ///
    /// `entries` is what crypto-only SAs may be.
    pub(super) fn new(
        backend: Backend,
        entries: &[XSaEntry],
        obj_type: u16,
        id: u32,
        object: &[u8],
    ) -> Result<Self, Refused> {
        let mut stored = Box::new(Zeroizing::new([0; size_of::<SaObject>()]));
        for (to, from) in stored.iter_mut().zip(object) {
            *to = *from;
        }
        let view = view(&stored)?;
        check_crypto_only(view)?;
        check_direction(view, obj_type)?;
        let key = check_algorithm(view, entries)?;
        let cipher = backend.aes_gcm(key).map_err(|error| match error {
            KeyError::Length => Refused::FIELD,
            KeyError::Unavailable => Refused::RESOURCE,
        })?;
        let params = Params {
            salt: view.std.salt,
            icv_len: view.tail.icv_len,
            esn: false,
            iv_xor: iv_xor(view)?,
        };
        Ok(Self {
            id,
            spi: view.std.spi.get(),
            epoch: view.tail.epoch.get(),
            dst: destination(view),
            cipher,
            params,
            object: stored,
        })
    }

    /// The object as QUERY returns it: without keys and salt. The standard wants the keys too, but a
    /// NIC has no good reason to give them away.
    pub(super) fn query(&self) -> Result<Vec<u8>, Refused> {
        let mut object = Box::new(Zeroizing::new(**self.object));
        SaObject::mut_from_bytes(object.as_mut_slice())
            .map_err(|_| Refused::FIELD)?
            .clear_keys();
        Ok(object.to_vec())
    }

    /// Takes over from `old`, which a MODIFY replaces. Only the addresses may differ; mode, SPI,
    /// algorithms, keys, epoch and IVs may not.
    pub(super) fn replace(&mut self, old: &Self) -> Result<(), Refused> {
        let same = fixed(view(&self.object)?).ct_eq(&fixed(view(&old.object)?));
        if !bool::from(same) {
            return Err(Refused::FIELD);
        }
        // Also if the NIC drew it: one key, one sequence of IVs.
        self.params.iv_xor = old.params.iv_xor;
        Ok(())
    }
}

fn view(object: &[u8; size_of::<SaObject>()]) -> Result<&SaObject, Refused> {
    SaObject::ref_from_bytes(object).map_err(|_| Refused::FIELD)
}

/// The part of an object that MODIFY must leave as it is, without reserved fields, which are ignored.
fn fixed(object: &SaObject) -> Zeroizing<Vec<u8>> {
    let (std, tail) = (&object.std, &object.tail);
    let parts: [&[u8]; 16] = [
        &[std.mode, std.direction],
        std.spi.as_bytes(),
        &std.salt,
        std.options.as_bytes(),
        std.cipher_algo.as_bytes(),
        std.cipher_key.length.as_bytes(),
        &std.cipher_key.data,
        std.auth_algo.as_bytes(),
        std.auth_key.length.as_bytes(),
        tail.tail_flags.as_bytes(),
        tail.aead_algo.as_bytes(),
        &[tail.icv_len, tail.encap_mode, tail.iv_mode],
        tail.epoch.as_bytes(),
        tail.iv_xor.as_bytes(),
        &tail.auth_key_ext,
        &tail.cipher_key_ext,
    ];
    // The capacity is known, so no reallocation leaves key bytes behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Only crypto-only SAs exist, and in that mode the NIC checks no replay, counts no lifetime and has
/// no events: an SA that asks for them is refused rather than created without.
fn check_crypto_only(object: &SaObject) -> Result<(), Refused> {
    let (std, tail) = (&object.std, &object.tail);
    let flags = tail.tail_flags.get();
    let limits = [
        std.packets_soft_limit,
        std.bytes_soft_limit,
        std.packets_hard_limit,
        std.bytes_hard_limit,
        tail.event_mask,
    ];
    let refused = flags & sa::TAIL_CRYPTO_ONLY == 0
        || flags & !FLAGS != 0
        || tail.tail_len.get() < sa::SaTail::LEN
        || std.replay_win_sz.get() != 0
        || limits.iter().any(|limit| limit.get() != 0)
        || tail.encap_mode != sa::ENCAP_NONE
        || tail.keepalive_s.get() != 0
        // RFC 4303 section 2.1: never on the wire.
        || std.spi.get() == 0;
    if refused {
        Err(Refused::FIELD)
    } else {
        Ok(())
    }
}

/// Direction and object type agree; an inbound SA says how it is found and takes failed packets.
fn check_direction(object: &SaObject, obj_type: u16) -> Result<(), Refused> {
    let needed = sa::TAIL_MATCH_ADDR | sa::TAIL_DELIVER_ERR;
    let ok = match obj_type {
        sa::OBJ_OUTB_SA => object.std.direction == sa::DIR_OUT,
        sa::OBJ_INB_SA => {
            object.std.direction == sa::DIR_IN
                && object.tail.tail_flags.get() & needed == needed
                && matches!(object.tail.peer_family, 4 | 6)
        }
        _ => false,
    };
    if ok {
        Ok(())
    } else {
        Err(Refused::FIELD)
    }
}

/// The driver has taken an entry with this mode, algorithm, key and ICV length, and these options.
/// Returns the key.
fn check_algorithm<'a>(object: &'a SaObject, entries: &[XSaEntry]) -> Result<&'a [u8], Refused> {
    let (std, tail) = (&object.std, &object.tail);
    let plain = std.cipher_algo.get() == 0 && std.auth_algo.get() == 0;
    if !plain || std.auth_key.length.get() != 0 || tail.aead_algo.get() != cap::AEAD_GCM {
        return Err(Refused::FIELD);
    }
    let key = std
        .cipher_key
        .data
        .get(..usize::from(std.cipher_key.length.get()));
    let key = key.ok_or(Refused::FIELD)?;
    let fits = |entry: &XSaEntry| {
        entry.mode == std.mode
            && entry.kind == cap::KIND_AEAD
            && u32::from(entry.algo.get()) == tail.aead_algo.get()
            && std.options.get() & !u64::from(entry.flags.get()) == 0
            && entry.allows(key.len(), usize::from(tail.icv_len))
    };
    if entries.iter().any(fits) {
        Ok(key)
    } else {
        Err(Refused::FIELD)
    }
}

fn iv_xor(object: &SaObject) -> Result<u64, Refused> {
    match object.tail.iv_mode {
        sa::IV_SEQ_XOR => Ok(object.tail.iv_xor.get()),
        sa::IV_DEVICE => {
            let mut random = [0; 8];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| Refused::RESOURCE)?;
            Ok(u64::from_ne_bytes(random))
        }
        _ => Err(Refused::FIELD),
    }
}

fn destination(object: &SaObject) -> Address {
    let family = object.tail.peer_family;
    let mut bytes = object.tail.peer_dst;
    if family == 4 {
        // Only the first four bytes are an address.
        bytes.iter_mut().skip(4).for_each(|byte| *byte = 0);
    }
    Address { family, bytes }
}
