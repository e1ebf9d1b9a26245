// SPDX-License-Identifier: GPL-2.0

//! Received frames for programs (XDP).

use super::{
    check_length,
    discard,
    distrust,
    Batch,
    Rx, //
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
            RxSize,
            RxSkb,
            SkBuff, //
        },
        xdp::{
            umem::UmemBuffer,
            RxFrame, //
        }, //
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
    /// Everything, in the memory of a socket.
    InPlace(UmemBuffer),
}

/// How frames come, and how the program takes them.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    /// Length of the NIC's header in front.
    pub(crate) header: HdrLen,
    /// In several pieces, too.
    pub(crate) pieces: bool,
    /// In the memory of sockets, if frames are there.
    pub(crate) in_place: bool,
}

impl Rx {
    /// Moves up to `limit` frames to `frames` and returns how many were taken.
    pub(crate) fn collect_frames(
        &mut self,
        poll: &Poll<'_>,
        form: Form,
        frames: &mut Batch<Received>,
        limit: u32,
    ) -> u32 {
        if self.lent.is_some() {
            return self.collect_lent(poll, form, frames, limit);
        }
        let next = |queue: &mut RxQueue| queue.take(poll);
        self.take_each(frames, limit, next, |rx, queue, (buffer, len), place| {
            rx.receive_frame(poll, queue, form, buffer, len, place)
        })
    }

    /// Makes a frame of the buffers that the NIC spread it over, and copies its header to `place`.
    pub(super) fn receive_frame(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        form: Form,
        buffer: RxBuffer,
        len: u32,
        place: &mut NetHdr48,
    ) -> Option<Received> {
        let Form {
            header: header_len,
            pieces,
            ..
        } = form;
        let skip = header_len.bytes() as u32;
        let is_as_it_is = match NetHdr48::read(buffer.bytes(len), header_len) {
            Ok(mut header) => {
                if self.lent.is_some() {
                    distrust(&mut header);
                }
                *place = header;
                let fits = pieces || header.net.num_buffers.get() <= 1;
                fits && header.net.gso_type == hdr::GSO_NONE && !is_of_ipsec(&header)
            }
            Err(_) => false,
        };
        if is_as_it_is && buffer.size() == RxSize::Xdp {
            let frame = RxFrame::new(buffer, skip as u16, len.saturating_sub(skip));
            let more = place.net.num_buffers.get().saturating_sub(1);
            return self.gather(poll, queue, frame, more).map(Received::Plain);
        }
        let skb = self.assemble_apart(poll, queue, header_len, buffer, len, place)?;
        let is_long = skb.len().saturating_add(skip) > RxFrame::CAPACITY;
        if place.net.gso_type != hdr::GSO_NONE || is_long && !pieces {
            self.counters.xdp.unfit.count();
            return None;
        }
        let Ok(copy) = copy(poll, header_len, &skb) else {
            self.counters.dropped.count();
            return None;
        };
        Some(match is_of_ipsec(place) {
            true => Received::Ipsec(skb, copy),
            false => Received::Plain(copy),
        })
    }

    /// Appends the next `more` buffers to a frame, if its first one is sound.
    fn gather(
        &mut self,
        poll: &Poll<'_>,
        queue: &mut RxQueue,
        frame: Result<RxFrame>,
        more: u16,
    ) -> Option<RxFrame> {
        let mut left = more;
        let gathered = frame.and_then(|mut frame| {
            append(poll, &mut frame, queue, &mut left)?;
            check_length(frame.len())?;
            Ok(frame)
        });
        if let Err(error) = &gathered {
            match *error {
                ENOMEM => self.counters.dropped.count(),
                ENOSPC => self.counters.xdp.unfit.count(),
                _ => self.counters.malformed.count(),
            }
            discard(queue, left);
        }
        gathered.ok()
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
}

/// The packet once more, as a program can see it: behind as much room as one that came into such buffers, which
/// has the NIC's header in front.
fn copy(poll: &Poll<'_>, header_len: HdrLen, skb: &SkBuff) -> Result<RxFrame> {
    RxFrame::copy(header_len.bytes() as u16, skb, || poll.buffer(RxSize::Xdp))
}

/// Appends the next `left` buffers. After an error `left` says how many of them are still in the queue.
fn append(poll: &Poll<'_>, frame: &mut RxFrame, queue: &mut RxQueue, left: &mut u16) -> Result {
    while *left > 0 {
        let (buffer, len) = queue.take(poll).ok_or(EINVAL)?;
        *left = left.saturating_sub(1);
        if buffer.size() == RxSize::Xdp {
            frame.append(buffer, len)?;
            continue;
        }
        // The NIC had it before there was a program, whose helpers want all pieces to have the same size.
        let mut copy = poll.buffer(RxSize::Xdp).ok_or(ENOMEM)?;
        let bytes = buffer.bytes(len);
        let to = copy.memory().iter_mut();
        to.zip(bytes).for_each(|(to, from)| *to = *from);
        frame.append_memory(copy, len)?;
    }
    Ok(())
}

/// Whether the NIC says anything of IPsec, be it that it has failed.
fn is_of_ipsec(header: &NetHdr48) -> bool {
    header.has(hdr::F_SECURITY) || header.has(hdr::F_X_SEC)
}
