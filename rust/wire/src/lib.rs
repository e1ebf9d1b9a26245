// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages and headers between the espnic driver and its NIC.
//!
//! This crate is the only description of the interface in code: the driver (in the kernel) and the
//! NIC (a process) are both built from it. It covers what the two need of VIRTIO 1.4 (net header,
//! control queue, administration commands, IPsec objects) and the experimental extension behind
//! feature bit 127 (crypto-only SAs, the SA tail, the 48-byte packet header, administration
//! commands in the control queue). Section numbers in the modules are those of VIRTIO 1.4.
//!
//! Everything is a view on bytes: layouts have alignment 1, no padding and little-endian fields
//! unless their documentation says otherwise. Nothing here allocates, panics or uses `unsafe`.
//! Types that carry key material implement neither `Debug` nor `PartialEq`.

#![cfg_attr(not(any(kernel, test)), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

/// A layout that may carry keys, so it has neither `Debug` nor `PartialEq`.
macro_rules! secret_layout {
    ($(#[$attr:meta])* pub struct $name:ident { $($(#[$fattr:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$attr])*
        #[derive(
            Clone,
            Copy,
            zerocopy_derive::FromBytes,
            zerocopy_derive::Immutable,
            zerocopy_derive::IntoBytes,
            zerocopy_derive::KnownLayout,
            zerocopy_derive::Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fattr])* pub $field: $type,)* }
    };
}

/// A layout without secrets.
macro_rules! layout {
    ($($layout:tt)*) => {
        secret_layout! { #[derive(Debug, Default, PartialEq, Eq)] $($layout)* }
    };
}

pub mod admin;
pub mod algorithm;
pub mod bitmap;
pub mod cap;
pub mod config;
pub mod ctrl;
pub mod event;
pub mod feature;
pub mod filter;
pub mod hdr;
pub mod pci;
pub mod refusal;
pub mod rss;
pub mod sa;
pub mod state;
pub mod tunnel;

pub use zerocopy::little_endian::{U16, U32, U64};

/// Why bytes could not be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller's buffer is too small for the message.
    NoSpace,
    /// The message ends before its fixed part is complete.
    Truncated,
}

/// Reads a `T` from the start of `data`; bytes that `data` lacks read as zero and surplus bytes are
/// ignored. This is the rule of administration commands (2.13.1): length alone never fails one.
pub fn read_zero_extended<T: zerocopy::FromBytes + zerocopy::IntoBytes>(data: &[u8]) -> T {
    let mut value = T::new_zeroed();
    for (to, from) in value.as_mut_bytes().iter_mut().zip(data) {
        *to = *from;
    }
    value
}

/// Copies `src` to offset `at` of `dst` and returns the offset behind it.
fn put(dst: &mut [u8], at: usize, src: &[u8]) -> Result<usize, Error> {
    let end = at.checked_add(src.len()).ok_or(Error::NoSpace)?;
    dst.get_mut(at..end)
        .ok_or(Error::NoSpace)?
        .copy_from_slice(src);
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_input_reads_as_zero_and_surplus_is_ignored() {
        assert_eq!(read_zero_extended::<U32>(&[]).get(), 0);
        assert_eq!(read_zero_extended::<U32>(&[1, 2]).get(), 0x0201);
        assert_eq!(
            read_zero_extended::<U32>(&[1, 2, 3, 4, 5]).get(),
            0x0403_0201
        );
    }

    #[test]
    fn put_refuses_to_leave_the_buffer() {
        let mut buf = [0u8; 4];
        assert_eq!(put(&mut buf, 1, &[1, 2, 3]), Ok(4));
        assert_eq!(put(&mut buf, 2, &[1, 2, 3]), Err(Error::NoSpace));
        assert_eq!(put(&mut buf, usize::MAX, &[1]), Err(Error::NoSpace));
        assert_eq!(buf, [0, 1, 2, 3]);
    }
}
