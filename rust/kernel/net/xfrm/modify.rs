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
///
/// # Invariants
///
/// `xfrm_cfg_mutex` of the namespace was taken by the thread that has the value, for the value.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     namespace::Namespace,
///     xfrm::State, //
/// };
///
/// fn delete(namespace: &Namespace, x: &State) -> Result {
///     let configuring = namespace.configure_xfrm();
///     configuring.delete(x)
/// }
/// ```
#[must_use = "the mutex is released when the proof is dropped"]
pub struct Configuring<'a> {
    namespace: &'a Namespace,
    _thread: NotThreadSafe,
}

impl Namespace {
    /// Takes the mutex of all XFRM configuration. Sleeps; RTNL is not held.
    pub fn configure_xfrm(&self) -> Configuring<'_> {
        // SAFETY: A `Namespace` holds a reference to its C structure.
        unsafe { bindings::xfrm_cfg_lock(self.as_raw()) };
        // INVARIANT: Taken just now; a value that is not `Send` stays on its thread.
        Configuring {
            namespace: self,
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for Configuring<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this thread holds the lock, for the value that ends here.
        unsafe { bindings::xfrm_cfg_unlock(self.namespace.as_raw()) }
    }
}

/// Why sequence numbers were not advanced.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::modify::AdvanceError;
///
/// fn errno(error: AdvanceError) -> Error {
///     match error {
///         AdvanceError::Dead => ESRCH,
///         AdvanceError::NoEsn | AdvanceError::Backward => EINVAL,
///     }
/// }
/// ```
pub enum AdvanceError {
    /// The state is dead or of another namespace.
    Dead,
    /// The state has no extended sequence numbers.
    NoEsn,
    /// The number is lower than that of the state: IVs would repeat, or replays pass.
    Backward,
}

impl<'a> Configuring<'a> {
    pub(super) fn namespace(&self) -> &'a Namespace {
        self.namespace
    }

    /// Whether `x` is a whole, live state of this namespace. It may die meanwhile, but the mutex keeps
    /// its life from beginning.
    fn owns(&self, x: &State) -> bool {
        // SAFETY: The structure is there by the type invariant of `State`; its namespace never changes.
        let net = unsafe { bindings::xs_net(x.as_raw()) };
        // SAFETY: The structure is there, as before. The stack writes the byte under the state's lock; one
        // volatile read may race.
        let life = unsafe { (&raw const (*x.as_raw()).km.state).read_volatile() };
        net == self.namespace.as_raw() && life == bindings::XFRM_STATE_VALID as u8
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
        // SAFETY: The state was valid just now.
        let result = unsafe { self.delete_live(x) };
        if result.is_ok() {
            announce(x, bindings::XFRM_MSG_DELSA);
        }
        // SAFETY: The structure is there by the type invariant of `State`.
        unsafe { bindings::xfrm_audit_state_delete(x.as_raw(), i32::from(result.is_ok())) };
        result
    }

    /// # Safety
    ///
    /// The state is valid, or was and has died since.
    unsafe fn delete_live(&self, x: &State) -> Result {
        // SAFETY: The structure is there by the type invariant of `State`.
        to_result(unsafe { bindings::xfrm_security_delete(x.as_raw()) })?;
        // SAFETY: The structure is there, as before; whether the kernel uses a state never changes.
        if unsafe { bindings::xfrm_state_kern(x.as_raw()) } {
            return Err(EPERM);
        }
        // SAFETY: The structure is there, as before. The state was put into the SAD, else it would not
        // have been valid, which the contract says; if it died since, the stack says so. The SAD's
        // reference is not the one behind `x`.
        to_result(unsafe { bindings::xfrm_state_delete(x.as_raw()) })
    }

    /// Moves the high half of the sequence numbers of `x` forward to `high`, tells the device and
    /// announces that. Does nothing if `high` is the current one. Does not sleep.
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
        // SAFETY: The closure runs with the lock of `x` held.
        if x.locked(|| unsafe { advance_locked(x, high) })? {
            announce_advance(x);
        }
        Ok(())
    }
}

/// [`Configuring::advance_sequence`] under the state's lock; whether anything moved.
///
/// The lock keeps other writers out, but numbers are also read without it, so they are written with
/// volatile accesses.
///
/// # Safety
///
/// The lock of `x` is held.
unsafe fn advance_locked(x: &State, high: u32) -> Result<bool, AdvanceError> {
    // SAFETY: The structure is there by the type invariant of `State`, and nobody changes this pointer.
    let esn = unsafe { (*x.as_raw()).replay_esn };
    if esn.is_null() {
        return Err(AdvanceError::NoEsn);
    }
    let inbound = x.direction() == Some(Direction::In);
    // SAFETY: Not null, so by the type invariant of `State` it lives as long as the state.
    let field = unsafe {
        if inbound {
            &raw mut (*esn).seq_hi
        } else {
            &raw mut (*esn).oseq_hi
        }
    };
    // SAFETY: Part of the replay state, whose writers have the lock that we hold by the contract.
    let now = unsafe { field.read_volatile() };
    if high < now {
        return Err(AdvanceError::Backward);
    }
    if high == now {
        return Ok(false);
    }
    // SAFETY: As for the read; readers without the lock read it with one access.
    unsafe { field.write_volatile(high) };
    if inbound {
        // SAFETY: Part of the replay state, as the high half is.
        unsafe { (&raw mut (*esn).seq).write_volatile(0) };
        // SAFETY: The replay state of a state whose lock is held by the contract.
        unsafe { mark_seen(esn) };
    }
    // SAFETY: By the type invariant of `State` the structure is there. Its replay state is not null, and
    // its lock is held by the contract.
    unsafe { set_announced(x.as_raw()) };
    // SAFETY: The structure is there by the type invariant of `State`, and its lock is held by the contract,
    // which switches softirqs off: an RCU section.
    unsafe { bindings::xfrm_advance_esn(x.as_raw()) };
    Ok(true)
}

/// Marks all numbers of the window below the new high half as received.
///
/// # Safety
///
/// `esn` is the replay state of a [`State`] whose lock is held.
unsafe fn mark_seen(esn: *mut bindings::xfrm_replay_state_esn) {
    // SAFETY: Valid by the contract; the lock keeps writers out.
    let (window, words) = unsafe { ((*esn).replay_window, (*esn).bmp_len) };
    if window == 0 {
        return;
    }
    // The bit of number 0, the highest, stays free.
    let top = u32::MAX % window;
    // SAFETY: The bitmap begins here. The pointer comes from that to all of the allocation, not from a
    // reference to the structure without its bitmap.
    let bitmap: *mut u32 = unsafe { &raw mut (*esn).bmp }.cast();
    for index in 0..words {
        let free = if index == top / u32::BITS {
            1 << (top % u32::BITS)
        } else {
            0
        };
        // SAFETY: The bitmap has `bmp_len` words, by which the stack allocated the structure. It is
        // read and written under the lock.
        unsafe { bitmap.add(index as usize).write(!free) };
    }
}

/// Marks the sequence numbers as announced.
///
/// # Safety
///
/// `x` is a [`State`] with a `replay_esn`, and its lock is held.
unsafe fn set_announced(x: *mut bindings::xfrm_state) {
    // SAFETY: Valid by the contract; the lock keeps writers out.
    let (now, announced) = unsafe { ((*x).replay_esn, (*x).preplay_esn) };
    if announced.is_null() {
        return;
    }
    // SAFETY: By the contract there is a `replay_esn`; the lock keeps writers out.
    let bitmap = unsafe { (*now).bmp_len } as usize * size_of::<u32>();
    let size = size_of::<bindings::xfrm_replay_state_esn>() + bitmap;
    // SAFETY: Both copies were allocated one after the other with this size: the stack lets nobody
    // change the length of the bitmap (`xfrm_replay_verify_len()`). Writers of both have the lock.
    unsafe { core::ptr::copy_nonoverlapping(now.cast::<u8>(), announced.cast(), size) };
}

/// Tells the key managers of `event` (`XFRM_MSG_`).
pub(super) fn announce(x: &State, event: u32) {
    // SAFETY: All fields are integers and a pointer, or unions of integers: zero is a value of each.
    let mut what: bindings::km_event = unsafe { core::mem::zeroed() };
    what.event = event;
    // SAFETY: The structure is there by the type invariant of `State`, and `what` during the call.
    unsafe { bindings::km_state_notify(x.as_raw(), &what) };
}

/// Tells the key managers of new sequence numbers, as after their own `XFRM_MSG_NEWAE`.
fn announce_advance(x: &State) {
    // SAFETY: All fields are integers and a pointer, or unions of integers: zero is a value of each.
    let mut what: bindings::km_event = unsafe { core::mem::zeroed() };
    what.event = bindings::XFRM_MSG_NEWAE;
    what.data.aevent = bindings::xfrm_ae_ftype_t_XFRM_AE_CU;
    // SAFETY: The structure is there by the type invariant of `State`, and `what` during the call.
    unsafe { bindings::km_state_notify(x.as_raw(), &what) };
}
