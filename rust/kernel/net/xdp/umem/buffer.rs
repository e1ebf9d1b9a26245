// SPDX-License-Identifier: GPL-2.0

//! Pieces of a socket's memory that are received to.

use super::Umem;
use crate::{
    bindings,
    net::skbuff::RxBuffer, //
};
use core::{
    mem::ManuallyDrop,
    ptr::{
        addr_of,
        NonNull, //
    }, //
};
use kernel::sync::Arc;

/// The half for the receive queue: empty buffers, which user space has put there.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::xdp::umem::UmemRx,
///     virtio::net::RxQueue, //
/// };
///
/// /// Gives the device what there is; true if user space has to be waited for.
/// fn fill(umem: &mut UmemRx, queue: &mut RxQueue) -> bool {
///     while queue.has_room() {
///         let Some(buffer) = umem.buffer() else {
///             return umem.ask_wakeup(true);
///         };
///         if queue.add_umem(buffer).is_err() {
///             break;
///         }
///     }
///     queue.kick();
///     false
/// }
/// ```
pub struct UmemRx(pub(super) Arc<Umem>);

impl UmemRx {
    /// Takes an empty buffer; `None` if user space has left none.
    pub fn buffer(&mut self) -> Option<UmemBuffer> {
        let guard = self.0.receiving.lock();
        // SAFETY: The pool exists by the invariant; the lock is held.
        let xdp = unsafe { bindings::umem_alloc(self.0.pool()) };
        drop(guard);
        // INVARIANT: It is one of the pool's, to be freed by us.
        NonNull::new(xdp).map(|xdp| UmemBuffer {
            xdp,
            umem: self.0.clone(),
            len: 0,
        })
    }

    /// Asks to be woken when there are buffers again, if they are `lacking`. True if user space does that.
    pub fn ask_wakeup(&mut self, lacking: bool) -> bool {
        let _guard = self.0.receiving.lock();
        // SAFETY: The pool exists by the invariant; the lock is held.
        unsafe { bindings::umem_ask_wakeup(self.0.pool(), lacking) }
    }
}

/// A piece of a socket's memory that the device writes a frame to, or has written.
///
/// # Invariants
///
/// The pointer is a buffer of the pool of `umem`, whose queue is that of `umem`. It is to be freed once by us.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::{
///         napi::Poll,
///         skbuff::RxSize, //
///     },
///     virtio::net::RxQueue, //
/// };
///
/// /// The first bytes of a frame.
/// fn begin(queue: &mut RxQueue) -> Option<[u8; 12]> {
///     let mut begin = [0; 12];
///     queue.take_umem()?.read_header(&mut begin);
///     Some(begin)
/// }
/// ```
pub struct UmemBuffer {
    xdp: NonNull<bindings::xdp_buff>,
    umem: Arc<Umem>,
    /// Bytes that the device has written, with the header.
    len: u32,
}

// SAFETY: It belongs to no thread.
unsafe impl Send for UmemBuffer {}

impl UmemBuffer {
    pub(crate) fn as_raw(&self) -> *mut bindings::xdp_buff {
        self.xdp.as_ptr()
    }

    /// Bytes of the header in front of the frame.
    pub(crate) fn header_len(&self) -> u32 {
        self.umem.header_len
    }

    /// Bytes that the device may write, from the header on.
    pub(crate) fn room(&self) -> u32 {
        self.umem.room
    }

    /// Gives the buffer away.
    pub(crate) fn into_raw(self) -> NonNull<bindings::xdp_buff> {
        let xdp = self.xdp;
        // With its reference, which `from_raw` finds by the queue.
        core::mem::forget(self);
        xdp
    }

    /// # Safety
    ///
    /// `xdp` comes from [`Self::into_raw`] and is given back once.
    pub(crate) unsafe fn from_raw(xdp: NonNull<bindings::xdp_buff>) -> Self {
        // SAFETY: By the contract the buffer exists, and its queue is that of its `Umem`, by the invariant.
        let queue = unsafe { addr_of!((*xdp.as_ptr()).rxq).read() };
        // SAFETY: By the contract a reference was given away. The queue is the first field of what it is to.
        let umem = unsafe { Arc::from_raw(queue.cast::<Umem>()) };
        // INVARIANT: By the contract.
        Self { xdp, umem, len: 0 }
    }

    /// Notes that the device has written so many bytes.
    pub(crate) fn set_received(&mut self, len: u32) {
        self.len = len.min(self.umem.room);
        let (header, frame) = (self.umem.header_len, self.len());
        // SAFETY: The buffer is ours by the invariant, is mapped, and has room for so much.
        unsafe { bindings::umem_received(self.as_raw(), header, frame) }
    }

    /// Bytes in the frame, without the header.
    pub fn len(&self) -> u32 {
        self.len.saturating_sub(self.umem.header_len)
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the header in front of the frame, or its begin. User space may have changed it.
    pub fn read_header(&self, to: &mut [u8]) {
        let count = to.len().min(self.umem.header_len as usize) as u32;
        // SAFETY: So many bytes are in front of the frame, by `set_received`, and `to` has room for them.
        unsafe {
            bindings::umem_read(
                self.as_raw(),
                self.umem.header_len,
                to.as_mut_ptr().cast(),
                count,
            )
        }
    }

    /// Copies header and frame to `to`, as if the device had written them there; returns how many bytes.
    pub fn copy_to(self, to: &mut RxBuffer) -> u32 {
        let count = self.len.min(to.capacity());
        let memory = to.data().cast();
        // SAFETY: So many bytes are there, by `set_received`, from the header on, and `to` has room for them.
        unsafe { bindings::umem_read(self.as_raw(), self.umem.header_len, memory, count) };
        count
    }

    /// Calls `run` with the buffer, while nobody else takes or frees one, which it may do in C.
    pub(in crate::net::xdp) fn with_list<R>(
        &self,
        run: impl FnOnce(*mut bindings::xdp_buff) -> R,
    ) -> R {
        let _guard = self.umem.receiving.lock();
        run(self.as_raw())
    }

    /// Somebody else has the memory now, and it is not ours to be freed.
    pub(in crate::net::xdp) fn give_up(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: The field is read once, as `this` is not dropped.
        drop(unsafe { addr_of!(this.umem).read() });
    }
}

impl Drop for UmemBuffer {
    /// Not in a hard interrupt.
    fn drop(&mut self) {
        let _guard = self.umem.receiving.lock();
        // SAFETY: The buffer is ours by the invariant, and the lock held.
        unsafe { bindings::umem_free(self.as_raw()) }
    }
}
