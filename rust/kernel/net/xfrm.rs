// SPDX-License-Identifier: GPL-2.0

//! XFRM device offload.
//!
//! C headers: [`include/net/xfrm.h`](srctree/include/net/xfrm.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h) (`struct xfrmdev_ops`)
//!
//! A state that the driver took is known by a [`Handle`]: an index with a generation, never a
//! pointer, because skbs and routes may name a state that is gone. The [`StateTable`] turns the
//! device's idea of an SA back into a counted state; the callbacks here keep it right: a state is
//! in the table from before `state_add` until `state_delete`, or `state_free` without it.

#[cfg(espnic_ndis)]
pub mod create;
pub mod input;
#[cfg(espnic_ndis)]
pub mod modify;
pub mod state;
pub mod table;

use crate::{
    bindings,
    net::{
        device::{
            Device,
            Operations as NetOperations, //
        },
        netlink::ExtAck,
        skbuff::{
            PeekSkb,
            SkBuff, //
        }, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        NonNull, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

pub use state::State;
pub use table::{
    Handle,
    StateTable, //
};

/// The direction of a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The device decrypts.
    In,
    /// The device encrypts.
    Out,
}

/// Driver data with a table of the states that the device took. Implemented by
/// [`has_states!`](crate::has_states).
///
/// # Safety
///
/// [`Self::states`] returns the same table at each call, which is a part of the value.
pub unsafe trait HasStates {
    /// What the driver keeps for each state.
    type Sa: Send;

    /// The device's states.
    fn states(&self) -> &StateTable<Self::Sa>;
}

/// Implements [`HasStates`](crate::net::xfrm::HasStates) for a type with a [`StateTable`] in it.
///
/// # Examples
///
/// ```ignore
/// kernel_net::has_states!(Nic, Sa, ipsec.states);
/// ```
#[macro_export]
macro_rules! has_states {
    ($type:ty, $sa:ty, $($field:ident).+) => {
        // SAFETY: `offset_of!()` accepts nothing but fields that lie in the value itself, so no
        // code of the type decides which table it is.
        unsafe impl $crate::net::xfrm::HasStates for $type {
            type Sa = $sa;

            fn states(&self) -> &$crate::net::xfrm::StateTable<$sa> {
                const _: usize = ::core::mem::offset_of!($type, $($field).+);
                &self.$($field).+
            }
        }
    };
}

/// What a driver with ESP offload implements.
pub trait Operations: HasStates + Sized {
    /// Takes `x` under `handle`, or refuses it: `EOPNOTSUPP` means that software shall do the work.
    ///
    /// After an error the handle's slot stays taken until [`StateTable::release`].
    /// Process context, may sleep; RTNL is not held (contract 1.4).
    fn state_add(dev: &Device<Self>, x: &State, handle: Handle, extack: &mut ExtAck) -> Result
    where
        Self: NetOperations;

    /// Whether the device can do this packet, which is not encapsulated yet; else software does it.
    /// Per packet, no sleeping. A bond does not ask.
    fn offload_ok(dev: &Device<Self>, skb: &PeekSkb<'_>, x: &State, handle: Handle) -> bool
    where
        Self: NetOperations;

    /// The sequence state of an ESN state has moved; most calls need nothing done. Per packet, under
    /// the state's lock: no sleeping.
    fn state_advance_esn(dev: &Device<Self>, x: &State, handle: Handle)
    where
        Self: NetOperations;

    /// The state is dead: stops using it. Must not sleep; may run in a softirq.
    fn state_delete(dev: &Device<Self>, handle: Handle)
    where
        Self: NetOperations;

    /// Frees what belongs to the handle and releases its slot. May sleep. Also comes without
    /// [`Self::state_delete`] when an add failed late.
    fn state_free(dev: &Device<Self>, handle: Handle)
    where
        Self: NetOperations;
}

/// The C callbacks of `struct xfrmdev_ops`.
pub(crate) struct Callbacks<T>(PhantomData<T>);

impl<T: NetOperations> Callbacks<T> {
    const OPS: bindings::xfrmdev_ops = bindings::xfrmdev_ops {
        xdo_dev_state_add: Some(Self::state_add),
        xdo_dev_state_delete: Some(Self::state_delete),
        xdo_dev_state_free: Some(Self::state_free),
        xdo_dev_offload_ok: Some(Self::offload_ok),
        xdo_dev_state_advance_esn: Some(Self::state_advance_esn),
        xdo_dev_state_update_stats: Some(Self::state_update_stats),
        // SAFETY: All fields are optional functions.
        ..unsafe { core::mem::zeroed() }
    };

    /// The table. One function, so one address: it tells our devices from others.
    #[inline(never)]
    pub(crate) fn ops() -> &'static bindings::xfrmdev_ops {
        const { &Self::OPS }
    }

    /// # Safety
    ///
    /// Called by XFRM with a registered device and a state that is being added, or by a bond with one
    /// whose memory stays during the call.
    unsafe extern "C" fn state_add(
        dev: *mut bindings::net_device,
        x: *mut bindings::xfrm_state,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: Registered devices have initialised data.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // At a failover a bond also adds states that died meanwhile: the memory of such a state is
        // still there, because its end waits for the bond's lock, but its keys are freed. They have
        // no references any more.
        // SAFETY: The memory of the state stays during the call.
        let Some(state) = NonNull::new(x).and_then(|x| unsafe { State::try_get(x) }) else {
            return ESRCH.to_errno();
        };
        // SAFETY: Null or valid during the call.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        match Self::add(dev, &state, &mut extack) {
            Ok(handle) => {
                // SAFETY: The state is ours to set up.
                unsafe { (*x).xso.offload_handle = handle.to_raw() };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    fn add(dev: &Device<T>, x: &State, extack: &mut ExtAck) -> Result<Handle> {
        let states = dev.data().states();
        let direction = x.direction().ok_or(EINVAL)?;
        let handle = states.insert(x, direction).inspect_err(|_| {
            extack.set(c"espnic: the NIC's table of security associations is full");
        })?;
        match T::state_add(dev, x, handle, extack) {
            Ok(()) => Ok(handle),
            Err(error) => {
                states.detach(handle);
                Err(error)
            }
        }
    }

    /// # Safety
    ///
    /// Called by XFRM with a registered device and a state that it took.
    unsafe extern "C" fn state_delete(
        dev: *mut bindings::net_device,
        x: *mut bindings::xfrm_state,
    ) {
        // SAFETY: Registered devices have initialised data.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The state is valid during the call.
        let handle = Handle::from_raw(unsafe { (*x).xso.offload_handle });
        dev.data().states().detach(handle);
        T::state_delete(dev, handle);
    }

    /// # Safety
    ///
    /// Called by XFRM with a registered device and a state that it took.
    unsafe extern "C" fn state_free(dev: *mut bindings::net_device, x: *mut bindings::xfrm_state) {
        // SAFETY: Registered devices have initialised data.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The state is valid during the call.
        let handle = Handle::from_raw(unsafe { (*x).xso.offload_handle });
        dev.data().states().detach(handle);
        T::state_free(dev, handle);
    }

    /// Nothing to do in crypto offload, where the stack counts; but a bond asks, and complains where
    /// there is no answer.
    ///
    /// # Safety
    ///
    /// Called by XFRM with a state that some device took.
    unsafe extern "C" fn state_update_stats(_x: *mut bindings::xfrm_state) {}

    /// # Safety
    ///
    /// Called by XFRM with an skb that it keeps and a state that some device took.
    unsafe extern "C" fn offload_ok(
        skb: *mut bindings::sk_buff,
        x: *mut bindings::xfrm_state,
    ) -> bool {
        // SAFETY: The state is valid during the call; the stack takes its device away without a lock.
        let dev = unsafe { core::ptr::read_volatile(addr_of!((*x).xso.dev)) };
        // SAFETY: The caller is in an RCU section, in which a device that was registered lives.
        if dev.is_null() || unsafe { (*dev).xfrmdev_ops } != Self::ops() {
            return false;
        }
        // SAFETY: The callbacks say that the device was made for `T`, and it was registered.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: Both are valid during the call.
        unsafe {
            let handle = Handle::from_raw((*x).xso.offload_handle);
            T::offload_ok(dev, &PeekSkb::from_raw(skb), State::from_raw(x), handle)
        }
    }

    /// # Safety
    ///
    /// Called by XFRM with a state that some device took.
    unsafe extern "C" fn state_advance_esn(x: *mut bindings::xfrm_state) {
        // SAFETY: The state is valid during the call.
        let (netdev, handle) = unsafe { ((*x).xso.dev, (*x).xso.offload_handle) };
        // SAFETY: As above. Only a bond writes this field, without the state's lock when it frees
        // a dead state.
        let under_bond = unsafe { core::ptr::read_volatile(addr_of!((*x).xso.real_dev)) };
        let ours = |dev: *mut bindings::net_device| {
            // SAFETY: The state holds a reference to its device, and what is below a bond does not
            // go before the bond's RCU section ends, in which this is called.
            !dev.is_null() && unsafe { (*dev).xfrmdev_ops } == Self::ops()
        };
        if let Some(netdev) = [netdev, under_bond].into_iter().find(|&dev| ours(dev)) {
            // SAFETY: The callbacks say that the device was made for `T`; it is registered.
            let dev = unsafe { Device::<T>::from_raw(netdev) };
            // SAFETY: The state is valid during the call.
            let state = unsafe { State::from_raw(x) };
            T::state_advance_esn(dev, state, Handle::from_raw(handle));
        }
    }
}

/// The offload part of a packet to transmit: stack-built ESP whose crypto the device must do.
pub struct TxOffload<'a> {
    /// The SA; the skb holds a reference.
    pub state: &'a State,
    /// `xo->seq.low`; see the contract, 2.4, before use.
    pub seq_low: u32,
    /// `xo->seq.hi`.
    pub seq_hi: u32,
    /// The next header of the ESP trailer.
    pub next_header: u8,
}

/// What became of a received packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RxStatus {
    /// Authenticated and decrypted.
    Success,
    /// The ICV does not match; the packet is as received.
    AuthFailed,
    /// Not well-formed ESP; the packet is as received.
    BadSyntax,
}

impl RxStatus {
    fn flags(self, tunnel: bool) -> u32 {
        match self {
            Self::Success => bindings::CRYPTO_SUCCESS,
            Self::AuthFailed if tunnel => bindings::CRYPTO_TUNNEL_ESP_AUTH_FAILED,
            Self::AuthFailed => bindings::CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
            Self::BadSyntax => bindings::CRYPTO_INVALID_PACKET_SYNTAX,
        }
    }
}

impl SkBuff {
    /// The offload request of a packet to transmit, if it carries one.
    ///
    /// A secpath alone says nothing: forwarded packets carry that of their receipt (contract R2.5).
    pub fn tx_offload(&self) -> Option<TxOffload<'_>> {
        // SAFETY: The skb is valid.
        let xo = unsafe { bindings::xfrm_offload(self.as_raw()).as_ref() }?;
        if xo.flags & bindings::XFRM_XMIT == 0 {
            return None;
        }
        // SAFETY: An skb with offload data has a state, to which the skb holds a reference.
        let state = unsafe { State::from_raw(bindings::xfrm_input_state(self.as_raw())) };
        (state.direction() == Some(Direction::Out)).then_some(TxOffload {
            state,
            seq_low: xo.seq.low,
            seq_hi: xo.seq.hi,
            next_header: xo.proto,
        })
    }

    /// Marks a received packet as handled by the device under `state`, with its result.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the caller must then drop the packet, because it may be decrypted (R3.2).
    pub fn set_rx_offload(&mut self, state: ARef<State>, status: RxStatus) -> Result {
        // SAFETY: The skb is valid and ours alone.
        let sp = unsafe { bindings::secpath_set(self.as_raw()).as_mut() }.ok_or(ENOMEM)?;
        let flags = status.flags(state.is_tunnel());
        // Where software finds the state, it sets the mark then.
        // SAFETY: Both are valid, and the skb is ours alone.
        unsafe { bindings::xfrm_set_output_mark(self.as_raw(), state.as_raw()) };
        let len = usize::from(sp.len);
        let slot = sp.xvec.get_mut(len).ok_or(ENOMEM)?;
        // The secpath owns the reference from here on.
        *slot = ARef::into_raw(state)
            .cast::<bindings::xfrm_state>()
            .as_ptr();
        sp.len = sp.len.wrapping_add(1);
        sp.olen = sp.olen.wrapping_add(1);
        // SAFETY: As above; with equal lengths the offload data exists.
        let xo = unsafe { bindings::xfrm_offload(self.as_raw()).as_mut() }.ok_or(ENOMEM)?;
        xo.flags = bindings::CRYPTO_DONE;
        xo.status = flags;
        Ok(())
    }
}
