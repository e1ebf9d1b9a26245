// SPDX-License-Identifier: GPL-2.0

//! Frames in several pieces: the first one has room around it, and a list of the others at the end of its memory, where
//! the stack has its shared info of packets, too.

use crate::{
    bindings,
    net::skbuff::{
        RxBuffer,
        RxSize, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// In so many bytes all headers of a frame are that anybody reads: two VLAN tags, IPv6 with some extension headers, UDP
/// and ESP.
pub(crate) const HEAD: usize = 256;

const HAS_PIECES: u32 = bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS;

/// The list of a frame's pieces behind the first one.
///
/// # Invariants
///
/// The pointer is a shared info that lists pieces of a frame, which exist, and nobody changes either, during the lifetime.
#[derive(Clone, Copy)]
pub(super) struct List<'a>(NonNull<bindings::skb_shared_info>, PhantomData<&'a [u8]>);

impl<'a> List<'a> {
    /// # Safety
    ///
    /// `ptr` is a shared info that lists pieces of a frame, which exist, and nobody changes either, during the lifetime.
    pub(super) unsafe fn new(ptr: NonNull<bindings::skb_shared_info>) -> Self {
        // INVARIANT: By the contract.
        Self(ptr, PhantomData)
    }

    pub(super) fn as_raw(self) -> *mut bindings::skb_shared_info {
        self.0.as_ptr()
    }

    /// How many pieces there are.
    pub(super) fn count(self) -> u32 {
        // SAFETY: The list is valid by the invariant.
        unsafe { bindings::xdp_list_pieces(self.as_raw()) }
    }

    /// Bytes in all of them.
    pub(super) fn len(self) -> u32 {
        // SAFETY: The list is valid by the invariant.
        unsafe { bindings::xdp_list_len(self.as_raw()) }
    }

    fn get(self, n: u32) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: The list is valid by the invariant, and the number one of its pieces: see `iter`.
        let data = unsafe { bindings::xdp_list_piece(self.as_raw(), n, &mut len) };
        if data.is_null() {
            return &[];
        }
        // SAFETY: By the invariant so many bytes are there. A program or a device has written them, so Rust may read
        // them as integers.
        unsafe { core::slice::from_raw_parts(data.cast(), len as usize) }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.count()).map(move |n| self.get(n))
    }
}

/// Calls `read` with the first bytes of a frame: all of `first`, and at least [`HEAD`] bytes if there are so many.
pub(super) fn with_head<R>(
    first: &[u8],
    list: Option<List<'_>>,
    read: impl FnOnce(&[u8]) -> R,
) -> R {
    let Some(list) = list.filter(|_| first.len() < HEAD) else {
        return read(first);
    };
    let (mut copy, mut used) = ([0; HEAD], 0usize);
    for piece in Iterator::chain([first].into_iter(), list.iter()) {
        let room = copy.get_mut(used..).unwrap_or_default();
        let count = room.len().min(piece.len());
        room.iter_mut()
            .zip(piece)
            .for_each(|(to, from)| *to = *from);
        used = used.saturating_add(count);
    }
    read(copy.get(..used).unwrap_or_default())
}

/// The pieces of a received frame behind the first one, maybe none. Dropping them gives their memory back.
///
/// # Invariants
///
/// - `memory` is that of a buffer of [`RxSize::Xdp`], which exists, and its last [`bindings::ESPNIC_SHINFO_SIZE`] bytes are
///   used for the list only.
/// - If `flags` say that there are pieces, these bytes list them, and they are ours. Each is in a buffer of
///   [`RxSize::Xdp`], in which is nothing else.
pub(super) struct Pieces {
    memory: NonNull<u8>,
    flags: u32,
}

// SAFETY: Memory belongs to no thread or CPU.
unsafe impl Send for Pieces {}

impl Pieces {
    /// Bytes of memory of the first piece, and of each other one.
    const SIZE: u32 = RxSize::Xdp.truesize();

    /// None yet of the frame that begins in `buffer`.
    ///
    /// # Safety
    ///
    /// The buffer is one of [`RxSize::Xdp`], and it exists as long as this. Nobody else uses what is behind
    /// [`RxSize::end`] meanwhile.
    pub(super) unsafe fn none(buffer: &RxBuffer) -> Self {
        // INVARIANT: By the contract.
        Self {
            memory: buffer.as_non_null(),
            flags: 0,
        }
    }

    /// What `struct xdp_buff` says of them.
    pub(super) fn flags(&self) -> u32 {
        self.flags
    }

    pub(super) fn list(&self) -> Option<List<'_>> {
        if self.flags & HAS_PIECES == 0 {
            return None;
        }
        let end = RxSize::Xdp.end() as usize;
        // SAFETY: By the invariant the memory is longer than that.
        let info = unsafe { self.memory.add(end) };
        // SAFETY: By the invariant there is the list, of pieces that are ours. It is changed by `&mut self` only.
        Some(unsafe { List::new(info.cast()) })
    }

    /// Takes over what a program has made of them.
    ///
    /// # Safety
    ///
    /// `xdp` describes the frame, and a program was run with it.
    pub(super) unsafe fn follow(&mut self, xdp: &bindings::xdp_buff) {
        // INVARIANT: Helpers of programs change both the list and the flags, and return the memory of the pieces that
        // they remove. They let the last one grow to the end of its memory: see `RxQueue`.
        // SAFETY: The structure is valid.
        self.flags = unsafe { bindings::xdp_flags(xdp) };
    }

    /// Appends the `len` bytes of the buffer's memory from `offset` on.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they are none, or do not lie in the memory, or the buffer is of another size; `ENOSPC` if there are too
    /// many pieces. The buffer is freed.
    pub(super) fn add(&mut self, buffer: RxBuffer, offset: u32, len: u32) -> Result {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if buffer.size() != RxSize::Xdp || len == 0 || end > Self::SIZE {
            return Err(EINVAL);
        }
        let data = buffer.as_ptr().wrapping_add(offset as usize);
        let memory = self.memory.as_ptr().cast();
        // SAFETY: By the invariant the memory has so many bytes, with the list at its end if the flags say so. The piece
        // is in a page of a pool.
        let added = unsafe {
            bindings::xdp_add_piece(
                memory,
                Self::SIZE,
                &mut self.flags,
                data.cast(),
                len,
                Self::SIZE,
            )
        };
        if !added {
            return Err(ENOSPC);
        }
        // INVARIANT: It is in the list, which has its memory now.
        core::mem::forget(buffer);
        Ok(())
    }
}

impl Drop for Pieces {
    /// Not in a hard interrupt.
    fn drop(&mut self) {
        for piece in self.list().into_iter().flat_map(List::iter) {
            // SAFETY: By the invariant it is ours, in a page of a pool, which exists as long as its pages are in use. It
            // is not used afterwards.
            unsafe { bindings::page_pool_free_buffer(piece.as_ptr().cast_mut().cast()) }
        }
    }
}
