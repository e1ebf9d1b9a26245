// SPDX-License-Identifier: GPL-2.0

//! The lock of all network configuration.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use crate::bindings;
use core::ops::Deref;
use kernel::types::NotThreadSafe;

/// Proof that this thread holds RTNL, as long as the reference lives: because it has a [`Guard`], or
/// because the stack took the lock before it called.
///
/// # Invariants
///
/// There are references to a `Held` only on a thread that holds RTNL.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::netdevice::{
///         Device,
///         Operations, //
///     },
///     rtnl, //
/// };
///
/// fn use_one_queue<T: Operations>(dev: &Device<T>, rtnl: &rtnl::Held) -> Result {
///     dev.set_queues(1, rtnl)
/// }
/// ```
pub struct Held(NotThreadSafe);

impl Held {
    /// For callbacks that the stack calls with the lock held.
    ///
    /// # Safety
    ///
    /// The caller's thread holds RTNL, and keeps it for `'a`.
    pub(crate) unsafe fn assume<'a>() -> &'a Self {
        // INVARIANT: By the contract.
        &Held(NotThreadSafe)
    }
}

/// RTNL, held by this thread; dropping the guard releases it.
///
/// # Invariants
///
/// The thread took the lock when the guard was made, and holds it until the guard is dropped.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::netdevice::{
///         Device,
///         Operations, //
///     },
///     rtnl, //
/// };
///
/// fn is_bridged<T: Operations>(dev: &Device<T>) -> bool {
///     let guard = rtnl::lock();
///     dev.is_diverted(&guard)
/// }
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard(Held);

/// Takes RTNL. Sleeps; not from callbacks that hold it already.
pub fn lock() -> Guard {
    // SAFETY: No preconditions but the context.
    unsafe { bindings::rtnl_lock() };
    // INVARIANT: The lock is held now. Neither type can be sent to another thread.
    Guard(Held(NotThreadSafe))
}

impl Deref for Guard {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: By the invariant this thread holds the lock, which nobody else releases.
        unsafe { bindings::rtnl_unlock() }
    }
}
