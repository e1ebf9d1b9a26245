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
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
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
    pub fn has_room(&self) -> bool {
        self.num_free() > 0
    }

    /// Gives `buffer` to the device.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn add(&mut self, buffer: RxBuffer) -> Result<(), RxBuffer> {
        let mut list = MaybeUninit::<bindings::scatterlist>::uninit();
        let sg = list.as_mut_ptr();
        // SAFETY: `sg` is a list of one entry.
        unsafe { bindings::sg_init_table(sg, 1) };
        // SAFETY: The entry is initialised; by its invariant the buffer has so many bytes from there on.
        unsafe { bindings::sg_set_buf(sg, buffer.data().cast(), RxBuffer::capacity()) };
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no
        // other user by its invariant, with the buffer's memory, which stays where it is.
        let given = unsafe {
            self.give(buffer, |vq, token| {
                let flags = kernel::bindings::GFP_ATOMIC;
                bindings::virtqueue_add_inbuf(vq, sg, 1, token.as_ptr(), flags)
            })
        };
        given.map_err(|(_, buffer)| buffer)
    }

    /// Takes the next filled buffer and the number of bytes in it, at most the capacity.
    pub fn take(&mut self) -> Option<(RxBuffer, u32)> {
        let (buffer, len) = self.get_buf()?;
        Some((buffer, len.min(RxBuffer::capacity())))
    }
}
