// SPDX-License-Identifier: GPL-2.0

//! Pools of pages for received packets.
//!
//! A page comes back to its pool when the stack is done with the packets in it. It is used again as it is:
//! nobody clears it, and the page allocator is not asked.
//!
//! C header: [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)
//!
//! A pool belongs to one NAPI context. [`RxQueue::make_pool`] makes it, for the queue whose buffers it has;
//! [`Poll::buffer`] takes buffers from it; [`Device::remove_pool`] ends it. User space sees it, with interface and
//! context, by the netlink family `netdev` (`page-pool-get`).
//!
//! # Why this is sound
//!
//! - Pages that are freed in a softirq of the CPU that runs the context, or is about to, go to the pool's cache without
//!   a lock (`page_pool_napi_local()`). So only a run of the context allocates, which a [`Poll`] is the proof of. A pool
//!   begins and ends while the context is off, when the stack says that it belongs to no CPU, and freed pages go
//!   to the pool's ring.
//! - The pool reads its context until it has ended. Contexts are removed from their device afterwards, which waits for
//!   softirqs.
//! - The stack lists the pool with the interface, and moves it to the loopback device of the namespace when the interface
//!   is unregistered, or moves to another namespace: its pages may be in use for longer. That comes under RTNL,
//!   under which pools are made; one that is made before or after an interface is registered belongs to none.
//! - A pool that has ended stays until its last page has come back.
//!
//! [`RxQueue::make_pool`]: crate::virtio::net::RxQueue::make_pool
//! [`Device::remove_pool`]: crate::net::netdevice::Device::remove_pool
//! [`Poll::buffer`]: crate::net::napi::Poll::buffer
//! [`Poll`]: crate::net::napi::Poll

#[cfg(espnic_kunit)]
mod tests;

use super::xdp::RxQueue;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// A pool of pages.
///
/// Dropping it does not wait for the pages that are still in use: the kernel frees the pool after the last one
/// has come back.
///
/// # Invariants
///
/// The pool was created, and not destroyed.
pub(crate) struct PagePool(NonNull<bindings::page_pool>);

impl PagePool {
    /// Makes a pool without an interface, a context or a device. Sleeps.
    #[cfg(espnic_kunit)]
    pub(crate) fn new(buffers: u32) -> Result<Self> {
        use core::ptr::null_mut;

        // SAFETY: There is nothing that could go.
        unsafe { Self::create(buffers, null_mut(), null_mut(), 0, null_mut()) }
    }

    /// Makes a pool that keeps as many unused pages as `buffers`, or as the kernel lets it keep. If `dma` is not null,
    /// each page is mapped for that device once, as long as it is in the pool and the pool is not destroyed. A device
    /// that writes where it no longer should changes what the CPU reads, as it can in all of memory where
    /// nothing (an IOMMU) stops it. Sleeps.
    ///
    /// # Safety
    ///
    /// `dma` is null, or a device that can do DMA, and is bound until the pool is dropped. `netdev` is null, or a device
    /// with the receive queue `queue`; RTNL is held then. `napi` is null, or a context that is off now, and when the
    /// pool is dropped, which is before the end of the context.
    unsafe fn create(
        buffers: u32,
        dma: *mut bindings::device,
        netdev: *mut bindings::net_device,
        queue: u32,
        napi: *mut bindings::napi_struct,
    ) -> Result<Self> {
        // SAFETY: By the contract. Any number will do, the kernel has a limit of its own. The function looks whether the
        // device is registered.
        let pool = unsafe { bindings::page_pool_create(buffers, dma, netdev, queue, napi) };
        // INVARIANT: It is new, so nobody else knows it.
        NonNull::new(from_err_ptr(pool)?).map(Self).ok_or(ENOMEM)
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::page_pool {
        self.0.as_ptr()
    }

    /// Allocates a piece of a page, with a size that is a power of two and at most that of a page, and aligned to it;
    /// `None` if memory is short.
    ///
    /// # Safety
    ///
    /// This is a run of the pool's context, or the pool has none, and nobody else allocates from it now.
    #[inline]
    pub(super) unsafe fn allocate(&self, size: u32) -> Option<NonNull<u8>> {
        // SAFETY: The pool exists by the invariant. Nobody else changes its cache now, by the contract.
        let ptr = unsafe { bindings::page_pool_alloc_buffer(self.0.as_ptr(), size) };
        NonNull::new(ptr.cast())
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: The pool exists by the invariant, and is not used afterwards. Its pages do not need it to
        // be allocated from. If it has a context, that is off, as who made the pool has promised.
        unsafe { bindings::page_pool_destroy(self.0.as_ptr()) }
    }
}

/// What a NAPI context receives with.
pub(crate) struct Receiving {
    /// The queue, as programs (XDP) know it.
    pub(super) queue: RxQueue,
    pub(super) pool: PagePool,
}

impl Receiving {
    /// Makes both, for queue `index` of a device. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and others of the C functions.
    ///
    /// # Safety
    ///
    /// Those of [`PagePool::create`]: `dma` can do DMA until this is dropped, or is null; `napi` is a context of `netdev`
    /// that is off now and when this is dropped, which is before its end. RTNL is held.
    pub(super) unsafe fn new(
        buffers: u32,
        dma: *mut bindings::device,
        netdev: *mut bindings::net_device,
        index: u32,
        napi: *mut bindings::napi_struct,
    ) -> Result<Self> {
        // SAFETY: By the contract.
        let pool = unsafe { PagePool::create(buffers, dma, netdev, index, napi) }?;
        // SAFETY: The device outlives its context, and so this.
        let queue = unsafe { RxQueue::new(netdev, index, &pool) }?;
        Ok(Self { queue, pool })
    }
}
