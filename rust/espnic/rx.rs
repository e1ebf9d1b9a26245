// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

pub(crate) mod frames;
mod lent;
pub(crate) mod offload;

use crate::{
    counters::counters,
    ipsec::{
        self,
        packet::known::Shelf, //
    },
    xdp, //
};
use espnic_esp::ip::{
    ETH_HLEN,
    MAX_LINK_HLEN, //
};
use espnic_wire::hdr::{
    self,
    HdrLen,
    NetHdr48, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    net::{
        napi::Poll,
        skbuff::{
            RxBuffer,
            RxSize,
            RxSkb, //
        },
        xdp::umem::UmemRx, //
    },
    virtio::net::RxQueue, //
};

/// The longest frame: the largest IP packet, and the longest header of Ethernet.
const FRAME_MAX: u32 = 0xffff + MAX_LINK_HLEN as u32;
/// From which length on, on average, frames get large buffers.
const LARGE: u32 = 4096;
/// How slowly the average follows.
const WEIGHT: u32 = 64;

/// How many packets are taken from the queue before they are delivered.
pub(crate) const BATCH: usize = 16;

counters! {
    /// What happened on the receive side since the start.
    struct Counters {
        /// Packets for the stack; a large one counts as its segments.
        packets: c"rx_packets",
        /// Bytes of these packets.
        bytes: c"rx_bytes",
        /// Large packets, each of which stands for segments of TCP.
        large: c"rx_gso_packets",
        /// The segments of these.
        segments: c"rx_gso_wire_packets",
        /// Packets whose checksum the stack need not check; as `packets`.
        verified: c"rx_csum_unnecessary",
        /// Packets whose checksum the NIC has not looked at.
        unverified: c"rx_csum_none",
        /// No memory for a packet, or it waited in the queue at a reset.
        dropped: c"rx_dropped",
        /// The NIC reported an impossible frame.
        malformed: c"rx_malformed",
        /// How often there was no memory, or no mapping, for buffers.
        no_buffer: c"rx_no_buffer",
    }
    with {
        ipsec: ipsec::crypto::rx::Counters,
        packet: ipsec::packet::rx::Counters,
        xdp: xdp::Received,
    }
}

impl Counters {
    /// Notes a packet of `len` bytes for the stack, which the NIC has given behind `header`, and that stands
    /// for so many packets.
    #[inline(always)]
    pub(crate) fn note(&self, header: &NetHdr48, packets: u64, len: u32) {
        self.packets.add(packets);
        self.bytes.add(len.into());
        if packets > 1 {
            self.large.count();
            self.segments.add(packets);
        }
        match header.has(hdr::F_DATA_VALID) || header.has(hdr::F_NEEDS_CSUM) {
            true => self.verified.add(packets),
            false => self.unverified.add(packets),
        }
    }

    /// Packets that came and did not go to the stack.
    pub(crate) fn all_dropped(&self) -> u64 {
        self.dropped
            .get()
            .wrapping_add(self.ipsec.dropped())
            .wrapping_add(self.packet.dropped())
            .wrapping_add(self.xdp.dropped())
    }
}

/// The receive queue; its NAPI context empties and refills it.
pub(crate) struct Rx {
    /// Absent while the NIC is reset.
    pub(crate) queue: Option<RxQueue>,
    /// The NIC may have no buffers, and then reports nothing: there was no memory for all, or the queue is to be filled
    /// for the first time.
    starved: bool,
    counters: Arc<Counters>,
    /// New buffers leave room for programs (XDP).
    pub(crate) programs: bool,
    /// The memory of sockets (AF_XDP) that the queue has instead of buffers.
    pub(crate) lent: Option<UmemRx>,
    /// The average length of frames, times [`WEIGHT`].
    length: u32,
    /// The policies and SAs of packet offload, if there are any.
    pub(crate) shelf: Shelf,
}

/// Packets on their way from the queue to the stack, or frames on their way to a program.
pub(crate) struct Batch<T> {
    /// Apart from the packets, so that they need not be moved.
    headers: [NetHdr48; BATCH],
    packets: [Option<T>; BATCH],
}

impl<T> Batch<T> {
    pub(crate) fn new() -> Self {
        Self {
            headers: [NetHdr48::default(); BATCH],
            packets: [const { None }; BATCH],
        }
    }

    /// The places for packets and their headers, in their order.
    pub(crate) fn places(&mut self) -> impl Iterator<Item = (&mut NetHdr48, &mut Option<T>)> + '_ {
        self.headers.iter_mut().zip(self.packets.iter_mut())
    }

    /// Takes the packets out, in their order, each with its header.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (&NetHdr48, T)> + '_ {
        let packets = self.packets.iter_mut();
        let taken = self.headers.iter().zip(packets);
        taken.filter_map(|(header, packet)| Some((header, packet.take()?)))
    }
}

impl Rx {
    /// For this queue, with these counters.
    pub(crate) fn new(queue: RxQueue, counters: Arc<Counters>) -> Self {
        Self {
            queue: Some(queue),
            starved: false,
            counters,
            programs: false,
            lent: None,
            length: 0,
            shelf: Shelf::new(),
        }
    }

    /// Has the next poll fill the queue: buffers come from its context's pool.
    pub(crate) fn start(&mut self) {
        self.starved = self.queue.is_some();
    }

    /// Fills the queue with buffers. If memory runs out, the next poll goes on.
    fn fill(&mut self, poll: &Poll<'_>) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        self.starved = false;
        while queue.has_room() {
            let buffer = match self.programs {
                true => new_room(poll),
                false => new_buffer(poll, self.length),
            };
            let Some(buffer) = buffer else {
                self.starved = true;
                self.counters.no_buffer.count();
                break;
            };
            if queue.add(buffer).is_err() {
                // No mapping for the NIC; a broken queue does not get better by waiting.
                self.starved = !queue.is_broken();
                self.counters.no_buffer.count();
                break;
            }
        }
        queue.kick();
    }

    /// Fills up after `done` packets; false if memory ran out.
    pub(crate) fn refill(&mut self, poll: &Poll<'_>, done: u32) -> bool {
        if self.lent.is_some() {
            self.fill_lent();
        } else if done > 0 || self.starved {
            self.fill(poll);
        }
        !self.starved
    }

    /// Takes the queue away, and counts the packets in it, which are lost.
    pub(crate) fn detach(&mut self) -> Option<RxQueue> {
        let mut queue = self.queue.take()?;
        while queue.skip() {
            self.counters.dropped.count();
        }
        Some(queue)
    }

    /// Asks for events again; true if there is work already.
    pub(crate) fn enable_events(&mut self) -> bool {
        self.queue.as_mut().is_some_and(|queue| !queue.enable_cb())
    }

    /// Moves up to `limit` packets to `batch` and returns how many frames were taken.
    pub(crate) fn collect(
        &mut self,
        poll: &Poll<'_>,
        header: HdrLen,
        batch: &mut Batch<RxSkb>,
        limit: u32,
    ) -> u32 {
        let next = |queue: &mut RxQueue| queue.take(poll);
        self.take_each(batch, limit, next, |rx, queue, (buffer, len), place| {
            rx.assemble(poll, queue, header, buffer, len, place)
        })
    }

    /// Takes up to `limit` frames, which begin in what `next` takes from the queue, and puts what `make` makes of them into
    /// `batch`; it copies their headers to there. Returns how many were taken.
    // Always: it is the loop around all that a received packet takes.
    #[inline(always)]
    fn take_each<B, T>(
        &mut self,
        batch: &mut Batch<T>,
        limit: u32,
        next: impl Fn(&mut RxQueue) -> Option<B>,
        mut make: impl FnMut(&mut Self, &mut RxQueue, B, &mut NetHdr48) -> Option<T>,
    ) -> u32 {
        let Some(mut queue) = self.queue.take() else {
            return 0;
        };
        queue.disable_cb();
        let mut taken = 0;
        for (place, slot) in batch.places() {
            if taken >= limit {
                break;
            }
            let Some(buffer) = next(&mut queue) else {
                break;
            };
            taken = taken.wrapping_add(1);
            *slot = make(self, &mut queue, buffer, place);
        }
        self.queue = Some(queue);
        taken
    }

    /// Notes the length of a frame, for the choice of buffers.
    fn note(&mut self, len: u32) {
        let rest = self.length.saturating_sub(self.length / WEIGHT);
        self.length = rest.saturating_add(len);
    }

    /// Makes a packet of the buffers that the NIC spread it over, and copies its header to `place`.
    // Always: the path without a program is the one that matters.
    #[inline(always)]
    fn assemble(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        header_len: HdrLen,
        buffer: RxBuffer,
        len: u32,
        place: &mut NetHdr48,
    ) -> Option<RxSkb> {
        let skip = header_len.bytes() as u32;
        if place.fill(buffer.bytes(len), header_len).is_err() {
            self.counters.malformed.count();
            return None;
        }
        if self.lent.is_some() {
            distrust(place);
        }
        let more = place.net.num_buffers.get().saturating_sub(1);
        let frame_len = len.saturating_sub(skip);
        if frame_len < ETH_HLEN as u32 {
            self.counters.malformed.count();
            discard(queue, more);
            return None;
        }
        let Ok(mut skb) = RxSkb::build(poll, buffer, skip as u16, frame_len) else {
            self.counters.dropped.count();
            discard(queue, more);
            return None;
        };
        let mut left = more;
        let appended = match u32::from(more) > RxSkb::PIECES {
            true => append_copies(poll, &mut skb, queue, &mut left),
            false => append(poll, &mut skb, queue, &mut left),
        };
        if let Err(error) = appended.and_then(|()| check_length(skb.len())) {
            match error {
                ENOMEM => self.counters.dropped.count(),
                _ => self.counters.malformed.count(),
            }
            discard(queue, left);
            return None;
        }
        self.note(skb.len());
        Some(skb)
    }
}

/// A buffer for frames that programs see. From a small one they are copied.
fn new_room(poll: &Poll<'_>) -> Option<RxBuffer> {
    poll.buffer(RxSize::Xdp)
        .or_else(|| poll.buffer(RxSize::Small))
}

/// A buffer for frames of this average length, times [`WEIGHT`].
fn new_buffer(poll: &Poll<'_>, length: u32) -> Option<RxBuffer> {
    let large = length > LARGE.saturating_mul(WEIGHT);
    // The memory of a large one may be in pieces.
    large
        .then(|| poll.buffer(RxSize::Large))
        .flatten()
        .or_else(|| poll.buffer(RxSize::Small))
}

/// Appends the next `left` buffers. After an error `left` says how many of them are still in the queue.
fn append(poll: &Poll<'_>, skb: &mut RxSkb, queue: &mut RxQueue, left: &mut u16) -> Result {
    while *left > 0 {
        let (buffer, len) = queue.take(poll).ok_or(EINVAL)?;
        *left = left.saturating_sub(1);
        skb.append(buffer, len)?;
    }
    Ok(())
}

/// The same by copying to large buffers, because a packet cannot have so many pieces. This happens while
/// the queue still has the small buffers from before the first large packets.
fn append_copies(poll: &Poll<'_>, skb: &mut RxSkb, queue: &mut RxQueue, left: &mut u16) -> Result {
    let (mut large, mut used) = (None, 0usize);
    while *left > 0 {
        let (buffer, len) = queue.take(poll).ok_or(EINVAL)?;
        *left = left.saturating_sub(1);
        let mut bytes = buffer.bytes(len);
        while !bytes.is_empty() {
            let mut to = match large.take() {
                Some(to) => to,
                None => poll.buffer(RxSize::Large).ok_or(ENOMEM)?,
            };
            let size = to.memory().len();
            let room = to.memory().get_mut(used..).unwrap_or_default();
            let count = room.len().min(bytes.len());
            let (part, rest) = bytes.split_at(count);
            room.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            (bytes, used) = (rest, used.saturating_add(count));
            if used >= size {
                skb.append_memory(to, used as u32)?;
                check_length(skb.len())?;
                used = 0;
            } else {
                large = Some(to);
            }
        }
    }
    match large {
        Some(to) => skb.append_memory(to, used as u32),
        None => Ok(()),
    }
}

fn check_length(len: u32) -> Result {
    match len <= FRAME_MAX {
        true => Ok(()),
        false => Err(EINVAL),
    }
}

/// Takes `count` buffers back unread.
fn discard(queue: &mut RxQueue, count: u16) {
    for _ in 0..count {
        if !queue.skip() {
            break;
        }
    }
}

/// What the NIC says of IPsec.
const IPSEC: u8 = hdr::F_SECURITY | hdr::F_SECURITY_ERR | hdr::F_SOFT_EXPIRY_WARN | hdr::F_X_SEC;

/// Forgets what a header says of IPsec.
fn distrust(header: &mut NetHdr48) {
    header.net.flags &= !IPSEC;
}
