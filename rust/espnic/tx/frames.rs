// SPDX-License-Identifier: GPL-2.0

//! Frames that programs send (XDP). They go out as they are: no SA is for them, and nothing is completed.

use super::{
    reclaim,
    report_later,
    Tx, //
};
use crate::ipsec::packet::{
    self,
    known::Known, //
};
use espnic_wire::hdr::{
    HdrLen,
    NetHdr48, //
};
use kernel_net::{
    net::{
        netdevice::{
            Device,
            Operations, //
        },
        xdp::Frame, //
    },
    virtio::net::TxQueue, //
};

impl Tx {
    /// Gives a frame to the NIC, or drops it where a policy of packet offload is not for it to go in clear, and counts
    /// it. After the last one comes [`Self::end_frames`].
    ///
    /// # Errors
    ///
    /// The frame, which is counted as dropped, if there is no room for it.
    pub(crate) fn send_frame<T: Operations>(
        &mut self,
        dev: &Device<T>,
        header: HdrLen,
        frame: Frame,
    ) -> Result<(), Frame> {
        let must_not_leave =
            |known: &Known| frame.with_head(|head| packet::tx::frame::must_not_leave(known, head));
        if self.known.as_ref().is_some_and(must_not_leave) {
            self.counters.xdp.policy.count();
            return Ok(());
        }
        let Some(queue) = self.queue.as_mut().filter(|queue| !queue.is_broken()) else {
            self.counters.xdp.drops.count();
            return Err(frame);
        };
        // What is left suffices for a packet of the stack, whose queue need not be stopped.
        let wanted = TxQueue::PACKET_MAX.saturating_add(frame.pieces());
        let is_full = |queue: &TxQueue| queue.num_free() < wanted;
        if is_full(queue) {
            reclaim(queue, dev, &mut self.bql, None);
        }
        if is_full(queue) {
            self.counters.xdp.drops.count();
            return Err(frame);
        }
        let len = frame.len();
        let plain = NetHdr48::default();
        let header = plain.prefix(header);
        queue.add_frame(header, frame).inspect_err(|_| {
            self.counters.xdp.drops.count();
        })?;
        self.counters.xdp.packets.count();
        self.counters.note(header, 1, len, false);
        Ok(())
    }

    /// Kicks the NIC after frames.
    pub(crate) fn end_frames<T: Operations>(&mut self, dev: &Device<T>) {
        if let Some(queue) = &mut self.queue {
            queue.kick();
            report_later(queue, dev, &mut self.bql, &self.counters, false);
        }
    }
}
