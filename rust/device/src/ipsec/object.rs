// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Readers of an SA object, for both modes.

use super::sparse::Whole;
use crate::admin::Refused;
use crate::crypto::{random, Suite};
use espnic_esp::engine::LONG_IV_LEN;
use espnic_esp::ip::{Address, Ports};
use espnic_wire::cap;
use espnic_wire::sa::{self, SaObject};
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};
use zeroize::Zeroizing;

/// The object at full length: missing bytes are zero, and surplus ones, such as a replay bitmap, not in it.
/// Without the extension there is no tail.
pub(super) fn whole(object: &[u8], x_ipsec: bool) -> Whole {
    let mut whole = Box::new(Zeroizing::new([0; size_of::<SaObject>()]));
    let len = match x_ipsec {
        true => size_of::<SaObject>(),
        false => offset_of!(SaObject, tail),
    };
    for (to, from) in whole.iter_mut().zip(object).take(len) {
        *to = *from;
    }
    whole
}

pub(super) fn view(object: &[u8; size_of::<SaObject>()]) -> Result<&SaObject, Refused> {
    SaObject::ref_from_bytes(object).map_err(|_| Refused::FIELD)
}

pub(super) fn is_crypto_only(object: &SaObject) -> bool {
    has_flag(object, sa::TAIL_CRYPTO_ONLY)
}

pub(super) fn has_option(object: &SaObject, option: u32) -> bool {
    object.base.options.get() & u64::from(option) != 0
}

pub(super) fn has_flag(object: &SaObject, flag: u16) -> bool {
    object.tail.tail_flags.get() & flag != 0
}

/// What is refused in both modes: a direction that is not that of the object type, an SPI that is never on
/// the wire (RFC 4303 section 2.1), keepalives, which the NIC does not send.
pub(super) fn check(object: &SaObject, obj_type: u16) -> Result<(), Refused> {
    let direction = match obj_type {
        sa::OBJ_OUTB_SA => sa::DIR_OUT,
        sa::OBJ_INB_SA => sa::DIR_IN,
        _ => return Err(Refused::FIELD),
    };
    let fine = object.base.direction == direction
        && object.base.spi.get() != 0
        && object.tail.keepalive_s.get() == 0;
    fine.then_some(()).ok_or(Refused::FIELD)
}

/// Whether the two fields for UDP encapsulation agree.
pub(super) fn encapsulation_agrees(object: &SaObject) -> bool {
    match object.tail.encap_mode {
        sa::ENCAP_NONE => !has_option(object, cap::OPT_UDP_ENCAP),
        sa::ENCAP_UDP => has_option(object, cap::OPT_UDP_ENCAP),
        _ => false,
    }
}

/// The ports of UDP encapsulation.
pub(super) fn ports(object: &SaObject) -> Option<Ports> {
    has_option(object, cap::OPT_UDP_ENCAP).then(|| Ports {
        src: object.base.udp_sport.get(),
        dst: object.base.udp_dport.get(),
    })
}

/// The sequence number, if the driver gives one.
pub(super) fn given_seq(object: &SaObject) -> Option<u64> {
    has_flag(object, sa::TAIL_SEQ_VALID).then(|| object.tail.seq.get())
}

/// The destination of the packets; of no family if the driver gives none.
pub(super) fn destination(object: &SaObject) -> Address {
    if !has_flag(object, sa::TAIL_MATCH_ADDR) {
        return Address {
            family: 0,
            bytes: [0; 16],
        };
    }
    let family = object.tail.family;
    let mut bytes = object.tail.dst;
    if family == 4 {
        // Only the first four bytes are an address.
        bytes.iter_mut().skip(4).for_each(|byte| *byte = 0);
    }
    Address { family, bytes }
}

/// See [`sa::SaTail::iv_mode`]; zero for IVs that are not made of the sequence number.
pub(super) fn iv_xor(object: &SaObject, suite: Suite) -> Result<u64, Refused> {
    let long = usize::from(suite.layout().iv_len) == LONG_IV_LEN;
    match (object.tail.iv_mode, long) {
        (sa::IV_DEVICE, true) => Ok(0),
        (sa::IV_SEQ_XOR, false) => Ok(object.tail.iv_xor.get()),
        (sa::IV_DEVICE, false) => {
            let mut bytes = [0; 8];
            random::fill(&mut bytes).map_err(|_| Refused::RESOURCE)?;
            Ok(u64::from_ne_bytes(bytes))
        }
        _ => Err(Refused::FIELD),
    }
}

/// The part of an object that MODIFY must leave as it is, without reserved fields, which are ignored.
pub(super) fn fixed(object: &SaObject) -> Zeroizing<Vec<u8>> {
    let (base, tail) = (&object.base, &object.tail);
    // Whether `seq`, the bitmap or limits count is not fixed.
    let tail_flags = tail.tail_flags.get() & !(sa::TAIL_SEQ_VALID | sa::TAIL_BITMAP_VALID);
    let options = base.options.get() & !u64::from(cap::OPT_SA_LIFETIME);
    let parts: [&[u8]; 18] = [
        &[base.mode, base.direction],
        base.spi.as_bytes(),
        &base.salt,
        &options.to_le_bytes(),
        base.cipher_algo.as_bytes(),
        base.cipher_key.length.as_bytes(),
        &base.cipher_key.data,
        base.auth_algo.as_bytes(),
        base.auth_key.length.as_bytes(),
        &base.auth_key.data,
        base.replay_win_sz.as_bytes(),
        &tail_flags.to_le_bytes(),
        tail.aead_algo.as_bytes(),
        &[tail.icv_len, tail.encap_mode, tail.iv_mode],
        tail.generation.as_bytes(),
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
