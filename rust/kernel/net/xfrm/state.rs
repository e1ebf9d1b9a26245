// SPDX-License-Identifier: GPL-2.0

//! `struct xfrm_state`: one SA.

use super::Direction;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

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

    /// Whether the state is the one behind `other`.
    pub fn is(&self, other: &Self) -> bool {
        self.as_raw() == other.as_raw()
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

    /// The family of the packets inside; for transport mode that of the packet itself. `None` in
    /// states whose selector leaves it open (`XFRM_STATE_AF_UNSPEC`).
    pub fn inner_family(&self) -> Option<Family> {
        match u32::from(self.raw().sel.family) {
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

    /// Whether ESP is inside UDP or TCP.
    pub fn is_encapsulated(&self) -> bool {
        !self.raw().encap.is_null()
    }

    /// Whether there is a separate authentication algorithm.
    pub fn has_auth(&self) -> bool {
        !self.raw().aalg.is_null()
    }

    /// Whether there is a separate encryption algorithm.
    pub fn has_cipher(&self) -> bool {
        !self.raw().ealg.is_null()
    }

    /// Whether there is a compression algorithm.
    pub fn has_compression(&self) -> bool {
        !self.raw().calg.is_null()
    }

    /// Whether traffic flow confidentiality padding is on.
    pub fn has_tfc_padding(&self) -> bool {
        self.raw().tfcpad != 0
    }

    /// Whether the IV generator is `seqiv`, that is, an IV that need not be unpredictable.
    pub fn is_seqiv(&self) -> bool {
        let geniv = self.raw().geniv;
        if geniv.is_null() {
            return false;
        }
        // SAFETY: Not null, so it is a static C string.
        unsafe { CStr::from_char_ptr(geniv.cast()) }.to_bytes() == b"seqiv"
    }

    /// The AEAD, if the state has one.
    pub fn aead(&self) -> Option<Aead<'_>> {
        let aead = self.raw().aead;
        if aead.is_null() {
            return None;
        }
        // SAFETY: Not null, so it is valid as long as the state; `alg_key` has `alg_key_len` bits.
        unsafe {
            let name = &raw const (*aead).alg_name;
            let key = core::slice::from_raw_parts(
                (&raw const (*aead).alg_key).cast::<u8>(),
                ((*aead).alg_key_len / 8) as usize,
            );
            Some(Aead {
                name: CStr::from_char_ptr(name.cast()).to_bytes(),
                key,
                icv_bits: (*aead).alg_icv_len,
            })
        }
    }
}

/// `bytes` without the stale ones behind an IPv4 address.
fn address(mut bytes: Address, family: Option<Family>) -> Address {
    if family != Some(Family::V6) {
        bytes.iter_mut().skip(4).for_each(|b| *b = 0);
    }
    bytes
}
