// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)
//!
//! A packet to transmit is an [`SkBuff`]: the structure is ours, but its data may be shared with
//! clones that the stack keeps, so nothing here writes to it, but for headers that were made private
//! before ([`SkBuff::set_ethernet`]). A received packet is built from our own memory, see [`receive`]: it is
//! an [`RxSkb`], to which pieces can be added, and then an [`RxPacket`], which the stack takes. The types
//! are separate, because an operation that is sound for packets of one side would damage those of the
//! other.

mod buffer;
pub mod receive;
mod transmit;

pub use buffer::{
    RxBuffer,
    RxSize, //
};
pub use receive::{
    RxPacket,
    RxSkb, //
};

#[cfg(espnic_kunit)]
pub(crate) mod tests;

use crate::{
    bindings,
    net::{
        ip::Family,
        napi::Poll, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A `struct sk_buff` that we own alone. Dropping it frees the packet as dropped.
///
/// # Invariants
///
/// The pointer is a valid skb, and ours to free. Nobody else uses the structure; its data may be shared
/// with clones.
///
/// # Examples
///
/// ```
/// use kernel_net::net::skbuff::SkBuff;
///
/// /// The EtherType of a packet to transmit.
/// fn ethertype(skb: &SkBuff) -> Result<u16> {
///     let mut bytes = [0; 2];
///     skb.copy_bits(12, &mut bytes)?;
///     Ok(u16::from_be_bytes(bytes))
/// }
/// ```
pub struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: An owned skb may be handled and freed by any thread.
unsafe impl Send for SkBuff {}

/// The transport checksum of a packet to transmit.
///
/// # Examples
///
/// ```
/// use kernel_net::net::skbuff::{
///     SkBuff,
///     TxChecksum, //
/// };
///
/// /// What a virtio header says of the checksum: from where, and how far behind it goes.
/// fn offsets(skb: &SkBuff) -> Option<(u16, u16)> {
///     match skb.tx_checksum() {
///         TxChecksum::Done => None,
///         TxChecksum::Partial { start, offset } => Some((start, offset)),
///     }
/// }
/// ```
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
///
/// # Examples
///
/// ```
/// use kernel_net::net::skbuff::SkBuff;
///
/// /// How many packets the device makes of this one.
/// fn segments(skb: &SkBuff) -> u16 {
///     skb.gso().map_or(1, |gso| gso.segments)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Payload bytes per segment.
    pub size: u16,
    /// The IP version around the TCP segment; `None` if it is not TCP.
    pub tcp: Option<Family>,
    /// The number of segments that it will be cut into.
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
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Option<Self> {
        // INVARIANT: By the contract.
        NonNull::new(ptr).map(Self)
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Takes ownership of `ptr`.
    ///
    /// # Safety
    ///
    /// As [`Self::from_raw`].
    #[inline]
    pub(crate) unsafe fn from_non_null(ptr: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the contract.
        Self(ptr)
    }

    #[inline]
    pub(crate) fn into_non_null(self) -> NonNull<bindings::sk_buff> {
        let ptr = self.0;
        core::mem::forget(self);
        ptr
    }

    #[inline]
    pub(crate) fn into_raw(self) -> *mut bindings::sk_buff {
        self.into_non_null().as_ptr()
    }

    /// Bytes in the packet.
    #[inline]
    pub fn len(&self) -> u32 {
        // SAFETY: The skb is valid and ours by the invariant, so nobody writes the field meanwhile.
        unsafe { (*self.as_raw()).len }
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The transmit queue that the stack chose.
    #[inline]
    pub fn queue(&self) -> u16 {
        // SAFETY: The skb is valid and ours by the invariant, so nobody writes the field meanwhile.
        unsafe { (*self.as_raw()).queue_mapping }
    }

    /// The first bytes of the packet, as far as they are in one piece of memory.
    #[inline]
    pub fn head(&self) -> &[u8] {
        let skb = self.as_raw();
        // SAFETY: The skb is valid and ours by the invariant, so nobody writes the fields meanwhile.
        let (data, len, paged) = unsafe { ((*skb).data, (*skb).len, (*skb).data_len) };
        let len = len.wrapping_sub(paged);
        // SAFETY: What is not in pages are so many initialised bytes at `data`. Who shares them must copy
        // them before writing, and we write through `&mut self` only.
        unsafe { core::slice::from_raw_parts(data, len as usize) }
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
        // SAFETY: The skb is valid by the invariant, `out` has `len` bytes; the function checks the
        // packet's bounds.
        kernel::error::to_result(unsafe {
            bindings::skb_copy_bits(self.as_raw(), offset, out.as_mut_ptr().cast(), len)
        })
    }

    /// The segmentation that the packet still needs, if any.
    ///
    /// `gso_size` alone counts: single packets may carry a GSO type (X54).
    #[inline]
    pub fn gso(&self) -> Option<Gso> {
        // SAFETY: The skb is valid by the invariant, and so is the shared info behind its data.
        let size = unsafe { bindings::skb_gso_size(self.as_raw()) };
        if size == 0 {
            return None;
        }
        // SAFETY: The skb is valid by the invariant, and so is the shared info behind its data.
        let kind = unsafe { bindings::skb_gso_type(self.as_raw()) };
        // SAFETY: The skb is valid by the invariant, and so is the shared info behind its data.
        let segments = unsafe { bindings::skb_gso_segs(self.as_raw()) };
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
        // SAFETY: The skb is valid by the invariant; the offset is a difference of two of its fields.
        unsafe { bindings::skb_transport_offset(self.as_raw()) }
            .try_into()
            .ok()
    }

    /// The transport checksum of a packet to transmit.
    #[inline]
    pub fn tx_checksum(&self) -> TxChecksum {
        // SAFETY: The skb is valid by the invariant.
        if unsafe { bindings::skb_ip_summed(self.as_raw()) } != bindings::CHECKSUM_PARTIAL as u8 {
            return TxChecksum::Done;
        }
        // SAFETY: The skb is valid by the invariant; the offset is meaningful for CHECKSUM_PARTIAL.
        let start = unsafe { bindings::skb_checksum_start_offset(self.as_raw()) };
        // SAFETY: The skb is valid by the invariant; the field is meaningful for CHECKSUM_PARTIAL.
        let offset = unsafe { bindings::skb_csum_offset(self.as_raw()) };
        match u16::try_from(start) {
            Ok(start) => TxChecksum::Partial { start, offset },
            // The stack never builds such a packet; the receiver will drop it.
            Err(_) => TxChecksum::Done,
        }
    }

    /// Reports the packet to software transmit timestamping.
    pub fn tx_timestamp(&self) {
        // SAFETY: The skb is valid by the invariant; sockets that want a time get a clone.
        unsafe { bindings::skb_tx_timestamp(self.as_raw()) }
    }

    /// Frees a transmitted packet. Any context.
    pub fn consume_any(self) {
        // SAFETY: The skb is ours and given away. Without a budget the function looks at the context by
        // itself.
        unsafe { bindings::napi_consume_skb(self.into_raw(), 0) }
    }

    /// Frees a transmitted packet in a run of NAPI, where that costs less.
    pub fn consume_in(self, poll: &Poll<'_>) {
        // SAFETY: The skb is ours and given away. A budget says that this is a softirq in which NAPI
        // runs, with its caches of this CPU: the token says so, which exists during such a run only and
        // does not leave its thread.
        unsafe { bindings::napi_consume_skb(self.into_raw(), poll.raw_budget()) }
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: The skb is ours by the invariant and not used afterwards.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.as_raw(),
                bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            )
        }
    }
}

/// A packet that stays with the stack, for reading during a callback.
///
/// # Invariants
///
/// The pointer is an skb that is valid, and not written to, during the lifetime.
///
/// # Examples
///
/// ```
/// use kernel_net::net::skbuff::PeekSkb;
///
/// fn is_countable(skb: &PeekSkb<'_>) -> bool {
///     !(skb.is_gso() && skb.is_untrusted_gso())
/// }
/// ```
pub struct PeekSkb<'a>(NonNull<bindings::sk_buff>, PhantomData<&'a ()>);

impl PeekSkb<'_> {
    /// # Safety
    ///
    /// `ptr` is an skb that is valid, and not written to, during the lifetime.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Self {
        // SAFETY: A valid skb is not at address 0.
        let ptr = unsafe { NonNull::new_unchecked(ptr) };
        // INVARIANT: By the contract.
        Self(ptr, PhantomData)
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Whether the packet is still to be segmented.
    pub fn is_gso(&self) -> bool {
        // SAFETY: The skb is valid by the invariant.
        unsafe { bindings::skb_is_gso(self.0.as_ptr()) }
    }

    /// Whether the number of segments comes from an untrusted source, or is not known yet, as for
    /// packets from a TAP: `SKB_GSO_DODGY`.
    pub fn is_untrusted_gso(&self) -> bool {
        // SAFETY: The skb is valid by the invariant.
        unsafe { bindings::skb_gso_type(self.0.as_ptr()) & bindings::SKB_GSO_DODGY as u32 != 0 }
    }
}
