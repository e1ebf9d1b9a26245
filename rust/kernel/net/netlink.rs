// SPDX-License-Identifier: GPL-2.0

//! Extended acknowledgements (extack): the message that tells the user why a request was refused.
//!
//! C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

#[cfg(espnic_kunit)]
mod tests;

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A `struct netlink_ext_ack` for the time of one request; it may be absent.
///
/// # Invariants
///
/// If the pointer is there, it is valid for writes as long as the value lives. Drivers are lent the value
/// for the time of a callback, and cannot make one but that of [`Self::absent`].
///
/// # Examples
///
/// ```
/// use kernel_net::net::netlink::ExtAck;
///
/// fn check(size: u32, extack: &mut ExtAck) -> Result {
///     if !size.is_power_of_two() {
///         extack.set(c"ring sizes must be powers of two");
///         return Err(EINVAL);
///     }
///     Ok(())
/// }
/// ```
pub struct ExtAck(Option<NonNull<bindings::netlink_ext_ack>>);

impl ExtAck {
    /// # Safety
    ///
    /// `ptr` is null or valid for writes as long as the value lives.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::netlink_ext_ack) -> Self {
        // INVARIANT: By the contract.
        Self(NonNull::new(ptr))
    }

    /// That of a request that has no place for a message.
    pub fn absent() -> Self {
        // INVARIANT: There is no pointer.
        Self(None)
    }

    /// Sets the message that the user sees; does nothing if the request has no place for one.
    pub fn set(&mut self, message: &'static CStr) {
        if let Some(ptr) = self.0 {
            // SAFETY: The structure is valid for writes by the invariant. The message is static.
            unsafe { (*ptr.as_ptr())._msg = message.to_bytes_with_nul().as_ptr().cast() };
        }
    }
}
