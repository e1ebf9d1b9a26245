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

/// Fills in a key of receive side scaling: the random one that all devices of this kernel have. At most 256 bytes
/// are random.
///
/// # Examples
///
/// ```
/// let (mut one, mut other) = ([0; 40], [0; 40]);
/// kernel_net::random::rss_key(&mut one);
/// kernel_net::random::rss_key(&mut other);
/// assert_eq!(one, other);
/// ```
pub fn rss_key(key: &mut [u8]) {
    /// Length of the kernel's key: `NETDEV_RSS_KEY_LEN`.
    const LEN: usize = 256;
    let len = key.len().min(LEN);
    // SAFETY: So much of the slice is valid for writes, and it is no longer than the kernel's key.
    unsafe { bindings::netdev_rss_key_fill(key.as_mut_ptr().cast(), len) };
}

/// Overwrites `secret` with zeros in a way that the compiler cannot leave out.
pub fn erase(secret: &mut [u8]) {
    // SAFETY: The slice is valid for writes of its length.
    unsafe { bindings::memzero_explicit(secret.as_mut_ptr().cast(), secret.len()) }
}
