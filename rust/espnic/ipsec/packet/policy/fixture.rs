// SPDX-License-Identifier: GPL-2.0

//! Policies, and packets for them, for the tests of others.

use super::{
    Action,
    Checked,
    Policy,
    Template, //
};
use espnic_esp::{
    ip::{
        Address,
        Ports, //
    },
    selector::{
        Flow,
        Seen,
        Selector, //
    },
    upper::Fragment, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::xfrm::Direction;

/// 10.0.0.`last`.
pub(in crate::ipsec::packet) fn address(last: u8) -> Address {
    Address {
        family: 4,
        bytes: [10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// From 10.0.0.1 to 10.0.0.2.
pub(in crate::ipsec::packet) fn flow(protocol: u8) -> Flow {
    Flow {
        src: address(1),
        dst: address(2),
        protocol: Some(protocol),
        ports: Seen::Ports(Ports { src: 1, dst: 2 }),
        fragment: Fragment::No,
    }
}

/// An inbound policy.
pub(in crate::ipsec::packet) fn policy(selector: Selector, action: Action) -> Result<Arc<Policy>> {
    of(Direction::In, 1, selector, action)
}

/// A policy whose age is its priority.
pub(in crate::ipsec::packet) fn of(
    direction: Direction,
    priority: u32,
    selector: Selector,
    action: Action,
) -> Result<Arc<Policy>> {
    let checked = Checked {
        direction,
        selector,
        priority,
        action,
    };
    Ok(Arc::new(
        Policy::new(priority.into(), &checked, None),
        GFP_KERNEL,
    )?)
}

/// Ends it.
pub(in crate::ipsec::packet) fn kill(policy: &Policy) {
    let _ = policy.kill();
}

/// A template for transport mode.
pub(in crate::ipsec::packet) fn transport(reqid: u32) -> Template {
    Template {
        reqid,
        spi: 0,
        tunnel: None,
    }
}
