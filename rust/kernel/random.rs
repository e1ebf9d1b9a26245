// SPDX-License-Identifier: GPL-2.0

//! Random numbers and the erasing of secrets.
//!
//! C headers: [`include/linux/random.h`](srctree/include/linux/random.h),
//! [`include/linux/string.h`](srctree/include/linux/string.h)

use crate::bindings;

/// Returns a cryptographically secure random number. Any context.
pub fn u64() -> u64 {
    // SAFETY: `get_random_u64` has no preconditions.
    unsafe { bindings::get_random_u64() }
}

/// Overwrites `secret` with zeros in a way that the compiler cannot leave out.
pub fn erase(secret: &mut [u8]) {
    // SAFETY: The slice is valid for writes of its length.
    unsafe { bindings::memzero_explicit(secret.as_mut_ptr().cast(), secret.len()) }
}
