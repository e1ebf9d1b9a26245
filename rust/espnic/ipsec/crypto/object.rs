// SPDX-License-Identifier: GPL-2.0

//! SA objects of crypto offload.

#[cfg(espnic_kunit)]
mod tests;

use super::super::{
    check::Supported,
    object, //
};
use crate::control::Control;
use espnic_wire::{
    admin::Command,
    cap,
    sa::{
        self,
        SaObject,
        SaTail, //
    },
    U16,
    U32,
    U64, //
};
use kernel::prelude::*;
use kernel_net::{
    net::xfrm::{
        Direction,
        Handle,
        State, //
    },
    random, //
};

/// Fills the zeroed `object` for `x`. It then holds the key: erase it after use.
///
/// `seen` is the highest sequence number that an inbound state has seen.
pub(in crate::ipsec) fn describe(
    object: &mut SaObject,
    x: &State,
    handle: Handle,
    supported: &Supported<'_>,
    seen: u64,
) {
    let base = &mut object.base;
    base.mode = supported.mode;
    base.obj_id = U32::new(handle.id);
    base.spi = U32::new(x.spi());
    base.options = U64::new(u64::from(supported.options));
    let tail = &mut object.tail;
    tail.tail_len = U16::new(SaTail::LEN);
    tail.tail_flags = U16::new(sa::TAIL_CRYPTO_ONLY | sa::TAIL_MATCH_ADDR | sa::TAIL_DELIVER_ERR);
    tail.family = supported.family;
    tail.generation = U16::new(handle.generation);
    tail.dst = x.destination();
    tail.src = x.source();
    if let Some(encap) = supported.encapsulation {
        tail.encap_mode = sa::ENCAP_UDP;
        base.udp_sport = U16::new(encap.source_port);
        base.udp_dport = U16::new(encap.destination_port);
    }
    supported.algorithm.write(object);
    match handle.direction {
        Direction::In => describe_inbound(object, x, supported, seen),
        Direction::Out => describe_outbound(object, supported),
    }
}

fn describe_inbound(object: &mut SaObject, x: &State, supported: &Supported<'_>, seen: u64) {
    object.base.direction = sa::DIR_IN;
    if supported.options & cap::OPT_ESN != 0 {
        // The NIC infers high halves from it. It does not check for replays.
        object.base.replay_win_sz = U32::new(x.replay_window().max(1));
        object.tail.seq = U64::new(seen);
        object.tail.tail_flags |= U16::new(sa::TAIL_SEQ_VALID);
    }
}

fn describe_outbound(object: &mut SaObject, supported: &Supported<'_>) {
    object.base.direction = sa::DIR_OUT;
    if supported.encapsulation.is_some() {
        // `ip xfrm state update` changes the ports without a call to the driver (X16); the stack
        // then sends packets with the new ones.
        object.tail.tail_flags |= U16::new(sa::TAIL_NO_UDP_PORT_CHECK);
    }
    if supported.algorithm.suite.cipher().needs_mac() {
        // CBC needs unpredictable IVs (RFC 3602 section 3), which the NIC makes.
        object.tail.iv_mode = sa::IV_DEVICE;
    } else {
        // Drawn anew for every installation, so that no IV of an earlier one, or of software
        // under the same key, comes again.
        object.tail.iv_mode = sa::IV_SEQ_XOR;
        object.tail.iv_xor = U64::new(random::u64());
    }
}

/// Makes the NIC create the object of `x`. Sleeps.
///
/// # Errors
///
/// Those of [`Control::execute`], and what the NIC answers.
pub(in crate::ipsec) fn create(
    control: &Control,
    x: &State,
    handle: Handle,
    supported: &Supported<'_>,
) -> Result {
    let (obj_type, id) = object::name(handle);
    let seen = x.highest_seen();
    let describe = |object: &mut _| describe(object, x, handle, supported, seen);
    object::send(control, describe, &[], |object| Command::ObjCreate {
        obj_type,
        id,
        object,
    })
}
