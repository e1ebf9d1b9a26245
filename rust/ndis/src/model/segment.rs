// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Large send offload of an ESP packet (R102, R103, R110, C28).
//!
//! The transport hands over headers and TCP payload without an ESP trailer; what padding it left at
//! the end is dropped. The NIC cuts the payload, numbers the segments and gives each its trailer.

use super::packet::{self, Ip};
use super::table::EspShape;
use crate::encapsulation;
use crate::offload::{two_bits, Lso, Offload};
use crate::oob::LargeSend;
use crate::sa::Address;

/// Bytes of a TCP header without options (RFC 9293).
const TCP_HEADER: usize = 20;

/// The limits of the large send capabilities. If LsoSupported is reported, they hold for IPsec as well
/// (R24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    v1: Limit,
    v2_ipv4: Limit,
    v2_ipv6: Limit,
}

/// The limits of one form of large send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    /// Mask of encapsulations.
    encapsulation: u32,
    /// MaxOffLoadSize: most TCP payload of a packet, in bytes; 0 for a form that is not offered.
    payload: u32,
    /// MinSegmentCount.
    segments: u32,
    /// Packets with TCP options.
    tcp_options: bool,
    /// Packets with IPv4 options or IPv6 extension headers.
    ip_options: bool,
}

impl Limits {
    /// The limits of a configuration that an adapter has reported.
    pub fn of(image: &Offload) -> Self {
        let limit = |lso: &Lso, tcp_options, ip_options| Limit {
            encapsulation: lso.encapsulation.get(),
            payload: lso.max_offload_size.get(),
            segments: lso.min_segment_count.get(),
            tcp_options,
            ip_options,
        };
        let (v1, v2) = (&image.lso_v1, &image.lso_v2);
        let has = |bits: u32, shift| bits & two_bits(shift, true) != 0;
        let (v1_bits, v2_bits) = (v1.bits.get(), v2.ipv6_bits.get());
        Self {
            v1: limit(&v1.ipv4, has(v1_bits, 0), has(v1_bits, 2)),
            // Version 2 has no members for options of IPv4.
            v2_ipv4: limit(&v2.ipv4, true, true),
            v2_ipv6: limit(&v2.ipv6, has(v2_bits, 2), has(v2_bits, 0)),
        }
    }

    /// Whether they allow a packet with this IP header to be cut so. `link` is the length of what
    /// stands in front of it.
    pub(super) fn allow(&self, cut: &Segments, ip: &Ip, link: usize) -> bool {
        let limit = match (cut.version, ip.source) {
            (1, _) => &self.v1,
            (_, Address::V4(_)) => &self.v2_ipv4,
            (_, Address::V6(_)) => &self.v2_ipv6,
        };
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        encapsulation::has_header(limit.encapsulation, link)
            && cut.payload <= size(limit.payload)
            && cut.iter().count() >= size(limit.segments)
            && (cut.header == TCP_HEADER || limit.tcp_options)
            && (!(ip.options || ip.extensions) || limit.ip_options)
    }
}

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
        (header >= TCP_HEADER && payload > 0).then_some(Self {
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
