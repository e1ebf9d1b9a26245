// SPDX-License-Identifier: GPL-2.0

//! Offloaded policies: which are taken.
//!
//! The stack relies on them: it sends the packets of an outbound policy in clear to the driver, and
//! takes every packet for good that an inbound one is for. So a policy that cannot be honoured exactly
//! is refused.

#[cfg(espnic_kunit)]
pub(super) mod fixture;
pub(super) mod list;
#[cfg(espnic_kunit)]
mod tests;

use super::sa::Sa;
use espnic_esp::{
    ip::Address,
    selector::{
        Flow,
        PortMask,
        Selector, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    }, //
};
use kernel_net::net::{
    ip::{
        self,
        Family, //
    },
    xfrm::{
        self,
        state::{
            Mode,
            IPPROTO_ESP, //
        },
        Direction,
        LivePolicy,
        PolicyAction,
        PolicyDirection, //
    }, //
};

/// A policy that is being added.
pub(crate) struct Added<'a> {
    pub(crate) policy: &'a xfrm::Policy,
    /// What the stack makes of it later.
    pub(crate) live: &'a Arc<LivePolicy>,
    /// The index of the interface.
    pub(crate) interface: i32,
}

/// A policy that was taken.
pub(crate) struct Policy {
    pub(super) id: u64,
    pub(super) direction: Direction,
    pub(super) selector: Selector,
    pub(super) priority: u32,
    pub(super) action: Action,
    dead: Atomic<bool>,
    /// The stack's policy.
    live: Option<Arc<LivePolicy>>,
}

/// What happens to the packets of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// They pass in clear.
    Hole,
    /// They are dropped.
    Block,
    /// They are protected by an SA.
    Protect(Template),
}

/// Which SAs are right for the packets of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The id by which it names them; inbound 0 for any.
    pub(super) reqid: u32,
    /// The SPI, 0 for any.
    spi: u32,
    /// In tunnel mode source and destination of the tunnel; zero for any.
    tunnel: Option<[Address; 2]>,
}

impl Template {
    /// Whether `sa` is right for an outgoing packet of `flow`; its id is already known to be.
    pub(super) fn takes_out(&self, sa: &Sa, flow: &Flow) -> bool {
        let [src, dst] = self.tunnel.unwrap_or([flow.src, flow.dst]);
        self.has_mode_and_spi(sa)
            && sa.dst == dst
            && ((is_any(&sa.src) && !sa.tunnel) || is_any(&src) || sa.src == src)
    }

    /// Whether a packet that `sa` has protected is protected as the policy demands.
    pub(super) fn takes_in(&self, sa: &Sa) -> bool {
        let ends = self.tunnel.is_none_or(|[src, dst]| {
            (is_any(&src) || sa.src == src) && (is_any(&dst) || sa.dst == dst)
        });
        (self.reqid == 0 || self.reqid == sa.reqid) && self.has_mode_and_spi(sa) && ends
    }

    /// Where the packets of `flow` are sent under it.
    pub(super) fn destination<'a>(&'a self, flow: &'a Flow) -> &'a Address {
        match &self.tunnel {
            Some([_, dst]) => dst,
            None => &flow.dst,
        }
    }

    fn has_mode_and_spi(&self, sa: &Sa) -> bool {
        self.tunnel.is_some() == sa.tunnel && (self.spi == 0 || self.spi == sa.spi)
    }
}

fn is_any(address: &Address) -> bool {
    address.bytes == [0; 16]
}

impl Policy {
    /// The policy with this id, from now on.
    fn new(id: u64, checked: &Checked, live: Option<Arc<LivePolicy>>) -> Self {
        Self {
            id,
            direction: checked.direction,
            selector: checked.selector,
            priority: checked.priority,
            action: checked.action,
            dead: Atomic::new(false),
            live,
        }
    }

    /// The same policy as a migration has changed it; `None` if none has.
    fn migrated(&self) -> Option<Self> {
        let Action::Protect(before) = self.action else {
            return None;
        };
        let now = self.live.as_ref()?.first_template()?;
        let action = match template(&now, self.direction) {
            Ok(now) if now == before => return None,
            Ok(now) => Action::Protect(now),
            Err(_) => Action::Block,
        };
        let checked = Checked {
            direction: self.direction,
            selector: self.selector,
            priority: self.priority,
            action,
        };
        Some(Self::new(self.id, &checked, self.live.clone()))
    }

    /// Stops the policy; whether it was alive. Any context.
    fn kill(&self) -> bool {
        !self.dead.xchg(true, Release)
    }

    /// Whether it counts. Per packet.
    pub(super) fn is_alive(&self) -> bool {
        !self.dead.load(Acquire)
    }
}

/// A policy that passed all checks.
#[derive(Clone, Copy)]
pub(super) struct Checked {
    pub(super) direction: Direction,
    pub(super) selector: Selector,
    pub(super) priority: u32,
    pub(super) action: Action,
}

/// Checks a policy for the interface of this index; the error is the extack message.
pub(super) fn check(policy: &xfrm::Policy, interface: i32) -> Result<Checked, &'static CStr> {
    if !policy.is_packet_offload() {
        return Err(c"espnic: policies can be offloaded in packet mode only");
    }
    let direction = match policy.direction() {
        Some(PolicyDirection::In) => Direction::In,
        Some(PolicyDirection::Out) => Direction::Out,
        _ => {
            return Err(
                c"espnic: policies of direction fwd stay with the stack, do not offload them",
            )
        }
    };
    if !policy.is_main_type() {
        return Err(c"espnic: sub-policies cannot be offloaded");
    }
    if policy.has_mark() || policy.if_id() != 0 {
        // The NIC decrypts before a packet can have either.
        return Err(c"espnic: a policy with a mark or an interface id cannot be offloaded");
    }
    if policy.means_icmp_errors() {
        return Err(c"espnic: a policy for the packets that ICMP errors quote cannot be offloaded");
    }
    if policy.has_security_context() {
        return Err(c"espnic: a policy with a security context cannot be offloaded");
    }
    Ok(Checked {
        direction,
        selector: selector(&policy.selector(), interface)?,
        priority: policy.priority(),
        action: action(policy, direction)?,
    })
}

/// The selector of a policy or state as the data path has it.
///
/// `interface` is the index of the one that all packets go through. A selector may name it, as those of
/// strongSwan's holes do, and means no fewer packets then.
pub(super) fn selector(from: &xfrm::Selector, interface: i32) -> Result<Selector, &'static CStr> {
    if from.ifindex != 0 && from.ifindex != interface {
        return Err(c"espnic: a selector with another interface cannot be offloaded");
    }
    if from.user != 0 {
        return Err(c"espnic: a selector with a user cannot be offloaded");
    }
    let port = |from: xfrm::PortMask| PortMask {
        port: from.port,
        mask: from.mask,
    };
    Ok(Selector {
        family: from.family.map_or(0, number),
        src: from.src,
        src_len: from.src_len,
        dst: from.dst,
        dst_len: from.dst_len,
        protocol: from.protocol,
        src_port: port(from.src_port),
        dst_port: port(from.dst_port),
    })
}

/// 4 or 6.
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// An address as the data path has it.
pub(super) fn address(family: Family, bytes: ip::Address) -> Address {
    Address {
        family: number(family),
        bytes,
    }
}

fn action(policy: &xfrm::Policy, direction: Direction) -> Result<Action, &'static CStr> {
    if policy.action() == PolicyAction::Block {
        return Ok(Action::Block);
    }
    let mut templates = policy.templates();
    match (templates.next(), templates.next()) {
        (None, _) => Ok(Action::Hole),
        (Some(one), None) => template(&one, direction).map(Action::Protect),
        _ => Err(c"espnic: a policy with more than one template cannot be offloaded"),
    }
}

fn template(from: &xfrm::Template, direction: Direction) -> Result<Template, &'static CStr> {
    if from.protocol != IPPROTO_ESP {
        return Err(c"espnic: only policies for ESP can be offloaded");
    }
    if from.optional {
        return Err(c"espnic: a policy with an optional template cannot be offloaded");
    }
    if !from.any_algorithm {
        return Err(c"espnic: a policy that names algorithms cannot be offloaded");
    }
    if from.reqid == 0 && direction == Direction::Out {
        return Err(c"espnic: an outbound policy without a request id cannot be offloaded");
    }
    let tunnel = match (from.mode, from.family) {
        (Mode::Transport, _) => None,
        (Mode::Tunnel, Some(family)) => {
            let ends = [from.src, from.dst].map(|end| address(family, end));
            if direction == Direction::Out && ends.iter().any(is_any) {
                return Err(c"espnic: an outbound tunnel needs both addresses in its policy");
            }
            Some(ends)
        }
        _ => return Err(c"espnic: only policies for transport and tunnel mode can be offloaded"),
    };
    Ok(Template {
        reqid: from.reqid,
        spi: from.spi,
        tunnel,
    })
}
