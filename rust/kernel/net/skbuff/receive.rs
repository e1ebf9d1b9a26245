// SPDX-License-Identifier: GPL-2.0

//! Received packets, which are built around what the device wrote, without copying.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    buffer::{
        RxBuffer,
        RxSize, //
    },
    SkBuff, //
};
use crate::{
    bindings,
    net::{
        ip::Family,
        napi::Poll, //
    }, //
};
use core::ops::Deref;
use kernel::prelude::*;

/// The number of fragments that the kernel configuration allows in an skb.
const MAX_FRAGS: u32 = bindings::MAX_SKB_FRAGS;

/// A received packet that is being put together. Dropping it frees the packet as dropped.
///
/// # Invariants
///
/// [`Self::build`] made the skb: nobody shares its data or its list of pieces, and its control block is clear.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     napi::Poll,
///     skbuff::{
///         RxBuffer,
///         RxSkb, //
///     }, //
/// };
///
/// /// Receives a frame of `len` bytes that is behind a header of 12 bytes.
/// fn receive(poll: &Poll<'_>, buffer: RxBuffer, len: u32) -> Result {
///     let mut skb = RxSkb::build(poll, buffer, 12, len)?;
///     skb.set_checksum_verified();
///     let packet = skb.into_packet(poll).map_err(|_| EINVAL)?;
///     poll.receive(packet);
///     Ok(())
/// }
/// ```
pub struct RxSkb(SkBuff);

impl Deref for RxSkb {
    type Target = SkBuff;

    fn deref(&self) -> &SkBuff {
        &self.0
    }
}

#[cfg(espnic_kunit)]
impl RxSkb {
    /// A packet of tests.
    pub(crate) fn of(skb: SkBuff) -> Self {
        // INVARIANT: Tests make no clones.
        Self(skb)
    }
}

impl RxSkb {
    /// Makes a packet of the bytes `skip..skip + len` that the device wrote to `buffer`, without
    /// copying. In a run of NAPI.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the range does not lie in the buffer, `ENOMEM`; the buffer is freed.
    #[inline]
    pub fn build(poll: &Poll<'_>, buffer: RxBuffer, skip: u16, len: u32) -> Result<Self> {
        let reserve = buffer.size().headroom().wrapping_add(u32::from(skip));
        let end = reserve.checked_add(len).ok_or(EINVAL)?;
        if end > buffer.size().end() {
            return Err(EINVAL);
        }
        // SAFETY: Looked at above.
        unsafe { Self::build_at(poll, buffer, reserve, len) }.map_err(|_| ENOMEM)
    }

    /// As [`Self::build`], of the `len` bytes of the buffer's memory from `reserve` on.
    ///
    /// # Errors
    ///
    /// The buffer, with all that is in it, if there is no memory.
    ///
    /// # Safety
    ///
    /// They lie in front of [`RxSize::end`].
    #[inline]
    pub(crate) unsafe fn build_at(
        _poll: &Poll<'_>,
        buffer: RxBuffer,
        reserve: u32,
        len: u32,
    ) -> Result<Self, RxBuffer> {
        let truesize = buffer.size().truesize();
        // SAFETY: The buffer is `truesize` bytes of a page of a pool, in which by the contract there are `reserve` and
        // `len` bytes in front of the room for the shared info. This is a run of NAPI, as the token says, so the cache
        // of skbs is ours.
        let skb = unsafe {
            let memory = buffer.as_ptr().cast();
            bindings::napi_build_packet(memory, truesize, reserve, len)
        };
        // SAFETY: Null, or a new skb that is ours.
        let Some(skb) = (unsafe { SkBuff::from_raw(skb) }) else {
            return Err(buffer);
        };
        // The skb owns the memory now.
        core::mem::forget(buffer);
        // INVARIANT: The skb is new, and its memory was the buffer's.
        Ok(Self(skb))
    }

    /// The most pieces that [`Self::append`] can add.
    pub const PIECES: u32 = MAX_FRAGS;

    /// The largest number of bytes that [`Self::build`] and [`Self::append`] can put into one packet if all
    /// buffers have this size.
    #[inline]
    pub const fn capacity(size: RxSize) -> u32 {
        size.capacity().saturating_mul(MAX_FRAGS + 1)
    }

    /// Appends the first `len` bytes of `buffer` without copying.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `len` is 0 or exceeds the buffer, `ENOSPC` if the packet has too many pieces; the
    /// buffer is freed.
    pub fn append(&mut self, buffer: RxBuffer, len: u32) -> Result {
        if len == 0 || len > buffer.capacity() {
            return Err(EINVAL);
        }
        let data = buffer.data();
        // SAFETY: So many bytes from `data` on are the buffer's.
        unsafe { self.add(buffer, data, len) }
    }

    /// Appends the first `len` bytes of a buffer's [memory](RxBuffer::memory) without copying.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub fn append_memory(&mut self, buffer: RxBuffer, len: u32) -> Result {
        if len == 0 || len > buffer.size().truesize() {
            return Err(EINVAL);
        }
        let data = buffer.as_ptr();
        // SAFETY: So many bytes from `data` on are the buffer's.
        unsafe { self.add(buffer, data, len) }
    }

    /// # Safety
    ///
    /// The `len` bytes from `data` on are within the memory of `buffer`.
    unsafe fn add(&mut self, buffer: RxBuffer, data: *mut u8, len: u32) -> Result {
        // SAFETY: The skb is valid by its invariant, and so is the shared info behind its data.
        if unsafe { bindings::skb_nr_frags(self.as_raw()) } >= MAX_FRAGS {
            return Err(ENOSPC);
        }
        let truesize = buffer.size().truesize();
        core::mem::forget(buffer);
        // SAFETY: The list of pieces is the skb's own by the invariant and has a free slot. `data` is in
        // a page of a pool, which is ours and given to the skb.
        unsafe { bindings::skb_add_rx_buffer(self.as_raw(), data.cast(), len, truesize) };
        Ok(())
    }

    /// Takes over the pieces that a frame had behind the first one, in whose memory the packet was built, and has at
    /// least `head` bytes in the packet's first piece, or all.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the packet has the pieces nevertheless.
    ///
    /// # Safety
    ///
    /// The shared info still lists `pieces` pieces with memory of [`RxSize::Xdp`], which are given away. `flags` are those
    /// of the frame. The packet has no pieces yet.
    pub(crate) unsafe fn adopt_pieces(&mut self, pieces: u8, flags: u32, head: u32) -> Result {
        let truesize = RxSize::Xdp.truesize().wrapping_mul(pieces.into());
        // SAFETY: The skb is valid and ours alone. By the contract the pieces are there, and ours.
        unsafe { bindings::skb_adopt_pieces(self.as_raw(), pieces, truesize, flags) };
        // SAFETY: The skb is valid and ours alone.
        match unsafe { bindings::skb_pull_head(self.as_raw(), head) } {
            true => Ok(()),
            false => Err(ENOMEM),
        }
    }

    /// Says that so many bytes in front of the frame are a program's metadata.
    ///
    /// # Safety
    ///
    /// There is room of so many bytes.
    pub(crate) unsafe fn set_metadata(&mut self, len: u8) {
        // SAFETY: The skb is valid and ours alone, and so is the shared info behind its data.
        unsafe { bindings::skb_metadata_set(self.as_raw(), len) }
    }

    /// Says that the device verified the innermost checksum.
    #[inline]
    pub fn set_checksum_verified(&mut self) {
        // SAFETY: The skb is valid and ours alone.
        unsafe { bindings::skb_set_ip_summed(self.as_raw(), bindings::CHECKSUM_UNNECESSARY as u8) }
    }

    /// Says that the checksum is not computed yet, as in [`TxChecksum::Partial`](super::TxChecksum).
    ///
    /// Returns false if the offsets do not lie in the packet.
    pub fn set_checksum_partial(&mut self, start: u16, offset: u16) -> bool {
        // SAFETY: The skb is valid and ours alone; the function checks the offsets.
        unsafe { bindings::skb_partial_csum_set(self.as_raw(), start, offset) }
    }

    /// Says what the hash of the packet's addresses is, or of addresses and `ports`.
    #[inline]
    pub fn set_hash(&mut self, hash: u32, ports: bool) {
        // SAFETY: The skb is valid and ours alone.
        unsafe { bindings::skb_set_hash(self.as_raw(), hash, ports) }
    }

    /// Says that the packet stands for `segments` packets of TCP with `size` bytes of data each.
    ///
    /// If the number is not `counted`, who sends the packet on takes it for untrusted (`SKB_GSO_DODGY`), and counts
    /// again.
    ///
    /// Returns false if one of them is 0. The checksum must be partial, and all headers in the first piece.
    pub fn set_gso(&mut self, family: Family, size: u16, segments: u16, counted: bool) -> bool {
        let kind = match family {
            Family::V4 => bindings::SKB_GSO_TCPV4,
            Family::V6 => bindings::SKB_GSO_TCPV6,
        };
        if size == 0 || segments == 0 {
            return false;
        }
        let doubt = if counted {
            0
        } else {
            bindings::SKB_GSO_DODGY as u32
        };
        let kind = kind as u32 | doubt;
        // SAFETY: The skb is valid and ours alone, and so is the shared info behind its data.
        unsafe { bindings::skb_set_gso(self.as_raw(), kind, size, segments) };
        true
    }

    /// Takes the Ethernet header off, and sets protocol, device and queue: those of `poll`.
    ///
    /// # Errors
    ///
    /// The packet, if its first piece is too short for the header.
    #[inline]
    pub fn into_packet(self, poll: &Poll<'_>) -> Result<RxPacket, Self> {
        const ETH_HLEN: usize = 14;
        if self.head().len() < ETH_HLEN {
            return Err(self);
        }
        // SAFETY: The skb is valid and ours alone, and its linear part has the bytes that are taken off.
        // The device of a running NAPI context is registered.
        unsafe { bindings::skb_from_device(self.as_raw(), poll.netdev(), poll.index()) };
        // INVARIANT: Both are set.
        Ok(RxPacket(self.0))
    }
}

/// A received packet as the stack takes it: see [`Poll::receive`].
///
/// # Invariants
///
/// Those of [`RxSkb`]. In addition the skb has a device and a protocol, and its data starts after the
/// Ethernet header.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     napi::Poll,
///     skbuff::RxPacket, //
/// };
///
/// /// Keeps packets for others out of receive offload.
/// fn deliver(poll: &Poll<'_>, packet: RxPacket) {
///     match packet.is_for_us() {
///         true => poll.receive(packet),
///         false => poll.receive_single(packet),
///     }
/// }
/// ```
pub struct RxPacket(SkBuff);

impl Deref for RxPacket {
    type Target = SkBuff;

    fn deref(&self) -> &SkBuff {
        &self.0
    }
}

impl RxPacket {
    #[inline]
    pub(crate) fn into_raw(self) -> *mut bindings::sk_buff {
        self.0.into_raw()
    }

    /// Whether the frame's destination is the address of the device that received it.
    pub fn is_for_us(&self) -> bool {
        // SAFETY: The skb is valid and has a protocol by the invariant; with that the type of packet was
        // set.
        unsafe { bindings::skb_is_for_us(self.as_raw()) }
    }
}

impl Poll<'_> {
    /// Delivers a received packet to the stack.
    #[inline]
    pub fn receive(&self, packet: RxPacket) {
        // SAFETY: This is a run of the context by the invariant. The skb is ours and given away. By the
        // invariant of `RxPacket` it has a device and a protocol, and nobody shares its data.
        unsafe { bindings::napi_gro_receive(self.napi().as_raw(), packet.into_raw()) };
    }

    /// Delivers a received packet to the stack, without receive offload (GRO).
    pub fn receive_single(&self, packet: RxPacket) {
        // SAFETY: This is a softirq by the invariant. The skb is ours and given away, and by the invariant
        // of `RxPacket` it has a device and a protocol.
        unsafe { bindings::netif_receive_skb(packet.into_raw()) };
    }
}
