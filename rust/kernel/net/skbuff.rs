// SPDX-License-Identifier: GPL-2.0

//! Socket buffers and the memory that received frames are written to.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    bindings,
    net::{
        napi::Poll,
        xfrm::state::Family, //
    }, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A `struct sk_buff` that we own alone. Dropping it frees the packet as dropped.
pub struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: An owned skb may be handled and freed by any thread.
unsafe impl Send for SkBuff {}

/// The transport checksum of a packet to transmit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TxChecksum {
    /// Complete.
    Done,
    /// The device must sum from `start` to the end and store the result at `start + offset`; both
    /// in bytes, `start` from the first byte of the frame.
    Partial {
        /// First byte to sum.
        start: u16,
        /// Where the sum goes, from `start`.
        offset: u16,
    },
}

/// The segmentation that a packet needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Payload bytes per segment.
    pub size: u16,
    /// The IP version around the TCP segment; `None` if it is not TCP.
    pub tcp: Option<Family>,
    /// How many segments there will be.
    pub segments: u16,
    /// Whether the number of segments was not known when the packet was built: `SKB_GSO_DODGY`.
    pub untrusted: bool,
}

impl SkBuff {
    /// Takes ownership of `ptr`; `None` if it is null.
    ///
    /// # Safety
    ///
    /// A non-null `ptr` is a valid skb that the caller gives away.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Takes ownership of `ptr`.
    ///
    /// # Safety
    ///
    /// As [`Self::from_raw`].
    pub(crate) unsafe fn from_non_null(ptr: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the contract.
        Self(ptr)
    }

    pub(crate) fn into_non_null(self) -> NonNull<bindings::sk_buff> {
        let ptr = self.0;
        core::mem::forget(self);
        ptr
    }

    pub(crate) fn into_raw(self) -> *mut bindings::sk_buff {
        self.into_non_null().as_ptr()
    }

    /// Bytes in the packet.
    pub fn len(&self) -> u32 {
        // SAFETY: The skb is valid.
        unsafe { self.0.as_ref().len }
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The transmit queue that the stack chose.
    pub fn queue(&self) -> u16 {
        // SAFETY: The skb is valid.
        unsafe { self.0.as_ref().queue_mapping }
    }

    /// The first bytes of the packet, as far as they are in one piece of memory.
    pub fn head(&self) -> &[u8] {
        // SAFETY: `data` points to `skb_headlen` valid bytes that we own.
        unsafe {
            core::slice::from_raw_parts(
                self.0.as_ref().data,
                bindings::skb_headlen(self.as_raw()) as usize,
            )
        }
    }

    /// Copies bytes from `offset` on to `out`.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the packet ends before.
    pub fn copy_bits(&self, offset: u32, out: &mut [u8]) -> Result {
        let end = (offset as usize).checked_add(out.len()).ok_or(EFAULT)?;
        if let Some(bytes) = self.head().get(offset as usize..end) {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        let offset = offset.try_into().map_err(|_| EFAULT)?;
        let len = out.len().try_into().map_err(|_| EFAULT)?;
        // SAFETY: `out` has `len` bytes; the function checks the packet's bounds.
        kernel::error::to_result(unsafe {
            bindings::skb_copy_bits(self.as_raw(), offset, out.as_mut_ptr().cast(), len)
        })
    }

    /// How the packet is still to be segmented, if at all.
    ///
    /// `gso_size` alone counts: single packets may carry a GSO type (contract R2.22).
    pub fn gso(&self) -> Option<Gso> {
        // SAFETY: The skb is valid.
        let (size, kind, segments) = unsafe {
            (
                bindings::skb_gso_size(self.as_raw()),
                bindings::skb_gso_type(self.as_raw()),
                bindings::skb_gso_segs(self.as_raw()),
            )
        };
        if size == 0 {
            return None;
        }
        let tcp = if kind & (bindings::SKB_GSO_TCPV4 as u32) != 0 {
            Some(Family::V4)
        } else if kind & (bindings::SKB_GSO_TCPV6 as u32) != 0 {
            Some(Family::V6)
        } else {
            None
        };
        Some(Gso {
            size,
            tcp,
            segments: segments.max(1),
            untrusted: kind & (bindings::SKB_GSO_DODGY as u32) != 0,
        })
    }

    /// Offset of the transport header (for offloaded ESP: the ESP header) from the frame's start.
    pub fn transport_offset(&self) -> Option<u16> {
        // SAFETY: The skb is valid.
        unsafe { bindings::skb_transport_offset(self.as_raw()) }
            .try_into()
            .ok()
    }

    /// The transport checksum of a packet to transmit.
    pub fn tx_checksum(&self) -> TxChecksum {
        // SAFETY: The skb is valid.
        if unsafe { bindings::skb_ip_summed(self.as_raw()) } != bindings::CHECKSUM_PARTIAL as u8 {
            return TxChecksum::Done;
        }
        // SAFETY: The skb is valid; the offset is meaningful for CHECKSUM_PARTIAL.
        let start = unsafe { bindings::skb_checksum_start_offset(self.as_raw()) };
        // SAFETY: As above.
        let offset = unsafe { bindings::skb_csum_offset(self.as_raw()) };
        match u16::try_from(start) {
            Ok(start) => TxChecksum::Partial { start, offset },
            // The stack never builds such a packet; the receiver will drop it.
            Err(_) => TxChecksum::Done,
        }
    }

    /// Says that the device verified the innermost checksum of a received packet.
    pub fn set_checksum_verified(&mut self) {
        // SAFETY: The skb is valid and ours alone.
        unsafe { bindings::skb_set_ip_summed(self.as_raw(), bindings::CHECKSUM_UNNECESSARY as u8) }
    }

    /// Says that a received packet's checksum is not computed yet, as in [`TxChecksum::Partial`].
    /// Call before [`Self::set_protocol`].
    ///
    /// Returns false if the offsets do not lie in the packet.
    pub fn set_checksum_partial(&mut self, start: u16, offset: u16) -> bool {
        // SAFETY: The skb is valid and ours alone; the function checks the offsets.
        unsafe { bindings::skb_partial_csum_set(self.as_raw(), start, offset) }
    }

    /// Sets the receiving device, takes the Ethernet header off and sets the protocol from it.
    ///
    /// The caller's device is taken from `poll`.
    pub fn set_protocol<T: super::device::Operations>(&mut self, poll: &Poll<'_, T>) {
        // SAFETY: The skb is valid and ours alone; the device of a polled NAPI context is live.
        unsafe {
            bindings::skb_eth_type_trans(self.as_raw(), (*poll.napi().as_raw()).dev);
            bindings::skb_record_rx_queue(self.as_raw(), poll.index());
        }
    }

    /// Reports the packet to software transmit timestamping.
    pub fn tx_timestamp(&self) {
        // SAFETY: The skb is valid.
        unsafe { bindings::skb_tx_timestamp(self.as_raw()) }
    }

    /// Frees a transmitted packet. `budget` is that of the running poll, 0 elsewhere.
    pub fn consume(self, budget: u32) {
        let budget = budget.try_into().unwrap_or(0);
        // SAFETY: The skb is ours and given away.
        unsafe { bindings::napi_consume_skb(self.into_raw(), budget) }
    }

    /// Makes a packet of the bytes `skip..skip + len` that the device wrote to `buffer`, without
    /// copying. Softirq.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the range does not lie in the buffer, `ENOMEM`; the buffer is freed.
    pub fn build(buffer: RxBuffer, skip: u16, len: u32) -> Result<Self> {
        let end = u32::from(skip).checked_add(len).ok_or(EINVAL)?;
        if end > RxBuffer::capacity() {
            return Err(EINVAL);
        }
        // SAFETY: The buffer is a page fragment of `TRUESIZE` bytes with room for the shared info.
        let skb = unsafe { bindings::napi_build_skb(buffer.as_ptr().cast(), RxBuffer::TRUESIZE) };
        let skb = Self(NonNull::new(skb).ok_or(ENOMEM)?);
        // The skb owns the memory now.
        core::mem::forget(buffer);
        let reserve = RxBuffer::HEADROOM.wrapping_add(u32::from(skip));
        // SAFETY: The new skb is empty, and the range was checked against its room.
        unsafe {
            bindings::skb_reserve(skb.as_raw(), reserve);
            bindings::skb_put(skb.as_raw(), len);
        }
        Ok(skb)
    }

    /// The most bytes that [`Self::build`] and [`Self::append`] can put into one packet.
    pub fn rx_capacity() -> u32 {
        RxBuffer::capacity().saturating_mul(MAX_FRAGS + 1)
    }

    /// Appends the first `len` bytes of `buffer` without copying.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `len` is 0 or exceeds the buffer, `ENOSPC` if the packet has too many pieces; the
    /// buffer is freed.
    pub fn append(&mut self, buffer: RxBuffer, len: u32) -> Result {
        if len == 0 || len > RxBuffer::capacity() {
            return Err(EINVAL);
        }
        // SAFETY: The skb is valid.
        if unsafe { bindings::skb_nr_frags(self.as_raw()) } >= MAX_FRAGS {
            return Err(ENOSPC);
        }
        let data = buffer.data();
        core::mem::forget(buffer);
        // SAFETY: The page fragment is ours and given to the skb, which has a free slot.
        unsafe { bindings::skb_add_rx_buffer(self.as_raw(), data.cast(), len, RxBuffer::TRUESIZE) };
        Ok(())
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: The skb is ours and not used afterwards.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.as_raw(),
                bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            )
        }
    }
}

/// The number of pieces that every kernel configuration allows an skb.
const MAX_FRAGS: u32 = bindings::MAX_SKB_FRAGS;

/// A page fragment that the device writes a received frame, or a part of one, to.
pub struct RxBuffer(NonNull<u8>);

// SAFETY: An owned page fragment may be used and freed by any thread.
unsafe impl Send for RxBuffer {}

impl RxBuffer {
    /// Bytes of memory, as accounted to the socket.
    pub const TRUESIZE: u32 = 2048;
    /// Bytes before the data, room for headers that forwarding adds.
    pub(crate) const HEADROOM: u32 = 64;

    /// Bytes that the device may write: what [`SkBuff::build`] leaves of the memory.
    pub fn capacity() -> u32 {
        // SAFETY: No preconditions; a compile-time constant of C.
        let shared_info = unsafe { bindings::skb_shinfo_size() };
        Self::TRUESIZE
            .saturating_sub(Self::HEADROOM)
            .saturating_sub(shared_info)
    }

    /// Allocates a buffer; `None` if memory is short. Any context but hard interrupts.
    pub fn new() -> Option<Self> {
        // SAFETY: No preconditions.
        let ptr = unsafe { bindings::netdev_alloc_frag(Self::TRUESIZE) };
        NonNull::new(ptr.cast()).map(Self)
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// Where the device writes.
    pub(crate) fn data(&self) -> *mut u8 {
        self.as_ptr().wrapping_add(Self::HEADROOM as usize)
    }

    /// The first `len` bytes, at most the capacity.
    pub fn bytes(&self, len: u32) -> &[u8] {
        let len = len.min(Self::capacity()) as usize;
        // SAFETY: The memory is valid and initialised: the device wrote it, or it holds old bytes
        // of the page allocator, which Rust may read as integers because C wrote the memory.
        unsafe { core::slice::from_raw_parts(self.data(), len) }
    }

    pub(crate) fn into_raw(self) -> NonNull<u8> {
        let ptr = self.0;
        core::mem::forget(self);
        ptr
    }

    /// # Safety
    ///
    /// `ptr` comes from [`Self::into_raw`] and is given back once.
    pub(crate) unsafe fn from_raw(ptr: NonNull<u8>) -> Self {
        // INVARIANT: By the contract, as it was before `into_raw`.
        Self(ptr)
    }
}

impl Drop for RxBuffer {
    fn drop(&mut self) {
        // SAFETY: The page fragment is ours and not used afterwards.
        unsafe { bindings::page_frag_free(self.as_ptr().cast()) }
    }
}

/// A packet that the stack keeps, for a look during a callback.
pub struct PeekSkb<'a>(
    NonNull<bindings::sk_buff>,
    core::marker::PhantomData<&'a ()>,
);

impl PeekSkb<'_> {
    /// # Safety
    ///
    /// `ptr` is a valid skb during the lifetime.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Self {
        // SAFETY: By the contract.
        let ptr = unsafe { NonNull::new_unchecked(ptr) };
        Self(ptr, core::marker::PhantomData)
    }

    /// Whether the packet is still to be segmented.
    pub fn is_gso(&self) -> bool {
        // SAFETY: The skb is valid.
        unsafe { bindings::skb_is_gso(self.0.as_ptr()) }
    }

    /// Whether the number of segments is only a claim of somebody outside, or not known yet, as of
    /// packets from a TAP: `SKB_GSO_DODGY`.
    pub fn is_untrusted_gso(&self) -> bool {
        // SAFETY: The skb is valid.
        unsafe { bindings::skb_gso_type(self.0.as_ptr()) & bindings::SKB_GSO_DODGY as u32 != 0 }
    }
}
