// SPDX-License-Identifier: GPL-2.0

//! Event queues: the driver posts empty buffers, and the device writes a record into one when something
//! has happened.

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    bindings,
    virtio::{
        control::zeroed,
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A buffer for one record.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::event::{
///     EventBuffer,
///     EventQueue, //
/// };
///
/// /// Posts a buffer of 32 bytes.
/// fn fill(queue: &mut EventQueue) -> Result {
///     let buffer = EventBuffer::new(32)?;
///     queue.post(buffer).map_err(|_| ENOSPC)
/// }
/// ```
pub struct EventBuffer {
    bytes: KVec<u8>,
    /// How many of them the device wrote.
    written: u32,
}

impl EventBuffer {
    /// Makes a buffer for records of `len` bytes. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if `len` is 0.
    pub fn new(len: usize) -> Result<KBox<Self>> {
        if len == 0 {
            return Err(EINVAL);
        }
        let bytes = zeroed(len, GFP_KERNEL)?;
        Ok(KBox::new(Self { bytes, written: 0 }, GFP_KERNEL)?)
    }

    /// What the device wrote, at most as much as there is room for.
    pub fn record(&self) -> &[u8] {
        let all = self.bytes.as_slice();
        all.get(..self.written as usize).unwrap_or(all)
    }
}

impl Payload for KBox<EventBuffer> {
    fn into_token(self) -> NonNull<c_void> {
        NonNull::from(KBox::leak(self)).cast()
    }

    unsafe fn from_token(token: NonNull<c_void>) -> Self {
        // SAFETY: By the contract: the box was leaked for the token, and nobody has got it since.
        unsafe { KBox::from_raw(token.as_ptr().cast()) }
    }
}

/// An event queue.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::event::EventQueue;
///
/// /// Reads what has happened, and posts the buffers again.
/// fn drain(queue: &mut EventQueue, mut handle: impl FnMut(&[u8])) {
///     while let Some(buffer) = queue.take() {
///         handle(buffer.record());
///         if queue.post(buffer).is_err() {
///             break;
///         }
///     }
///     queue.kick();
/// }
/// ```
pub type EventQueue = Virtqueue<KBox<EventBuffer>>;

impl EventQueue {
    /// Gives the device an empty buffer; the doorbell is [`Virtqueue::kick`]. What was in it is erased. Does not
    /// sleep.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn post(&mut self, mut buffer: KBox<EventBuffer>) -> Result<(), KBox<EventBuffer>> {
        buffer.written = 0;
        buffer.bytes.fill(0);
        let (room, len) = (buffer.bytes.as_mut_ptr().cast(), buffer.bytes.len() as u32);
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no
        // other user, with the vector, which has so many bytes and is not empty. The buffer owns it, and is
        // not touched until the queue gives it back, so it stays where it is.
        let given = unsafe {
            self.give(buffer, |vq, token| {
                bindings::virtqueue_add_room(vq, room, len, token.as_ptr())
            })
        };
        given.map_err(|(_, buffer)| buffer)
    }

    /// Takes the next buffer that the device has written to.
    pub fn take(&mut self) -> Option<KBox<EventBuffer>> {
        let (mut buffer, len) = self.get_buf()?;
        buffer.written = len;
        Some(buffer)
    }
}
