// SPDX-License-Identifier: GPL-2.0

//! Programs, and where a device keeps its own.

use crate::{
    bindings,
    net::napi::Poll, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full, //
};

/// A program for received frames, which is counted.
///
/// # Invariants
///
/// The pointer is a program for XDP, of which one reference is ours.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xdp::{
///     Program,
///     Slot, //
/// };
///
/// /// Runs another program from now on.
/// fn change(slot: &Slot, program: Option<Program>) {
///     slot.replace(program);
/// }
/// ```
pub struct Program(NonNull<bindings::bpf_prog>);

// SAFETY: A program belongs to no thread.
unsafe impl Send for Program {}

impl Program {
    /// Another reference to a program, or `None` for null.
    ///
    /// # Safety
    ///
    /// A `ptr` that is not null is a program for XDP, of which the caller has a reference.
    pub(crate) unsafe fn get(ptr: *mut bindings::bpf_prog) -> Option<Self> {
        let ptr = NonNull::new(ptr)?;
        // SAFETY: By the contract.
        unsafe { bindings::bpf_prog_inc(ptr.as_ptr()) };
        // INVARIANT: The reference is ours.
        Some(Self(ptr))
    }

    /// Whether it takes frames in several pieces (`BPF_F_XDP_HAS_FRAGS`).
    pub fn takes_pieces(&self) -> bool {
        // SAFETY: The program exists by the invariant; what it takes does not change.
        unsafe { bindings::bpf_takes_pieces(self.0.as_ptr()) }
    }

    fn into_raw(self) -> *mut bindings::bpf_prog {
        let ptr = self.0.as_ptr();
        core::mem::forget(self);
        ptr
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: One reference is ours by the invariant. Who found the program in a run of NAPI needs none: it is
        // freed only when that has ended.
        unsafe { bindings::bpf_prog_put(self.0.as_ptr()) }
    }
}

/// The place of a device's program. It can be replaced while it runs.
///
/// # Invariants
///
/// The pointer is null, or a [`Program`] that was given away.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     napi::Poll,
///     xdp::Slot, //
/// };
///
/// /// Whether frames go to a program in this run.
/// fn is_taken(slot: &Slot, poll: &Poll<'_>) -> bool {
///     slot.get(poll).is_some()
/// }
/// ```
pub struct Slot(Atomic<*mut bindings::bpf_prog>);

impl Slot {
    /// An empty place.
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// The program of now, if there is one, for the rest of a run of NAPI.
    #[inline]
    pub fn get<'a>(&self, _poll: &'a Poll<'_>) -> Option<Active<'a>> {
        // INVARIANT: By the invariant of the slot it is a program. If it is replaced meanwhile, it exists until RCU
        // has waited for softirqs, in one of which the run is.
        NonNull::new(self.0.load(Acquire)).map(|ptr| Active(ptr, PhantomData))
    }

    /// Puts another program there, or none. Runs of NAPI may go on for a moment with the old one. Not in an
    /// interrupt.
    pub fn replace(&self, new: Option<Program>) {
        let new = new.map_or(core::ptr::null_mut(), Program::into_raw);
        // INVARIANT: Null, or a program that was given away.
        let old = NonNull::new(self.0.xchg(new, Full));
        // INVARIANT: By the invariant of the slot, which has given it up.
        drop(old.map(Program));
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.replace(None);
    }
}

/// A program during a run of NAPI.
///
/// # Invariants
///
/// The pointer is a program for XDP, which exists during the lifetime.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     napi::Poll,
///     xdp::{
///         RxFrame,
///         Slot,
///         Verdict, //
///     }, //
/// };
///
/// /// Runs the program of `slot`, if there is one; true if the frame is gone.
/// fn drops(slot: &Slot, poll: &Poll<'_>, frame: RxFrame) -> bool {
///     let program = slot.get(poll);
///     program.is_some_and(|program| matches!(program.run(poll, frame, |_| true), Verdict::Dropped))
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Active<'a>(NonNull<bindings::bpf_prog>, PhantomData<&'a ()>);

impl Active<'_> {
    /// As [`Program::takes_pieces`].
    pub fn takes_pieces(&self) -> bool {
        // SAFETY: The program exists by the invariant; what it takes does not change.
        unsafe { bindings::bpf_takes_pieces(self.as_raw()) }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::bpf_prog {
        self.0.as_ptr()
    }
}
