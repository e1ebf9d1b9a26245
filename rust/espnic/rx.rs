// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

use crate::{
    counters::counters,
    ipsec::{
        self,
        packet::known::Shelf, //
    }, //
};
use espnic_esp::ip::ETH_HLEN;
use espnic_wire::hdr::{
    HdrLen,
    NetHdr48, //
};
use kernel::prelude::*;
use kernel_net::{
    net::{
        napi::Poll,
        skbuff::{
            RxBuffer,
            RxSkb, //
        }, //
    },
    virtio::net::RxQueue, //
};

/// How many packets are taken from the queue before they are delivered.
const BATCH: usize = 16;

counters! {
    /// What happened on the receive side since the start.
    struct Counters {
        /// Packets for the stack.
        packets: c"rx_packets",
        /// Bytes of these packets.
        bytes: c"rx_bytes",
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
    }
}

/// The receive queue; its NAPI context empties and refills it.
pub(crate) struct Rx {
    /// Absent while the NIC is reset.
    pub(crate) queue: Option<RxQueue>,
    /// There was no memory for all buffers: the NIC may have none, and then reports nothing.
    starved: bool,
    pub(crate) counters: Counters,
    /// The policies and SAs of packet offload, if there are any.
    pub(crate) shelf: Shelf,
}

/// Packets on their way from the queue to the stack.
pub(crate) struct Batch {
    /// Apart from the packets, so that they need not be moved.
    headers: [NetHdr48; BATCH],
    packets: [Option<RxSkb>; BATCH],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            headers: [NetHdr48::default(); BATCH],
            packets: [const { None }; BATCH],
        }
    }

    /// Takes the packets out, in their order, each with its header.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (&NetHdr48, RxSkb)> + '_ {
        let packets = self.packets.iter_mut();
        let taken = self.headers.iter().zip(packets);
        taken.filter_map(|(header, packet)| Some((header, packet.take()?)))
    }
}

impl Rx {
    pub(crate) fn new(queue: RxQueue) -> Self {
        Self {
            queue: Some(queue),
            starved: false,
            counters: Counters::default(),
            shelf: Shelf::new(),
        }
    }

    /// Fills the queue with buffers. If memory runs out, the next poll goes on.
    pub(crate) fn fill(&mut self) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        self.starved = false;
        while queue.has_room() {
            let Some(buffer) = RxBuffer::new() else {
                self.starved = true;
                self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1);
                break;
            };
            if queue.add(buffer).is_err() {
                // No mapping for the NIC; a broken queue does not get better by waiting.
                self.starved = !queue.is_broken();
                self.counters.no_buffer = self.counters.no_buffer.wrapping_add(1);
                break;
            }
        }
        queue.kick();
    }

    /// Fills up after `done` packets; false if memory ran out.
    pub(crate) fn refill(&mut self, done: u32) -> bool {
        if done > 0 || self.starved {
            self.fill();
        }
        !self.starved
    }

    /// Takes the queue away, and counts the packets in it, which are lost.
    pub(crate) fn detach(&mut self) -> Option<RxQueue> {
        let mut queue = self.queue.take()?;
        while queue.take().is_some() {
            self.counters.dropped = self.counters.dropped.wrapping_add(1);
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
        batch: &mut Batch,
        limit: u32,
    ) -> u32 {
        let Some(mut queue) = self.queue.take() else {
            return 0;
        };
        queue.disable_cb();
        let mut taken = 0;
        for (place, slot) in batch.headers.iter_mut().zip(batch.packets.iter_mut()) {
            if taken >= limit {
                break;
            }
            let Some((buffer, len)) = queue.take() else {
                break;
            };
            taken = taken.wrapping_add(1);
            *slot = self.assemble(poll, &mut queue, header, buffer, len, place);
        }
        self.queue = Some(queue);
        taken
    }

    /// Makes a packet of the buffers that the NIC spread it over, and copies its header to `place`.
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
        let Ok(header) = NetHdr48::read(buffer.bytes(len), header_len) else {
            self.counters.malformed = self.counters.malformed.wrapping_add(1);
            return None;
        };
        let more = header.net.num_buffers.get().saturating_sub(1);
        let frame_len = len.saturating_sub(skip);
        if frame_len < ETH_HLEN as u32 {
            self.counters.malformed = self.counters.malformed.wrapping_add(1);
            discard(queue, more);
            return None;
        }
        let Ok(mut skb) = RxSkb::build(poll, buffer, skip as u16, frame_len) else {
            self.counters.dropped = self.counters.dropped.wrapping_add(1);
            discard(queue, more);
            return None;
        };
        for left in (0..more).rev() {
            let appended = match queue.take() {
                Some((buffer, len)) => skb.append(buffer, len),
                None => Err(EINVAL),
            };
            if appended.is_err() {
                self.counters.malformed = self.counters.malformed.wrapping_add(1);
                discard(queue, left);
                return None;
            }
        }
        *place = header;
        Some(skb)
    }
}

/// Takes `count` buffers back unread.
fn discard(queue: &mut RxQueue, count: u16) {
    for _ in 0..count {
        if queue.take().is_none() {
            break;
        }
    }
}
