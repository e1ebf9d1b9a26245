// SPDX-License-Identifier: GPL-2.0

//! Policies for the tests of others.

use super::{
    Action,
    Policy,
    Template, //
};
use espnic_esp::selector::Selector;
use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};
use kernel_net::net::xfrm::Direction;

/// An inbound policy.
pub(in crate::ipsec::packet) fn policy(selector: Selector, action: Action) -> Result<Arc<Policy>> {
    let policy = Policy {
        id: 1,
        direction: Direction::In,
        selector,
        priority: 1,
        action,
        dead: Atomic::new(false),
    };
    Ok(Arc::new(policy, GFP_KERNEL)?)
}

/// A template for transport mode.
pub(in crate::ipsec::packet) fn transport(reqid: u32) -> Template {
    Template {
        reqid,
        spi: 0,
        tunnel: None,
    }
}
