// SPDX-License-Identifier: GPL-2.0

//! Receive.

use crate::{
    ipsec,
    nic::Nic, //
};
use espnic_wire::hdr::{
    self,
    HdrLen,
    NetHdr48, //
};
use kernel::prelude::*;
use kernel_net::{
    net::{
        napi::Poll,
        skbuff::{
            RxBuffer,
            SkBuff, //
        }, //
    },
    virtio::queue::RxQueue, //
};

const ETH_HLEN: u32 = 14;

/// What happened on the receive side since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// No memory for a packet.
    pub(crate) dropped: u64,
    /// The NIC reported a frame that cannot be.
    pub(crate) malformed: u64,
    pub(crate) ipsec: ipsec::rx::Counters,
}

/// The receive queue; NAPI context 0 empties and refills it.
pub(crate) struct Rx {
    queue: RxQueue,
    pub(crate) counters: Counters,
}

impl Rx {
    pub(crate) fn new(queue: RxQueue) -> Self {
        Self {
            queue,
            counters: Counters::default(),
        }
    }

    /// Gives the NIC as many buffers as the queue holds.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory ran out; the buffers so far stay.
    pub(crate) fn fill(&mut self) -> Result {
        let mut result = Ok(());
        while self.queue.has_room() {
            let Some(buffer) = RxBuffer::new() else {
                result = Err(ENOMEM);
                break;
            };
            if self.queue.add(buffer).is_err() {
                break;
            }
        }
        self.queue.kick();
        result
    }

    /// Asks for events again; true if there is work already.
    pub(crate) fn enable_events(&mut self) -> bool {
        self.queue.enable_events()
    }

    /// Delivers up to a budget of packets and returns how many.
    pub(crate) fn receive(&mut self, nic: &Nic, poll: &Poll<'_, Nic>) -> u32 {
        self.queue.disable_events();
        let mut done = 0;
        while done < poll.budget() {
            let Some((buffer, len)) = self.queue.take() else {
                break;
            };
            done = done.saturating_add(1);
            if let Some((header, skb)) = self.assemble(nic.header, buffer, len) {
                self.deliver(nic, poll, &header, skb);
            }
        }
        if done > 0 && self.fill().is_err() {
            // Stay in polling mode: without buffers there are no events.
            return poll.budget();
        }
        done
    }

    /// Makes a packet of the buffers that the NIC spread it over.
    fn assemble(
        &mut self,
        header_len: HdrLen,
        buffer: RxBuffer,
        len: u32,
    ) -> Option<(NetHdr48, SkBuff)> {
        let skip = header_len.bytes() as u32;
        let Ok(header) = NetHdr48::read(buffer.bytes(len), header_len) else {
            self.counters.malformed = self.counters.malformed.wrapping_add(1);
            return None;
        };
        let more = header.net.num_buffers.get().saturating_sub(1);
        let frame_len = len.saturating_sub(skip);
        if frame_len < ETH_HLEN {
            self.counters.malformed = self.counters.malformed.wrapping_add(1);
            self.discard(more);
            return None;
        }
        let Ok(mut skb) = SkBuff::build(buffer, skip as u16, frame_len) else {
            self.counters.dropped = self.counters.dropped.wrapping_add(1);
            self.discard(more);
            return None;
        };
        for left in (0..more).rev() {
            let appended = match self.queue.take() {
                Some((buffer, len)) => skb.append(buffer, len),
                None => Err(EINVAL),
            };
            if appended.is_err() {
                self.counters.malformed = self.counters.malformed.wrapping_add(1);
                self.discard(left);
                return None;
            }
        }
        Some((header, skb))
    }

    /// Takes `count` buffers back unread.
    fn discard(&mut self, count: u16) {
        for _ in 0..count {
            if self.queue.take().is_none() {
                break;
            }
        }
    }

    fn deliver(&mut self, nic: &Nic, poll: &Poll<'_, Nic>, header: &NetHdr48, mut skb: SkBuff) {
        if header.has(hdr::F_NEEDS_CSUM) {
            let (start, offset) = (header.net.csum_start.get(), header.net.csum_offset.get());
            if !skb.set_checksum_partial(start, offset) {
                self.counters.malformed = self.counters.malformed.wrapping_add(1);
                return;
            }
        } else if header.has(hdr::F_DATA_VALID) {
            skb.set_checksum_verified();
        }
        let ipsec = &mut self.counters.ipsec;
        let Some(mut skb) = ipsec::rx::mark(&nic.ipsec, header, skb, ipsec) else {
            return;
        };
        self.counters.packets = self.counters.packets.wrapping_add(1);
        self.counters.bytes = self.counters.bytes.wrapping_add(u64::from(skb.len()));
        skb.set_protocol(poll);
        poll.receive(skb);
    }
}
