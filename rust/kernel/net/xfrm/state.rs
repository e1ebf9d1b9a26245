// SPDX-License-Identifier: GPL-2.0

//! `struct xfrm_state`: one SA.

use super::{
    Callbacks,
    Direction, //
};
use crate::{
    bindings,
    net::device::Operations as NetOperations, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

/// The protocol of ESP ([`State::protocol`]).
pub const IPPROTO_ESP: u8 = 50;

/// The largest replay window, in packets (`XFRMA_REPLAY_ESN_MAX`).
pub const REPLAY_WINDOW_MAX: u32 = 4096;

/// One SA, with read access to what an offloading driver needs.
///
/// # Invariants
///
/// The pointer to a `State` is the pointer to a live `struct xfrm_state` whose parameters do not
/// change as long as the reference lives.
#[repr(transparent)]
pub struct State(Opaque<bindings::xfrm_state>);

// SAFETY: The reference count is atomic; the fields that are read here do not change.
unsafe impl Send for State {}
// SAFETY: As above.
unsafe impl Sync for State {}

// SAFETY: The state is freed when the count reaches zero only.
unsafe impl AlwaysRefCounted for State {
    fn inc_ref(&self) {
        // SAFETY: The state is live, so the count is not zero.
        unsafe { bindings::xfrm_state_tryget(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up its reference.
        unsafe { bindings::xfrm_state_put(obj.as_ptr().cast()) }
    }
}

/// An IP address in network byte order; IPv4 in the first four bytes.
pub type Address = [u8; 16];

/// The address family of a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// How a state changes packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `XFRM_MODE_TRANSPORT`.
    Transport,
    /// `XFRM_MODE_TUNNEL`.
    Tunnel,
    /// BEET, route optimisation, IP-TFS.
    Other,
}

/// UDP (or TCP) around ESP; ports as in the packets of the state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encapsulation {
    /// RFC 3948; else something that the device does not know.
    pub is_udp: bool,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// The encryption algorithm of a state. Has no `Debug`: it leads to the key.
pub struct Cipher<'a> {
    /// The name in the kernel's crypto API, such as `cbc(aes)`.
    pub name: &'a [u8],
    /// The key.
    pub key: &'a [u8],
}

/// The authentication algorithm of a state. Has no `Debug`: it leads to the key.
pub struct Auth<'a> {
    /// The name in the kernel's crypto API, such as `hmac(sha256)`.
    pub name: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// ICV length in bits.
    pub icv_bits: u32,
}

/// The AEAD of a state. Has no `Debug`: it leads to the key.
pub struct Aead<'a> {
    /// The name in the kernel's crypto API, such as `rfc4106(gcm(aes))`.
    pub name: &'a [u8],
    /// Key and salt.
    pub key: &'a [u8],
    /// ICV length in bits.
    pub icv_bits: u32,
}

impl State {
    /// # Safety
    ///
    /// `ptr` is a live state whose parameters do not change during `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::xfrm_state) -> &'a Self {
        // SAFETY: By the contract. CAST: `State` is transparent over `xfrm_state`.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::xfrm_state {
        self.0.get()
    }

    fn raw(&self) -> &bindings::xfrm_state {
        // SAFETY: The state is live; the fields read through this do not change.
        unsafe { &*self.as_raw() }
    }

    /// Takes a reference unless the last one is gone already.
    ///
    /// # Safety
    ///
    /// The memory behind `ptr` is a state that is not freed during the call.
    pub(crate) unsafe fn try_get(ptr: NonNull<bindings::xfrm_state>) -> Option<ARef<Self>> {
        // SAFETY: By the contract.
        if !unsafe { bindings::xfrm_state_tryget(ptr.as_ptr()) } {
            return None;
        }
        // SAFETY: We have a reference. CAST: as in `from_raw`.
        Some(unsafe { ARef::from_raw(ptr.cast()) })
    }

    /// The direction in the device, `None` for anything but in and out.
    pub fn direction(&self) -> Option<Direction> {
        // SAFETY: The state is live.
        match u32::from(unsafe { bindings::xfrm_offload_dir(self.as_raw()) }) {
            bindings::XFRM_DEV_OFFLOAD_IN => Some(Direction::In),
            bindings::XFRM_DEV_OFFLOAD_OUT => Some(Direction::Out),
            _ => None,
        }
    }

    /// Whether packet offload is asked for instead of crypto offload.
    pub fn is_packet_offload(&self) -> bool {
        // SAFETY: The state is live.
        let kind = u32::from(unsafe { bindings::xfrm_offload_type(self.as_raw()) });
        kind == bindings::XFRM_DEV_OFFLOAD_PACKET
    }

    /// Whether the state is larval (`XFRM_DEV_OFFLOAD_FLAG_ACQ`): no keys, atomic context.
    pub fn is_acquire(&self) -> bool {
        // SAFETY: The state is live.
        let flags = u32::from(unsafe { bindings::xfrm_offload_flags(self.as_raw()) });
        flags & bindings::XFRM_DEV_OFFLOAD_FLAG_ACQ != 0
    }

    /// The offload handle; of another driver perhaps, so check it before use.
    pub fn handle(&self) -> super::Handle {
        super::Handle::from_raw(self.raw().xso.offload_handle)
    }

    /// Whether the device that the user named is one of `T`'s, not one above it such as a bond.
    ///
    /// Valid while the state is offloaded, or is being added.
    pub fn names_device_of<T: NetOperations>(&self) -> bool {
        // SAFETY: An offloaded state holds a reference to its device; else there is none.
        let dev = unsafe { self.raw().xso.dev.as_ref() };
        dev.is_some_and(|dev| core::ptr::eq(dev.xfrmdev_ops, Callbacks::<T>::ops()))
    }

    /// The protocol: 50 ESP, 51 AH, 108 IPComp.
    pub fn protocol(&self) -> u8 {
        self.raw().id.proto
    }

    /// The SPI as a number.
    pub fn spi(&self) -> u32 {
        u32::from_be(self.raw().id.spi)
    }

    /// The family of the (outer) addresses.
    pub fn family(&self) -> Option<Family> {
        match u32::from(self.raw().props.family) {
            bindings::AF_INET => Some(Family::V4),
            bindings::AF_INET6 => Some(Family::V6),
            _ => None,
        }
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        match u32::from(self.raw().props.mode) {
            bindings::XFRM_MODE_TRANSPORT => Mode::Transport,
            bindings::XFRM_MODE_TUNNEL => Mode::Tunnel,
            _ => Mode::Other,
        }
    }

    /// Whether the mode is tunnel.
    pub fn is_tunnel(&self) -> bool {
        self.mode() == Mode::Tunnel
    }

    /// The (outer) destination address.
    pub fn destination(&self) -> Address {
        // SAFETY: All members of the union are bytes.
        let bytes = unsafe { self.raw().id.daddr.in6.in6_u.u6_addr8 };
        address(bytes, self.family())
    }

    /// The (outer) source address.
    pub fn source(&self) -> Address {
        // SAFETY: All members of the union are bytes.
        let bytes = unsafe { self.raw().props.saddr.in6.in6_u.u6_addr8 };
        address(bytes, self.family())
    }

    /// Whether 64-bit sequence numbers are on.
    pub fn is_esn(&self) -> bool {
        u32::from(self.raw().props.flags) & bindings::XFRM_STATE_ESN != 0
    }

    /// Whether the outgoing sequence number may wrap (`XFRM_SA_XFLAG_OSEQ_MAY_WRAP`).
    pub fn may_wrap(&self) -> bool {
        self.raw().props.extra_flags & bindings::XFRM_SA_XFLAG_OSEQ_MAY_WRAP != 0
    }

    /// What ESP is inside of, if anything.
    pub fn encapsulation(&self) -> Option<Encapsulation> {
        // SAFETY: Null or valid as long as the state.
        let encap = unsafe { self.raw().encap.as_ref() }?;
        Some(Encapsulation {
            is_udp: u32::from(encap.encap_type) == bindings::UDP_ENCAP_ESPINUDP,
            source_port: u16::from_be(encap.encap_sport),
            destination_port: u16::from_be(encap.encap_dport),
        })
    }

    /// The replay window in packets; 0 for none.
    pub fn replay_window(&self) -> u32 {
        // SAFETY: Null or valid as long as the state.
        match unsafe { self.raw().replay_esn.as_ref() } {
            Some(esn) => esn.replay_window,
            None => u32::from(self.raw().props.replay_window),
        }
    }

    /// The highest 64-bit number that an inbound state has seen; 32 bits without ESN. Takes the state's
    /// lock: not for callbacks that hold it.
    pub fn highest_seen(&self) -> u64 {
        // SAFETY: The state is live, and the caller does not hold its lock.
        unsafe { bindings::xfrm_state_lock(self.as_raw()) };
        let number = self.highest_seen_locked();
        // SAFETY: Taken above.
        unsafe { bindings::xfrm_state_unlock(self.as_raw()) };
        number
    }

    /// As [`Self::highest_seen`], in a callback that holds the state's lock. Without the lock the
    /// halves may not belong together.
    pub fn highest_seen_locked(&self) -> u64 {
        // SAFETY: Null or valid as long as the state.
        match unsafe { self.raw().replay_esn.as_ref() } {
            Some(esn) => (u64::from(esn.seq_hi) << 32) | u64::from(esn.seq),
            None => u64::from(self.raw().replay.seq),
        }
    }

    /// The 64-bit number that an outbound state has used last; 32 bits without ESN. Takes the state's
    /// lock: not for callbacks that hold it.
    pub fn last_sent(&self) -> u64 {
        // SAFETY: The state is live, and the caller does not hold its lock.
        unsafe { bindings::xfrm_state_lock(self.as_raw()) };
        // SAFETY: Null or valid as long as the state.
        let number = match unsafe { self.raw().replay_esn.as_ref() } {
            Some(esn) => (u64::from(esn.oseq_hi) << 32) | u64::from(esn.oseq),
            None => u64::from(self.raw().replay.oseq),
        };
        // SAFETY: Taken above.
        unsafe { bindings::xfrm_state_unlock(self.as_raw()) };
        number
    }

    /// Whether the 64-bit number of an outbound ESN state is in or just before its last round of 2^32,
    /// where the stack gives numbers of offloaded packets out twice: where one would wrap, it takes one
    /// step back (`xfrm_replay_overflow_offload_esn()`). Takes no lock: in any context.
    pub fn in_last_round(&self) -> bool {
        // Those who have asked may still get their numbers.
        const START: u64 = ((u32::MAX as u64) << 32) - (1 << 16);
        // SAFETY: Null or valid as long as the state.
        let Some(esn) = (unsafe { self.raw().replay_esn.as_ref() }) else {
            return false;
        };
        // SAFETY: Valid, as parts of `esn`; the stack may write to them meanwhile.
        let (hi, lo) = unsafe {
            (
                (&raw const esn.oseq_hi).read_volatile(),
                (&raw const esn.oseq).read_volatile(),
            )
        };
        self.is_esn() && ((u64::from(hi) << 32) | u64::from(lo)) >= START
    }

    /// Packets and bytes that the stack has counted.
    pub fn usage(&self) -> (u64, u64) {
        let counters = &self.raw().curlft;
        (counters.packets, counters.bytes)
    }

    /// Ends the life of the state as its hard limit would: it is deleted, key managers are told that it
    /// expired, and the audit log has it. Nothing happens if it is dead already, or not yet one of the
    /// stack's states. Takes the state's lock, does not sleep.
    pub fn expire(&self) {
        // SAFETY: The state is live, and the caller does not hold its lock.
        unsafe { bindings::xfrm_state_expire(self.as_raw()) }
    }

    /// What policies name the state by.
    pub fn reqid(&self) -> u32 {
        self.raw().props.reqid
    }

    /// The separate authentication algorithm, if the state has one.
    pub fn auth(&self) -> Option<Auth<'_>> {
        // SAFETY: Null or valid as long as the state.
        let auth = unsafe { self.raw().aalg.as_ref() }?;
        Some(Auth {
            name: name(&auth.alg_name),
            // SAFETY: `alg_key` has `alg_key_len` bits.
            key: unsafe { key(auth.alg_key.as_ptr(), auth.alg_key_len) },
            icv_bits: auth.alg_trunc_len,
        })
    }

    /// The separate encryption algorithm, if the state has one.
    pub fn cipher(&self) -> Option<Cipher<'_>> {
        // SAFETY: Null or valid as long as the state.
        let cipher = unsafe { self.raw().ealg.as_ref() }?;
        Some(Cipher {
            name: name(&cipher.alg_name),
            // SAFETY: `alg_key` has `alg_key_len` bits.
            key: unsafe { key(cipher.alg_key.as_ptr(), cipher.alg_key_len) },
        })
    }

    /// Whether there is a compression algorithm.
    pub fn has_compression(&self) -> bool {
        !self.raw().calg.is_null()
    }

    /// Whether only packets with a mark belong to the state.
    pub fn has_mark(&self) -> bool {
        self.raw().mark.m != 0
    }

    /// Whether traffic flow confidentiality padding is on.
    pub fn has_tfc_padding(&self) -> bool {
        self.raw().tfcpad != 0
    }

    /// The name of the IV generator, such as `seqiv`; empty if there is none.
    pub fn iv_generator(&self) -> &[u8] {
        let geniv = self.raw().geniv;
        if geniv.is_null() {
            return &[];
        }
        // SAFETY: Not null, so it is a static C string.
        unsafe { CStr::from_char_ptr(geniv.cast()) }.to_bytes()
    }

    /// ICV length in bits; `None` without authentication.
    pub fn icv_bits(&self) -> Option<u32> {
        // SAFETY: Null or valid as long as the state.
        if let Some(aead) = unsafe { self.raw().aead.as_ref() } {
            return Some(aead.alg_icv_len);
        }
        // SAFETY: Null or valid as long as the state.
        unsafe { self.raw().aalg.as_ref() }.map(|auth| auth.alg_trunc_len)
    }

    /// The AEAD, if the state has one.
    pub fn aead(&self) -> Option<Aead<'_>> {
        // SAFETY: Null or valid as long as the state.
        let aead = unsafe { self.raw().aead.as_ref() }?;
        Some(Aead {
            name: name(&aead.alg_name),
            // SAFETY: `alg_key` has `alg_key_len` bits.
            key: unsafe { key(aead.alg_key.as_ptr(), aead.alg_key_len) },
            icv_bits: aead.alg_icv_len,
        })
    }
}

/// An algorithm's name without the zeros behind it.
fn name(field: &[c_char]) -> &[u8] {
    let end = field.iter().position(|&c| c == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or_default()
}

/// # Safety
///
/// `ptr` points to `bits` valid bits that do not change during `'a`.
unsafe fn key<'a>(ptr: *const c_char, bits: u32) -> &'a [u8] {
    // SAFETY: By the contract.
    unsafe { core::slice::from_raw_parts(ptr.cast(), (bits / 8) as usize) }
}

/// `bytes` without the stale ones behind an IPv4 address.
fn address(mut bytes: Address, family: Option<Family>) -> Address {
    if family != Some(Family::V6) {
        bytes.iter_mut().skip(4).for_each(|b| *b = 0);
    }
    bytes
}
