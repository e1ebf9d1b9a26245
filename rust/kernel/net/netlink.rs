// SPDX-License-Identifier: GPL-2.0

//! Extended acknowledgements: the sentence that a refused request is answered with.
//!
//! C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)

#[cfg(espnic_kunit)]
mod tests;

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A `struct netlink_ext_ack` for the time of one request; it may be absent.
pub struct ExtAck(Option<NonNull<bindings::netlink_ext_ack>>);

impl ExtAck {
    /// # Safety
    ///
    /// `ptr` is null or valid for writes as long as the value lives.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::netlink_ext_ack) -> Self {
        Self(NonNull::new(ptr))
    }

    /// Sets the sentence that the user sees; does nothing if nobody wants it.
    pub fn set(&mut self, message: &'static CStr) {
        if let Some(ptr) = self.0 {
            // SAFETY: Valid for writes by the type's contract.
            unsafe { (*ptr.as_ptr())._msg = message.to_bytes_with_nul().as_ptr().cast() };
        }
    }
}
