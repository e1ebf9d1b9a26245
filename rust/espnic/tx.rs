// SPDX-License-Identifier: GPL-2.0

//! Transmission.

use crate::{
    channel::Channel,
    ipsec,
    nic::Nic, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48, //
    },
    U16, //
};
use kernel_net::{
    net::{
        device::Device,
        ip::Family,
        napi::Poll,
        skbuff::{
            Gso,
            SkBuff,
            TxChecksum, //
        }, //
    },
    virtio::net::{
        TxError,
        TxQueue, //
    }, //
};

/// What happened on the transmit side since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    /// Packets on the wire: one that the NIC segments counts as its segments.
    pub(crate) packets: u64,
    /// Bytes given to the NIC, before segmentation.
    pub(crate) bytes: u64,
    /// Packets that the NIC segments.
    pub(crate) tso: u64,
    /// The queue had no room or did not take the packet, or the NIC had not sent it before a reset.
    pub(crate) dropped: u64,
    /// How often the stack reported a transmit timeout.
    pub(crate) timeouts: u64,
    pub(crate) ipsec: ipsec::tx::Counters,
}

/// The transmit queue.
pub(crate) struct Tx {
    /// The channel's number.
    index: u16,
    /// Absent while the NIC is reset.
    pub(crate) queue: Option<TxQueue>,
    /// The stack reported a timeout, and the NIC has not sent anything since.
    stuck: bool,
    pub(crate) counters: Counters,
}

/// Transmits `skb` or drops and counts it.
pub(crate) fn transmit(dev: &Device<Nic>, channel: &Channel, skb: SkBuff) {
    let nic = dev.data();
    let gso = skb.gso();
    let mut header = plain_header(&skb, gso);
    let offloaded = skb.tx_offload().map(|request| {
        let result = ipsec::tx::describe(&nic.ipsec, &skb, gso, &request, &mut header);
        nic.ndis.sent(&skb, gso, &request, &header, result.is_ok());
        result
    });
    let mut tx = channel.tx.lock();
    if let Some(result) = offloaded {
        if !tx.counters.ipsec.count(result, &skb, gso) {
            // Returning drops `skb`, because without the NIC's crypto it is clear text. The NIC may
            // not have been kicked for the packets before it.
            return tx.end(dev);
        }
    }
    tx.send(dev, header.prefix(nic.header), skb, gso);
}

fn plain_header(skb: &SkBuff, gso: Option<Gso>) -> NetHdr48 {
    let mut header = NetHdr48::default();
    if let TxChecksum::Partial { start, offset } = skb.tx_checksum() {
        header.net.flags = hdr::F_NEEDS_CSUM;
        header.net.csum_start = U16::new(start);
        header.net.csum_offset = U16::new(offset);
    }
    if let Some(gso) = gso {
        header.net.gso_size = U16::new(gso.size);
        // We ask for TCP only; a packet with `GSO_NONE` and a size is dropped by the NIC.
        header.net.gso_type = match gso.tcp {
            Some(Family::V4) => hdr::GSO_TCPV4,
            Some(Family::V6) => hdr::GSO_TCPV6,
            None => hdr::GSO_NONE,
        };
    }
    header
}

impl Tx {
    pub(crate) fn new(index: u16, queue: TxQueue) -> Self {
        Self {
            index,
            queue: Some(queue),
            stuck: false,
            counters: Counters::default(),
        }
    }

    /// Takes the queue away, with the packets that the NIC has not sent.
    pub(crate) fn detach(&mut self) -> Option<TxQueue> {
        let mut queue = self.queue.take()?;
        self.stuck = false;
        reclaim(&mut queue, None);
        Some(queue)
    }

    /// Counts packets that were in a queue when it was emptied.
    pub(crate) fn lose(&mut self, packets: u32) {
        self.counters.dropped = self.counters.dropped.wrapping_add(packets.into());
    }

    /// Notes a transmit timeout; true if the NIC has not sent anything since the one before.
    pub(crate) fn timed_out(&mut self) -> bool {
        self.counters.timeouts = self.counters.timeouts.wrapping_add(1);
        core::mem::replace(&mut self.stuck, true)
    }

    fn send(&mut self, dev: &Device<Nic>, header: &[u8], skb: SkBuff, gso: Option<Gso>) {
        let Some(queue) = &mut self.queue else {
            self.counters.dropped = self.counters.dropped.wrapping_add(1);
            return;
        };
        if queue.free() < TxQueue::PACKET_MAX {
            // NAPI frees more cheaply; this is for when it does not keep up.
            reclaim(queue, None);
        }
        let len = u64::from(skb.len());
        let packets = gso.map_or(1, |gso| u64::from(gso.segments));
        skb.tx_timestamp();
        match queue.add(header, skb) {
            Ok(()) => {
                self.counters.packets = self.counters.packets.wrapping_add(packets);
                self.counters.bytes = self.counters.bytes.wrapping_add(len);
                self.counters.tso = self.counters.tso.wrapping_add(u64::from(gso.is_some()));
            }
            Err(TxError::Full(_) | TxError::Unusable(_)) => {
                self.counters.dropped = self.counters.dropped.wrapping_add(1);
            }
        }
        self.end(dev);
    }

    /// Kicks the NIC after a packet, unless more packets follow at once.
    fn end(&mut self, dev: &Device<Nic>) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        let full = queue.free() < TxQueue::PACKET_MAX;
        if full || !dev.xmit_more() {
            queue.kick();
            report_later(queue, dev, self.index, full);
        }
    }

    /// Frees sent packets and wakes the stack's queue. In a NAPI poll.
    pub(crate) fn clean(&mut self, dev: &Device<Nic>, poll: &Poll<'_>) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        queue.disable_events();
        if reclaim(queue, Some(poll)) {
            self.stuck = false;
        }
        if dev.queue_stopped(self.index) && queue.free() >= TxQueue::PACKET_MAX {
            dev.wake_queue(self.index);
        }
    }

    /// Asks for events again; true if there is work already.
    pub(crate) fn enable_events(&mut self) -> bool {
        self.queue
            .as_mut()
            .is_some_and(|queue| queue.enable_events())
    }
}

/// Frees sent packets; false if there were none. `poll` is the running poll, if any.
fn reclaim(queue: &mut TxQueue, poll: Option<&Poll<'_>>) -> bool {
    let mut found = false;
    while let Some(skb) = queue.take() {
        match poll {
            Some(poll) => skb.consume_in(poll),
            None => skb.consume_any(),
        }
        found = true;
    }
    found
}

/// Asks for an event when most packets are sent, so that sockets get their memory back, and stops
/// the stack's queue while the next packet might not fit.
fn report_later(queue: &mut TxQueue, dev: &Device<Nic>, index: u16, full: bool) {
    if full {
        dev.stop_queue(index);
    }
    // If most packets are sent already, no event comes, and they are freed here. A broken queue
    // always says so and returns none.
    while !queue.enable_events_delayed() && reclaim(queue, None) {}
    if full && queue.free() >= TxQueue::PACKET_MAX {
        dev.start_queue(index);
    }
}

impl Counters {
    /// Adds `other` to this.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.tso = self.tso.wrapping_add(other.tso);
        self.dropped = self.dropped.wrapping_add(other.dropped);
        self.timeouts = self.timeouts.wrapping_add(other.timeouts);
        self.ipsec.add(&other.ipsec);
    }
}
