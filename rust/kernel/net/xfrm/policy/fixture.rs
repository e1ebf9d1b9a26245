// SPDX-License-Identifier: GPL-2.0

//! Policies for KUnit tests: as the stack has them when it calls `xdo_dev_policy_add`, but without a
//! device.

use super::{
    Policy,
    PolicyAction,
    PolicyDirection,
    Selector,
    Template, //
};
use crate::{
    bindings,
    net::{
        ip::Family,
        xfrm::{
            selector::PortMask,
            state::{
                Mode,
                IPPROTO_ESP, //
            }, //
        }, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// What a test policy has. The tests of policies show its use.
#[derive(Clone, Copy)]
pub struct PolicyParameters<'a> {
    /// The direction.
    pub direction: PolicyDirection,
    /// The priority.
    pub priority: u32,
    /// The packets.
    pub selector: Selector,
    /// What happens to them.
    pub action: PolicyAction,
    /// The protection; at most as many as the stack takes.
    pub templates: &'a [Template],
}

/// What makes a policy another one than its [`PolicyParameters`] say. The tests of policies show its use.
#[derive(Clone, Copy)]
pub enum PolicyChange {
    /// A sub-policy.
    Sub,
    /// Only packets with a mark.
    Mark,
    /// For an XFRM interface.
    Interface(u32),
    /// `XFRM_POLICY_` flags.
    Flags(u8),
    /// `AF_` constants, of policy and selector.
    Family(u16),
    /// No direction that there is.
    NoDirection,
    /// The number of templates, which may be wrong.
    Templates(u8),
}

/// A policy that nobody but the test knows. The tests of policies show its use.
///
/// # Invariants
///
/// The pointer is to an initialised policy that [`KBox`] allocated, and that nobody writes to.
pub struct TestPolicy(NonNull<MaybeUninit<bindings::xfrm_policy>>);

impl TestPolicy {
    /// Makes a policy. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for too many templates.
    pub fn new(parameters: &PolicyParameters<'_>) -> Result<Self> {
        Self::make(parameters, |_| {})
    }

    /// Makes a policy with a change. Sleeps.
    ///
    /// # Errors
    ///
    /// As of [`Self::new`].
    pub fn changed(parameters: &PolicyParameters<'_>, change: PolicyChange) -> Result<Self> {
        Self::make(parameters, |xp| match change {
            PolicyChange::Sub => xp.type_ = bindings::XFRM_POLICY_TYPE_SUB as u8,
            PolicyChange::Mark => xp.mark.m = u32::MAX,
            PolicyChange::Interface(id) => xp.if_id = id,
            PolicyChange::Flags(flags) => xp.flags = flags,
            PolicyChange::Family(family) => {
                xp.family = family;
                xp.selector.family = family;
            }
            PolicyChange::NoDirection => xp.xdo.set_dir(0),
            PolicyChange::Templates(count) => xp.xfrm_nr = count,
        })
    }

    fn make(
        parameters: &PolicyParameters<'_>,
        change: impl FnOnce(&mut bindings::xfrm_policy),
    ) -> Result<Self> {
        let mut memory = KBox::new(MaybeUninit::zeroed(), GFP_KERNEL)?;
        // SAFETY: All fields are integers, pointers that may be null and structures of these: zero is a
        // value of each.
        let xp: &mut bindings::xfrm_policy = unsafe { memory.assume_init_mut() };
        let family = |family: Option<Family>| family.map_or(bindings::AF_UNSPEC, Family::number);
        xp.priority = parameters.priority;
        xp.family = family(parameters.selector.family) as u16;
        xp.selector = raw_selector(&parameters.selector);
        xp.action = match parameters.action {
            PolicyAction::Allow => bindings::XFRM_POLICY_ALLOW as u8,
            PolicyAction::Block => bindings::XFRM_POLICY_BLOCK as u8,
        };
        xp.xdo.set_type(bindings::XFRM_DEV_OFFLOAD_PACKET as u8);
        xp.xdo.set_dir(match parameters.direction {
            PolicyDirection::In => bindings::XFRM_DEV_OFFLOAD_IN as u8,
            PolicyDirection::Out => bindings::XFRM_DEV_OFFLOAD_OUT as u8,
            PolicyDirection::Fwd => bindings::XFRM_DEV_OFFLOAD_FWD as u8,
        });
        if parameters.templates.len() > xp.xfrm_vec.len() {
            return Err(EINVAL);
        }
        xp.xfrm_nr = parameters.templates.len() as u8;
        for (raw, template) in xp.xfrm_vec.iter_mut().zip(parameters.templates) {
            raw.id.daddr.in6.in6_u.u6_addr8 = template.dst;
            raw.id.spi = template.spi.to_be();
            raw.id.proto = template.protocol;
            raw.saddr.in6.in6_u.u6_addr8 = template.src;
            raw.encap_family = family(template.family) as u16;
            raw.reqid = template.reqid;
            raw.mode = match template.mode {
                Mode::Transport => bindings::XFRM_MODE_TRANSPORT as u8,
                Mode::Tunnel => bindings::XFRM_MODE_TUNNEL as u8,
                Mode::Other => bindings::XFRM_MODE_BEET as u8,
            };
            raw.optional = template.optional.into();
            raw.allalgs = template.any_algorithm.into();
        }
        change(xp);
        // INVARIANT: Initialised above, and not written to from here on.
        Ok(Self(NonNull::from(KBox::leak(memory))))
    }
}

impl core::ops::Deref for TestPolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        // SAFETY: By the type invariant. CAST: `MaybeUninit` is transparent.
        unsafe { Policy::from_raw(self.0.as_ptr().cast()) }
    }
}

impl Drop for TestPolicy {
    fn drop(&mut self) {
        // SAFETY: The memory is that of a box by the type invariant, and not used afterwards.
        drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
    }
}

fn raw_selector(selector: &Selector) -> bindings::xfrm_selector {
    // SAFETY: All fields are integers, or unions of integers: zero is a value of each.
    let mut raw: bindings::xfrm_selector = unsafe { core::mem::zeroed() };
    raw.saddr.in6.in6_u.u6_addr8 = selector.src;
    raw.daddr.in6.in6_u.u6_addr8 = selector.dst;
    raw.prefixlen_s = selector.src_len;
    raw.prefixlen_d = selector.dst_len;
    raw.sport = selector.src_port.port.to_be();
    raw.sport_mask = selector.src_port.mask.to_be();
    raw.dport = selector.dst_port.port.to_be();
    raw.dport_mask = selector.dst_port.mask.to_be();
    raw.family = selector.family.map_or(bindings::AF_UNSPEC, Family::number) as u16;
    raw.proto = selector.protocol;
    raw.ifindex = selector.ifindex;
    raw.user = selector.user;
    raw
}

/// From 10.1.0.0/16 to 10.2.0.0/16, all protocols.
pub const SUBNETS: Selector = Selector {
    family: Some(Family::V4),
    src: [10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    src_len: 16,
    dst: [10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    dst_len: 16,
    protocol: 0,
    src_port: PortMask { port: 0, mask: 0 },
    dst_port: PortMask { port: 0, mask: 0 },
    ifindex: 0,
    user: 0,
};

/// An ESP tunnel from 192.0.2.1 to 198.51.100.2 with the id of the states of
/// [`create::fixture`](crate::net::xfrm::create::fixture).
pub const TUNNEL: Template = Template {
    reqid: 77,
    mode: Mode::Tunnel,
    protocol: IPPROTO_ESP,
    family: Some(Family::V4),
    src: [192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    dst: [198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    spi: 0,
    optional: false,
    any_algorithm: true,
};

/// Outbound, [`SUBNETS`] through [`TUNNEL`].
pub const OUTBOUND: PolicyParameters<'static> = PolicyParameters {
    direction: PolicyDirection::Out,
    priority: 1000,
    selector: SUBNETS,
    action: PolicyAction::Allow,
    templates: &[TUNNEL],
};
