// SPDX-License-Identifier: GPL-2.0

//! Policies for the tests of others.

use super::{
    Action,
    Checked,
    Policy,
    Template, //
};
use espnic_esp::selector::Selector;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::xfrm::Direction;

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
    policy.kill();
}

/// A template for transport mode.
pub(in crate::ipsec::packet) fn transport(reqid: u32) -> Template {
    Template {
        reqid,
        spi: 0,
        tunnel: None,
    }
}
