// SPDX-License-Identifier: GPL-2.0

//! Transmit.

use crate::{
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
        skbuff::{
            SkBuff,
            TxChecksum, //
        }, //
    },
    virtio::queue::{
        TxError,
        TxQueue, //
    }, //
};

/// The queue's index at the stack.
const QUEUE: u16 = 0;

/// What happened on the transmit side since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// The queue had no room or did not take the packet.
    pub(crate) dropped: u64,
    pub(crate) ipsec: ipsec::tx::Counters,
}

/// The transmit queue.
pub(crate) struct Tx {
    queue: TxQueue,
    pub(crate) counters: Counters,
}

/// Transmits `skb` or drops and counts it.
pub(crate) fn transmit(dev: &Device<Nic>, skb: SkBuff) {
    let nic = dev.data();
    let mut header = plain_header(&skb);
    let offloaded = skb
        .tx_offload()
        .map(|request| ipsec::tx::describe(&nic.ipsec, &skb, &request, &mut header));
    let mut tx = nic.tx.lock();
    if let Some(result) = offloaded {
        if !tx.counters.ipsec.count(result, skb.len()) {
            // Dropping `skb` here frees it: without the NIC's crypto it is clear text.
            return;
        }
    }
    tx.reclaim(0);
    tx.enqueue(header.prefix(nic.header), skb);
    tx.keep_room(dev);
    if !dev.xmit_more() || dev.queue_stopped(QUEUE) {
        tx.queue.kick();
    }
}

fn plain_header(skb: &SkBuff) -> NetHdr48 {
    let mut header = NetHdr48::default();
    if let TxChecksum::Partial { start, offset } = skb.tx_checksum() {
        header.net.flags = hdr::F_NEEDS_CSUM;
        header.net.csum_start = U16::new(start);
        header.net.csum_offset = U16::new(offset);
    }
    header
}

impl Tx {
    pub(crate) fn new(queue: TxQueue) -> Self {
        Self {
            queue,
            counters: Counters::default(),
        }
    }

    fn enqueue(&mut self, header: &[u8], skb: SkBuff) {
        let len = u64::from(skb.len());
        skb.tx_timestamp();
        match self.queue.add(header, skb) {
            Ok(()) => {
                self.counters.packets = self.counters.packets.wrapping_add(1);
                self.counters.bytes = self.counters.bytes.wrapping_add(len);
            }
            Err(TxError::Full(_) | TxError::Unusable(_)) => {
                self.counters.dropped = self.counters.dropped.wrapping_add(1);
            }
        }
    }

    /// Stops the stack's queue while the next packet might not fit, and has the NIC report.
    fn keep_room(&mut self, dev: &Device<Nic>) {
        if self.queue.free() >= TxQueue::PACKET_MAX {
            // Report when most are sent, so that sockets get their memory back.
            if !self.queue.enable_events_delayed() {
                self.reclaim(0);
            }
            return;
        }
        dev.stop_queue(QUEUE);
        if !self.queue.enable_events_delayed() {
            self.reclaim(0);
        }
        if self.queue.free() >= TxQueue::PACKET_MAX {
            dev.start_queue(QUEUE);
            self.queue.disable_events();
        }
    }

    /// Frees what the NIC has sent. `budget` is that of the running poll, 0 elsewhere.
    fn reclaim(&mut self, budget: u32) {
        while let Some(skb) = self.queue.take() {
            skb.consume(budget);
        }
    }

    /// Frees what the NIC has sent and lets the stack go on. In a NAPI poll.
    pub(crate) fn clean(&mut self, dev: &Device<Nic>, budget: u32) {
        self.queue.disable_events();
        self.reclaim(budget);
        if dev.queue_stopped(QUEUE) && self.queue.free() >= TxQueue::PACKET_MAX {
            dev.wake_queue(QUEUE);
        }
    }

    /// Asks for events again; true if there is work already.
    pub(crate) fn enable_events(&mut self) -> bool {
        self.queue.enable_events()
    }
}
