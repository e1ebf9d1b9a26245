// SPDX-License-Identifier: GPL-2.0

//! `struct xfrm_state`: one SA.

mod algorithm;
mod lookup;
mod numbers;
mod options;
mod replay;
#[cfg(espnic_kunit)]
mod tests;

use super::handle::{
    Direction,
    Handle, //
};
use crate::{
    bindings,
    net::{
        ip::{
            Address,
            Family, //
        },
        netdevice::{
            is_made_for,
            Operations, //
        }, //
    }, //
};
use core::{
    num::NonZero,
    ptr::NonNull, //
};
use kernel::{
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        rcu, //
    },
    types::Opaque, //
};

pub use algorithm::{
    Aead,
    Auth,
    Cipher, //
};
pub use options::Flags;
use replay::ReplayEsn;

/// The protocol of ESP ([`State::protocol`]).
pub const IPPROTO_ESP: u8 = 50;

/// The largest replay window, in packets (`XFRMA_REPLAY_ESN_MAX`).
pub const REPLAY_WINDOW_MAX: u32 = 4096;

/// One SA, with read access to what an offloading driver needs.
///
/// No Rust reference to the C structure or to what it points to is made, but to names and keys: the
/// stack writes to a live state, under its lock or without one. All else is copied out, in one of two
/// ways: `fixed!` and `changing!`.
///
/// # Invariants
///
/// - A pointer to a `State` points to an initialised `struct xfrm_state` whose reference count is not
///   zero as long as the Rust reference lives.
/// - From the call of `xdo_dev_state_add` until the count is zero nobody writes to `id`, `mark`,
///   `tfcpad`, to `props` apart from `props.smark`, and to the pointers `aead`, `aalg`, `ealg`, `calg`,
///   `encap`, `replay_esn` and `geniv`. What the last seven point to, if they are not null, lives as
///   long.
/// - Nobody writes to `*aead`, `*aalg`, `*ealg` and `*geniv` in that time. Their keys have as many bits
///   as their length says.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     state::IPPROTO_ESP,
///     State, //
/// };
///
/// fn check(x: &State) -> Result {
///     if x.protocol() != IPPROTO_ESP || x.is_packet_offload() {
///         return Err(EINVAL);
///     }
///     Ok(())
/// }
/// ```
#[repr(transparent)]
pub struct State(Opaque<bindings::xfrm_state>);

/// A copy of a field of a [`State`] that nobody writes to, by the second type invariant.
macro_rules! fixed {
    ($state:expr, $($field:ident).+) => {{
        let state: &State = $state;
        // SAFETY: By the type invariants the structure is there, and nobody writes to this field.
        unsafe { (*state.as_raw()).$($field).+ }
    }};
}
use fixed;

/// A copy, read once, of an integer or pointer field of a [`State`] that others may write to meanwhile.
macro_rules! changing {
    ($state:expr, $($field:ident).+) => {{
        let state: &State = $state;
        // SAFETY: By the type invariants the structure is there, so the field is valid for reads. It
        // is a machine word or less, aligned, and read with one volatile access, which may race.
        unsafe { (&raw const (*state.as_raw()).$($field).+).read_volatile() }
    }};
}
use changing;

// SAFETY: A state belongs to no thread. `xfrm_state_put()`, which frees it, runs in any context.
unsafe impl Send for State {}
// SAFETY: All methods either read what does not change, read what changes with one volatile access
// for each word, or call C functions that take the locks that they need.
unsafe impl Sync for State {}

// SAFETY: `refcnt` is changed by atomic operations, and the structure is freed after it has reached
// zero.
unsafe impl AlwaysRefCounted for State {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the structure is there and its count is not zero, as
        // `refcount_inc()` demands.
        unsafe { bindings::xfrm_state_hold(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so there is one to put. CAST: `State` is
        // transparent over `xfrm_state`.
        unsafe { bindings::xfrm_state_put(obj.as_ptr().cast()) }
    }
}

/// The mode of a state.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     state::Mode,
///     State, //
/// };
///
/// fn can_offload(x: &State) -> bool {
///     x.mode() != Mode::Other
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `XFRM_MODE_TRANSPORT`.
    Transport,
    /// `XFRM_MODE_TUNNEL`.
    Tunnel,
    /// BEET, route optimisation, IP-TFS.
    Other,
}

impl Mode {
    /// The mode of this number (`XFRM_MODE_`).
    pub(super) fn of(number: u8) -> Self {
        match number.into() {
            bindings::XFRM_MODE_TRANSPORT => Self::Transport,
            bindings::XFRM_MODE_TUNNEL => Self::Tunnel,
            _ => Self::Other,
        }
    }
}

/// The encapsulation of ESP in UDP (or TCP), with the ports of the state's packets.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::State;
///
/// /// The UDP destination port of RFC 3948.
/// fn port(x: &State) -> Option<u16> {
///     let encapsulation = x.encapsulation()?;
///     encapsulation
///         .is_udp
///         .then_some(encapsulation.destination_port)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encapsulation {
    /// Whether it is that of RFC 3948; the device supports no other.
    pub is_udp: bool,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl State {
    /// # Safety
    ///
    /// `ptr` is a state that was given to `xdo_dev_state_add`, or is about to be and is complete, and
    /// somebody holds a reference to it during `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::xfrm_state) -> &'a Self {
        // INVARIANT: By the contract the count is not zero. The stack sets the parameters up before
        // it offloads a state, and writes only to those of a live one that the invariants leave out:
        // `xfrm_state_update()`, `xfrm_update_ae_params()`, `xfrm_dev_state_free()` and the code
        // for packets are all that write. `xfrm_state_gc_destroy()` frees what it points to, when the
        // count is zero.
        // SAFETY: The pointer is valid by the contract, and `Opaque` allows C to write meanwhile.
        // CAST: `State` is transparent over `Opaque`, and that over `xfrm_state`.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::xfrm_state {
        self.0.get()
    }

    /// Takes a reference unless the last one is gone already.
    ///
    /// # Safety
    ///
    /// The memory behind `ptr` is a state that was given to `xdo_dev_state_add`, and is not freed
    /// during the call; its reference count may be zero.
    pub(crate) unsafe fn try_get(ptr: NonNull<bindings::xfrm_state>) -> Option<ARef<Self>> {
        // SAFETY: By the contract the count can be read and changed; a zero stays zero.
        if !unsafe { bindings::xfrm_state_tryget(ptr.as_ptr()) } {
            return None;
        }
        // INVARIANT: As in `from_raw`; the reference just taken keeps the count from zero.
        // SAFETY: That reference becomes the `ARef`'s. CAST: as in `from_raw`.
        Some(unsafe { ARef::from_raw(ptr.cast()) })
    }

    /// The direction in the device, `None` for anything but in and out.
    pub fn direction(&self) -> Option<Direction> {
        // SAFETY: The structure is there by the type invariant. C reads the bits, so that a race with
        // a write to their neighbour `type` is one of C code.
        match u32::from(unsafe { bindings::xfrm_offload_dir(self.as_raw()) }) {
            bindings::XFRM_DEV_OFFLOAD_IN => Some(Direction::In),
            bindings::XFRM_DEV_OFFLOAD_OUT => Some(Direction::Out),
            _ => None,
        }
    }

    /// Whether packet offload is asked for instead of crypto offload.
    ///
    /// False for a state that the stack has taken from its device.
    pub fn is_packet_offload(&self) -> bool {
        // SAFETY: The structure is there by the type invariant; C reads the bits.
        let kind = u32::from(unsafe { bindings::xfrm_offload_type(self.as_raw()) });
        kind == bindings::XFRM_DEV_OFFLOAD_PACKET
    }

    /// Whether the state is larval (`XFRM_DEV_OFFLOAD_FLAG_ACQ`): no keys, atomic context.
    pub fn is_acquire(&self) -> bool {
        // SAFETY: The structure is there by the type invariant; C reads the bits.
        let flags = u32::from(unsafe { bindings::xfrm_offload_flags(self.as_raw()) });
        flags & bindings::XFRM_DEV_OFFLOAD_FLAG_ACQ != 0
    }

    /// The offload handle. It may be another driver's, so check it before use.
    pub fn handle(&self) -> Handle {
        // A bond that fails over gives the state a handle of another device.
        Handle::from_raw(changing!(self, xso.offload_handle))
    }

    /// Whether the device that the user named is one of `T`, not an upper one such as a bond. False if
    /// the state is no longer offloaded. Any context.
    pub fn names_device_of<T: Operations>(&self) -> bool {
        let _guard = rcu::read_lock();
        let dev = changing!(self, xso.dev);
        // SAFETY: A state that names a device has a reference to it. When the stack takes the device
        // away from the state while we look, at the end of the device, it waits for us
        // (`synchronize_net()`) before it frees the device.
        !dev.is_null() && unsafe { is_made_for::<T>(dev) }
    }

    /// The protocol: 50 ESP, 51 AH, 108 IPComp.
    pub fn protocol(&self) -> u8 {
        fixed!(self, id.proto)
    }

    /// The SPI as a number.
    pub fn spi(&self) -> u32 {
        u32::from_be(fixed!(self, id.spi))
    }

    /// The family of the (outer) addresses.
    pub fn family(&self) -> Option<Family> {
        Family::of(fixed!(self, props.family).into())
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        Mode::of(fixed!(self, props.mode))
    }

    /// Whether the mode is tunnel.
    pub fn is_tunnel(&self) -> bool {
        self.mode() == Mode::Tunnel
    }

    /// Time to live or hop limit of packets of the (outer) family, as the stack sends them: the sysctls
    /// `net.ipv4.ip_default_ttl` of the namespace and `net.ipv6.conf.DEVICE.hop_limit`. `None` if it is set to
    /// what no packet can have. Routes may have others.
    pub fn hop_limit(&self) -> Option<NonZero<u8>> {
        // SAFETY: The state is valid, and its namespace lives as long; the function sees to the device.
        let limit = unsafe { bindings::xfrm_hop_limit(self.as_raw()) };
        u8::try_from(limit).ok().and_then(NonZero::new)
    }

    /// The (outer) destination address.
    pub fn destination(&self) -> Address {
        address(fixed!(self, id.daddr.in6.in6_u.u6_addr8), self.family())
    }

    /// The (outer) source address.
    pub fn source(&self) -> Address {
        address(fixed!(self, props.saddr.in6.in6_u.u6_addr8), self.family())
    }

    /// Whether 64-bit sequence numbers are on.
    pub fn is_esn(&self) -> bool {
        u32::from(fixed!(self, props.flags)) & bindings::XFRM_STATE_ESN != 0
    }

    /// Whether the outgoing sequence number may wrap (`XFRM_SA_XFLAG_OSEQ_MAY_WRAP`).
    pub fn may_wrap(&self) -> bool {
        fixed!(self, props.extra_flags) & bindings::XFRM_SA_XFLAG_OSEQ_MAY_WRAP != 0
    }

    /// The encapsulation, if any. The user may change the ports of a live state; meanwhile one may be
    /// old and the other new. Takes no lock: in any context.
    pub fn encapsulation(&self) -> Option<Encapsulation> {
        let encap = fixed!(self, encap);
        if encap.is_null() {
            return None;
        }
        // SAFETY: Not null, so by the type invariant it lives as long as the state. Each field is two
        // bytes, aligned, and read with one volatile access, which may race.
        let (kind, source, destination) = unsafe {
            (
                (&raw const (*encap).encap_type).read_volatile(),
                (&raw const (*encap).encap_sport).read_volatile(),
                (&raw const (*encap).encap_dport).read_volatile(),
            )
        };
        Some(Encapsulation {
            is_udp: u32::from(kind) == bindings::UDP_ENCAP_ESPINUDP,
            source_port: u16::from_be(source),
            destination_port: u16::from_be(destination),
        })
    }

    /// The long form of the replay state, if there is one.
    fn replay_esn(&self) -> Option<ReplayEsn<'_>> {
        let esn = NonNull::new(fixed!(self, replay_esn))?;
        // SAFETY: Not null, so by the type invariant it lives as long as the state, and the stack writes
        // to it under the state's lock.
        Some(unsafe { ReplayEsn::from_raw(esn) })
    }

    /// The replay window in packets; 0 for none. Takes no lock: in any context.
    pub fn replay_window(&self) -> u32 {
        match self.replay_esn() {
            Some(esn) => esn.window(),
            None => u32::from(fixed!(self, props.replay_window)),
        }
    }

    /// Runs `f` under the state's lock. The stack changes counters and sequence numbers under it.
    pub(super) fn locked<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The structure is there by the type invariant, and with it the initialised lock. A
        // caller that holds it already hangs, which is no undefined behaviour.
        unsafe { bindings::xfrm_state_lock(self.as_raw()) };
        let result = f();
        // SAFETY: Taken above, on this CPU, which `f` did not leave: softirqs are off.
        unsafe { bindings::xfrm_state_unlock(self.as_raw()) };
        result
    }

    /// The highest 64-bit number that an inbound state has seen; 32 bits without ESN. Takes the state's
    /// lock: not for callbacks that hold it.
    pub fn highest_seen(&self) -> u64 {
        self.locked(|| self.highest_seen_locked())
    }

    /// [`Self::highest_seen`] for a callback that holds the state's lock. Without the lock the halves
    /// may not belong together.
    pub fn highest_seen_locked(&self) -> u64 {
        match self.replay_esn() {
            Some(esn) => esn.highest_seen(),
            None => u64::from(changing!(self, replay.seq)),
        }
    }

    /// The 64-bit number that an outbound state has used last; 32 bits without ESN. Takes the state's
    /// lock: not for callbacks that hold it.
    pub fn last_sent(&self) -> u64 {
        self.locked(|| self.last_sent_locked())
    }

    fn last_sent_locked(&self) -> u64 {
        match self.replay_esn() {
            Some(esn) => esn.last_sent(),
            None => u64::from(changing!(self, replay.oseq)),
        }
    }

    /// Whether an outbound ESN state has, or will soon have, the last high half. With that one
    /// `xfrm_replay_overflow_offload_esn()` may hand out the same number twice, when it steps back on
    /// overflow (X57). Takes no lock: in any context.
    pub fn has_last_high_half(&self) -> bool {
        // 2^16 early, because packets that have passed this check may still be numbered.
        const START: u64 = ((u32::MAX as u64) << 32) - (1 << 16);
        self.is_esn()
            && self
                .replay_esn()
                .is_some_and(|esn| esn.last_sent() >= START)
    }

    /// Packets and bytes that the stack has counted, of the same moment. Takes the state's lock: not for
    /// callbacks that hold it.
    pub fn usage(&self) -> (u64, u64) {
        self.locked(|| {
            (
                changing!(self, curlft.packets),
                changing!(self, curlft.bytes),
            )
        })
    }

    /// Expires the state as its hard limit would: deletes it, notifies key managers and audits that.
    /// Does nothing if it is dead already, or not yet one of the stack's states. Takes the state's lock,
    /// does not sleep.
    pub fn expire(&self) {
        // SAFETY: The structure is there by the type invariant, and the reference behind `self` stays
        // while the stack drops its own one.
        unsafe { bindings::xfrm_state_expire(self.as_raw()) }
    }

    /// The id by which policies name the state.
    pub fn reqid(&self) -> u32 {
        fixed!(self, props.reqid)
    }

    /// Whether there is a compression algorithm.
    pub fn has_compression(&self) -> bool {
        !fixed!(self, calg).is_null()
    }

    /// Whether only packets with a mark belong to the state.
    pub fn has_mark(&self) -> bool {
        fixed!(self, mark.m) != 0
    }

    /// Whether traffic flow confidentiality padding is on.
    pub fn has_tfc_padding(&self) -> bool {
        fixed!(self, tfcpad) != 0
    }
}

/// `bytes` without the stale ones behind an IPv4 address.
pub(super) fn address(mut bytes: Address, family: Option<Family>) -> Address {
    if family != Some(Family::V6) {
        bytes.iter_mut().skip(4).for_each(|b| *b = 0);
    }
    bytes
}
