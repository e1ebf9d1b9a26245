// SPDX-License-Identifier: GPL-2.0

//! Receive queues with memory of sockets (AF_XDP) instead of buffers.
//!
//! User space can write there at any time, also to the NIC's header in front of a frame. So of what the NIC says of IPsec
//! nothing is believed: it is told to decrypt nothing as long as there is such a queue. What else the header says is read once,
//! and checked as if a NIC had made it up.
//!
//! A program runs in that memory where that is as good as anywhere else. Whatever needs more than that is copied to
//! buffers first, and goes the usual way from there: frames that policies are to be asked for, those in several buffers, and
//! those whose checksum is not complete.

use super::{
    discard,
    distrust,
    frames::{
        Form,
        Received, //
    },
    Batch,
    Rx, //
};
use espnic_esp::ip::ETH_HLEN;
use espnic_wire::hdr::{
    self,
    NetHdr48, //
};
use kernel_net::{
    net::{
        napi::Poll,
        skbuff::RxSize,
        xdp::umem::UmemBuffer, //
    },
    virtio::net::RxQueue, //
};

impl Rx {
    /// Fills the queue with what user space has left for it.
    pub(super) fn fill_lent(&mut self) {
        let (Some(queue), Some(lent)) = (&mut self.queue, &mut self.lent) else {
            return;
        };
        let mut added = 0u32;
        let mut lacks = false;
        while queue.has_room() {
            let Some(buffer) = lent.buffer() else {
                lacks = added == 0;
                break;
            };
            if queue.add_umem(buffer).is_err() {
                self.counters.no_buffer.count();
                break;
            }
            added = added.saturating_add(1);
        }
        let wakes = lent.ask_wakeup(lacks);
        // A queue that has none reports nothing. Who does not wake us is asked again and again.
        self.starved = lacks && !wakes && queue.pending() == 0;
        queue.kick();
    }

    /// As [`Self::collect_frames`], from the memory of sockets.
    pub(super) fn collect_lent(
        &mut self,
        poll: &Poll<'_>,
        form: Form,
        frames: &mut Batch<Received>,
        limit: u32,
    ) -> u32 {
        self.take_each(
            frames,
            limit,
            RxQueue::take_umem,
            |rx, queue, buffer, place| rx.receive_lent(poll, queue, form, buffer, place),
        )
    }

    /// Leaves a frame where it is, if it is fit for that, or copies it, and its header to `place`.
    fn receive_lent(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        form: Form,
        buffer: UmemBuffer,
        place: &mut NetHdr48,
    ) -> Option<Received> {
        *place = NetHdr48::default();
        buffer.read_header(place.prefix_mut(form.header));
        distrust(place);
        let more = place.net.num_buffers.get().saturating_sub(1);
        if buffer.len() < ETH_HLEN as u32 {
            self.counters.malformed.count();
            discard(queue, more);
            return None;
        }
        let is_plain = !place.has(hdr::F_NEEDS_CSUM) && place.net.gso_type == hdr::GSO_NONE;
        if form.in_place && more == 0 && is_plain {
            return Some(Received::InPlace(buffer));
        }
        let Some(mut to) = poll.buffer(RxSize::Xdp) else {
            self.counters.dropped.count();
            discard(queue, more);
            return None;
        };
        let len = buffer.copy_to(&mut to);
        self.receive_frame(poll, queue, form, to, len, place)
    }
}
