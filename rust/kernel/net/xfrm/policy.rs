// SPDX-License-Identifier: GPL-2.0

//! Offloaded policies: `struct xfrm_policy`.
//!
//! C headers: [`include/net/xfrm.h`](srctree/include/net/xfrm.h),
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h) (`struct xfrmdev_ops`)
//!
//! A policy is lent to the driver while it is added, and not later: packets hold references to policies
//! that are long gone, so the driver copies what it needs and is told the end by its own name for the
//! policy, a [`PolicyHandle`]. `ip xfrm policy update` adds the new policy before it deletes the old one. A
//! policy that was added but finds no place in the stack is deleted and freed at once (X78).
//!
//! `XFRM_MSG_MIGRATE` changes the addresses of templates of a live policy without telling the driver (X79);
//! what a driver looks for with them it should look for with the request id instead.

#[cfg(espnic_kunit)]
pub mod fixture;
#[cfg(espnic_kunit)]
mod tests;

mod live;

use super::{
    selector::Selector,
    state::{
        address,
        Mode, //
    },
    Operations, //
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
            Device, //
        },
        netlink::ExtAck, //
    }, //
};
use core::{
    marker::PhantomData,
    num::NonZero,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    types::Opaque, //
};

pub use live::LivePolicy;

/// The driver's name for a policy, which the stack keeps for it.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::PolicyHandle;
///
/// fn handle(slot: u32) -> Result<PolicyHandle> {
///     PolicyHandle::new(u64::from(slot) + 1).ok_or(EINVAL)
/// }
/// ```
pub type PolicyHandle = NonZero<u64>;

/// Which packets a policy is asked about.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Policy,
///     PolicyDirection, //
/// };
///
/// fn can_offload(policy: &Policy) -> bool {
///     policy.direction() != Some(PolicyDirection::Fwd)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyDirection {
    /// Received ones for this host.
    In,
    /// Ones that are sent, by this host or another.
    Out,
    /// Received ones that are forwarded.
    Fwd,
}

/// What happens to the packets of a policy.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Policy,
///     PolicyAction, //
/// };
///
/// /// Whether packets pass in clear, as those of IKE must.
/// fn is_bypass(policy: &Policy) -> bool {
///     policy.action() == PolicyAction::Allow && policy.templates().next().is_none()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// They pass, protected as the templates say; in clear without any.
    Allow,
    /// They are dropped.
    Block,
}

/// The protection that a policy demands: which states are right for its packets.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     state::IPPROTO_ESP,
///     Template, //
/// };
///
/// fn can_offload(template: &Template) -> bool {
///     template.protocol == IPPROTO_ESP && !template.optional && template.reqid != 0
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// The id by which it names its states; 0 for any.
    pub reqid: u32,
    /// The mode.
    pub mode: Mode,
    /// The protocol: 50 ESP, 51 AH, 108 IPComp.
    pub protocol: u8,
    /// The family of the (outer) addresses.
    pub family: Option<Family>,
    /// Source of a tunnel, network order; meaningless in transport mode.
    pub src: Address,
    /// Destination of a tunnel, network order; in transport mode zero for any.
    pub dst: Address,
    /// The SPI as a number, 0 for any.
    pub spi: u32,
    /// Packets pass without the protection if there is no state.
    pub optional: bool,
    /// All algorithms are right.
    pub any_algorithm: bool,
}

impl Template {
    fn of(raw: &bindings::xfrm_tmpl) -> Self {
        let family = Family::of(raw.encap_family.into());
        // SAFETY: All members of the unions are 16 bytes of integers, which may have any value.
        let (src, dst) = unsafe {
            (
                raw.saddr.in6.in6_u.u6_addr8,
                raw.id.daddr.in6.in6_u.u6_addr8,
            )
        };
        Self {
            reqid: raw.reqid,
            mode: Mode::of(raw.mode),
            protocol: raw.id.proto,
            family,
            src: address(src, family),
            dst: address(dst, family),
            spi: u32::from_be(raw.id.spi),
            optional: raw.optional != 0,
            any_algorithm: raw.allalgs != 0,
        }
    }
}

/// A policy while it is being added.
///
/// # Invariants
///
/// A pointer to a `Policy` points to an initialised `struct xfrm_policy` to which nobody writes as long as
/// the reference lives, apart from `xdo.offload_handle`.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Policy,
///     PolicyAction, //
/// };
///
/// fn check(policy: &Policy) -> Result {
///     let protected = policy.templates().count() == 1;
///     if !policy.is_main_type() || policy.has_mark() || policy.if_id() != 0 {
///         return Err(EINVAL);
///     }
///     if policy.action() == PolicyAction::Allow && !protected && policy.selector().protocol == 0 {
///         return Err(EINVAL);
///     }
///     Ok(())
/// }
/// ```
#[repr(transparent)]
pub struct Policy(Opaque<bindings::xfrm_policy>);

/// A copy of a field of a [`Policy`].
macro_rules! field {
    ($policy:expr, $($field:ident).+) => {{
        let policy: &Policy = $policy;
        // SAFETY: By the type invariant the structure is there, and nobody writes to this field.
        unsafe { (*policy.as_raw()).$($field).+ }
    }};
}

impl Policy {
    /// # Safety
    ///
    /// `ptr` is an initialised policy to which nobody writes during `'a`, apart from `xdo.offload_handle`.
    unsafe fn from_raw<'a>(ptr: *mut bindings::xfrm_policy) -> &'a Self {
        // INVARIANT: By the contract.
        // SAFETY: The pointer is valid by the contract. CAST: `Policy` is transparent over `Opaque`, and
        // that over `xfrm_policy`.
        unsafe { &*ptr.cast() }
    }

    fn as_raw(&self) -> *mut bindings::xfrm_policy {
        self.0.get()
    }

    /// The direction.
    pub fn direction(&self) -> Option<PolicyDirection> {
        // SAFETY: The structure is there by the type invariant; C reads the bits.
        match u32::from(unsafe { bindings::xfrm_policy_offload_dir(self.as_raw()) }) {
            bindings::XFRM_DEV_OFFLOAD_IN => Some(PolicyDirection::In),
            bindings::XFRM_DEV_OFFLOAD_OUT => Some(PolicyDirection::Out),
            bindings::XFRM_DEV_OFFLOAD_FWD => Some(PolicyDirection::Fwd),
            _ => None,
        }
    }

    /// Whether packet offload is asked for; the stack knows nothing else for policies.
    pub fn is_packet_offload(&self) -> bool {
        // SAFETY: The structure is there by the type invariant; C reads the bits.
        let kind = u32::from(unsafe { bindings::xfrm_policy_offload_type(self.as_raw()) });
        kind == bindings::XFRM_DEV_OFFLOAD_PACKET
    }

    /// The priority: of all policies for a packet the one with the lowest number counts.
    pub fn priority(&self) -> u32 {
        field!(self, priority)
    }

    /// The family of the packets.
    pub fn family(&self) -> Option<Family> {
        Family::of(field!(self, family).into())
    }

    /// The packets.
    pub fn selector(&self) -> Selector {
        Selector::of(&field!(self, selector))
    }

    /// What happens to them. The stack lets no other number pass; one would block.
    pub fn action(&self) -> PolicyAction {
        match u32::from(field!(self, action)) {
            bindings::XFRM_POLICY_ALLOW => PolicyAction::Allow,
            _ => PolicyAction::Block,
        }
    }

    /// Whether it is an ordinary policy, not a sub-policy (`XFRM_POLICY_TYPE_SUB`), which applies besides
    /// one.
    pub fn is_main_type(&self) -> bool {
        u32::from(field!(self, type_)) == bindings::XFRM_POLICY_TYPE_MAIN
    }

    /// Whether the selector also means ICMP errors that quote its packets (`XFRM_POLICY_ICMP`).
    pub fn means_icmp_errors(&self) -> bool {
        u32::from(field!(self, flags)) & bindings::XFRM_POLICY_ICMP != 0
    }

    /// Whether only packets with a mark belong to it.
    pub fn has_mark(&self) -> bool {
        field!(self, mark.m) != 0
    }

    /// Whether a security module also decides which packets belong to it.
    pub fn has_security_context(&self) -> bool {
        !field!(self, security).is_null()
    }

    /// The XFRM interface that it is for, 0 for none.
    pub fn if_id(&self) -> u32 {
        field!(self, if_id)
    }

    /// The protection that it demands, from the inside to the outside; none for [`PolicyAction::Block`]
    /// and for packets in clear.
    pub fn templates(&self) -> impl Iterator<Item = Template> {
        let count = usize::from(field!(self, xfrm_nr));
        let list = field!(self, xfrm_vec);
        list.into_iter().take(count).map(|raw| Template::of(&raw))
    }
}

/// The offload callbacks of a driver that takes policies. It says so by [`Operations::POLICIES`].
///
/// From the moment when a policy was added the driver must do what it says: the stack sends packets that
/// it is for in clear, and accepts received ones, without looking any further.
///
/// # Examples
///
/// ```
/// use kernel::sync::Arc;
/// use kernel_net::net::{
///     netdevice::Device,
///     netlink::ExtAck,
///     xfrm::{
///         LivePolicy,
///         Operations,
///         Policy,
///         PolicyHandle, //
///     }, //
/// };
///
/// /// A `policy_add` that takes none.
/// fn refuse<T: Operations>(
///     _dev: &Device<T>,
///     _policy: &Policy,
///     _live: &Arc<LivePolicy>,
///     extack: &mut ExtAck,
/// ) -> Result<PolicyHandle> {
///     extack.set(c"null: policies cannot be offloaded");
///     Err(EINVAL)
/// }
/// ```
pub trait PolicyOperations: Operations {
    /// Takes `policy`, which may have the same selector as one that was taken before. Process context, may
    /// sleep; the mutex of XFRM configuration is held, RTNL is not. A migration changes the templates later
    /// (X79): `live` tells them.
    ///
    /// # Errors
    ///
    /// Any; the user's request fails.
    fn policy_add(
        dev: &Device<Self>,
        policy: &Policy,
        live: &Arc<LivePolicy>,
        extack: &mut ExtAck,
    ) -> Result<PolicyHandle>;

    /// Stops applying a policy. Packets may still have it. Any context, also softirq: must not sleep (X77).
    fn policy_delete(dev: &Device<Self>, handle: PolicyHandle);

    /// Frees what belongs to the handle; nobody has the policy any more. Comes after
    /// [`Self::policy_delete`]. Any context, also softirq: must not sleep (X77).
    fn policy_free(dev: &Device<Self>, handle: PolicyHandle);
}

/// The C callbacks for policies, for [`Operations::POLICIES`].
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     PolicyOperations,
///     PolicyTable, //
/// };
///
/// const fn policies<T: PolicyOperations>() -> Option<PolicyTable<T>> {
///     Some(PolicyTable::new())
/// }
/// ```
pub struct PolicyTable<T> {
    pub(super) add:
        unsafe extern "C" fn(*mut bindings::xfrm_policy, *mut bindings::netlink_ext_ack) -> c_int,
    pub(super) delete: unsafe extern "C" fn(*mut bindings::xfrm_policy),
    pub(super) free: unsafe extern "C" fn(*mut bindings::xfrm_policy),
    _driver: PhantomData<fn(T)>,
}

impl<T: PolicyOperations> PolicyTable<T> {
    /// The callbacks of `T`.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            add: Self::policy_add,
            delete: Self::policy_delete,
            free: Self::policy_free,
            _driver: PhantomData,
        }
    }

    /// # Safety
    ///
    /// Called by XFRM with a policy that is complete, that nobody else knows, and that names a device with
    /// this table. `extack` is null or valid for writes during the call.
    unsafe extern "C" fn policy_add(
        xp: *mut bindings::xfrm_policy,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the contract the policy names a device, and keeps it during the call.
        let Some(dev) = (unsafe { Self::device_of(xp) }) else {
            return ENODEV.to_errno();
        };
        // SAFETY: Nobody else knows the policy, and here only the handle is written to.
        let policy = unsafe { Policy::from_raw(xp) };
        // SAFETY: Null or valid for writes during the call, which `extack` does not outlive.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        // SAFETY: The policy is complete, and it stays until it was deleted, or its addition has failed.
        let live = match NonNull::new(xp).map(|xp| unsafe { LivePolicy::new(xp) }) {
            Some(Ok(live)) => live,
            _ => return ENOMEM.to_errno(),
        };
        match T::policy_add(dev, policy, &live, &mut extack) {
            Ok(handle) => {
                live.handle.store(handle.get(), Relaxed);
                // SAFETY: Nobody else knows the policy. The reference goes to it, until it is freed. CAST:
                // Pointers have the size of the field.
                unsafe { (*xp).xdo.offload_handle = Arc::into_raw(live) as c_ulong };
                0
            }
            Err(error) => {
                live.end();
                error.to_errno()
            }
        }
    }

    /// # Safety
    ///
    /// Called by XFRM, once, with a policy that [`Self::policy_add`] took, to which it holds a reference.
    unsafe extern "C" fn policy_delete(xp: *mut bindings::xfrm_policy) {
        // SAFETY: The policy names its device until it is freed, and keeps it.
        if let Some((dev, live, handle)) = unsafe { Self::taken(xp) } {
            live.end();
            T::policy_delete(dev, handle);
        }
    }

    /// # Safety
    ///
    /// Called by XFRM, once, with a policy that [`Self::policy_add`] took, and that nobody else has any
    /// more.
    unsafe extern "C" fn policy_free(xp: *mut bindings::xfrm_policy) {
        // SAFETY: XFRM drops the policy's reference to the device after this call.
        let Some((dev, live, handle)) = (unsafe { Self::taken(xp) }) else {
            return;
        };
        T::policy_free(dev, handle);
        let live: *const LivePolicy = live;
        // SAFETY: The policy's reference, which was made when it was added. Nobody uses the field any more.
        drop(unsafe { Arc::from_raw(live) });
    }

    /// What belongs to a policy.
    ///
    /// # Safety
    ///
    /// The policy was taken and not freed, and names its device during `'a`.
    unsafe fn taken<'a>(
        xp: *mut bindings::xfrm_policy,
    ) -> Option<(&'a Device<T>, &'a LivePolicy, PolicyHandle)> {
        // SAFETY: The policy is there by the contract; the field was written when it was added.
        let live = unsafe { (*xp).xdo.offload_handle } as *const LivePolicy;
        // SAFETY: By the contract.
        let dev = unsafe { Self::device_of(xp) }?;
        // SAFETY: Null, or the policy's reference. Only devices of `T` take policies with this table.
        let live = unsafe { live.as_ref() }?;
        let handle = PolicyHandle::new(live.handle())?;
        Some((dev, live, handle))
    }

    /// The device of a policy, if it is one of `T` (X76).
    ///
    /// # Safety
    ///
    /// The policy is there, and names its device during `'a`.
    unsafe fn device_of<'a>(xp: *mut bindings::xfrm_policy) -> Option<&'a Device<T>> {
        // SAFETY: The policy is there; XFRM sets the device before the first callback, and takes it away
        // after the last one.
        let dev = unsafe { (*xp).xdo.dev };
        // SAFETY: A policy has a reference to the device that it names, so it is registered: it was, and
        // the end of the registration waits for the reference.
        if dev.is_null() || !unsafe { is_made_for::<T>(dev) } {
            return None;
        }
        // SAFETY: The device was made for `T`. By the above it is registered during `'a`, so its data is
        // initialised.
        Some(unsafe { Device::from_raw(dev) })
    }
}
