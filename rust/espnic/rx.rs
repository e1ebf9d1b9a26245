// SPDX-License-Identifier: GPL-2.0

//! Reception.

use crate::{
    channel::Channel,
    ipsec::{
        self,
        rx::Marked, //
    },
    nic::Nic, //
};
use espnic_wire::hdr::{
    self,
    HdrLen,
    NetHdr48, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::{
    net::{
        napi::{
            Poll,
            Polled, //
        },
        skbuff::{
            RxBuffer,
            RxSkb, //
        },
        xfrm::input::EspPlace, //
    },
    virtio::net::RxQueue, //
};

const ETH_HLEN: u32 = 14;

/// How many packets are taken from the queue before they are delivered.
const BATCH: usize = 16;

/// What happened on the receive side since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// No memory for a packet, or it waited in the queue at a reset.
    pub(crate) dropped: u64,
    /// The NIC reported an impossible frame.
    pub(crate) malformed: u64,
    /// How often there was no memory, or no mapping, for buffers.
    pub(crate) no_buffer: u64,
    pub(crate) ipsec: ipsec::rx::Counters,
}

/// The receive queue; its NAPI context empties and refills it.
pub(crate) struct Rx {
    /// Absent while the NIC is reset.
    pub(crate) queue: Option<RxQueue>,
    /// There was no memory for all buffers: the NIC may have none, and then reports nothing.
    starved: bool,
    pub(crate) counters: Counters,
}

/// Packets on their way from the queue to the stack.
struct Batch {
    packets: [Option<(NetHdr48, RxSkb)>; BATCH],
}

impl Rx {
    pub(crate) fn new(queue: RxQueue) -> Self {
        Self {
            queue: Some(queue),
            starved: false,
            counters: Counters::default(),
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
    fn refill(&mut self, done: u32) -> bool {
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
        self.queue
            .as_mut()
            .is_some_and(|queue| queue.enable_events())
    }

    /// Moves up to `limit` packets to `batch` and returns how many frames were taken.
    fn collect(&mut self, poll: &Poll<'_>, header: HdrLen, batch: &mut Batch, limit: u32) -> u32 {
        let Some(mut queue) = self.queue.take() else {
            return 0;
        };
        queue.disable_events();
        let mut taken = 0;
        for slot in batch.packets.iter_mut() {
            if taken >= limit {
                break;
            }
            let Some((buffer, len)) = queue.take() else {
                break;
            };
            taken = taken.wrapping_add(1);
            *slot = self.assemble(poll, &mut queue, header, buffer, len);
        }
        self.queue = Some(queue);
        taken
    }

    /// Makes a packet of the buffers that the NIC spread it over.
    fn assemble(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        header_len: HdrLen,
        buffer: RxBuffer,
        len: u32,
    ) -> Option<(NetHdr48, RxSkb)> {
        let skip = header_len.bytes() as u32;
        let Ok(header) = NetHdr48::read(buffer.bytes(len), header_len) else {
            self.counters.malformed = self.counters.malformed.wrapping_add(1);
            return None;
        };
        let more = header.net.num_buffers.get().saturating_sub(1);
        let frame_len = len.saturating_sub(skip);
        if frame_len < ETH_HLEN {
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
        Some((header, skb))
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

/// Delivers up to a budget of packets and says whether the NIC may have more.
///
/// The queue's lock is not held while the stack has a packet.
pub(crate) fn receive(channel: &Channel, nic: &Nic, poll: &Poll<'_>) -> Polled {
    let mut done = 0;
    let mut batch = Batch {
        packets: [const { None }; BATCH],
    };
    while done < poll.budget() {
        let limit = poll.budget().saturating_sub(done);
        let mut rx = channel.rx.lock();
        let taken = rx.collect(poll, nic.header, &mut batch, limit);
        drop(rx);
        if taken == 0 {
            break;
        }
        done = done.saturating_add(taken);
        let mut delta = Counters::default();
        for (header, skb) in batch.packets.iter_mut().filter_map(Option::take) {
            deliver(nic, poll, &header, skb, &mut delta);
        }
        channel.rx.lock().counters.add(&delta);
    }
    if channel.rx.lock().refill(done) {
        // If the budget is used up, NAPI polls again.
        Polled::Done(done)
    } else {
        // Stay in polling mode: without buffers there are no events.
        Polled::Again
    }
}

fn deliver(nic: &Nic, poll: &Poll<'_>, header: &NetHdr48, mut skb: RxSkb, counters: &mut Counters) {
    if header.has(hdr::F_NEEDS_CSUM) {
        let (start, offset) = (header.net.csum_start.get(), header.net.csum_offset.get());
        if !skb.set_checksum_partial(start, offset) {
            counters.malformed = counters.malformed.wrapping_add(1);
            return;
        }
    } else if header.has(hdr::F_DATA_VALID) {
        skb.set_checksum_verified();
    }
    nic.ndis.received(&nic.ipsec, header, &skb);
    let diverted = nic.diverted.load(Relaxed);
    // GRO would decrypt ESP in software before the other device gets the frame.
    let alone = diverted && EspPlace::find(skb.head()).is_some();
    let marked = ipsec::rx::mark(&nic.ipsec, diverted, header, skb, &mut counters.ipsec);
    let Some(marked) = marked else {
        return;
    };
    let Marked { skb, esp } = marked;
    let len = u64::from(skb.len());
    let Ok(packet) = skb.into_packet(poll) else {
        counters.malformed = counters.malformed.wrapping_add(1);
        return;
    };
    counters.packets = counters.packets.wrapping_add(1);
    counters.bytes = counters.bytes.wrapping_add(len);
    // The policies of the UDP socket are not for the packet inside, so a decrypted packet goes to XFRM
    // before the socket sees it (X73).
    let left = match esp {
        Some(place) if place.in_udp && packet.is_for_us() => poll.receive_esp(packet, place).err(),
        _ => Some(packet),
    };
    match left {
        Some(packet) if alone => poll.receive_single(packet),
        Some(packet) => poll.receive(packet),
        None => {}
    }
}

impl Counters {
    /// Adds `other` to this.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.dropped = self.dropped.wrapping_add(other.dropped);
        self.malformed = self.malformed.wrapping_add(other.malformed);
        self.no_buffer = self.no_buffer.wrapping_add(other.no_buffer);
        self.ipsec.add(&other.ipsec);
    }
}
