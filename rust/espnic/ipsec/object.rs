// SPDX-License-Identifier: GPL-2.0

//! The NIC's names of SA objects, and the commands that create and destroy them in the NIC.

use super::life::Life;
use crate::control::Control;
use espnic_wire::{
    admin::Command,
    sa::{
        self,
        SaObject, //
    }, //
};
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    net::xfrm::{
        Direction,
        Handle, //
    },
    random,
    virtio::control::Waiter, //
};
use zerocopy::FromBytes;

/// The NIC's name for `handle`: object type and id.
pub(super) fn name(handle: Handle) -> (u16, u32) {
    match handle.direction {
        Direction::In => (sa::OBJ_INB_SA, handle.id),
        Direction::Out => (sa::OBJ_OUTB_SA, handle.id),
    }
}

/// Sends a command with an SA object, which is erased afterwards. `describe` fills the object, `bitmap` goes
/// behind it, and `command` makes the command from both.
pub(super) fn send(
    control: &Control,
    describe: impl FnOnce(&mut SaObject),
    bitmap: &[u8],
    command: impl for<'a> FnOnce(&'a [u8]) -> Command<'a>,
) -> Result {
    let len = size_of::<SaObject>().saturating_add(bitmap.len());
    let mut room = KVec::from_elem(0u8, len, GFP_KERNEL)?;
    let (object, rest) = SaObject::mut_from_prefix(&mut room).map_err(|_| EINVAL)?;
    // Filled where it stays: moving it would leave copies of the key on the stack.
    describe(object);
    rest.copy_from_slice(bitmap);
    let answer = control.execute(&command(&room), len, 0);
    random::erase(&mut room);
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

/// Posts DESTROY like [`destroy`], with the patience of [`Control::insist`]. Sleeps.
pub(super) fn destroy_patiently(control: &Control, handle: Handle) -> Result<Arc<Waiter>> {
    control.insist(|| destroy(control, handle, GFP_KERNEL))
}
