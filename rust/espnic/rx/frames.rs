// SPDX-License-Identifier: GPL-2.0

//! Received frames for programs (XDP).

use super::{
    Batch,
    Rx, //
};
use espnic_wire::hdr::{
    self,
    HdrLen,
    NetHdr48, //
};
use kernel_net::{
    net::{
        napi::Poll,
        skbuff::{
            RxBuffer,
            RxSize,
            RxSkb,
            SkBuff, //
        },
        xdp::RxFrame, //
    },
    virtio::net::RxQueue, //
};

/// What a program may do with a frame.
pub(crate) enum Received {
    /// Everything.
    Plain(RxFrame),
    /// The NIC has taken the packet through IPsec. The program sees a copy, and can only have the packet dropped:
    /// otherwise it could send it on in clear, or change it after the NIC has verified it.
    Ipsec(RxSkb, RxFrame),
}

impl Rx {
    /// Moves up to `limit` frames to `frames` and returns how many were taken.
    pub(crate) fn collect_frames(
        &mut self,
        poll: &Poll<'_>,
        header: HdrLen,
        frames: &mut Batch<Received>,
        limit: u32,
    ) -> u32 {
        self.take_each(frames, limit, |rx, queue, buffer, len, place| {
            rx.receive_frame(poll, queue, header, buffer, len, place)
        })
    }

    /// Makes a frame of the buffers that the NIC spread it over, and copies its header to `place`.
    fn receive_frame(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        header_len: HdrLen,
        buffer: RxBuffer,
        len: u32,
        place: &mut NetHdr48,
    ) -> Option<Received> {
        let skip = header_len.bytes() as u32;
        let is_whole = match NetHdr48::read(buffer.bytes(len), header_len) {
            Ok(header) => {
                *place = header;
                header.net.num_buffers.get() <= 1 && !is_of_ipsec(&header)
            }
            Err(_) => false,
        };
        if is_whole && buffer.size() == RxSize::Xdp && place.net.gso_type == hdr::GSO_NONE {
            let frame = RxFrame::new(buffer, skip as u16, len.saturating_sub(skip));
            return match frame {
                Ok(frame) => Some(Received::Plain(frame)),
                Err(_) => {
                    self.counters.malformed.count();
                    None
                }
            };
        }
        let skb = self.assemble_apart(poll, queue, header_len, buffer, len, place)?;
        if place.net.gso_type != hdr::GSO_NONE || skb.len().saturating_add(skip) > RxFrame::CAPACITY
        {
            self.counters.xdp.unfit.count();
            return None;
        }
        let Some(copy) = self.copy(header_len, &skb) else {
            self.counters.dropped.count();
            return None;
        };
        Some(match is_of_ipsec(place) {
            true => Received::Ipsec(skb, copy),
            false => Received::Plain(copy),
        })
    }

    /// As [`Self::assemble`], out of line: it is not the usual way here.
    #[inline(never)]
    fn assemble_apart(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        header_len: HdrLen,
        buffer: RxBuffer,
        len: u32,
        place: &mut NetHdr48,
    ) -> Option<RxSkb> {
        self.assemble(poll, queue, header_len, buffer, len, place)
    }

    /// The packet once more, as a program can see it: behind as much room as one that came into such a buffer, which
    /// has the NIC's header in front.
    fn copy(&mut self, header_len: HdrLen, skb: &SkBuff) -> Option<RxFrame> {
        let buffer = self.pool.buffer(RxSize::Xdp)?;
        RxFrame::copy(buffer, header_len.bytes() as u16, skb).ok()
    }
}

/// Whether the NIC says anything of IPsec, be it that it has failed.
fn is_of_ipsec(header: &NetHdr48) -> bool {
    header.has(hdr::F_SECURITY) || header.has(hdr::F_X_SEC)
}
