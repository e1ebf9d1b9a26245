// SPDX-License-Identifier: GPL-2.0

//! The memory that the device writes received packets to.
//!
//! It is a piece of a page of a [pool](crate::net::page_pool) with room for what the stack needs around the data, so
//! that a packet can be built around what the device wrote.

use crate::{
    bindings,
    net::{
        napi::Poll,
        page_pool::PagePool, //
    }, //
};
use core::ptr::NonNull;

/// How much memory a buffer has.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     napi::Poll,
///     skbuff::{
///         RxBuffer,
///         RxSize, //
///     }, //
/// };
///
/// /// A buffer for packets of about `len` bytes.
/// fn buffer(poll: &Poll<'_>, len: u32) -> Option<RxBuffer> {
///     let small = len <= RxSize::Small.capacity();
///     poll.buffer(if small { RxSize::Small } else { RxSize::Large })
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RxSize {
    /// Enough for a packet of Ethernet's usual MTU.
    Small,
    /// For packets that stand for several.
    Large,
    /// For frames that a program sees before the stack: see [`crate::net::xdp`].
    Xdp,
}

impl RxSize {
    /// Bytes of memory, as accounted to the socket.
    #[inline]
    pub const fn truesize(self) -> u32 {
        self.layout().truesize
    }

    /// Bytes before those that the device writes.
    #[inline]
    pub(crate) const fn headroom(self) -> u32 {
        self.layout().headroom
    }

    // A table, because the compiler calculates what each `match` would choose, for every packet.
    #[inline]
    const fn layout(self) -> &'static Layout {
        const LAYOUTS: [Layout; 3] = [
            // For headers that forwarding adds.
            Layout::new(2048, 64),
            // A page, which is what a pool has.
            Layout::new(4096, 64),
            // Every program has so many bytes (`XDP_PACKET_HEADROOM`), even if the frame is sent on: then a
            // `struct xdp_frame` is in front of them.
            Layout::new(4096, bindings::XDP_PACKET_HEADROOM.saturating_add(64)),
        ];
        &LAYOUTS[self as usize]
    }

    /// Where a packet in the memory must end: the rest is the stack's.
    #[inline]
    pub(crate) const fn end(self) -> u32 {
        self.layout().end
    }

    /// Bytes that the device may write: what [`RxSkb::build`](super::RxSkb::build) leaves of the memory.
    #[inline]
    pub const fn capacity(self) -> u32 {
        self.layout().capacity
    }
}

/// The numbers of a [`RxSize`], in bytes.
struct Layout {
    truesize: u32,
    headroom: u32,
    end: u32,
    capacity: u32,
}

impl Layout {
    const fn new(truesize: u32, headroom: u32) -> Self {
        let end = truesize.saturating_sub(bindings::ESPNIC_SHINFO_SIZE);
        Self {
            truesize,
            headroom,
            end,
            capacity: end.saturating_sub(headroom),
        }
    }
}

/// Memory of a page pool that the device writes a received frame, or a part of one, to.
///
/// # Invariants
///
/// The pointer is a piece of `size.truesize()` bytes of a page of a pool that is ours alone, at an address that
/// four divides.
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
/// /// Gives the device one more buffer; false if that is not possible.
/// fn add(poll: &Poll<'_>, queue: &mut RxQueue) -> bool {
///     let buffer = poll.buffer(RxSize::Small);
///     buffer.is_some_and(|buffer| queue.add(buffer).is_ok())
/// }
/// ```
pub struct RxBuffer {
    ptr: NonNull<u8>,
    size: RxSize,
}

// SAFETY: The memory belongs to no thread or CPU: its owner may use and free it anywhere.
unsafe impl Send for RxBuffer {}

impl RxBuffer {
    /// # Safety
    ///
    /// `ptr` is a piece of `size.truesize()` bytes of a page of a page pool, at an address that four divides, and
    /// given away.
    #[inline]
    pub(crate) unsafe fn new(ptr: NonNull<u8>, size: RxSize) -> Self {
        // INVARIANT: By the contract.
        Self { ptr, size }
    }

    /// Bytes that the device may write.
    #[inline]
    pub const fn capacity(&self) -> u32 {
        self.size.capacity()
    }

    /// How much memory it has.
    #[inline]
    pub const fn size(&self) -> RxSize {
        self.size
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    pub(crate) fn as_non_null(&self) -> NonNull<u8> {
        self.ptr
    }

    /// Where the device writes.
    #[inline]
    pub(crate) fn data(&self) -> *mut u8 {
        self.as_ptr().wrapping_add(self.size.headroom() as usize)
    }

    /// The first `len` bytes, at most the capacity.
    #[inline]
    pub fn bytes(&self, len: u32) -> &[u8] {
        let len = len.min(self.capacity()) as usize;
        // SAFETY: By the invariant there are `capacity` bytes from `data` on, which are ours: the device
        // gave the buffer back, and a device that writes there nevertheless may do so anywhere in its pages
        // (`PagePool::create`). They are what the device wrote, or bytes of an earlier user of the page, which
        // Rust may read as integers because C wrote the memory.
        unsafe { core::slice::from_raw_parts(self.data(), len) }
    }

    /// All of the memory, for [`RxSkb::append_memory`](super::RxSkb::append_memory).
    pub fn memory(&mut self) -> &mut [u8] {
        let len = self.size.truesize() as usize;
        // SAFETY: By the invariant these bytes are ours, and nobody else has them: the buffer is borrowed to
        // be changed. They are initialised as far as Rust is concerned: see `bytes`.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr(), len) }
    }

    /// Gives the buffer away as a pointer whose two lowest bits are its [`RxSize`].
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        let size = self.size as usize;
        let ptr = self.ptr.map_addr(|addr| addr | size);
        core::mem::forget(self);
        ptr
    }

    /// # Safety
    ///
    /// `ptr` comes from [`Self::into_raw`] and is given back once.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: NonNull<u8>) -> Self {
        let low = ptr.addr().get() & 3;
        let size = match low {
            0 => RxSize::Small,
            1 => RxSize::Large,
            _ => RxSize::Xdp,
        };
        // SAFETY: The piece begins so many bytes before, where four divides the address by the invariant.
        let ptr = unsafe { ptr.sub(low) };
        // INVARIANT: By the contract, as it was before `into_raw`.
        Self { ptr, size }
    }
}

impl Drop for RxBuffer {
    /// Not in a hard interrupt.
    fn drop(&mut self) {
        // SAFETY: The memory is ours by the invariant, in a page of a pool, which exists as long as its pages
        // are in use. It is not used afterwards.
        unsafe { bindings::page_pool_free_buffer(self.as_ptr().cast()) }
    }
}

impl PagePool {
    /// # Safety
    ///
    /// That of [`Self::allocate`].
    #[inline]
    unsafe fn buffer_of(&self, size: RxSize) -> Option<RxBuffer> {
        // SAFETY: By the contract.
        let ptr = unsafe { self.allocate(size.truesize()) }?;
        // SAFETY: A new piece of this size of a page of a pool, which nobody else knows. It is aligned to its size.
        Some(unsafe { RxBuffer::new(ptr, size) })
    }

    /// Takes a buffer from a pool of tests, which has no context.
    #[cfg(espnic_kunit)]
    pub(crate) fn buffer(&mut self, size: RxSize) -> Option<RxBuffer> {
        // SAFETY: There is no context, and the pool is borrowed to be changed.
        unsafe { self.buffer_of(size) }
    }
}

impl Poll<'_> {
    /// Takes a buffer from the pool of the context; `None` if memory is short, or if there is no pool.
    ///
    /// What is in it is whatever was in that memory before.
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
    /// fn fill(poll: &Poll<'_>, queue: &mut RxQueue) {
    ///     while queue.has_room() {
    ///         let Some(buffer) = poll.buffer(RxSize::Small) else {
    ///             break;
    ///         };
    ///         if queue.add(buffer).is_err() {
    ///             break;
    ///         }
    ///     }
    ///     queue.kick();
    /// }
    /// ```
    #[inline]
    pub fn buffer(&self, size: RxSize) -> Option<RxBuffer> {
        let receiving = self.receiving()?;
        // SAFETY: The pool is that of the context that runs here.
        unsafe { receiving.pool.buffer_of(size) }
    }
}
