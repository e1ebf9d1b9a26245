// SPDX-License-Identifier: GPL-2.0

//! Virtqueues.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)
//!
//! # Why this is sound
//!
//! - All operations on one queue must be serialised: there is one [`Virtqueue`] for each, whose methods
//!   take `&mut self` where they must.
//! - Memory that was given to the device belongs to the queue until the device returns it. The queue's
//!   type says what it is: a `Virtqueue<P>` holds `P`s only, and no two queues of different types can
//!   be exchanged for each other.
//! - The queues of a device are found, and deleted, together. Each one holds the set, and the set holds
//!   the device by a [`DeviceRef`](super::DeviceRef): it is bound as long as there are queues, and the
//!   last one that is dropped resets the device and deletes them all.
//! - Only one set exists at a time: while queues are left, asking for another one fails.
//! - Interrupts of a queue call the function that the set was found with. Its safety is an argument of
//!   those who find the set; see [`super::net`].

use super::{
    payload::recycle,
    set::QueueSet, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        NonNull, //
    }, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc, //
};

pub use super::payload::Payload;

/// A queue for `P`: the common part of receive, transmit and control queues.
///
/// # Invariants
///
/// `vq` is one of the set's, live as long as that is. There is no other `Virtqueue` for it, and all its
/// tokens come from `into_token` of `P`.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::virtqueue::{
///     Payload,
///     Virtqueue, //
/// };
///
/// /// Whether the queue is worth a doorbell.
/// fn announce<P: Payload>(queue: &mut Virtqueue<P>) {
///     if queue.pending() > 0 && !queue.is_broken() {
///         queue.kick();
///     }
/// }
/// ```
pub struct Virtqueue<P: Payload> {
    vq: NonNull<bindings::virtqueue>,
    /// Payloads that the device has not given back.
    pending: u32,
    _set: Arc<QueueSet>,
    _payload: PhantomData<P>,
}

// SAFETY: A queue may be used from any thread, by one at a time, and what it holds be freed by any.
unsafe impl<P: Payload + Send> Send for Virtqueue<P> {}

impl<P: Payload> Virtqueue<P> {
    /// # Safety
    ///
    /// `vq` is one of the queues of `set`, was found for `P`, and is given to this function once.
    pub(super) unsafe fn new(vq: NonNull<bindings::virtqueue>, set: &Arc<QueueSet>) -> Self {
        // INVARIANT: By the contract. `_set` keeps the queue live, which holds nothing yet.
        Self {
            vq,
            pending: 0,
            _set: set.clone(),
            _payload: PhantomData,
        }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::virtqueue {
        self.vq.as_ptr()
    }

    /// The ring's size in descriptors.
    pub fn vring_size(&self) -> u32 {
        // SAFETY: The queue is live by the invariant; its size changes by `&mut self` only.
        unsafe { bindings::virtqueue_get_vring_size(self.as_raw()) }
    }

    /// The largest size that the device allows, in descriptors.
    pub fn num_max(&self) -> u32 {
        // SAFETY: The queue is live by the invariant; the field was set when it was found.
        unsafe { addr_of!((*self.as_raw()).num_max).read() }
    }

    /// The number of the queue's interrupt, if it has one of its own. Sleeps.
    pub fn irq(&self) -> Option<u32> {
        // SAFETY: The queue is live by the invariant, hence also its device, and no interrupt of the device is
        // requested or freed meanwhile.
        let irq = unsafe { bindings::virtqueue_irq(self.as_raw()) };
        u32::try_from(irq).ok()
    }

    /// Makes the online CPU number `nth` handle the queue's events, if there is such a CPU. Sleeps.
    pub fn set_cpu(&self, nth: u32) {
        // SAFETY: The queue is live by the invariant; the function looks for the CPU.
        unsafe { bindings::virtqueue_set_cpu(self.as_raw(), nth) }
    }

    /// Changes the ring's size; what the queue holds is freed. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` or `ENOENT` if the device cannot reset single queues; else the ring is as it was, or
    /// broken.
    pub fn resize(&mut self, size: u32) -> Result {
        // SAFETY: The queue is live by the invariant and we are its only user; it holds `P`s.
        let resized = to_result(unsafe {
            bindings::virtqueue_resize(self.as_raw(), size, Some(recycle::<P>), None)
        });
        // The call may fail before or after it has emptied the queue.
        if self.num_free() == self.vring_size() {
            self.pending = 0;
        }
        resized
    }

    /// Empties the queue; what it holds is freed, and the device has none of it any more. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EPERM` if the device cannot reset single queues: then it has all as before. Else the queue is broken.
    pub fn reset(&mut self) -> Result {
        // SAFETY: The queue is live by the invariant and we are its only user; it holds `P`s.
        let result = to_result(unsafe {
            bindings::virtqueue_reset(self.as_raw(), Some(recycle::<P>), None)
        });
        // The call may fail before or after it has emptied the queue.
        if self.num_free() == self.vring_size() {
            self.pending = 0;
        }
        result
    }

    /// The number of payloads that the device has not given back. They are lost when the queue is dropped,
    /// reset or resized.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Free descriptors.
    #[inline]
    pub fn num_free(&self) -> u32 {
        // SAFETY: The queue is live by the invariant; the field changes by `&mut self` only.
        unsafe { addr_of!((*self.as_raw()).num_free).read() }
    }

    /// Notifies the device of new buffers, unless it has notifications off.
    #[inline]
    pub fn kick(&mut self) {
        // SAFETY: The queue is live by the invariant and we are its only user.
        if unsafe { bindings::virtqueue_kick_prepare(self.as_raw()) } {
            // SAFETY: The queue is live by the invariant, and its device's doorbell mapped: it is bound.
            unsafe { bindings::virtqueue_notify(self.as_raw()) };
        }
    }

    /// Gives the queue a payload by `add`, which is called with the token and returns what C does.
    ///
    /// # Errors
    ///
    /// The error of `add`, and the payload.
    ///
    /// # Safety
    ///
    /// `add` adds this token to this queue, or returns an error; what it tells the device to use is the
    /// payload's, and stays where it is.
    #[inline]
    pub(super) unsafe fn give(
        &mut self,
        payload: P,
        add: impl FnOnce(*mut bindings::virtqueue, NonNull<c_void>) -> c_int,
    ) -> Result<(), (Error, P)> {
        let token = payload.into_token();
        // INVARIANT: The token is one of `P`.
        match to_result(add(self.as_raw(), token)) {
            Ok(()) => {
                self.pending = self.pending.wrapping_add(1);
                Ok(())
            }
            // SAFETY: The token was made above, and the queue did not take it.
            Err(error) => Err((error, unsafe { P::from_token(token) })),
        }
    }

    /// Returns the next payload and the number of bytes that the device wrote.
    #[inline]
    pub(super) fn get_buf(&mut self) -> Option<(P, u32)> {
        let mut len = 0;
        // SAFETY: The queue is live by the invariant and we are its only user.
        let token = unsafe { bindings::virtqueue_get_buf(self.as_raw(), &mut len) };
        let token = NonNull::new(token)?;
        self.pending = self.pending.wrapping_sub(1);
        // SAFETY: The queue's tokens are `P`s by the invariant, and it has given up this one.
        Some((unsafe { P::from_token(token) }, len))
    }

    /// Asks the device not to report used buffers.
    #[inline]
    pub fn disable_cb(&mut self) {
        // SAFETY: The queue is live by the invariant and we are its only user.
        unsafe { bindings::virtqueue_disable_cb(self.as_raw()) }
    }

    /// Asks for a report of the next used buffer; false if there is one already.
    #[inline]
    pub fn enable_cb(&mut self) -> bool {
        // SAFETY: The queue is live by the invariant and we are its only user.
        let seen = unsafe { bindings::virtqueue_enable_cb_prepare(self.as_raw()) };
        // SAFETY: The queue is live by the invariant; `seen` is what it has just said.
        !unsafe { bindings::virtqueue_poll(self.as_raw(), seen) }
    }

    /// Whether the queue can never be used again without a reset.
    pub fn is_broken(&self) -> bool {
        // SAFETY: The queue is live by the invariant; the function reads one flag.
        unsafe { bindings::virtqueue_is_broken(self.as_raw()) }
    }
}
