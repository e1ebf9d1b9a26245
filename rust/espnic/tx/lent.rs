// SPDX-License-Identifier: GPL-2.0

//! Frames that sockets (AF_XDP) send from their memory. Like those of programs they go out as they are.
//!
//! User space can change that memory until the NIC has read it. So as long as there are policies of packet offload, they
//! are copied, and the copy is looked at and sent.

use super::Tx;
use espnic_wire::hdr::HdrLen;
use kernel_net::{
    net::{
        netdevice::{
            Device,
            Operations, //
        },
        xdp::umem::{
            UmemFrame,
            UmemTx, //
        }, //
    },
    virtio::net::TxQueue, //
};

impl Tx {
    /// Gives up to `budget` frames to the NIC; true if there may be more. In a run of NAPI, after [`Self::clean`].
    pub(crate) fn send_lent<T: Operations>(
        &mut self,
        dev: &Device<T>,
        header: HdrLen,
        budget: u32,
    ) -> bool {
        let Some(mut lent) = self.lent.take() else {
            return false;
        };
        let most = self.room_for_lent(&lent).min(budget);
        let mut sent = 0u32;
        for frame in lent.take(most) {
            match self.known {
                Some(_) => self.send_copy(dev, header, frame),
                None => self.send_in_place(header, frame),
            }
            sent = sent.saturating_add(1);
        }
        self.lent = Some(lent);
        if sent > 0 {
            self.end_frames(dev);
        }
        sent >= budget
    }

    /// How many frames there is room for, besides a packet of the stack.
    fn room_for_lent(&self, lent: &UmemTx) -> u32 {
        let Some(queue) = self.queue.as_ref().filter(|queue| !queue.is_broken()) else {
            return 0;
        };
        // Sockets hear how many are done, not which. So copies, which are done at once, wait for all others.
        if self.known.is_some() && lent.pending() > 0 {
            return 0;
        }
        let free = queue.num_free().saturating_sub(TxQueue::PACKET_MAX);
        free / TxQueue::UMEM_PIECES
    }

    fn send_in_place(&mut self, header: HdrLen, frame: UmemFrame) {
        let counters = &self.counters;
        let len = frame.len();
        let queue = self.queue.as_mut();
        if queue.is_some_and(|queue| queue.add_umem(frame).is_ok()) {
            counters.xdp.packets.count();
            counters.xdp.in_place.count();
            let plain = espnic_wire::hdr::NetHdr48::default();
            counters.note(plain.prefix(header), 1, len, false);
        } else {
            counters.xdp.drops.count();
        }
    }

    fn send_copy<T: Operations>(&mut self, dev: &Device<T>, header: HdrLen, frame: UmemFrame) {
        match frame.copy(header.bytes() as u16) {
            // What does not go out is counted.
            Some(copy) => drop(self.send_frame(dev, header, copy)),
            None => self.counters.xdp.drops.count(),
        }
    }
}
