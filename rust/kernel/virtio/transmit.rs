// SPDX-License-Identifier: GPL-2.0

//! Transmit queues.

use crate::{
    bindings,
    net::skbuff::SkBuff,
    virtio::queue::Queue, //
};
use core::{
    mem::MaybeUninit,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::prelude::*;

/// The most pieces of one packet: the header, the linear part and the fragments.
const TX_PIECES: usize = bindings::MAX_SKB_FRAGS as usize + 2;

/// A transmit queue: holds packets until the device has sent them.
pub struct TxQueue {
    pub(super) queue: Queue,
    /// Scratch memory for [`Self::add`].
    sg: KBox<[MaybeUninit<bindings::scatterlist>; TX_PIECES]>,
    /// Packets that the device has not given back.
    pending: u32,
}

// SAFETY: The scratch memory holds no pointers between calls.
unsafe impl Send for TxQueue {}

/// Why a packet could not be queued; the packet is given back.
pub enum TxError {
    /// There is no room; try again after [`TxQueue::take`].
    Full(SkBuff),
    /// The packet has too many pieces, or the queue is broken.
    Unusable(SkBuff),
}

impl Deref for TxQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl DerefMut for TxQueue {
    fn deref_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

impl TxQueue {
    /// The longest header in bytes: what fits into the skb's control block.
    pub const HEADER_MAX: usize = 48;

    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if a packet may not fit into the ring.
    pub(super) fn new(queue: Queue) -> Result<Self> {
        if queue.size().now < Self::PACKET_MAX {
            return Err(EINVAL);
        }
        Ok(Self {
            queue,
            sg: KBox::new([const { MaybeUninit::uninit() }; TX_PIECES], GFP_KERNEL)?,
            pending: 0,
        })
    }

    /// Changes the ring's size; packets in the queue are lost. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`RxQueue::resize`](super::receive::RxQueue::resize).
    pub fn resize(&mut self, size: u32) -> Result {
        let resized = self.queue.resize(size, recycle);
        // It may fail before or after the queue is emptied.
        if self.queue.free() == self.queue.size().now {
            self.pending = 0;
        }
        resized
    }

    /// How many packets the device has and has not given back; they are lost when the queue is dropped or
    /// resized.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// The most descriptors that a packet takes.
    pub const PACKET_MAX: u32 = TX_PIECES as u32;

    /// Queues `skb` behind the virtio header `header`.
    ///
    /// # Errors
    ///
    /// The packet, see [`TxError`].
    pub fn add(&mut self, header: &[u8], skb: SkBuff) -> Result<(), TxError> {
        let raw = skb.as_raw();
        let sg: *mut bindings::scatterlist = self.sg.as_mut_ptr().cast();
        // SAFETY: The skb is valid.
        let pieces = unsafe { bindings::skb_nr_frags(raw) }.saturating_add(2);
        if header.len() > Self::HEADER_MAX || pieces > Self::PACKET_MAX {
            return Err(TxError::Unusable(skb));
        }
        // SAFETY: `sg` has room for `pieces` entries.
        let Some(used) = (unsafe { list_packet(sg, pieces, header, raw) }) else {
            return Err(TxError::Unusable(skb));
        };
        // SAFETY: The packet's memory stays valid until the queue returns the token.
        let ret = unsafe {
            bindings::virtqueue_add_outbuf(
                self.queue.vq.as_ptr(),
                sg,
                used,
                raw.cast(),
                kernel::bindings::GFP_ATOMIC,
            )
        };
        if ret == 0 {
            let _ = skb.into_raw();
            self.pending = self.pending.wrapping_add(1);
            Ok(())
        } else if ret == ENOSPC.to_errno() {
            Err(TxError::Full(skb))
        } else {
            Err(TxError::Unusable(skb))
        }
    }

    /// Takes the next packet that the device has sent.
    pub fn take(&mut self) -> Option<SkBuff> {
        let (token, _) = self.queue.get()?;
        self.pending = self.pending.wrapping_sub(1);
        // SAFETY: Tokens of this queue are skbs.
        unsafe { SkBuff::from_raw(token.as_ptr().cast()) }
    }

    /// Asks for a report when most of the queued packets are sent; false if they are already.
    pub fn enable_events_delayed(&mut self) -> bool {
        // SAFETY: The queue is live and we are its only user.
        unsafe { bindings::virtqueue_enable_cb_delayed(self.queue.vq.as_ptr()) }
    }
}

/// Lists the header and the packet in `sg` and returns how many entries they take.
///
/// The header goes right in front of the packet if there is room that nobody shares, which saves an
/// entry; else into the skb's control block.
///
/// # Safety
///
/// `sg` has room for `pieces` entries: two more than the packet has fragments. `skb` is valid and ours
/// alone, `header` at most [`TxQueue::HEADER_MAX`] bytes long.
unsafe fn list_packet(
    sg: *mut bindings::scatterlist,
    pieces: u32,
    header: &[u8],
    skb: *mut bindings::sk_buff,
) -> Option<u32> {
    let len = header.len() as u32;
    // SAFETY: The skb is valid.
    if unsafe { bindings::skb_can_push(skb, len) } {
        // SAFETY: There are `len` bytes of room in front that are ours; the packet is as before when
        // the function returns. `sg` has room for `pieces - 1` entries.
        let used = unsafe {
            let room = bindings::skb_push(skb, len).cast::<u8>();
            core::ptr::copy_nonoverlapping(header.as_ptr(), room, header.len());
            bindings::sg_init_table(sg, pieces.saturating_sub(1));
            let used = bindings::skb_to_sgvec(skb, sg, 0, (*skb).len as c_int);
            bindings::skb_pull(skb, len);
            used
        };
        return u32::try_from(used).ok();
    }
    // SAFETY: The control block of an skb in transmission belongs to the driver, and sharing of skbs
    // is turned off for the device. It has `HEADER_MAX` bytes.
    let cb: *mut u8 = unsafe { core::ptr::addr_of_mut!((*skb).cb) }.cast();
    // SAFETY: Both are valid for the header's length and do not overlap; `sg` has room.
    let used = unsafe {
        core::ptr::copy_nonoverlapping(header.as_ptr(), cb, header.len());
        bindings::sg_init_table(sg, pieces);
        bindings::sg_set_buf(sg, cb.cast(), len);
        bindings::skb_to_sgvec(skb, sg.add(1), 0, (*skb).len as c_int)
    };
    u32::try_from(used).ok()?.checked_add(1)
}

/// # Safety
///
/// Called by the virtio core with a token of a transmit queue that the device does not use any
/// more.
unsafe extern "C" fn recycle(_vq: *mut bindings::virtqueue, token: *mut c_void) {
    // SAFETY: By the contract.
    drop(unsafe { SkBuff::from_raw(token.cast()) });
}
