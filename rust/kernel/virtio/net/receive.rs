// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

use crate::{
    bindings,
    net::{
        page_pool::PagePool,
        skbuff::RxBuffer, //
    },
    virtio::{
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::c_void,
    prelude::*, //
};

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
    /// Makes a pool for the queue's buffers, whose pages are mapped for the device once instead of at each
    /// [`Self::add`], unless all goes through bounce buffers. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn page_pool(&self) -> Result<PagePool> {
        // SAFETY: The queue is live by its invariant. Null, if addresses are not mapped for the device.
        let device = unsafe { bindings::virtqueue_dma_dev(self.as_raw()) };
        // SAFETY: It is the one that does DMA for the queue.
        unsafe { PagePool::new_for(self.num_max(), device) }
    }

    /// Whether there is room for another buffer.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.num_free() > 0
    }

    /// Gives `buffer` to the device. It costs less if it is from a [`Self::page_pool`] of this queue.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn add(&mut self, buffer: RxBuffer) -> Result<(), RxBuffer> {
        let (room, len) = (buffer.data().cast(), buffer.capacity());
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no
        // other user by its invariant, with the buffer's memory: by its invariant so many bytes from there
        // on, of a page of a pool, which stay where they are. The function uses the pool's mapping only if it is
        // for the same device.
        let given = unsafe {
            self.give(buffer, |vq, token| {
                bindings::virtqueue_add_buffer(vq, room, len, token.as_ptr())
            })
        };
        given.map_err(|(_, buffer)| buffer)
    }

    /// Takes the next filled buffer and the number of bytes in it, at most the capacity.
    #[inline]
    pub fn take(&mut self) -> Option<(RxBuffer, u32)> {
        let (buffer, len) = self.get_buf()?;
        let len = len.min(buffer.capacity());
        // SAFETY: By the invariant of the buffer so many bytes from there on are its own, of a page of a pool.
        unsafe { bindings::page_pool_sync_buffer(buffer.data().cast(), len) };
        Some((buffer, len))
    }
}
