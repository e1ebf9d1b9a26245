// SPDX-License-Identifier: GPL-2.0

//! Pools of pages for received packets.
//!
//! A page comes back to its pool when the stack is done with the packets in it. It is used again as it is:
//! nobody clears it, and the page allocator is not asked.
//!
//! C header: [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)

#[cfg(espnic_kunit)]
mod tests;

use super::skbuff::{
    RxBuffer,
    RxSize, //
};
use crate::bindings;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// A pool of pages, for one receive queue.
///
/// Dropping it does not wait for the pages that are still in use: the kernel frees the pool after the last one
/// has come back.
///
/// # Invariants
///
/// The pool was created, and not destroyed. Nobody else allocates from it.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     page_pool::PagePool,
///     skbuff::RxSize, //
/// };
///
/// /// Whether a pool for a ring of this size gives buffers.
/// fn works(ring: u32) -> Result<bool> {
///     let mut pool = PagePool::new(ring)?;
///     Ok(pool.buffer(RxSize::Small).is_some())
/// }
/// ```
pub struct PagePool(NonNull<bindings::page_pool>);

// SAFETY: A pool belongs to no thread or CPU; one at a time may use it.
unsafe impl Send for PagePool {}

impl PagePool {
    /// Makes a pool that keeps as many unused pages as `buffers`, or as the kernel lets it keep. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(buffers: u32) -> Result<Self> {
        // SAFETY: There is no device.
        unsafe { Self::new_for(buffers, null_mut()) }
    }

    /// As [`Self::new`], for a device, for which each page is mapped once; null for none. The pool keeps the device's
    /// structure, and a page its mapping until it leaves the pool: a device that writes where it no longer should
    /// changes what the CPU reads, as it can in all of memory where nothing (an IOMMU) stops it.
    ///
    /// # Safety
    ///
    /// `device` is null, or a device that can do DMA.
    pub(crate) unsafe fn new_for(buffers: u32, device: *mut bindings::device) -> Result<Self> {
        // SAFETY: By the contract. Any number will do, the kernel has a limit of its own.
        let pool = from_err_ptr(unsafe { bindings::page_pool_create(buffers, device) })?;
        // INVARIANT: It is new, so nobody else knows it.
        NonNull::new(pool).map(Self).ok_or(ENOMEM)
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::page_pool {
        self.0.as_ptr()
    }

    /// Allocates a buffer; `None` if memory is short. Not in a hard interrupt.
    ///
    /// What is in it is whatever was in that memory before.
    #[inline]
    pub fn buffer(&mut self, size: RxSize) -> Option<RxBuffer> {
        // SAFETY: The pool exists by the invariant. It is borrowed to be changed, and nobody else allocates
        // from it, so this is the only allocation now.
        let ptr = unsafe { bindings::page_pool_alloc_buffer(self.0.as_ptr(), size.truesize()) };
        let ptr = NonNull::new(ptr.cast())?;
        // SAFETY: A new piece of this size of a page of a pool, which nobody else knows. Its sizes are powers of
        // two, so it is aligned to its size.
        Some(unsafe { RxBuffer::new(ptr, size) })
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: The pool exists by the invariant, and is not used afterwards. Its pages do not need it to
        // be allocated from.
        unsafe { bindings::page_pool_destroy(self.0.as_ptr()) }
    }
}
