// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Large send offload of an ESP packet (R102, R103, R110, C28).
//!
//! The transport hands over headers and TCP payload without an ESP trailer; what padding it left at
//! the end is dropped. The NIC cuts the payload, numbers the segments and gives each its trailer.

use super::packet;
use super::table::EspShape;
use crate::oob::LargeSend;

/// How the NIC cuts one packet. Lengths in bytes, offsets from the outermost IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// LSOv1 or LSOv2, by the Type bit of slot 2 (R110).
    pub version: u8,
    /// Most TCP payload of a segment.
    pub mss: usize,
    /// Where the TCP payload starts.
    pub start: usize,
    /// TCP payload, without the padding at the end (R103).
    pub payload: usize,
    /// NextHeader of every segment's trailer (R98): always TCP.
    pub next_header: u8,
    /// TCP header.
    header: usize,
    /// Payload and trailer of a segment fill a multiple of this.
    alignment: usize,
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its payload starts.
    pub start: usize,
    /// Its TCP payload.
    pub payload: usize,
    /// PadLength of its trailer (R103).
    pub pad_length: usize,
    /// What is added to the packet's ESP sequence number: 0 for the first, then 1 more each (C28).
    pub sequence: u32,
}

impl Segments {
    /// The plan for a packet whose TCP header starts at `tcp`; `None` if there is nothing to cut.
    pub(super) fn new(
        large: LargeSend,
        packet: &[u8],
        tcp: usize,
        shape: &EspShape,
        pad_length: u8,
    ) -> Option<Self> {
        let (version, mss) = match large {
            LargeSend::V1 { mss, .. } => (1, mss),
            LargeSend::V2 { mss, .. } => (2, mss),
        };
        // Data offset, in words (RFC 9293 section 3.1).
        let header =
            usize::from(packet::byte(packet, tcp.checked_add(12)?)? >> 4).checked_mul(4)?;
        let start = tcp.checked_add(header)?;
        let payload = packet
            .len()
            .checked_sub(start)?
            .checked_sub(usize::from(pad_length))?;
        (header >= 20 && payload > 0).then_some(Self {
            version,
            mss: usize::try_from(mss).ok().filter(|&mss| mss > 0)?,
            start,
            payload,
            next_header: packet::PROTOCOL_TCP,
            header,
            alignment: shape.alignment,
        })
    }

    /// The segments in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = Segment> + '_ {
        let mut next = Some((0usize, 0u32));
        core::iter::from_fn(move || {
            let (at, sequence) = next?;
            let payload = self.payload.checked_sub(at)?.min(self.mss);
            if payload == 0 {
                return None;
            }
            next = at.checked_add(payload).zip(sequence.checked_add(1));
            Some(Segment {
                start: self.start.checked_add(at)?,
                payload,
                pad_length: self.pad_length(payload)?,
                sequence,
            })
        })
    }

    /// Padding that makes TCP header, payload and the two bytes of trailer a multiple.
    fn pad_length(&self, payload: usize) -> Option<usize> {
        let body = self.header.checked_add(payload)?.checked_add(2)?;
        body.checked_next_multiple_of(self.alignment)?
            .checked_sub(body)
    }
}
