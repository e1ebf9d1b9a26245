// SPDX-License-Identifier: GPL-2.0

//! Lock flavours and a completion with a timeout.
//!
//! The kernel crate has a plain spin lock only; network code needs the two that keep out softirqs
//! and interrupts.
//!
//! C headers: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h),
//! [`include/linux/completion.h`](srctree/include/linux/completion.h)

#[cfg(espnic_kunit)]
mod tests;

use crate::bindings;
use kernel::{
    prelude::*,
    sync::lock::{
        Backend,
        Lock, //
    },
    types::Opaque, //
};

/// A spin lock that disables softirqs: for data shared by process context and softirqs.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     new_lock,
///     sync::SpinLockBh, //
/// };
///
/// #[pin_data]
/// struct Queue {
///     #[pin]
///     packets: SpinLockBh<u32>,
/// }
///
/// let queue = KBox::pin_init(
///     pin_init!(Queue {
///         packets <- new_lock!(0),
///     }),
///     GFP_KERNEL,
/// )?;
/// *queue.packets.lock() = 1;
/// # Ok::<(), Error>(())
/// ```
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// A spin lock that disables interrupts: for data shared with interrupt handlers.
///
/// Drop guards in the reverse order in which they were taken, because each one restores the interrupt
/// state that it found. Another order breaks no exclusion, but a handler may then wait for its own CPU.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     new_lock,
///     sync::SpinLockIrq, //
/// };
///
/// #[pin_data]
/// struct Events {
///     #[pin]
///     seen: SpinLockIrq<u32>,
/// }
///
/// let events = KBox::pin_init(
///     pin_init!(Events {
///         seen <- new_lock!(0),
///     }),
///     GFP_KERNEL,
/// )?;
/// *events.seen.lock() = 1;
/// # Ok::<(), Error>(())
/// ```
pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// Initialises a [`SpinLockBh`] or [`SpinLockIrq`] with a lock class of its own.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     new_lock,
///     sync::SpinLockBh, //
/// };
///
/// fn counter() -> impl PinInit<SpinLockBh<u32>> {
///     new_lock!(0)
/// }
/// ```
#[macro_export]
macro_rules! new_lock {
    ($inner:expr) => {{
        // Lockdep wants one address for the name of a class. A constant in a generic function has
        // one for each crate that uses it; a static is shared, as the class is.
        static NAME: &::kernel::str::CStr = ::kernel::optional_name!();
        ::kernel::sync::lock::Lock::new($inner, NAME, ::kernel::static_lock_class!())
    }};
}

/// The backend of [`SpinLockBh`].
///
/// # Examples
///
/// ```
/// use kernel::sync::lock::Guard;
/// use kernel_net::sync::SpinLockBhBackend;
///
/// /// The guard proves that the lock is held, and softirqs are off.
/// fn count(packets: &mut Guard<'_, u32, SpinLockBhBackend>) {
///     **packets += 1;
/// }
/// ```
pub struct SpinLockBhBackend;

// SAFETY: A `spinlock_t` excludes all other CPUs, and softirqs of this CPU while they are off.
unsafe impl Backend for SpinLockBhBackend {
    type State = kernel::bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: The caller promises that `ptr` is valid for writes, and `name` and `key` live on.
        unsafe { kernel::bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { bindings::spin_lock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { bindings::spin_trylock_bh(ptr.cast()) }.then_some(())
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The caller promises to own the lock.
        unsafe { bindings::spin_unlock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { kernel::bindings::spin_assert_is_held(ptr) }
    }
}

/// The backend of [`SpinLockIrq`].
///
/// # Examples
///
/// ```
/// use kernel::sync::lock::Guard;
/// use kernel_net::sync::SpinLockIrqBackend;
///
/// /// The guard proves that the lock is held, and interrupts are off.
/// fn count(packets: &mut Guard<'_, u32, SpinLockIrqBackend>) {
///     **packets += 1;
/// }
/// ```
pub struct SpinLockIrqBackend;

// SAFETY: A `spinlock_t` excludes all other CPUs, and interrupts of this CPU while they are off.
unsafe impl Backend for SpinLockIrqBackend {
    type State = kernel::bindings::spinlock_t;
    type GuardState = c_ulong;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: The caller promises that `ptr` is valid for writes, and `name` and `key` live on.
        unsafe { kernel::bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { bindings::spin_lock_irqsave(ptr.cast()) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: The caller promises that the lock was initialised; `flags` is a local.
        unsafe { bindings::spin_trylock_irqsave(ptr.cast(), &mut flags) }.then_some(flags)
    }

    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: The caller promises to own the lock; the flags come from `lock`.
        unsafe { bindings::spin_unlock_irqrestore(ptr.cast(), *guard_state) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { kernel::bindings::spin_assert_is_held(ptr) }
    }
}

/// A one-shot event that can be waited for with a time limit.
///
/// # Invariants
///
/// `inner` is initialised, and pinned.
///
/// # Examples
///
/// ```
/// use kernel_net::sync::Completion;
///
/// let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
/// assert!(!done.wait_timeout(10));
/// done.complete_all();
/// assert!(done.wait_timeout(10));
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A `struct completion` may be signalled and awaited from any thread.
unsafe impl Send for Completion {}
// SAFETY: It has its own lock, so several threads may signal and await it at a time.
unsafe impl Sync for Completion {}

impl Completion {
    /// Makes an event that has not happened yet.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: The completion is initialised below, in its place.
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { bindings::init_completion(slot) }
            }),
        })
    }

    /// Signals the event for all waiters, now and later. Any context.
    pub fn complete_all(&self) {
        // SAFETY: The completion is initialised by the invariant.
        unsafe { bindings::complete_all(self.inner.get()) }
    }

    /// Waits until the event has happened, at most `milliseconds`; returns whether it did.
    /// Sleeps.
    pub fn wait_timeout(&self, milliseconds: u32) -> bool {
        // SAFETY: The completion is initialised by the invariant. Who waits has a reference, and who
        // signals is through with it when the wait ends.
        unsafe { bindings::wait_for_completion_ms(self.inner.get(), milliseconds) }
    }
}
