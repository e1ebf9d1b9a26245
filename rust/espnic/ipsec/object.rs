// SPDX-License-Identifier: GPL-2.0

//! SA objects, and the commands that create and destroy them in the NIC.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    check::Supported,
    Life, //
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
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use kernel_net::{
    net::xfrm::{
        Direction,
        Handle,
        State, //
    },
    random,
    virtio::control::Waiter, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// Number of retries, and the milliseconds between them, of a command for which there was no memory or
/// no room in the control queue.
const SEND_RETRIES: u32 = 100;
const SEND_RETRY_MS: i64 = 10;

/// The NIC's name for `handle`: object type and id.
pub(super) fn name(handle: Handle) -> (u16, u32) {
    match handle.direction {
        Direction::In => (sa::OBJ_INB_SA, handle.id),
        Direction::Out => (sa::OBJ_OUTB_SA, handle.id),
    }
}

/// Fills the zeroed `object` for `x`. It then holds the key: erase it after use.
///
/// `seen` is the highest sequence number that an inbound state has seen.
pub(super) fn describe(
    object: &mut SaObject,
    x: &State,
    handle: Handle,
    supported: &Supported<'_>,
    seen: u64,
) {
    let std = &mut object.std;
    std.mode = supported.mode;
    std.obj_id = U32::new(handle.id);
    std.spi = U32::new(x.spi());
    std.options = U64::new(u64::from(supported.options));
    let tail = &mut object.tail;
    tail.tail_len = U16::new(SaTail::LEN);
    tail.tail_flags = U16::new(sa::TAIL_CRYPTO_ONLY | sa::TAIL_MATCH_ADDR | sa::TAIL_DELIVER_ERR);
    tail.peer_family = supported.family;
    tail.epoch = U16::new(handle.epoch);
    tail.peer_dst = x.destination();
    tail.peer_src = x.source();
    if let Some(encap) = supported.encapsulation {
        tail.encap_mode = sa::ENCAP_UDP;
        std.udp_sport = U16::new(encap.source_port);
        std.udp_dport = U16::new(encap.destination_port);
    }
    supported.algorithm.write(object);
    match handle.direction {
        Direction::In => describe_inbound(object, x, supported, seen),
        Direction::Out => describe_outbound(object, supported),
    }
}

fn describe_inbound(object: &mut SaObject, x: &State, supported: &Supported<'_>, seen: u64) {
    object.std.direction = sa::DIR_IN;
    if supported.options & cap::OPT_ESN != 0 {
        // The NIC infers high halves from it. It does not check for replays.
        object.std.replay_win_sz = U32::new(x.replay_window().max(1));
        object.tail.seq = U64::new(seen);
        object.tail.tail_flags |= U16::new(sa::TAIL_SEQ_VALID);
    }
}

fn describe_outbound(object: &mut SaObject, supported: &Supported<'_>) {
    object.std.direction = sa::DIR_OUT;
    if supported.encapsulation.is_some() {
        // `ip xfrm state update` changes the ports without a call to the driver (X16); the stack
        // then sends packets with the new ones.
        object.tail.tail_flags |= U16::new(sa::TAIL_NO_UDP_PORT_CHECK);
    }
    if supported.algorithm.kind == cap::KIND_CIPHER {
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
pub(super) fn create(
    control: &Control,
    x: &State,
    handle: Handle,
    supported: &Supported<'_>,
) -> Result {
    let (obj_type, id) = name(handle);
    let seen = x.highest_seen();
    let describe = |object: &mut _| describe(object, x, handle, supported, seen);
    send(control, describe, |object| Command::ObjCreate {
        obj_type,
        id,
        object,
    })
}

/// Sends a command with an SA object, which is erased afterwards. `describe` fills the object, and
/// `command` makes the command from it.
pub(super) fn send(
    control: &Control,
    describe: impl FnOnce(&mut SaObject),
    command: impl for<'a> FnOnce(&'a [u8]) -> Command<'a>,
) -> Result {
    // Filled where it stays: moving it would leave copies of the key on the stack.
    let mut object = KBox::new(SaObject::new_zeroed(), GFP_KERNEL)?;
    describe(&mut object);
    let answer = control.execute(&command(object.as_bytes()), size_of::<SaObject>(), 0);
    random::erase(object.as_mut_bytes());
    answer?.result().map(|_| ())
}

/// Tells the NIC to destroy the object of `handle`. Sleeps only if `flags` allow it.
///
/// # Errors
///
/// Those of [`Control::post`].
pub(super) fn destroy(control: &Control, handle: Handle, flags: Flags) -> Result<Arc<Waiter>> {
    let (obj_type, id) = name(handle);
    control.post(&Command::ObjDestroy { obj_type, id }, 0, 0, flags)
}

/// Posts DESTROY like [`destroy`]; if that is not possible now, `Ipsec::free` tries again.
pub(super) fn post_destroy(control: &Control, handle: Handle, flags: Flags) -> Life {
    destroy(control, handle, flags).map_or(Life::Live, Life::Destroying)
}

/// Posts DESTROY like [`destroy`], and retries while the queue is full or memory is short. Sleeps.
pub(super) fn destroy_patiently(control: &Control, handle: Handle) -> Result<Arc<Waiter>> {
    for _ in 0..SEND_RETRIES {
        match destroy(control, handle, GFP_KERNEL) {
            Err(EBUSY | ENOMEM) if !control.is_silent() => {}
            result => return result,
        }
        kernel::time::delay::fsleep(Delta::from_millis(SEND_RETRY_MS));
    }
    destroy(control, handle, GFP_KERNEL)
}
