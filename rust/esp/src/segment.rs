// SPDX-License-Identifier: GPL-2.0 OR MIT

//! TCP segmentation: one frame with much data becomes several that fit the wire.
//!
//! The same code serves plain TCP and TCP inside ESP, in transport and in tunnel mode. With ESP the
//! segments come out in the shape that [`crate::engine::seal`] expects: with sequence number, padding
//! and trailer, and with room for IV and ICV.

use crate::checksum::{complete_ipv4, complete_tcp, Sum, TCP_FIELD};
use crate::engine::{padding, Layout};
use crate::ip::{
    be16, be32, put_be16, Ip, Layers, ETH_HLEN, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_TCP, IPV4_ID,
    IPV4_LENGTH, IPV6_HLEN, IPV6_LENGTH,
};
use crate::packet::ESP_HLEN;
use crate::seq;

/// IPv6 extension headers: hop-by-hop options, routing, destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// Most bytes of extension headers.
const MAX_EXTENSIONS: usize = 256;
/// Flags byte of a TCP header, and its bits.
const TCP_FLAGS: usize = 13;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;
const MIN_TCP_HLEN: usize = 20;

/// The reason for which a frame cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Its headers do not match the request.
    Headers,
    /// No data per segment, or more than an IP packet holds.
    Size,
    /// The ESP sequence numbers would pass their end.
    Sequence,
    /// The caller's buffer does not have the length of the segment, or there is no such segment.
    Buffer,
}

/// The sender's description of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Version of the IP header in front of the TCP header: 4 or 6.
    pub family: u8,
    /// Start of the TCP header, from the start of the frame. Its checksum field has the sum of the
    /// pseudo header with the length of all of the data.
    pub tcp: usize,
    /// Bytes of data per segment.
    pub size: usize,
}

/// The parameters of the SA and the packet for segmentation inside ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspRequest {
    /// Start of the ESP header, from the start of the frame.
    pub offset: usize,
    /// Lengths of IV and ICV, and block size.
    pub layout: Layout,
    /// Tunnel mode, else transport mode.
    pub tunnel: bool,
    /// Next header of the trailers.
    pub next_header: u8,
    /// 64-bit sequence number of the first segment.
    pub seq: u64,
    /// Sequence numbers have 64 bits, else 32.
    pub esn: bool,
}

/// A frame and how it is cut.
pub struct Segments<'a> {
    head: &'a [u8],
    data: &'a [u8],
    size: usize,
    count: usize,
    /// The outer header, and in tunnel mode the inner one.
    ips: [Option<Ip>; 2],
    tcp: usize,
    /// Sum of the pseudo header without the length.
    pseudo: Sum,
    esp: Option<EspRequest>,
}

impl<'a> Segments<'a> {
    /// Prepares a plain TCP packet. After up to two VLAN tags follows IPv4, with or without options, or IPv6,
    /// with or without extension headers (hop-by-hop, routing and destination options of up to 256 bytes).
    /// `layers` are those of the frame.
    ///
    /// # Errors
    ///
    /// [`Error::Headers`] or [`Error::Size`].
    pub fn plain(frame: &'a [u8], layers: &Layers, request: &Request) -> Result<Self, Error> {
        let ip = before_tcp(frame, layers.ip(), request, true).ok_or(Error::Headers)?;
        Self::cut(frame, request, [Some(ip), None], None)
    }

    /// Prepares a TCP packet inside the ESP packet `esp`, which has room for an IV and no trailer.
    /// `layers` are those of the frame.
    ///
    /// # Errors
    ///
    /// [`Error::Headers`], [`Error::Size`] or [`Error::Sequence`].
    pub fn in_esp(
        frame: &'a [u8],
        layers: &Layers,
        request: &Request,
        esp: &EspRequest,
    ) -> Result<Self, Error> {
        let outer = before_esp(layers, esp).ok_or(Error::Headers)?;
        let payload = esp
            .offset
            .saturating_add(ESP_HLEN)
            .saturating_add(esp.layout.iv_len.into());
        let inner = if esp.tunnel {
            let next_header = if request.family == 6 {
                IPPROTO_IPV6
            } else {
                IPPROTO_IPIP
            };
            if esp.next_header != next_header {
                return Err(Error::Headers);
            }
            let ip = Ip::at(frame, payload);
            Some(before_tcp(frame, ip, request, false).ok_or(Error::Headers)?)
        } else {
            let family = if outer.v6 { 6 } else { 4 };
            if esp.next_header != IPPROTO_TCP || request.tcp != payload || request.family != family
            {
                return Err(Error::Headers);
            }
            None
        };
        let segments = Self::cut(frame, request, [Some(outer), inner], Some(*esp))?;
        let last = segments.seq(segments.count.saturating_sub(1));
        match last {
            Some(last) if esp.esn || seq::hi(last) == seq::hi(esp.seq) => Ok(segments),
            _ => Err(Error::Sequence),
        }
    }

    fn cut(
        frame: &'a [u8],
        request: &Request,
        ips: [Option<Ip>; 2],
        esp: Option<EspRequest>,
    ) -> Result<Self, Error> {
        let tcp = frame.get(request.tcp..).ok_or(Error::Headers)?;
        let hlen = usize::from(tcp.get(12).ok_or(Error::Headers)? >> 4).saturating_mul(4);
        if hlen < MIN_TCP_HLEN || hlen > tcp.len() {
            return Err(Error::Headers);
        }
        let (head, data) = frame
            .split_at_checked(request.tcp.saturating_add(hlen))
            .ok_or(Error::Headers)?;
        let len = u32::try_from(tcp.len()).map_err(|_| Error::Size)?;
        let field = be16(tcp, TCP_FIELD).ok_or(Error::Headers)?;
        let count = data
            .len()
            .checked_add(request.size)
            .and_then(|sum| sum.checked_sub(1)?.checked_div(request.size))
            .ok_or(Error::Size)?;
        let segments = Self {
            head,
            data,
            size: request.size,
            // A packet without data is a segment, too.
            count: count.max(1),
            ips,
            tcp: request.tcp,
            pseudo: Sum::default().plus(field.into()).minus(len),
            esp,
        };
        let len = segments.longest();
        if segments.ips.iter().flatten().all(|ip| reaches(ip, len)) {
            Ok(segments)
        } else {
            Err(Error::Size)
        }
    }

    /// Number of segments, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length in bytes of all headers, with which every segment begins.
    pub fn head_len(&self) -> usize {
        self.head.len()
    }

    /// Length in bytes of the first and longest segment.
    pub fn longest(&self) -> usize {
        self.len(0)
    }

    /// Length of segment `index` in bytes.
    pub fn len(&self, index: usize) -> usize {
        let data = self.data_of(index).len();
        self.head
            .len()
            .saturating_add(data)
            .saturating_add(self.trailer_len(index))
    }

    /// Bytes behind the data of segment `index`: with ESP padding, pad length, next header and ICV.
    pub fn trailer_len(&self, index: usize) -> usize {
        let Some(esp) = &self.esp else {
            return 0;
        };
        let text = self.text_len(esp, index);
        padding(text, &esp.layout)
            .saturating_add(2)
            .saturating_add(esp.layout.icv_len.into())
    }

    /// ESP: bytes to encrypt in front of the padding.
    fn text_len(&self, esp: &EspRequest, index: usize) -> usize {
        let clear = esp
            .offset
            .saturating_add(ESP_HLEN)
            .saturating_add(esp.layout.iv_len.into());
        self.head
            .len()
            .saturating_sub(clear)
            .saturating_add(self.data_of(index).len())
    }

    /// 64-bit ESP sequence number of segment `index`.
    pub fn seq(&self, index: usize) -> Option<u64> {
        self.esp?.seq.checked_add(index as u64)
    }

    fn data_of(&self, index: usize) -> &'a [u8] {
        let start = index.saturating_mul(self.size).min(self.data.len());
        let end = start.saturating_add(self.size).min(self.data.len());
        self.data.get(start..end).unwrap_or_default()
    }

    /// Writes segment `index` to `out`, which has its length. With ESP the room for the IV is as in
    /// the frame and that for the ICV is not written.
    ///
    /// # Errors
    ///
    /// [`Error::Buffer`].
    pub fn write(&self, index: usize, out: &mut [u8]) -> Result<(), Error> {
        if index >= self.count || out.len() != self.len(index) {
            return Err(Error::Buffer);
        }
        self.fill(index, out).ok_or(Error::Buffer)
    }

    fn fill(&self, index: usize, out: &mut [u8]) -> Option<()> {
        let data = self.data_of(index);
        let (head, rest) = out.split_at_mut_checked(self.head.len())?;
        head.copy_from_slice(self.head);
        let (body, trailer) = rest.split_at_mut_checked(data.len())?;
        body.copy_from_slice(data);
        let end = self.head.len().checked_add(data.len())?;
        if let Some(esp) = &self.esp {
            self.write_trailer(esp, index, trailer)?;
            let number = seq::lo(self.seq(index)?).to_be_bytes();
            let field = out.get_mut(esp.offset.checked_add(4)?..)?;
            *field.first_chunk_mut()? = number;
        }
        self.write_tcp(index, out.get_mut(self.tcp..end)?)?;
        let [outer, inner] = &self.ips;
        if let Some(inner) = inner {
            finish(inner, index, out.get_mut(..end)?)?;
        }
        finish(outer.as_ref()?, index, out)
    }

    fn write_trailer(&self, esp: &EspRequest, index: usize, trailer: &mut [u8]) -> Option<()> {
        let len = padding(self.text_len(esp, index), &esp.layout);
        let (pad, rest) = trailer.split_at_mut_checked(len)?;
        for (byte, value) in pad.iter_mut().zip(1u8..) {
            *byte = value;
        }
        *rest.first_chunk_mut()? = [u8::try_from(len).ok()?, esp.next_header];
        Some(())
    }

    fn write_tcp(&self, index: usize, tcp: &mut [u8]) -> Option<()> {
        let number = be32(tcp, 4)?.wrapping_add(index.checked_mul(self.size)? as u32);
        *tcp.get_mut(4..)?.first_chunk_mut()? = number.to_be_bytes();
        let flags = tcp.get_mut(TCP_FLAGS)?;
        if index != 0 {
            *flags &= !TCP_CWR;
        }
        if index.checked_add(1)? != self.count {
            *flags &= !(TCP_FIN | TCP_PSH);
        }
        let len = u32::try_from(tcp.len()).ok()?;
        complete_tcp(tcp, self.pseudo.plus(len)).then_some(())
    }
}

/// `Some` if the IPv6 header at the start of `ip` leads through extension headers, which all segments can
/// carry as they are, to TCP at `tcp`.
fn leads_to_tcp(ip: &[u8], tcp: usize) -> Option<()> {
    if tcp.checked_sub(IPV6_HLEN)? > MAX_EXTENSIONS {
        return None;
    }
    let (mut at, mut kind) = (IPV6_HLEN, *ip.get(6)?);
    while at < tcp && EXTENSIONS.contains(&kind) {
        let [next, units] = *ip.get(at..)?.first_chunk()?;
        let len = usize::from(units).checked_add(1)?.checked_mul(8)?;
        (at, kind) = (at.checked_add(len)?, next);
    }
    (at == tcp && kind == IPPROTO_TCP).then_some(())
}

/// `ip`, if it is the header in front of the TCP header. Between the two may be IPv6 extension headers, if
/// `extensions` allows it.
fn before_tcp(frame: &[u8], ip: Option<Ip>, request: &Request, extensions: bool) -> Option<Ip> {
    let ip = ip?;
    let direct = ip.transport == request.tcp && ip.protocol == IPPROTO_TCP;
    let gap = request.tcp.checked_sub(ip.network)?;
    let extended = extensions && ip.v6 && leads_to_tcp(frame.get(ip.network..)?, gap).is_some();
    let family = if ip.v6 { 6 } else { 4 };
    (family == request.family && (direct || extended)).then_some(ip)
}

/// The header directly in front of the ESP header, without tags and options.
fn before_esp(layers: &Layers, esp: &EspRequest) -> Option<Ip> {
    let ip = layers.ip().filter(|ip| ip.network == ETH_HLEN)?;
    (ip.transport == esp.offset && ip.has_no_options()).then_some(ip)
}

/// Whether the length field can express a packet to the end of a frame of `len` bytes.
fn reaches(ip: &Ip, len: usize) -> bool {
    let start = if ip.v6 { ip.transport } else { ip.network };
    len.saturating_sub(start) <= usize::from(u16::MAX)
}

/// Writes length, identification and checksum of the header `ip` in `frame`, which is segment `index` and
/// ends with the packet.
fn finish(ip: &Ip, index: usize, frame: &mut [u8]) -> Option<()> {
    let hlen = ip.transport.checked_sub(ip.network)?;
    let header = frame.get_mut(ip.network..)?;
    let len = header.len();
    if ip.v6 {
        let payload = u16::try_from(len.checked_sub(IPV6_HLEN)?).ok()?;
        return put_be16(header, IPV6_LENGTH, payload).then_some(());
    }
    let id = be16(header, IPV4_ID)?.wrapping_add(index as u16);
    let done = put_be16(header, IPV4_LENGTH, u16::try_from(len).ok()?)
        && put_be16(header, IPV4_ID, id)
        && complete_ipv4(header.get_mut(..hlen)?);
    done.then_some(())
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
