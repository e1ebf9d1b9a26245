// SPDX-License-Identifier: GPL-2.0 OR MIT

//! intel-ipsec-mb, one packet per call. One of the modules of [`crate::crypto`] that may use `unsafe`;
//! its submodules have what the algorithms need.
//!
//! The library chooses the functions that fit the processor when a manager is initialised. Those of
//! AES-GCM and ChaCha20-Poly1305 are taken out of it once and are plain code afterwards: they work on
//! the expanded key (read only), a context of the call and the caller's buffers, so a key can be used by
//! several threads at once. AES-CBC with HMAC goes through jobs, which need a manager per thread.

pub(super) mod cbc_hmac;
mod chacha;
mod gcm;

pub use cbc_hmac::CbcHmac;
pub use chacha::ChaCha20Poly1305;
pub use gcm::AesGcm;

use super::suite::KeyError;
use std::ptr::NonNull;

/// What bindgen made of `intel-ipsec-mb.h`.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod sys {
    include!(concat!(env!("OUT_DIR"), "/ipsec_mb.rs"));
}

/// An initialised manager. Owned by one thread; dropped with it.
struct Manager(NonNull<sys::IMB_MGR>);

impl Manager {
    /// `KeyError::Unavailable` if the library does not work on this processor.
    fn new() -> Result<Self, KeyError> {
        // SAFETY: allocates and returns a manager, or null.
        let manager = NonNull::new(unsafe { sys::alloc_mb_mgr(0) }).ok_or(KeyError::Unavailable)?;
        let manager = Self(manager);
        // SAFETY: the manager is valid and ours; the second argument may be null.
        unsafe { sys::init_mb_mgr_auto(manager.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: the manager is valid.
        match unsafe { sys::imb_get_errno(manager.as_ptr()) } {
            0 => Ok(manager),
            _ => Err(KeyError::Unavailable),
        }
    }

    fn as_ptr(&self) -> *mut sys::IMB_MGR {
        self.0.as_ptr()
    }

    /// The manager's fields, for reading function pointers.
    fn fields(&self) -> &sys::IMB_MGR {
        // SAFETY: valid as long as `self`, and the library writes to it only in calls that are made
        // with `as_ptr` while no reference from here is in use.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // SAFETY: from `alloc_mb_mgr`, freed once. Functions taken out of it belong to the library.
        unsafe { sys::free_mb_mgr(self.as_ptr()) };
    }
}
