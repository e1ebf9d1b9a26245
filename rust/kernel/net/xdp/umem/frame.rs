// SPDX-License-Identifier: GPL-2.0

//! Frames that sockets send from their memory.

use super::{
    super::Frame,
    Umem, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Frames that were taken together.
///
/// # Invariants
///
/// Those from `next` to `count` were taken, and each is to be given back once. Nobody takes others meanwhile.
pub(super) struct Frames<'a> {
    umem: &'a Arc<Umem>,
    next: u32,
    count: u32,
}

impl<'a> Frames<'a> {
    /// Takes up to `max` frames. Only the one owner of the half that sends calls this, and drops the result first.
    pub(super) fn take(umem: &'a Arc<Umem>, max: u32) -> Self {
        let mut pending = umem.sending.lock();
        // SAFETY: The pool exists by the invariant of `Umem`; the lock is held.
        let count = unsafe { bindings::umem_take(umem.pool(), max) };
        *pending = pending.saturating_add(count);
        drop(pending);
        // INVARIANT: They were taken just now.
        Self {
            umem,
            next: 0,
            count,
        }
    }
}

impl Iterator for Frames<'_> {
    type Item = UmemFrame;

    fn next(&mut self) -> Option<UmemFrame> {
        if self.next >= self.count {
            return None;
        }
        let (mut addr, mut len) = (0, 0);
        // SAFETY: The pool exists, and so many frames were taken, of which C has a list until others are.
        unsafe { bindings::umem_taken(self.umem.pool(), self.next, &mut addr, &mut len) };
        // INVARIANT: This one is given back by the frame.
        self.next = self.next.saturating_add(1);
        let sent = UmemSent(self.umem.clone());
        // INVARIANT: The pool has checked where the frame is.
        Some(UmemFrame { sent, addr, len })
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// A frame in a socket's memory, which user space may change at any time. Dropping it gives it back as if it were sent.
///
/// # Invariants
///
/// The pool has checked that the `len` bytes at `addr` are in its memory.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xdp::{
///     umem::UmemFrame,
///     Frame, //
/// };
///
/// /// What is looked at is what is sent.
/// fn copy(frame: UmemFrame) -> Option<Frame> {
///     frame.copy(48)
/// }
/// ```
pub struct UmemFrame {
    sent: UmemSent,
    addr: u64,
    len: u32,
}

impl UmemFrame {
    /// Bytes in the frame.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the frame has no bytes; none is so.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy, with at least `room` bytes in front of it; `None` if there is no memory. In a softirq.
    pub fn copy(&self, room: u16) -> Option<Frame> {
        let pool = self.sent.0.pool();
        // SAFETY: The pool exists, and by the invariant the bytes are in its memory.
        let frame = unsafe { bindings::umem_copy_frame(pool, self.addr, self.len, room) };
        // SAFETY: It is a new frame, in memory of its own, which is at a multiple of a cache line.
        NonNull::new(frame).map(|frame| unsafe { Frame::from_raw(frame) })
    }

    pub(crate) fn place(&self) -> UmemPlace {
        let umem = &self.sent.0;
        UmemPlace {
            pool: umem.pool(),
            addr: self.addr,
            len: self.len,
            header: umem.header,
            header_len: umem.header_len,
        }
    }

    /// What is left of the frame while a device sends it.
    pub(crate) fn into_sent(self) -> UmemSent {
        self.sent
    }
}

/// Where a frame and its header are for a device.
pub(crate) struct UmemPlace {
    pub(crate) pool: *mut bindings::xsk_buff_pool,
    /// In the pool.
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) header: bindings::dma_addr_t,
    pub(crate) header_len: u32,
}

/// A frame that a device was given, or was to be. Dropping it tells user space that it was sent.
///
/// # Invariants
///
/// It was taken from the pool, and not given back.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::net::{
///     TxPacket,
///     TxQueue, //
/// };
///
/// /// Whether the next one that was sent is one of a socket, which hears of that.
/// fn was_umem(queue: &mut TxQueue) -> bool {
///     matches!(queue.take(), Some(TxPacket::Umem(_sent)))
/// }
/// ```
pub struct UmemSent(Arc<Umem>);

impl UmemSent {
    pub(crate) fn into_raw(self) -> NonNull<c_void> {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: The field is read once, as `this` is not dropped.
        let umem = unsafe { core::ptr::addr_of!(this.0).read() };
        // SAFETY: What is counted is not at null.
        unsafe { NonNull::new_unchecked(Arc::into_raw(umem).cast_mut().cast()) }
    }

    /// # Safety
    ///
    /// `raw` comes from [`Self::into_raw`] and is given back once.
    pub(crate) unsafe fn from_raw(raw: NonNull<c_void>) -> Self {
        // SAFETY: By the contract.
        // INVARIANT: As before `into_raw`.
        Self(unsafe { Arc::from_raw(raw.as_ptr().cast_const().cast()) })
    }
}

impl Drop for UmemSent {
    /// Not in a hard interrupt.
    fn drop(&mut self) {
        let mut pending = self.0.sending.lock();
        *pending = pending.saturating_sub(1);
        // SAFETY: The pool exists by the invariant of `Umem`, and has one more that was taken; the lock is held.
        unsafe { bindings::umem_sent(self.0.pool()) }
    }
}
