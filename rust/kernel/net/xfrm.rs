// SPDX-License-Identifier: GPL-2.0

//! XFRM device offload.
//!
//! C headers: [`include/net/xfrm.h`](srctree/include/net/xfrm.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h) (`struct xfrmdev_ops`)
//!
//! A state that the driver took is known by a [`Handle`]: an index with a generation, never a
//! pointer, because skbs and routes may name a state that is gone. The [`StateTable`] turns the
//! device's name of an SA back into a counted state. The callbacks here keep it up to date: a state is
//! in the table from before `state_add` until `state_delete`, or until `state_free` if that comes alone.
//!
//! Larval states do not reach the driver. The stack makes one when a packet of an offloaded policy finds no
//! state, asks the device to take it, and asks the key managers for a real one. It has neither keys nor an
//! SPI, and comes where nobody may sleep: the callbacks take it by themselves (X75).

#[cfg(xfrm_configure)]
pub mod create;
mod handle;
pub mod input;
pub mod lifetime;
#[cfg(xfrm_configure)]
pub mod modify;
pub mod policy;
mod secpath;
mod selector;
#[cfg(xfrm_configure)]
pub mod send;
mod sign;
pub mod state;
pub mod table;

use crate::{
    bindings,
    net::{
        netdevice::{
            is_made_for,
            Device,
            Operations as NetOperations, //
        },
        netlink::ExtAck, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};

pub use handle::{
    Direction,
    Handle, //
};
pub use lifetime::{
    Failures,
    Limits, //
};
pub use policy::{
    LivePolicy,
    Policy,
    PolicyAction,
    PolicyDirection,
    PolicyHandle,
    PolicyOperations,
    PolicyTable,
    Template, //
};
pub use secpath::{
    EspMark,
    RxMark,
    RxStatus,
    TxOffload, //
};
pub use selector::{
    PortMask,
    Selector, //
};
pub use sign::{
    OutputSkb,
    Sign, //
};
pub use state::State;
pub use table::{
    Committed,
    Reservation,
    Retired,
    StateTable, //
};

/// Driver data with a table of the states that the device took. Implemented by
/// [`has_states!`](crate::has_states).
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     netdevice::{
///         Device,
///         Operations, //
///     },
///     xfrm::{
///         Handle,
///         HasStates, //
///     }, //
/// };
///
/// /// The SPI of a state of the device.
/// fn spi<T: Operations + HasStates>(dev: &Device<T>, handle: Handle) -> Option<u32> {
///     Some(dev.data().states().get(handle)?.spi())
/// }
/// ```
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

/// Implements [`HasStates`] for a type with a [`StateTable`] in it.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::StateTable;
///
/// #[pin_data]
/// struct Nic {
///     #[pin]
///     states: StateTable<u32>,
/// }
///
/// kernel_net::has_states!(Nic, u32, states);
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

/// The offload callbacks of a driver with ESP offload.
///
/// [`crate::virtio::net`] has the example of a whole driver.
pub trait Operations: NetOperations + HasStates {
    /// The extack message for a state that finds no free slot in the [`StateTable`].
    const NO_SLOT: &'static CStr;

    /// The callbacks for policies of a driver that takes them (packet offload).
    const POLICIES: Option<PolicyTable<Self>> = None;

    /// Takes `x` by committing `slot`, or refuses it.
    /// Process context, may sleep; RTNL is not held, but for a bond that fails over (X6, X7).
    ///
    /// # Errors
    ///
    /// Any; `EOPNOTSUPP` means that software must do the work.
    fn state_add<'a>(
        dev: &'a Device<Self>,
        x: &State,
        slot: Reservation<'a, Self::Sa>,
        extack: &mut ExtAck,
    ) -> Result<Committed<'a>>;

    /// Whether the device can encrypt this packet, which is not encapsulated yet; if not, software does, or
    /// under packet offload the stack drops it. Per packet, no sleeping. A bond does not ask.
    fn offload_ok(dev: &Device<Self>, skb: &mut OutputSkb<'_>, x: &State, handle: Handle) -> bool;

    /// Adds what the device has counted since the last call to the counters of the state, by
    /// [`State::add_usage`] and [`State::add_failures`]. Only packet offload needs it: else the stack counts.
    ///
    /// No sleeping, and no asking the device: it must be what the driver knows already. The stack calls
    /// this whenever it looks at the counters (dumps, timers, notifications, [`State::check_expire`],
    /// `/proc/net/xfrm_stat`), several times for one event (X80), right after [`Self::state_add`], and also
    /// between [`Self::state_delete`] and [`Self::state_free`]. It holds at least one of the state's lock,
    /// the lock of all states and the mutex of XFRM configuration, but the driver knows not which: none of
    /// them may be taken here, and another CPU may be here for the same state. So the driver takes its
    /// difference under a lock of its own, such as that of [`StateTable::with_data`]. A method of [`State`]
    /// that takes the state's lock hangs.
    fn state_update_stats(dev: &Device<Self>, x: &State, handle: Handle) {
        let _ = (dev, x, handle);
    }

    /// Follows the sequence numbers of an ESN state; most calls need nothing done. Per packet, under
    /// the state's lock: no sleeping.
    fn state_advance_esn(dev: &Device<Self>, x: &State, handle: Handle);

    /// Stops using a state that died. Must not sleep; may run in a softirq.
    fn state_delete(dev: &Device<Self>, handle: Handle);

    /// Frees what belongs to the handle, and its slot by [`StateTable::retire`]. May sleep. Also comes without
    /// [`Self::state_delete`] when an add failed late.
    fn state_free(dev: &Device<Self>, handle: Handle);
}

/// The C callbacks of `struct xfrmdev_ops`.
pub(crate) struct Callbacks<T>(PhantomData<T>);

impl<T: Operations> Callbacks<T> {
    const OPS: bindings::xfrmdev_ops = bindings::xfrmdev_ops {
        xdo_dev_state_add: Some(Self::state_add),
        xdo_dev_state_delete: Some(Self::state_delete),
        xdo_dev_state_free: Some(Self::state_free),
        xdo_dev_offload_ok: Some(Self::offload_ok),
        xdo_dev_state_advance_esn: Some(Self::state_advance_esn),
        xdo_dev_state_update_stats: Some(Self::state_update_stats),
        xdo_dev_policy_add: match &T::POLICIES {
            Some(policies) => Some(policies.add),
            None => None,
        },
        xdo_dev_policy_delete: match &T::POLICIES {
            Some(policies) => Some(policies.delete),
            None => None,
        },
        xdo_dev_policy_free: match &T::POLICIES {
            Some(policies) => Some(policies.free),
            None => None,
        },
    };

    /// The table.
    pub(crate) fn ops() -> &'static bindings::xfrmdev_ops {
        const { &Self::OPS }
    }

    /// # Safety
    ///
    /// Called by XFRM with a device of `T` that was registered, and with a state that is complete, or
    /// larval, and being added; or by a bond with one that was added to the bond. Device and memory of the
    /// state stay during the call. `extack` is null or valid for writes during the call.
    unsafe extern "C" fn state_add(
        dev: *mut bindings::net_device,
        x: *mut bindings::xfrm_state,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The memory of the state stays during the call; C reads the bits.
        let flags = u32::from(unsafe { bindings::xfrm_offload_flags(x) });
        if flags & bindings::XFRM_DEV_OFFLOAD_FLAG_ACQ != 0 {
            // SAFETY: The memory stays, and nobody else knows the larval state yet.
            unsafe { (&raw mut (*x).xso.offload_handle).write_volatile(Handle::LARVAL) };
            return 0;
        }
        // SAFETY: The device is one of `T` that was registered, so its data is initialised, and it
        // stays during the call.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // At a failover a bond also adds states that died meanwhile: the memory of such a state is
        // still there, because its end waits for the bond's lock, but its keys are freed. They have
        // no references any more.
        // SAFETY: The state is being added, and its memory stays during the call.
        let Some(state) = NonNull::new(x).and_then(|x| unsafe { State::try_get(x) }) else {
            return ESRCH.to_errno();
        };
        // SAFETY: Null or valid for writes during the call, which `extack` does not outlive.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        match Self::add(dev, &state, &mut extack) {
            Ok(handle) => {
                // SAFETY: The reference keeps the structure. The callers have a lock against other
                // writers; packets of a state that moves in a bond may read the field meanwhile.
                unsafe { (&raw mut (*x).xso.offload_handle).write_volatile(handle.to_raw()) };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    fn add(dev: &Device<T>, x: &State, extack: &mut ExtAck) -> Result<Handle> {
        let states = dev.data().states();
        let direction = x.direction().ok_or(EINVAL)?;
        let slot = states.reserve(x, direction).inspect_err(|_| {
            extack.set(T::NO_SLOT);
        })?;
        let handle = slot.handle();
        match T::state_add(dev, x, slot, extack) {
            Ok(Committed { .. }) => Ok(handle),
            Err(error) => {
                // The driver may have forgotten the reservation, which is safe.
                states.detach(handle);
                Err(error)
            }
        }
    }

    /// The handle of `x`, `None` for a larval one. Callbacks for dead states use it, too: it makes no
    /// [`State`].
    ///
    /// # Safety
    ///
    /// The memory of the state stays during the call.
    unsafe fn handle_of(x: *mut bindings::xfrm_state) -> Option<Handle> {
        // SAFETY: By the contract valid for reads. Only a state that moves in a bond has it written
        // to, and a volatile access of a word may race.
        let raw = unsafe { (&raw const (*x).xso.offload_handle).read_volatile() };
        (raw != Handle::LARVAL).then(|| Handle::from_raw(raw))
    }

    /// # Safety
    ///
    /// Called by XFRM with a device of `T` that was registered and a state that it took. Both stay
    /// during the call.
    unsafe extern "C" fn state_delete(
        dev: *mut bindings::net_device,
        x: *mut bindings::xfrm_state,
    ) {
        // SAFETY: The device is one of `T` that was registered, so its data is initialised, and it
        // stays during the call.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The state stays during the call.
        let Some(handle) = (unsafe { Self::handle_of(x) }) else {
            return;
        };
        // The caller has a reference to the state, and XFRM waits for RCU sections after the last one.
        dev.data().states().detach(handle);
        T::state_delete(dev, handle);
    }

    /// # Safety
    ///
    /// Called by XFRM with a device of `T` that was registered and a state that it took, perhaps without
    /// any reference left. Both stay during the call.
    unsafe extern "C" fn state_free(dev: *mut bindings::net_device, x: *mut bindings::xfrm_state) {
        // SAFETY: The device is one of `T` that was registered, so its data is initialised, and it
        // stays during the call: XFRM drops the state's reference to it afterwards.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: XFRM frees the structure after this call.
        let Some(handle) = (unsafe { Self::handle_of(x) }) else {
            return;
        };
        if dev.data().states().detach(handle) {
            // There was no delete (X14), and a packet may be looking at the count of references, the last of which
            // is gone (X62).
            // SAFETY: This may sleep: the state is not larval (X24).
            unsafe { bindings::synchronize_rcu() };
        }
        T::state_free(dev, handle);
    }

    /// There for crypto offload, too: a bond complains if it is missing (X43).
    ///
    /// # Safety
    ///
    /// Called by XFRM with a state that some device took, and whose memory stays during the call.
    unsafe extern "C" fn state_update_stats(x: *mut bindings::xfrm_state) {
        let _guard = rcu::read_lock();
        // SAFETY: The memory of the state stays, and this is an RCU section.
        let Some(dev) = (unsafe { Self::device_below(x) }) else {
            return;
        };
        // SAFETY: The memory of the state stays.
        let Some(handle) = (unsafe { Self::handle_of(x) }) else {
            return;
        };
        // The state's timer may run when the last reference is gone.
        // SAFETY: A device took the state, and its memory stays.
        let state = NonNull::new(x).and_then(|x| unsafe { State::try_get(x) });
        if let Some(state) = state {
            T::state_update_stats(dev, &state, handle);
        }
    }

    /// `dev` as a device of `T`, if it is one.
    ///
    /// # Safety
    ///
    /// `dev` is null or was read from a state in the RCU section that the caller is in, which lasts for
    /// `'a`.
    unsafe fn device_of<'a>(dev: *mut bindings::net_device) -> Option<&'a Device<T>> {
        // SAFETY: A state that names a device has a reference to it, so it is registered. The stack,
        // or a bond, takes it away from the state without a lock when the device goes, and then waits
        // for all RCU sections before the device is freed.
        if dev.is_null() || !unsafe { is_made_for::<T>(dev) } {
            return None;
        }
        // SAFETY: The device was made for `T`. It was registered, so its data is initialised, and by
        // the above neither goes during `'a`.
        Some(unsafe { Device::from_raw(dev) })
    }

    /// The device of `T` that has the state, also below a bond.
    ///
    /// # Safety
    ///
    /// The memory of the state stays during the call. The caller is in an RCU section, which lasts for
    /// `'a`.
    unsafe fn device_below<'a>(x: *mut bindings::xfrm_state) -> Option<&'a Device<T>> {
        // SAFETY: By the contract; volatile reads of pointers may race. The stack takes `dev` away
        // without the state's lock when the device goes. A bond writes `real_dev`, without the lock when
        // it frees a dead state.
        let (netdev, under_bond) = unsafe {
            (
                (&raw const (*x).xso.dev).read_volatile(),
                (&raw const (*x).xso.real_dev).read_volatile(),
            )
        };
        // SAFETY: Read from a state just now, in the caller's RCU section.
        unsafe { Self::device_of(netdev).or_else(|| Self::device_of(under_bond)) }
    }

    /// # Safety
    ///
    /// Called by XFRM in an RCU section, with an skb that only it has, and a state that some device took and
    /// to which the caller has a reference.
    unsafe extern "C" fn offload_ok(
        skb: *mut bindings::sk_buff,
        x: *mut bindings::xfrm_state,
    ) -> bool {
        // SAFETY: The state is valid during the call; a volatile read of a pointer may race with the
        // stack, which takes the device away without a lock.
        let dev = unsafe { (&raw const (*x).xso.dev).read_volatile() };
        // SAFETY: Read from a state just now, in the caller's RCU section.
        let Some(dev) = (unsafe { Self::device_of(dev) }) else {
            return false;
        };
        // SAFETY: The skb is valid during the call, and only the caller has it.
        let mut skb = unsafe { OutputSkb::from_raw(skb) };
        // SAFETY: The state is valid during the call.
        let Some(handle) = (unsafe { Self::handle_of(x) }) else {
            return false;
        };
        // SAFETY: A device took the state, and the caller's reference outlives the call.
        let x = unsafe { State::from_raw(x) };
        T::offload_ok(dev, &mut skb, x, handle)
    }

    /// # Safety
    ///
    /// Called by XFRM with a state that some device took, to which the caller has a reference, under
    /// the state's lock. That switches softirqs off, so the caller is in an RCU section.
    unsafe extern "C" fn state_advance_esn(x: *mut bindings::xfrm_state) {
        // SAFETY: The state is valid during the call, and this is an RCU section.
        let Some(dev) = (unsafe { Self::device_below(x) }) else {
            return;
        };
        // SAFETY: A device took the state, and the caller's reference outlives the call.
        let x = unsafe { State::from_raw(x) };
        T::state_advance_esn(dev, x, x.handle());
    }
}
