// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One SA: the checked object of the driver, and the parts that the data path needs.

use super::algorithm;
use super::last::Last;
use super::sparse::{Sparse, Whole};
use crate::admin::Refused;
use crate::crypto::{Cipher, Libraries, Suite};
use espnic_esp::engine::{Params, LONG_IV_LEN};
use espnic_esp::ip::{Address, Ports};
use espnic_esp::packet::Esp;
use espnic_esp::seq;
use espnic_wire::cap::{self, XSaEntry};
use espnic_wire::sa::{self, SaObject};
use std::sync::atomic::{AtomicU64, Ordering};
use subtle::ConstantTimeEq;
use zerocopy::{FromBytes, IntoBytes};
use zeroize::Zeroizing;

/// Largest replay window, in packets.
const MAX_WINDOW: u32 = 4096;

/// Flags that crypto-only SAs may have. The last one says something about sequence numbers, which in
/// this mode are the driver's, and changes nothing here.
const FLAGS: u16 = sa::TAIL_CRYPTO_ONLY
    | sa::TAIL_MATCH_ADDR
    | sa::TAIL_DELIVER_ERR
    | sa::TAIL_NO_UDP_PORT_CHECK
    | sa::TAIL_SEQ_VALID
    | sa::TAIL_MAY_WRAP;

/// A crypto-only SA. Its keys are erased when it is dropped.
pub(super) struct Sa {
    /// Object id.
    pub(super) id: u32,
    /// SPI as a number.
    pub(super) spi: u32,
    /// The value that [`espnic_wire::hdr::SecExt::epoch`] must have.
    pub(super) epoch: u16,
    /// Tunnel mode, else transport mode.
    pub(super) tunnel: bool,
    /// Destination of inbound packets.
    dst: Address,
    udp: Option<Udp>,
    /// The expanded keys.
    pub(super) cipher: Cipher,
    /// The other parameters of the engine.
    pub(super) params: Params,
    /// Inbound with ESN: replay window in packets, else 0.
    window: u32,
    /// Inbound with ESN: highest sequence number that was verified.
    top: AtomicU64,
    /// Its last use.
    pub(super) last: Last,
    /// The object as it was created.
    object: Sparse,
}

/// UDP encapsulation.
struct Udp {
    ports: Ports,
    /// Ports are compared.
    check: bool,
}

impl Sa {
    /// Checks the `object` of a CREATE or MODIFY and expands its key.
    ///
    /// `entries` are the kinds of crypto-only SAs that the driver has accepted.
    pub(super) fn new(
        libraries: Libraries,
        entries: &[XSaEntry],
        obj_type: u16,
        id: u32,
        object: &[u8],
    ) -> Result<Self, Refused> {
        let stored = whole(object);
        let view = view(&stored)?;
        check_crypto_only(view)?;
        check_direction(view, obj_type)?;
        let (suite, cipher) = algorithm::choose(libraries, view, entries)?;
        let params = Params {
            shape: suite.shape(),
            esn: has_option(view, cap::OPT_ESN),
            iv_xor: iv_xor(view, suite)?,
        };
        Ok(Self {
            id,
            spi: view.std.spi.get(),
            epoch: view.tail.epoch.get(),
            tunnel: view.std.mode == cap::MODE_ESP_TUNNEL,
            dst: destination(view),
            udp: udp(view),
            cipher,
            params,
            window: view.std.replay_win_sz.get(),
            top: AtomicU64::new(given_seq(view).unwrap_or(0)),
            last: Last::new(0),
            object: Sparse::new(&stored),
        })
    }

    /// Whether an inbound packet with the SPI of this SA, found in `frame`, belongs to it.
    #[inline]
    pub(super) fn takes(&self, esp: &Esp, frame: &[u8]) -> bool {
        let encapsulated = match (&self.udp, esp.udp) {
            (None, None) => true,
            (Some(udp), Some(ports)) => !udp.check || udp.ports.dst == ports.dst,
            _ => false,
        };
        encapsulated && esp.is_to(frame, &self.dst)
    }

    /// Whether an outbound packet may have this encapsulation.
    pub(super) fn sends_from(&self, ports: Option<Ports>) -> bool {
        match (&self.udp, ports) {
            (None, None) => true,
            (Some(udp), Some(ports)) => !udp.check || udp.ports == ports,
            _ => false,
        }
    }

    /// High half of the sequence number of an inbound packet. Without ESN it is not authenticated and
    /// counts as zero.
    pub(super) fn infer_esn_hi(&self, lo: u32) -> u32 {
        if self.window == 0 {
            return 0;
        }
        seq::infer_hi(self.top.load(Ordering::Relaxed), self.window, lo)
    }

    /// Notes that an inbound packet with this sequence number has a right ICV.
    pub(super) fn verified(&self, esn_hi: u32, lo: u32) {
        if self.window == 0 {
            return;
        }
        let seq = seq::join(esn_hi, lo);
        // Nothing else is published with the number, so no order is needed.
        let ahead = |top| seq::is_ahead(seq, top).then_some(seq);
        let _ = self
            .top
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, ahead);
    }

    /// The object as QUERY returns it: without keys and salt. The standard includes the keys, but no driver
    /// needs them back, and a NIC should not reveal them.
    pub(super) fn query(&self) -> Result<Vec<u8>, Refused> {
        let mut object = self.object.whole();
        SaObject::mut_from_bytes(object.as_mut_slice())
            .map_err(|_| Refused::FIELD)?
            .clear_keys();
        Ok(object.to_vec())
    }

    /// The object as it was created, keys included.
    pub(super) fn object(&self) -> Whole {
        self.object.whole()
    }

    /// Takes over from `old`, which a MODIFY replaces. Only addresses, UDP ports and the highest
    /// sequence number may differ; mode, SPI, algorithms, keys, window, epoch and IVs may not.
    pub(super) fn replace(&mut self, old: &Self) -> Result<(), Refused> {
        let (new, kept) = (self.object.whole(), old.object.whole());
        let same = fixed(view(&new)?).ct_eq(&fixed(view(&kept)?));
        if !bool::from(same) {
            return Err(Refused::FIELD);
        }
        // Even if the NIC drew it: one key has one sequence of IVs.
        self.params.iv_xor = old.params.iv_xor;
        if given_seq(view(&new)?).is_none() {
            self.top = old.top.load(Ordering::Relaxed).into();
        }
        Ok(())
    }
}

/// The object at full length: missing bytes are zero, surplus ones, such as a replay bitmap, are not used.
fn whole(object: &[u8]) -> Whole {
    let mut whole = Box::new(Zeroizing::new([0; size_of::<SaObject>()]));
    for (to, from) in whole.iter_mut().zip(object) {
        *to = *from;
    }
    whole
}

pub(super) fn view(object: &[u8; size_of::<SaObject>()]) -> Result<&SaObject, Refused> {
    SaObject::ref_from_bytes(object).map_err(|_| Refused::FIELD)
}

/// The part of an object that MODIFY must leave as it is, without reserved fields, which are ignored.
fn fixed(object: &SaObject) -> Zeroizing<Vec<u8>> {
    let (std, tail) = (&object.std, &object.tail);
    // Whether `seq` counts is not fixed.
    let tail_flags = tail.tail_flags.get() & !sa::TAIL_SEQ_VALID;
    let parts: [&[u8]; 17] = [
        &[std.mode, std.direction],
        std.spi.as_bytes(),
        &std.salt,
        std.options.as_bytes(),
        std.cipher_algo.as_bytes(),
        std.cipher_key.length.as_bytes(),
        &std.cipher_key.data,
        std.auth_algo.as_bytes(),
        std.auth_key.length.as_bytes(),
        std.replay_win_sz.as_bytes(),
        &tail_flags.to_le_bytes(),
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

/// Only crypto-only SAs exist, and in that mode the NIC checks no replay, counts no lifetime, sends no
/// keepalive and has no events: an SA that asks for them is refused rather than created without.
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
        || limits.iter().any(|limit| limit.get() != 0)
        || !window_fits(object)
        || !encapsulation_fits(object)
        || tail.keepalive_s.get() != 0
        // RFC 4303 section 2.1: never on the wire.
        || std.spi.get() == 0;
    if refused {
        Err(Refused::FIELD)
    } else {
        Ok(())
    }
}

/// A replay window is given exactly where it is needed, inbound with ESN.
fn window_fits(object: &SaObject) -> bool {
    let window = object.std.replay_win_sz.get();
    if object.std.direction == sa::DIR_IN && has_option(object, cap::OPT_ESN) {
        (1..=MAX_WINDOW).contains(&window)
    } else {
        window == 0
    }
}

/// Whether the two fields for UDP encapsulation agree, and it is over IPv4.
fn encapsulation_fits(object: &SaObject) -> bool {
    match object.tail.encap_mode {
        sa::ENCAP_NONE => !has_option(object, cap::OPT_UDP_ENCAP),
        sa::ENCAP_UDP => {
            has_option(object, cap::OPT_UDP_ENCAP) && matches!(object.tail.peer_family, 0 | 4)
        }
        _ => false,
    }
}

fn has_option(object: &SaObject, option: u32) -> bool {
    object.std.options.get() & u64::from(option) != 0
}

fn udp(object: &SaObject) -> Option<Udp> {
    has_option(object, cap::OPT_UDP_ENCAP).then(|| Udp {
        ports: Ports {
            src: object.std.udp_sport.get(),
            dst: object.std.udp_dport.get(),
        },
        check: object.tail.tail_flags.get() & sa::TAIL_NO_UDP_PORT_CHECK == 0,
    })
}

/// The sequence number, if the driver gives one.
fn given_seq(object: &SaObject) -> Option<u64> {
    let valid = object.tail.tail_flags.get() & sa::TAIL_SEQ_VALID != 0;
    valid.then(|| object.tail.seq.get())
}

/// Checks that direction and object type agree, and that an inbound SA is found by its address and
/// delivers failed packets.
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

/// See [`sa::SaTail::iv_mode`]; zero for IVs that are not made of the sequence number.
fn iv_xor(object: &SaObject, suite: Suite) -> Result<u64, Refused> {
    let long = usize::from(suite.shape().iv_len) == LONG_IV_LEN;
    match (object.tail.iv_mode, long) {
        (sa::IV_DEVICE, true) => Ok(0),
        (sa::IV_SEQ_XOR, false) => Ok(object.tail.iv_xor.get()),
        (sa::IV_DEVICE, false) => {
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
