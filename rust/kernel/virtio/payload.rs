// SPDX-License-Identifier: GPL-2.0

//! What a virtqueue holds while the device has it.
//!
//! C keeps a token for each buffer, a plain pointer. A type says what the tokens of a queue stand for.

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// Frees one token of a queue that is resized or deleted.
pub(super) type Recycle = unsafe extern "C" fn(*mut bindings::virtqueue, *mut c_void);

/// A type whose values queues hold as tokens. Only this crate implements it.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::virtqueue::{
///     Payload,
///     Virtqueue, //
/// };
///
/// /// Whether the device has given everything back.
/// fn is_idle<P: Payload>(queue: &Virtqueue<P>) -> bool {
///     queue.pending() == 0
/// }
/// ```
pub trait Payload: Sized + sealed::Payload {}

impl<P: sealed::Payload> Payload for P {}

pub(in crate::virtio) mod sealed {
    use super::*;

    pub trait Payload: Sized {
        /// Gives the payload up for a token.
        fn into_token(self) -> NonNull<c_void>;

        /// # Safety
        ///
        /// `token` comes from [`Self::into_token`] of this type and is given back once.
        unsafe fn from_token(token: NonNull<c_void>) -> Self;
    }
}

/// # Safety
///
/// Called with a token that is in no queue any more, but was in one for `P`, and that the device does
/// not use.
pub(super) unsafe extern "C" fn recycle<P: Payload>(
    _vq: *mut bindings::virtqueue,
    token: *mut c_void,
) {
    if let Some(token) = NonNull::new(token) {
        // SAFETY: Queues for `P` are given tokens of `P` only, and the queue has given up this one.
        drop(unsafe { P::from_token(token) });
    }
}
