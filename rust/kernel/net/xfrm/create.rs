// SPDX-License-Identifier: GPL-2.0

//! States that the driver makes, in the way of `xfrm_user`: built, offloaded, put into the SAD,
//! audited, announced to the key managers.
//!
//! C header: [`include/net/xfrm.h`](srctree/include/net/xfrm.h)

mod algorithm;
#[cfg(espnic_kunit)]
pub mod fixture;

use super::{
    modify::Configuring,
    state::{
        IPPROTO_ESP,
        REPLAY_WINDOW_MAX, //
    },
    Direction,
    State, //
};
use crate::{
    bindings,
    net::{
        ip::{
            Address,
            Family, //
        },
        netdevice::{
            Device,
            Operations, //
        },
        operation_not_supported, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

pub use algorithm::Algorithm;

/// An ESP state for [`Configuring::add`]. Has no `Debug`: it carries the key.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     ip::Family,
///     xfrm::{
///         create::{
///             Algorithm,
///             Parameters, //
///         },
///         Direction, //
///     }, //
/// };
///
/// /// ESP in transport mode from 192.0.2.1 to 198.51.100.2.
/// fn outbound(key: &[u8; 20]) -> Parameters<'_> {
///     let mut parameters = Parameters {
///         direction: Direction::Out,
///         family: Family::V4,
///         tunnel: false,
///         source: [0; 16],
///         destination: [0; 16],
///         spi: 0x1000,
///         reqid: 0,
///         algorithm: Algorithm::Aead {
///             name: c"rfc4106(gcm(aes))",
///             key,
///             icv_bits: 128,
///         },
///         udp_ports: None,
///         esn: None,
///         replay_window: 0,
///     };
///     parameters.source[..4].copy_from_slice(&[192, 0, 2, 1]);
///     parameters.destination[..4].copy_from_slice(&[198, 51, 100, 2]);
///     parameters
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    /// The direction.
    pub direction: Direction,
    /// The (outer) address family.
    pub family: Family,
    /// Tunnel mode; else transport mode.
    pub tunnel: bool,
    /// The (outer) source address; zero for any.
    pub source: Address,
    /// The (outer) destination address.
    pub destination: Address,
    /// The SPI.
    pub spi: u32,
    /// The id by which policies name the state; 0 for none.
    pub reqid: u32,
    /// The algorithms with their keys.
    pub algorithm: Algorithm<'a>,
    /// UDP source and destination port of RFC 3948.
    pub udp_ports: Option<(u16, u16)>,
    /// The initial high half of the sequence numbers, if they are extended.
    pub esn: Option<u32>,
    /// The replay window in packets, of inbound states.
    pub replay_window: u32,
}

/// A state that is not in the SAD yet.
///
/// # Invariants
///
/// - The pointer is to a `struct xfrm_state` of which we own a reference, in a namespace that is live.
/// - Until [`Draft::offload`] nobody else knows the state. Then the device does, which may take
///   references; but nobody else writes to what a [`State`] promises to leave alone, nor to `km.state`,
///   until [`Offloaded::publish`].
struct Draft(NonNull<bindings::xfrm_state>);

/// A state that a device has taken, and that is not in the SAD yet.
///
/// # Invariants
///
/// Those of [`Draft`]. In addition the state is offloaded: `xdo_dev_state_add` has taken it, and
/// `xdo_dev_state_delete` has not been called.
struct Offloaded(Draft);

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: The structure is there by the type invariant. The device may look at the byte.
        unsafe { (&raw mut (*self.as_raw()).km.state).write_volatile(DEAD) };
        // SAFETY: The draft's own reference, by the type invariant; it ends here.
        unsafe { bindings::xfrm_state_put(self.as_raw()) };
    }
}

const DEAD: u8 = bindings::XFRM_STATE_DEAD as u8;
const VALID: u8 = bindings::XFRM_STATE_VALID as u8;
const VOID: u8 = bindings::XFRM_STATE_VOID as u8;

impl Configuring<'_> {
    /// Makes a state that `dev` offloads in crypto mode, and puts it into the SAD. `prepare` runs
    /// after the device has taken the state, and before anybody else can find it. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the stack or the device does not support it; `EEXIST`:
    /// there is such a state; `ENODEV`: the device is leaving; `EOPNOTSUPP`: the
    /// stack has no such algorithm, or the device left it to software; others as the device says.
    pub fn add<T: Operations>(
        &self,
        dev: &Device<T>,
        parameters: &Parameters<'_>,
        prepare: impl FnOnce(&State),
    ) -> Result<ARef<State>> {
        let draft = self.draft(parameters)?;
        let offloaded = draft.offload(self, dev, parameters.direction)?;
        prepare(offloaded.state());
        offloaded.publish(self)
    }

    fn draft(&self, parameters: &Parameters<'_>) -> Result<Draft> {
        // SAFETY: A `Namespace` holds a reference to its C structure, and drafts do not leave the call of
        // `add`.
        let draft = unsafe { Draft::new(self.namespace().as_raw(), parameters) }?;
        let x = draft.as_raw();
        // SAFETY: Nobody else knows the state, and it has what its type needs: family, mode, protocol,
        // algorithms. Without a structure for errors there is no message.
        to_result(unsafe { bindings::__xfrm_init_state(x, core::ptr::null_mut()) })?;
        draft.set_replay(parameters)?;
        // SAFETY: Nobody else knows the state, and its replay state is complete.
        to_result(unsafe { bindings::xfrm_init_replay(x, core::ptr::null_mut()) })?;
        Ok(draft)
    }
}

impl Draft {
    /// # Safety
    ///
    /// `net` is a namespace that is live as long as the draft.
    unsafe fn new(net: *mut bindings::net, parameters: &Parameters<'_>) -> Result<Self> {
        // SAFETY: By the contract.
        let x = unsafe { bindings::xfrm_state_alloc(net) };
        // INVARIANT: A new state comes with one reference, and is in no list. Its namespace is live by the
        // contract.
        let draft = Self(NonNull::new(x).ok_or(ENOMEM)?);
        draft.set_identity(parameters);
        draft.set_algorithm(&parameters.algorithm)?;
        draft.set_encapsulation(parameters.udp_ports)?;
        Ok(draft)
    }

    fn as_raw(&self) -> *mut bindings::xfrm_state {
        self.0.as_ptr()
    }

    fn set_identity(&self, parameters: &Parameters<'_>) {
        let family = parameters.family.number();
        let (mode, selected, any_family) = if parameters.tunnel {
            // Both families may be inside.
            let flag = bindings::XFRM_STATE_AF_UNSPEC;
            (bindings::XFRM_MODE_TUNNEL, bindings::AF_UNSPEC, flag)
        } else {
            (bindings::XFRM_MODE_TRANSPORT, family, 0)
        };
        let esn = parameters.esn.map_or(0, |_| bindings::XFRM_STATE_ESN);
        let direction = match parameters.direction {
            Direction::In => bindings::xfrm_sa_dir_XFRM_SA_DIR_IN,
            Direction::Out => bindings::xfrm_sa_dir_XFRM_SA_DIR_OUT,
        };
        let x = self.as_raw();
        // SAFETY: By the type invariant the structure is there, and nobody else knows it: these are
        // plain writes to fields of integers and bytes.
        unsafe {
            (*x).id.proto = IPPROTO_ESP;
            (*x).id.spi = parameters.spi.to_be();
            (*x).id.daddr.in6.in6_u.u6_addr8 = parameters.destination;
            (*x).props.saddr.in6.in6_u.u6_addr8 = parameters.source;
            (*x).props.family = family as u16;
            (*x).props.mode = mode as u8;
            (*x).props.reqid = parameters.reqid;
            (*x).props.flags = (any_family | esn) as u8;
            (*x).sel.family = selected as u16;
            (*x).lft.soft_byte_limit = u64::MAX;
            (*x).lft.hard_byte_limit = u64::MAX;
            (*x).lft.soft_packet_limit = u64::MAX;
            (*x).lft.hard_packet_limit = u64::MAX;
            (*x).dir = direction as u8;
        }
    }

    fn set_encapsulation(&self, ports: Option<(u16, u16)>) -> Result {
        let Some((source, destination)) = ports else {
            return Ok(());
        };
        let encap: NonNull<bindings::xfrm_encap_tmpl> = allocate(0)?;
        let encap = encap.as_ptr();
        // SAFETY: The structure is zeroed and ours alone. Nobody else knows the state, which owns it
        // from here on.
        unsafe {
            (*encap).encap_type = bindings::UDP_ENCAP_ESPINUDP as u16;
            (*encap).encap_sport = source.to_be();
            (*encap).encap_dport = destination.to_be();
            (*self.as_raw()).encap = encap;
        }
        Ok(())
    }

    fn set_replay(&self, parameters: &Parameters<'_>) -> Result {
        let x = self.as_raw();
        // SAFETY: By the type invariant the structure is there, nobody else knows it, and its namespace is
        // live.
        unsafe { bindings::xfrm_replay_notify_defaults(x) };
        let inbound = parameters.direction == Direction::In;
        let window = if inbound { parameters.replay_window } else { 0 };
        if window > REPLAY_WINDOW_MAX {
            return Err(EINVAL);
        }
        let Some(high) = parameters.esn else {
            if window <= u32::BITS {
                // SAFETY: By the type invariant the structure is there, and nobody else knows it.
                unsafe { (*x).props.replay_window = window as u8 };
                return Ok(());
            }
            return self.set_long_replay(window, |_| {});
        };
        // The stack wants a window for inbound ESN states.
        self.set_long_replay(if inbound { window.max(1) } else { 0 }, |esn| {
            if inbound {
                esn.seq_hi = high;
            } else {
                esn.oseq_hi = high;
            }
        })
    }

    /// Sets both copies of the long form of the replay state.
    fn set_long_replay(
        &self,
        window: u32,
        set: impl Fn(&mut bindings::xfrm_replay_state_esn),
    ) -> Result {
        let words = window.div_ceil(u32::BITS);
        let new = || -> Result<NonNull<bindings::xfrm_replay_state_esn>> {
            let mut esn: NonNull<bindings::xfrm_replay_state_esn> =
                allocate(words as usize * size_of::<u32>())?;
            // SAFETY: The structure is zeroed, zero is a value of all fields, and it is ours alone. Its
            // bitmap is not touched through the reference.
            let fields = unsafe { esn.as_mut() };
            fields.bmp_len = words;
            fields.replay_window = window;
            set(fields);
            Ok(esn)
        };
        let x = self.as_raw();
        // SAFETY: Nobody else knows the state, which owns the structure from here on.
        unsafe { (*x).replay_esn = new()?.as_ptr() };
        // SAFETY: As for the first copy.
        unsafe { (*x).preplay_esn = new()?.as_ptr() };
        Ok(())
    }

    /// Offloads the state to `dev`; fails if only software would take it.
    fn offload<T: Operations>(
        self,
        configuring: &Configuring<'_>,
        dev: &Device<T>,
        direction: Direction,
    ) -> Result<Offloaded> {
        let x = self.as_raw();
        let request = bindings::xfrm_user_offload {
            ifindex: dev.index(),
            flags: match direction {
                Direction::In => bindings::XFRM_OFFLOAD_INBOUND as u8,
                Direction::Out => 0,
            },
        };
        // SAFETY: All fields are pointers and integers: zero is a value of each.
        let mut extack: bindings::netlink_ext_ack = unsafe { core::mem::zeroed() };
        // SAFETY: The state is complete, and nobody else knows it. The caller may sleep: it took a mutex.
        unsafe { bindings::xfrm_set_type_offload(x, true) };
        let net = configuring.namespace().as_raw();
        // SAFETY: Nobody else knows the state. The namespace is the state's own, and the caller holds its
        // mutex of XFRM configuration. The other pointers are to locals.
        to_result(unsafe { bindings::xfrm_dev_state_add(net, x, &request, &mut extack) })?;
        // In crypto mode the stack may fall back to software without an error (X11).
        // SAFETY: The structure is there by the type invariant; a device that goes is taken away with
        // one access, which a volatile read may race with.
        let taker = unsafe { (&raw const (*x).xso.dev).read_volatile() };
        if taker.is_null() {
            return Err(operation_not_supported());
        }
        if core::ptr::eq(taker, dev.as_raw()) {
            // INVARIANT: The device has taken it.
            return Ok(Offloaded(self));
        }
        // The device is leaving, and the stack has chosen another one by its routes. The draft's drop
        // frees the offload, but does not delete it.
        // SAFETY: The state is offloaded, was not deleted before, and is in no list of the stack.
        unsafe { bindings::xfrm_dev_state_delete(x) };
        Err(ENODEV)
    }
}

impl Offloaded {
    fn state(&self) -> &State {
        // SAFETY: It was offloaded by the type invariant, and we have a reference, which cannot end before
        // the borrow.
        unsafe { State::from_raw(self.0.as_raw()) }
    }

    /// Puts the state into the SAD, audits and announces it.
    fn publish(self, _configuring: &Configuring<'_>) -> Result<ARef<State>> {
        let x = self.0.as_raw();
        // The SAD's reference, if it takes the state.
        // SAFETY: The draft's reference keeps the count from zero.
        unsafe { bindings::xfrm_state_hold(x) };
        // SAFETY: The state is complete and in no list yet; `_configuring` says that we have the mutex of
        // XFRM configuration.
        let added = to_result(unsafe { bindings::xfrm_state_add(x) });
        // SAFETY: The draft's reference keeps the structure.
        unsafe { bindings::xfrm_audit_state_add(x, i32::from(added.is_ok())) };
        if let Err(error) = added {
            self.withdraw();
            return Err(error);
        }
        // SAFETY: The draft's reference becomes the `ARef`'s. CAST: `State` is transparent over
        // `xfrm_state`.
        let state: ARef<State> = unsafe { ARef::from_raw(self.0 .0.cast()) };
        core::mem::forget(self);
        // The state may be deleted already, for example with its device, which needs none of the locks
        // that we hold. Its own lock keeps a dead state dead.
        state.locked(|| {
            // SAFETY: The structure is there, and the lock keeps other writers out. Readers without it
            // read the byte with one access.
            unsafe {
                let life = &raw mut (*x).km.state;
                if life.read_volatile() == VOID {
                    life.write_volatile(VALID);
                }
            }
        });
        super::modify::announce(&state, bindings::XFRM_MSG_NEWSA);
        Ok(state)
    }

    /// Undoes the preparations for the SAD, which did not take the state.
    fn withdraw(self) {
        let x = self.0.as_raw();
        // SAFETY: The structure is there by the type invariant. The device may look at the byte.
        unsafe { (&raw mut (*x).km.state).write_volatile(DEAD) };
        // SAFETY: The state is offloaded by the type invariant, and in no list of the stack.
        unsafe { bindings::xfrm_dev_state_delete(x) };
        // SAFETY: The reference that was meant for the SAD; the draft has another one.
        unsafe { bindings::xfrm_state_put(x) };
    }
}

/// Allocates a zeroed `A` with `more` bytes behind it, for the kernel to free.
fn allocate<A>(more: usize) -> Result<NonNull<A>> {
    let size = size_of::<A>().checked_add(more).ok_or(EINVAL)?;
    // SAFETY: Any size may be asked for. The caller may sleep: only drafts are built with this.
    NonNull::new(unsafe { bindings::kzalloc(size) }.cast()).ok_or(ENOMEM)
}
