// SPDX-License-Identifier: GPL-2.0

//! Processors.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

use crate::bindings;

/// How many processors are online now.
pub fn online() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::num_online_cpus() }
}

/// How many processors there can ever be.
pub fn possible() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::num_possible_cpus() }
}
