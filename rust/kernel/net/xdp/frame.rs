// SPDX-License-Identifier: GPL-2.0

//! Frames that programs send.

use super::pieces::{
    self,
    List, //
};
use crate::bindings;
use core::ptr::{
    addr_of,
    NonNull, //
};
use kernel::prelude::*;

/// A frame to transmit. Dropping it gives the memory back.
///
/// # Invariants
///
/// The pointer is a `struct xdp_frame` in the memory of its frame, at an even address, and ours, as all of that
/// memory is.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::xdp::Frame,
///     virtio::net::TxQueue, //
/// };
///
/// /// Queues a frame, or drops it.
/// fn transmit(queue: &mut TxQueue, header: &[u8; 12], frame: Frame) -> bool {
///     queue.add_frame(header, frame).is_ok()
/// }
/// ```
pub struct Frame(NonNull<bindings::xdp_frame>);

// SAFETY: A frame belongs to no thread or CPU.
unsafe impl Send for Frame {}

impl Frame {
    /// # Safety
    ///
    /// `ptr` is a `struct xdp_frame` at an even address, and given away.
    pub(crate) unsafe fn from_raw(ptr: NonNull<bindings::xdp_frame>) -> Self {
        // INVARIANT: By the contract.
        Self(ptr)
    }

    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<bindings::xdp_frame> {
        let ptr = self.0;
        core::mem::forget(self);
        ptr
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: The structure is valid by the invariant, and ours.
        unsafe { addr_of!((*self.0.as_ptr()).data).read() }.cast()
    }

    /// Bytes in the first piece.
    fn first_len(&self) -> u32 {
        // SAFETY: The structure is valid by the invariant, and ours.
        unsafe { addr_of!((*self.0.as_ptr()).len).read() }
    }

    fn list(&self) -> Option<List<'_>> {
        // SAFETY: The structure is valid by the invariant, and ours.
        let list = unsafe { bindings::xdp_frame_list(self.0.as_ptr()) };
        // SAFETY: It is that of the frame, which is ours with all its pieces, and which only gives them back.
        NonNull::new(list).map(|list| unsafe { List::new(list) })
    }

    /// Bytes in the frame.
    pub fn len(&self) -> u32 {
        let more = self.list().map_or(0, List::len);
        self.first_len().saturating_add(more)
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In how many pieces of memory the frame is, at least one.
    pub fn pieces(&self) -> u32 {
        self.list().map_or(0, List::count).saturating_add(1)
    }

    /// The first piece.
    fn first(&self) -> &[u8] {
        // SAFETY: By the invariant so many bytes are there, which are ours. A program or a device has written them,
        // so Rust may read them as integers.
        unsafe { core::slice::from_raw_parts(self.data(), self.first_len() as usize) }
    }

    /// Calls `read` with the first bytes of the frame, in which all headers are that anybody reads.
    pub fn with_head<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        pieces::with_head(self.first(), self.list(), read)
    }

    /// Lists the memory of the frame: what [`Self::put_in_front`] has returned, and all other pieces.
    ///
    /// # Safety
    ///
    /// `sg` has room for as many entries as there are pieces, and nobody else uses it. `first` is what was returned for
    /// this frame.
    pub(crate) unsafe fn to_sg(&self, sg: *mut bindings::scatterlist, first: (*mut u8, u32)) {
        let (data, len) = first;
        // SAFETY: By the contract.
        unsafe { bindings::sg_init_table(sg, self.pieces()) };
        // SAFETY: The table has an entry.
        unsafe { bindings::sg_set_buf(sg, data.cast(), len) };
        if let Some(list) = self.list() {
            // SAFETY: The table has more entries, one for each piece behind the first one.
            unsafe { bindings::xdp_list_to_sg(list.as_raw(), sg.wrapping_add(1)) };
        }
    }

    /// Writes `header` in front of the frame, and returns where it begins and how long it and the first piece are together;
    /// `None` if there is no room for it.
    pub(crate) fn put_in_front(&mut self, header: &[u8]) -> Option<(*mut u8, u32)> {
        // SAFETY: The structure is valid by the invariant, and ours.
        let room = unsafe { addr_of!((*self.0.as_ptr()).headroom).read() };
        let len = u32::try_from(header.len()).ok()?;
        if len > room {
            return None;
        }
        let to = self.data().wrapping_sub(header.len());
        // SAFETY: In front of the data are `room` bytes of the frame's memory, which the structure is not part of.
        // The header is valid for reads, and cannot be in our memory.
        unsafe { core::ptr::copy_nonoverlapping(header.as_ptr(), to, header.len()) };
        Some((to, len.checked_add(self.first_len())?))
    }
}

impl Drop for Frame {
    /// Not in a hard interrupt.
    fn drop(&mut self) {
        // SAFETY: The frame is ours by the invariant, and not used afterwards.
        unsafe { bindings::xdp_return_frame(self.0.as_ptr()) }
    }
}

/// Frames that the stack gives a device to transmit.
///
/// # Invariants
///
/// The elements from `taken` on are frames that are valid and the stack's, to be taken by us.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::xdp::Given,
///     virtio::net::TxQueue, //
/// };
///
/// /// Queues frames as long as there is room.
/// fn transmit(queue: &mut TxQueue, header: &[u8; 12], frames: &mut Given<'_>) {
///     while frames.offer(|frame| queue.add_frame(header, frame)) {}
///     queue.kick();
/// }
/// ```
pub struct Given<'a> {
    frames: &'a [*mut bindings::xdp_frame],
    taken: usize,
}

impl<'a> Given<'a> {
    /// # Safety
    ///
    /// The frames are valid, and the stack lets us take them in their order, until the end of `'a`.
    pub(crate) unsafe fn new(frames: &'a [*mut bindings::xdp_frame]) -> Self {
        // INVARIANT: By the contract.
        Self { frames, taken: 0 }
    }

    /// How many were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Offers the next frame to `take`; false if there is none, or if it was given back.
    pub fn offer(&mut self, take: impl FnOnce(Frame) -> Result<(), Frame>) -> bool {
        let next = self.frames.get(self.taken).copied();
        let Some(ptr) = next.and_then(NonNull::new) else {
            return false;
        };
        // The stack gives no such frames.
        if ptr.addr().get() % 2 != 0 {
            return false;
        }
        // INVARIANT: The frame is not the stack's any more, and those behind it still are.
        self.taken = self.taken.saturating_add(1);
        // SAFETY: The frame is valid by the invariant, at an even address, and is taken once, because `taken` has moved.
        let frame = unsafe { Frame::from_raw(ptr) };
        match take(frame) {
            Ok(()) => true,
            // Another one is dropped as any frame is.
            Err(back) if back.0 != ptr => true,
            Err(back) => {
                // INVARIANT: This one is the stack's again.
                self.taken = self.taken.saturating_sub(1);
                core::mem::forget(back);
                false
            }
        }
    }
}
