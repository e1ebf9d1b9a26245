// SPDX-License-Identifier: GPL-2.0

//! Changing and deleting states, in the way of `xfrm_user`.
//!
//! C header: [`include/net/xfrm.h`](srctree/include/net/xfrm.h)

use super::{
    Direction,
    State, //
};
use crate::{
    bindings,
    net::namespace::Namespace, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};

/// Proof that the caller holds the mutex of all XFRM configuration of a namespace. Requests through
/// netlink take it, too, so that no state is half made while it is held.
pub struct Configuring<'a> {
    namespace: &'a Namespace,
    _thread: NotThreadSafe,
}

impl Namespace {
    /// Takes the mutex of all XFRM configuration. Sleeps; RTNL is not held.
    pub fn configure_xfrm(&self) -> Configuring<'_> {
        // SAFETY: The namespace is live.
        unsafe { bindings::xfrm_cfg_lock(self.as_raw()) };
        Configuring {
            namespace: self,
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for Configuring<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock was taken on this thread.
        unsafe { bindings::xfrm_cfg_unlock(self.namespace.as_raw()) }
    }
}

/// Why sequence numbers were not advanced.
pub enum AdvanceError {
    /// The state is dead or of another namespace.
    Dead,
    /// The state has no extended sequence numbers.
    NoEsn,
    /// The number is lower than that of the state: IVs would come again, or replays pass.
    Backward,
}

impl<'a> Configuring<'a> {
    pub(super) fn namespace(&self) -> &'a Namespace {
        self.namespace
    }

    /// Whether `x` is a whole, live state of this namespace.
    fn owns(&self, x: &State) -> bool {
        // SAFETY: The state is live. The mutex keeps its life from beginning now.
        unsafe {
            bindings::xs_net(x.as_raw()) == self.namespace.as_raw()
                && core::ptr::read_volatile(&raw const (*x.as_raw()).km.state)
                    == bindings::XFRM_STATE_VALID as u8
        }
    }

    /// Deletes `x`, audits and announces that. Does not wait for the device to forget it.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the state is dead; `EPERM` if the kernel itself uses it; those of the security
    /// modules.
    pub fn delete(&self, x: &State) -> Result {
        if !self.owns(x) {
            return Err(ESRCH);
        }
        // SAFETY: The state is live, and in the SAD unless it dies now.
        let result = unsafe {
            to_result(bindings::xfrm_security_delete(x.as_raw())).and_then(|()| {
                if bindings::xfrm_state_kern(x.as_raw()) {
                    return Err(EPERM);
                }
                to_result(bindings::xfrm_state_delete(x.as_raw()))
            })
        };
        if result.is_ok() {
            announce(x.as_raw(), bindings::XFRM_MSG_DELSA);
        }
        // SAFETY: The state is live.
        unsafe { bindings::xfrm_audit_state_delete(x.as_raw(), i32::from(result.is_ok())) };
        result
    }

    /// Moves the high half of the sequence numbers of `x` forward to `high`, tells the device and
    /// announces that. To the number that it has nothing is done. Does not sleep.
    ///
    /// Outbound the low half stays. Inbound it becomes 0, and all numbers with lower high halves
    /// count as seen from then on: the first packet may have any low half.
    ///
    /// # Errors
    ///
    /// See [`AdvanceError`].
    pub fn advance_sequence(&self, x: &State, high: u32) -> Result<(), AdvanceError> {
        if !self.owns(x) {
            return Err(AdvanceError::Dead);
        }
        if !x.is_esn() {
            return Err(AdvanceError::NoEsn);
        }
        // SAFETY: The state is live; nobody holds its lock on this thread.
        unsafe { bindings::xfrm_state_lock(x.as_raw()) };
        let result = advance_locked(x, high);
        // SAFETY: Taken above.
        unsafe { bindings::xfrm_state_unlock(x.as_raw()) };
        if result? {
            announce_advance(x);
        }
        Ok(())
    }
}

/// [`Configuring::advance_sequence`] under the state's lock; whether anything moved.
fn advance_locked(x: &State, high: u32) -> Result<bool, AdvanceError> {
    // SAFETY: A state's replay state lives as long as the state; it changes under the lock.
    let esn = unsafe { (*x.as_raw()).replay_esn.as_mut() }.ok_or(AdvanceError::NoEsn)?;
    let inbound = x.direction() == Some(Direction::In);
    let now = if inbound {
        &mut esn.seq_hi
    } else {
        &mut esn.oseq_hi
    };
    if high < *now {
        return Err(AdvanceError::Backward);
    }
    if high == *now {
        return Ok(false);
    }
    *now = high;
    if inbound {
        esn.seq = 0;
        if esn.replay_window != 0 {
            // The bit of number 0, the highest, stays free.
            let top = u32::MAX % esn.replay_window;
            let words = esn.bmp_len as usize;
            // SAFETY: The bitmap has `bmp_len` words.
            let bitmap = unsafe { core::slice::from_raw_parts_mut(esn.bmp.as_mut_ptr(), words) };
            bitmap.fill(u32::MAX);
            if let Some(word) = bitmap.get_mut((top / u32::BITS) as usize) {
                *word &= !(1 << (top % u32::BITS));
            }
        }
    }
    // SAFETY: The state is live and its lock held.
    unsafe {
        set_announced(x.as_raw());
        bindings::xfrm_advance_esn(x.as_raw());
    }
    Ok(true)
}

/// Has the stack take the sequence numbers for announced.
///
/// # Safety
///
/// The state is live, has a `replay_esn`, and its lock is held.
unsafe fn set_announced(x: *mut bindings::xfrm_state) {
    // SAFETY: By the contract. Both copies were made with the same size, that of their bitmaps
    // included.
    unsafe {
        let (now, announced) = ((*x).replay_esn, (*x).preplay_esn);
        if !announced.is_null() {
            let bitmap = (*now).bmp_len as usize * size_of::<u32>();
            let size = size_of::<bindings::xfrm_replay_state_esn>() + bitmap;
            core::ptr::copy_nonoverlapping(now.cast::<u8>(), announced.cast(), size);
        }
    }
}

/// Tells the key managers of `event` (`XFRM_MSG_`).
pub(super) fn announce(x: *mut bindings::xfrm_state, event: u32) {
    // SAFETY: All fields may be zero.
    let mut what: bindings::km_event = unsafe { core::mem::zeroed() };
    what.event = event;
    // SAFETY: The callers hold a reference to the state.
    unsafe { bindings::km_state_notify(x, &what) };
}

/// Tells the key managers of new sequence numbers, as after their own `XFRM_MSG_NEWAE`.
fn announce_advance(x: &State) {
    // SAFETY: All fields may be zero.
    let mut what: bindings::km_event = unsafe { core::mem::zeroed() };
    what.event = bindings::XFRM_MSG_NEWAE;
    what.data.aevent = bindings::xfrm_ae_ftype_t_XFRM_AE_CU;
    // SAFETY: The state is live.
    unsafe { bindings::km_state_notify(x.as_raw(), &what) };
}
