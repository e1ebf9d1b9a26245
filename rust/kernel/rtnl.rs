// SPDX-License-Identifier: GPL-2.0

//! The lock of all network configuration.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use crate::bindings;
use kernel::types::NotThreadSafe;

/// Proof that RTNL is held; dropping it releases the lock.
pub struct Guard(NotThreadSafe);

/// Takes RTNL. Sleeps; not from callbacks that hold it already.
pub fn lock() -> Guard {
    // SAFETY: No preconditions but the context.
    unsafe { bindings::rtnl_lock() };
    Guard(NotThreadSafe)
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: The guard was made by `lock` on this thread.
        unsafe { bindings::rtnl_unlock() }
    }
}
