// SPDX-License-Identifier: GPL-2.0

//! The generated bindings; private to this crate.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

mod raw {
    use kernel::ffi;

    // bindgen is told not to emit these: they are word-sized in Rust.
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    include!(concat!(env!("ESPNIC_BINDINGS"), "/bindings_generated.rs"));

    // `kernel::driver` starts from an all-zero C driver structure.
    impl Default for virtio_driver {
        fn default() -> Self {
            // SAFETY: All fields are integers, optional pointers and optional functions.
            unsafe { core::mem::zeroed() }
        }
    }
}

mod helpers {
    use super::raw::*;
    use kernel::ffi;

    include!(concat!(env!("ESPNIC_BINDINGS"), "/helpers_generated.rs"));
}

pub(crate) use helpers::*;
pub(crate) use raw::*;
