// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

use crate::{
    bindings,
    net::skbuff::RxBuffer,
    virtio::queue::Queue, //
};
use core::{
    mem::MaybeUninit,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::prelude::*;

/// A receive queue: holds empty buffers for the device to fill.
pub struct RxQueue {
    pub(super) queue: Queue,
}

impl Deref for RxQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl DerefMut for RxQueue {
    fn deref_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

impl RxQueue {
    /// Changes the ring's size; the queue is empty after that. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the device cannot reset single queues; else the ring is as it was, or broken.
    pub fn resize(&mut self, size: u32) -> Result {
        self.queue.resize(size, recycle)
    }

    /// Whether there is room for another buffer.
    pub fn has_room(&self) -> bool {
        self.free() > 0
    }

    /// Gives `buffer` to the device.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn add(&mut self, buffer: RxBuffer) -> Result<(), RxBuffer> {
        let mut sg = MaybeUninit::<bindings::scatterlist>::uninit();
        let data = buffer.data();
        let token = buffer.into_raw();
        // SAFETY: `sg` is one entry, the memory has `capacity` bytes and stays valid until the
        // queue returns the token.
        let ret = unsafe {
            bindings::sg_init_table(sg.as_mut_ptr(), 1);
            bindings::sg_set_buf(sg.as_mut_ptr(), data.cast(), RxBuffer::capacity());
            bindings::virtqueue_add_inbuf(
                self.queue.vq.as_ptr(),
                sg.as_mut_ptr(),
                1,
                token.cast(),
                kernel::bindings::GFP_ATOMIC,
            )
        };
        if ret == 0 {
            return Ok(());
        }
        // SAFETY: The queue did not take the token that we just made.
        match unsafe { RxBuffer::from_raw(token) } {
            Some(buffer) => Err(buffer),
            None => Ok(()),
        }
    }

    /// Takes the next filled buffer and the number of bytes in it, at most the capacity.
    pub fn take(&mut self) -> Option<(RxBuffer, u32)> {
        let (token, len) = self.queue.get()?;
        // SAFETY: Tokens of this queue are receive buffers.
        let buffer = unsafe { RxBuffer::from_raw(token.as_ptr().cast()) }?;
        Some((buffer, len.min(RxBuffer::capacity())))
    }
}

/// # Safety
///
/// Called by the virtio core with a token of a receive queue that the device does not use any more.
unsafe extern "C" fn recycle(_vq: *mut bindings::virtqueue, token: *mut c_void) {
    // SAFETY: By the contract.
    drop(unsafe { RxBuffer::from_raw(token.cast()) });
}
