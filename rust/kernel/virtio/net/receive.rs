// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

use crate::{
    bindings,
    net::skbuff::RxBuffer,
    virtio::{
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::ptr::NonNull;
use kernel::ffi::c_void;

impl Payload for RxBuffer {
    fn into_token(self) -> NonNull<c_void> {
        self.into_raw().cast()
    }

    unsafe fn from_token(token: NonNull<c_void>) -> Self {
        // SAFETY: By the contract: the buffer was given up for the token, and nobody has got it since.
        unsafe { Self::from_raw(token.cast()) }
    }
}

/// A receive queue: holds empty buffers for the device to fill.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::net::RxQueue;
///
/// /// The bytes that the device wrote to the next buffer.
/// fn next(queue: &mut RxQueue) -> Option<u32> {
///     queue.take().map(|(_buffer, len)| len)
/// }
/// ```
pub type RxQueue = Virtqueue<RxBuffer>;

impl RxQueue {
    /// Whether there is room for another buffer.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.num_free() > 0
    }

    /// Gives `buffer` to the device.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn add(&mut self, buffer: RxBuffer) -> Result<(), RxBuffer> {
        let (room, len) = (buffer.data().cast(), buffer.capacity());
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no
        // other user by its invariant, with the buffer's memory: by its invariant so many bytes from there
        // on, which stay where they are.
        let given = unsafe {
            self.give(buffer, |vq, token| {
                bindings::virtqueue_add_room(vq, room, len, token.as_ptr())
            })
        };
        given.map_err(|(_, buffer)| buffer)
    }

    /// Takes the next filled buffer and the number of bytes in it, at most the capacity.
    #[inline]
    pub fn take(&mut self) -> Option<(RxBuffer, u32)> {
        let (buffer, len) = self.get_buf()?;
        let len = len.min(buffer.capacity());
        Some((buffer, len))
    }
}
