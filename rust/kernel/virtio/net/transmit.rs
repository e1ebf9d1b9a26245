// SPDX-License-Identifier: GPL-2.0

//! Transmit queues.

use crate::{
    bindings,
    net::{
        skbuff::SkBuff,
        xdp::{
            umem::{
                UmemFrame,
                UmemPlace,
                UmemSent, //
            },
            Frame, //
        }, //
    },
    virtio::{
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};
use kernel::prelude::*;

/// The most pieces of one packet: the header, the linear part and the fragments.
const TX_PIECES: usize = bindings::MAX_SKB_FRAGS as usize + 2;

/// The longest header fits into an skb's control block.
const _: fn(&bindings::sk_buff) -> &[c_char; TxQueue::HEADER_MAX] = |skb| &skb.cb;

/// What a transmit queue holds.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::net::{
///     TxPacket,
///     TxQueue, //
/// };
///
/// /// How many bytes of the stack's the device has sent.
/// fn sent(queue: &mut TxQueue) -> u32 {
///     let mut bytes = 0;
///     while let Some(packet) = queue.take() {
///         match packet {
///             TxPacket::Skb(skb) => bytes += skb.len(),
///             TxPacket::Frame(_frame) => {}
///             TxPacket::Umem(_sent) => {}
///         }
///     }
///     bytes
/// }
/// ```
pub enum TxPacket {
    /// A packet of the stack.
    Skb(SkBuff),
    /// A frame of a program.
    Frame(Frame),
    /// A frame of a socket (AF_XDP).
    Umem(UmemSent),
}

impl Payload for TxPacket {
    /// The token of a frame is odd, of that of a socket the second lowest bit is set.
    #[inline]
    fn into_token(self) -> NonNull<c_void> {
        match self {
            Self::Skb(skb) => skb.into_non_null().cast(),
            Self::Frame(frame) => frame.into_raw().map_addr(|addr| addr | 1).cast(),
            Self::Umem(sent) => sent.into_raw().map_addr(|addr| addr | 2),
        }
    }

    #[inline]
    unsafe fn from_token(token: NonNull<c_void>) -> Self {
        let low = token.addr().get() & 3;
        if low == 0 {
            // SAFETY: By the contract: the skb was given up for the token, and nobody has got it since.
            return Self::Skb(unsafe { SkBuff::from_non_null(token.cast()) });
        }
        if low == 2 {
            // SAFETY: Eight divides the address of the other one, so two less is where it begins.
            let sent = unsafe { token.byte_sub(2) };
            // SAFETY: By the contract: it was given up for the token, and nobody has got it since.
            return Self::Umem(unsafe { UmemSent::from_raw(sent) });
        }
        // SAFETY: The address of a frame is even, so one less is where it begins.
        let frame = unsafe { token.byte_sub(1) };
        // SAFETY: By the contract: the frame was given up for the token, and nobody has got it since.
        Self::Frame(unsafe { Frame::from_raw(frame.cast()) })
    }
}

/// A transmit queue: holds packets until the device has sent them.
///
/// # Invariants
///
/// Nobody reads `sg` outside of [`Self::add`], which fills in what it needs.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::skbuff::SkBuff,
///     virtio::net::{
///         TxError,
///         TxQueue, //
///     }, //
/// };
///
/// /// Queues a packet, or drops it.
/// fn transmit(queue: &mut TxQueue, header: &[u8; 12], skb: SkBuff) -> bool {
///     match queue.add(header, skb) {
///         Ok(()) => true,
///         Err(TxError::Full(_skb) | TxError::Unusable(_skb)) => false,
///     }
/// }
/// ```
pub struct TxQueue {
    queue: Virtqueue<TxPacket>,
    /// Scratch memory for [`Self::add`].
    sg: KBox<[MaybeUninit<bindings::scatterlist>; TX_PIECES]>,
    added: u64,
}

// SAFETY: A queue may be sent, and by the invariant `sg` holds nothing between calls.
unsafe impl Send for TxQueue {}

/// Why a packet could not be queued; the packet is given back.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::net::{
///     TxError,
///     TxPacket, //
/// };
///
/// /// The packet, to try again with.
/// fn again(error: TxError) -> Option<TxPacket> {
///     match error {
///         TxError::Full(packet) => Some(packet),
///         TxError::Unusable(_) => None,
///     }
/// }
/// ```
pub enum TxError {
    /// There is no room; try again after [`TxQueue::take`].
    Full(TxPacket),
    /// The packet has too many pieces, or the queue is broken.
    Unusable(TxPacket),
}

impl Deref for TxQueue {
    type Target = Virtqueue<TxPacket>;

    fn deref(&self) -> &Virtqueue<TxPacket> {
        &self.queue
    }
}

impl DerefMut for TxQueue {
    fn deref_mut(&mut self) -> &mut Virtqueue<TxPacket> {
        &mut self.queue
    }
}

impl TxQueue {
    /// The length of the longest header in bytes: it must fit into the skb's control block.
    pub const HEADER_MAX: usize = 48;

    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if a packet may not fit into the ring.
    pub(super) fn new(queue: Virtqueue<TxPacket>) -> Result<Self> {
        if queue.vring_size() < Self::PACKET_MAX {
            return Err(EINVAL);
        }
        // INVARIANT: Nobody has filled in anything.
        Ok(Self {
            queue,
            sg: KBox::new([const { MaybeUninit::uninit() }; TX_PIECES], GFP_KERNEL)?,
            added: 0,
        })
    }

    /// The most descriptors that a packet takes.
    pub const PACKET_MAX: u32 = TX_PIECES as u32;

    /// Queues `skb` behind the virtio header `header`, of 1 to [`Self::HEADER_MAX`] bytes.
    ///
    /// The header goes right in front of the packet if there is room that nobody shares, which saves a
    /// descriptor; else into the skb's control block.
    ///
    /// # Errors
    ///
    /// The packet, see [`TxError`].
    pub fn add(&mut self, header: &[u8], skb: SkBuff) -> Result<(), TxError> {
        if !(1..=Self::HEADER_MAX).contains(&header.len()) {
            return Err(TxError::Unusable(TxPacket::Skb(skb)));
        }
        let raw = skb.as_raw();
        let sg: *mut bindings::scatterlist = self.sg.as_mut_ptr().cast();
        let (bytes, len) = (header.as_ptr().cast(), header.len() as u32);
        // SAFETY: The closure adds the token, which is the skb's address, to the queue that it is passed, which
        // is live and has no other user by its invariant. The skb is valid and ours. Its control block belongs to
        // the driver in transmission, as sharing of skbs is turned off for the device, and has room for the
        // header: see the constant above. `sg` has room for an entry for that, one for the linear part, and one for
        // each of the most fragments that there are; the function says so if it needs more. It lists memory of
        // the packet: what it holds, room in front of it, or its control block, all of which stays where it is as
        // long as the skb lives.
        let given = unsafe {
            self.queue.give(TxPacket::Skb(skb), |vq, _token| {
                bindings::virtqueue_add_packet(vq, sg, bytes, len, raw)
            })
        };
        given.map_err(|(error, packet)| match error == ENOSPC {
            true => TxError::Full(packet),
            false => TxError::Unusable(packet),
        })?;
        self.added = self.added.wrapping_add(1);
        Ok(())
    }

    /// Queues a frame of a program behind the virtio header `header`. It takes as many descriptors as the frame has
    /// pieces, at most [`Self::PACKET_MAX`].
    ///
    /// # Errors
    ///
    /// The frame, if there is no room for the header in front of it, or none in the queue, or the queue is broken.
    pub fn add_frame(&mut self, header: &[u8], mut frame: Frame) -> Result<(), Frame> {
        let pieces = frame.pieces();
        if pieces > Self::PACKET_MAX {
            return Err(frame);
        }
        let Some(first) = frame.put_in_front(header) else {
            return Err(frame);
        };
        let sg: *mut bindings::scatterlist = self.sg.as_mut_ptr().cast();
        // SAFETY: The list has room for as many entries, and is ours alone.
        unsafe { frame.to_sg(sg, first) };
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no other user by
        // its invariant. The entries list memory of the frame, which stays where it is as long as that lives.
        let given = unsafe {
            self.queue.give(TxPacket::Frame(frame), |vq, token| {
                let flags = kernel::bindings::GFP_ATOMIC;
                bindings::virtqueue_add_outbuf(vq, sg, pieces, token.as_ptr(), flags)
            })
        };
        match given {
            Ok(()) => {
                self.added = self.added.wrapping_add(1);
                Ok(())
            }
            Err((_, TxPacket::Frame(frame))) => Err(frame),
            // It was a frame that was given.
            Err((_, TxPacket::Skb(_) | TxPacket::Umem(_))) => Ok(()),
        }
    }

    /// The descriptors that a frame of [`Self::add_umem`] takes.
    pub const UMEM_PIECES: u32 = 2;

    /// Queues a frame of a socket behind a header of zeros, and without a copy.
    ///
    /// # Errors
    ///
    /// What tells the socket that the frame is done with, if there is no room for it, the queue is broken, or the
    /// memory is not mapped for its device.
    pub fn add_umem(&mut self, frame: UmemFrame) -> Result<(), UmemSent> {
        let UmemPlace {
            pool,
            addr,
            len,
            header,
            header_len,
        } = frame.place();
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no other user by its
        // invariant. Header and frame are mapped as long as the token is there, if for the same device.
        let given = unsafe {
            self.queue
                .give(TxPacket::Umem(frame.into_sent()), |vq, token| {
                    let token = token.as_ptr();
                    bindings::virtqueue_add_umem_frame(
                        vq, header, header_len, pool, addr, len, token,
                    )
                })
        };
        match given {
            Ok(()) => {
                self.added = self.added.wrapping_add(1);
                Ok(())
            }
            Err((_, TxPacket::Umem(sent))) => Err(sent),
            // It was a frame of a socket that was given.
            Err((_, TxPacket::Skb(_) | TxPacket::Frame(_))) => Ok(()),
        }
    }

    /// How many packets were queued since the queue was made.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// How many of them the device does not have any more: they were taken back, or lost in a
    /// [`Virtqueue::resize`].
    pub fn done(&self) -> u64 {
        self.added.wrapping_sub(self.pending().into())
    }

    /// Takes the next packet that the device has sent.
    #[inline]
    pub fn take(&mut self) -> Option<TxPacket> {
        self.queue.get_buf().map(|(packet, _)| packet)
    }

    /// Asks for a report when most of the queued packets are sent; false if they are already.
    pub fn enable_cb_delayed(&mut self) -> bool {
        // SAFETY: The queue is live by its invariant and we are its only user.
        unsafe { bindings::virtqueue_enable_cb_delayed(self.queue.as_raw()) }
    }
}
