// SPDX-License-Identifier: GPL-2.0

//! Transmit queues.

mod frames;
mod lent;

use crate::{
    counters::counters,
    ipsec::{
        self,
        packet::known::Known, //
    },
    xdp, //
};
use espnic_wire::hdr;
use kernel::sync::Arc;
use kernel_net::{
    net::{
        napi::Poll,
        netdevice::{
            Bql,
            Device,
            Operations, //
        },
        skbuff::{
            Gso,
            SkBuff, //
        },
        xdp::umem::UmemTx, //
    },
    virtio::net::{
        TxError,
        TxPacket,
        TxQueue, //
    }, //
};

counters! {
    /// What happened on the transmit side since the start.
    struct Counters {
        /// As on the wire: a packet that the NIC segments counts as its segments.
        packets: c"tx_packets",
        /// As given to the NIC.
        bytes: c"tx_bytes",
        /// The queue had no room or did not take the packet, or the NIC had not sent it before a reset.
        dropped: c"tx_dropped",
        /// Packets that the NIC segments.
        tso: c"tx_tso_packets",
        /// The segments of these.
        segments: c"tx_tso_wire_packets",
        /// Packets whose checksum the NIC completes; as `packets`.
        checksums: c"tx_needs_csum",
        /// Packets whose checksum is complete.
        complete: c"tx_csum_none",
        /// How often the stack's queue was stopped, because the next packet might not fit into the ring.
        stopped: c"tx_stopped",
        /// How often it was started again.
        woken: c"tx_woken",
        /// How often the stack reported a transmit timeout.
        timeouts: c"tx_timeouts",
    }
    with {
        ipsec: ipsec::crypto::tx::Counters,
        packet: ipsec::packet::tx::Counters,
        xdp: xdp::Sent,
    }
}

impl Counters {
    /// Notes a packet of `len` bytes that the NIC has got behind `header`, and that is so many packets on the
    /// wire.
    fn note(&self, header: &[u8], packets: u64, len: u32, gso: bool) {
        self.packets.add(packets);
        self.bytes.add(len.into());
        if gso {
            self.tso.count();
            self.segments.add(packets);
        }
        // The flags are the first byte of any header.
        match header.first() {
            Some(flags) if flags & hdr::F_NEEDS_CSUM != 0 => self.checksums.add(packets),
            _ => self.complete.add(packets),
        }
    }

    /// Packets that did not get to the NIC, or were lost there.
    pub(crate) fn all_dropped(&self) -> u64 {
        self.dropped
            .get()
            .wrapping_add(self.ipsec.dropped())
            .wrapping_add(self.packet.dropped())
            .wrapping_add(self.xdp.dropped())
    }
}

/// The transmit queue.
pub(crate) struct Tx {
    /// What the stack knows of the queue, whose number is the channel's.
    bql: Bql,
    /// Absent while the NIC is reset.
    pub(crate) queue: Option<TxQueue>,
    /// The stack reported a timeout, and the NIC has not sent anything since.
    stuck: bool,
    pub(crate) counters: Arc<Counters>,
    /// The policies and SAs of packet offload, if there are any.
    pub(crate) known: Option<Known>,
    /// The memory of sockets (AF_XDP) that they send from.
    pub(crate) lent: Option<UmemTx>,
}

impl Tx {
    pub(crate) fn new(index: u16, queue: TxQueue, counters: Arc<Counters>) -> Self {
        Self {
            bql: Bql::new(index),
            queue: Some(queue),
            stuck: false,
            counters,
            known: None,
            lent: None,
        }
    }

    /// Takes the queue away, with the packets that the NIC has not sent. Transmission is off.
    pub(crate) fn detach<T: Operations>(&mut self, dev: &Device<T>) -> Option<TxQueue> {
        let mut queue = self.queue.take()?;
        self.stuck = false;
        reclaim(&mut queue, dev, &mut self.bql, None);
        Some(queue)
    }

    /// The number of the last packet that the queue got; 0 without a queue.
    pub(crate) fn last_given(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.added())
    }

    /// Whether the NIC has sent so many packets; true without a queue.
    pub(crate) fn has_sent(&self, packets: u64) -> bool {
        self.queue
            .as_ref()
            .is_none_or(|queue| queue.done() >= packets)
    }

    /// Frees sent packets; true if the NIC has sent all. Polling is stopped.
    pub(crate) fn is_drained<T: Operations>(&mut self, dev: &Device<T>) -> bool {
        let Some(queue) = &mut self.queue else {
            return true;
        };
        reclaim(queue, dev, &mut self.bql, None);
        queue.pending() == 0
    }

    /// Counts packets that were in a queue when it was emptied, after [`Self::detach`]; `left` are in it
    /// still.
    pub(crate) fn lose<T: Operations>(&mut self, dev: &Device<T>, packets: u32, left: u32) {
        self.counters.dropped.add(packets.into());
        if left == 0 {
            self.bql.reset(dev);
        }
    }

    /// Notes a transmit timeout; true if the NIC has not sent anything since the one before.
    pub(crate) fn timed_out(&mut self) -> bool {
        self.counters.timeouts.count();
        core::mem::replace(&mut self.stuck, true)
    }

    /// Gives `skb` to the NIC behind `header`, or drops it, and counts it.
    pub(crate) fn send<T: Operations>(
        &mut self,
        dev: &Device<T>,
        header: &[u8],
        skb: SkBuff,
        gso: Option<Gso>,
    ) {
        let Some(queue) = &mut self.queue else {
            self.counters.dropped.count();
            return;
        };
        if queue.num_free() < TxQueue::PACKET_MAX {
            // NAPI frees more cheaply; this is for when it does not keep up.
            reclaim(queue, dev, &mut self.bql, None);
        }
        let len = skb.len();
        let packets = gso.map_or(1, |gso| u64::from(gso.segments));
        skb.tx_timestamp();
        match queue.add(header, skb) {
            Ok(()) => {
                self.counters.note(header, packets, len, gso.is_some());
                let last = self.bql.sent(dev, len);
                self.announce(dev, last);
            }
            Err(TxError::Full(_) | TxError::Unusable(_)) => {
                self.counters.dropped.count();
                self.end(dev);
            }
        }
    }

    /// Kicks the NIC after a packet that it did not get, unless more packets follow at once.
    pub(crate) fn end<T: Operations>(&mut self, dev: &Device<T>) {
        self.announce(dev, !dev.xmit_more());
    }

    /// Kicks the NIC after the last packet of several, or if the ring is full.
    fn announce<T: Operations>(&mut self, dev: &Device<T>, last: bool) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        let full = queue.num_free() < TxQueue::PACKET_MAX;
        if full || last {
            queue.kick();
            report_later(queue, dev, &mut self.bql, &self.counters, full);
        }
    }

    /// Frees sent packets and wakes the stack's queue. In a NAPI poll.
    pub(crate) fn clean<T: Operations>(&mut self, dev: &Device<T>, poll: &Poll<'_>) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        queue.disable_cb();
        if reclaim(queue, dev, &mut self.bql, Some(poll)) {
            self.stuck = false;
        }
        let index = self.bql.queue();
        if dev.queue_stopped(index) && queue.num_free() >= TxQueue::PACKET_MAX {
            self.counters.woken.count();
            dev.wake_queue(index);
        }
    }

    /// Asks for an event when most packets are sent; true if they are already. What a poll finds besides, it
    /// frees in any case, so waiting costs nobody anything, and most events come with packets that the NIC
    /// has received.
    pub(crate) fn enable_events(&mut self) -> bool {
        let queue = self.queue.as_mut();
        queue.is_some_and(|queue| !queue.enable_cb_delayed())
    }
}

/// Frees sent packets; false if there were none. `poll` is the running poll, if any.
fn reclaim<T: Operations>(
    queue: &mut TxQueue,
    dev: &Device<T>,
    bql: &mut Bql,
    poll: Option<&Poll<'_>>,
) -> bool {
    let (mut packets, mut bytes) = (0u32, 0u32);
    while let Some(packet) = queue.take() {
        packets = packets.wrapping_add(1);
        let skb = match packet {
            TxPacket::Skb(skb) => skb,
            // The stack has no account of it.
            TxPacket::Frame(frame) => {
                drop(frame);
                continue;
            }
            // The socket hears of it.
            TxPacket::Umem(sent) => {
                drop(sent);
                continue;
            }
        };
        bytes = bytes.wrapping_add(skb.len());
        match poll {
            Some(poll) => skb.consume_in(poll),
            None => skb.consume_any(),
        }
    }
    bql.completed(dev, packets, bytes);
    packets > 0
}

/// Asks for an event when most packets are sent, so that sockets get their memory back, and stops
/// the stack's queue while the next packet might not fit.
fn report_later<T: Operations>(
    queue: &mut TxQueue,
    dev: &Device<T>,
    bql: &mut Bql,
    counters: &Counters,
    full: bool,
) {
    if full {
        counters.stopped.count();
        dev.stop_queue(bql.queue());
    }
    // If most packets are sent already, no event comes, and they are freed here. A broken queue
    // always says so and returns none.
    while !queue.enable_cb_delayed() && reclaim(queue, dev, bql, None) {}
    if full && queue.num_free() >= TxQueue::PACKET_MAX {
        counters.woken.count();
        dev.start_queue(bql.queue());
    }
}
