// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

use crate::{
    bindings,
    net::{
        netdevice::Device,
        skbuff::RxBuffer, //
    },
    rtnl,
    virtio::{
        net::Operations,
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::ptr::{
    addr_of,
    NonNull, //
};
use kernel::{
    ffi::c_void,
    prelude::*, //
};

impl Payload for RxBuffer {
    fn into_token(self) -> NonNull<c_void> {
        self.into_raw().cast()
    }

    #[inline]
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
    /// Gives the NAPI context `index` a pool for the queue's buffers, unless it has one. Its pages are mapped for the
    /// device once instead of at each [`Self::add`], unless all goes through bounce buffers. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the contexts run, `EINVAL` if there is no such context or the queue is another device's, `ENOMEM`, and
    /// others of the C functions.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel_net::{
    ///     net::netdevice::Device,
    ///     rtnl,
    ///     virtio::net::{
    ///         Operations,
    ///         RxQueue, //
    ///     }, //
    /// };
    ///
    /// /// Before the contexts run.
    /// fn prepare<T: Operations>(dev: &Device<T>, queue: &RxQueue, rtnl: &rtnl::Held) -> Result {
    ///     queue.make_pool(dev, 0, rtnl)
    /// }
    ///
    /// /// After that.
    /// fn clean_up<T: Operations>(dev: &Device<T>, queue: &mut RxQueue) {
    ///     if queue.reset().is_ok() {
    ///         dev.remove_pool(0);
    ///     }
    /// }
    /// ```
    pub fn make_pool<T: Operations>(
        &self,
        dev: &Device<T>,
        index: u16,
        rtnl: &rtnl::Held,
    ) -> Result {
        // SAFETY: The queue is live by its invariant; the field was set when it was found.
        if unsafe { addr_of!((*self.as_raw()).vdev).read() } != dev.parent().as_raw() {
            return Err(EINVAL);
        }
        // SAFETY: The queue is live by its invariant. Null, if addresses are not mapped for the device.
        let device = unsafe { bindings::virtqueue_dma_dev(self.as_raw()) };
        // SAFETY: It is the one that does DMA for the queue, and so for the parent of `dev`, which is bound as long as that
        // has data.
        unsafe { dev.make_pool(index, self.num_max(), device, rtnl) }
    }

    /// Whether there is room for another buffer.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.num_free() > 0
    }

    /// Gives `buffer` to the device. It costs less if it is from a pool of [`Self::make_pool`] for this device.
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
