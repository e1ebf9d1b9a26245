// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From an IP packet to an ESP packet in clear: outer header or gap, UDP, ESP header, padding and trailer
//! (RFC 4303 sections 2 and 3.1, RFC 3948).
//!
//! What an SA adds is a [`Template`]. For each packet a [`Plan`] says how much room is needed where; then
//! the caller puts the packet behind that room, and [`Template::wrap`] writes everything around it but IV,
//! ciphertext and ICV, which are for [`crate::engine::seal`].
//!
//! ```text
//! tunnel     | outer IP | UDP | ESP | IV | packet                 | padding, trailer | ICV |
//! transport  | IP       | UDP | ESP | IV | what was behind the IP | padding, trailer | ICV |
//! ```
//!
//! Fragments go through a tunnel like all packets, but not through transport mode.

use crate::checksum::{complete, complete_ipv4, Sum, UDP_FIELD};
use crate::ds::{self, ECN_MASK};
use crate::engine::{padding, Layout};
use crate::ip::{
    be16, be32, put_be16, Ip, Ports, IPPROTO_ESP, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_UDP,
    IPV4_HLEN, IPV4_ID, IPV4_LENGTH, IPV6_HLEN, IPV6_LENGTH, UDP_HLEN, UDP_LENGTH,
};
use crate::packet::ESP_HLEN;
use crate::seq;
use crate::upper::Gap;

/// Smallest MTU of IPv6 (RFC 8200 section 5).
const IPV6_MIN_MTU: usize = 1280;
/// Don't fragment.
const IPV4_DF: u16 = 0x4000;
/// Offset of flags and fragment offset in an IPv4 header.
const IPV4_FLAGS: usize = 6;
/// Offset of time to live and protocol in an IPv4 header.
const IPV4_TTL: usize = 8;
/// Offset of the hop limit in an IPv6 header.
const IPV6_HOP_LIMIT: usize = 7;
/// The bits of the flow label in the first word of an IPv6 header.
const FLOW_LABEL: u32 = 0xf_ffff;
/// Pad length and next header.
const TRAILER_LEN: usize = 2;

/// Why a packet cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is no whole IP packet, or, in transport mode, a fragment or one whose extension headers cannot be
    /// read.
    Headers,
    /// It would be longer than an IP packet can be.
    Length,
    /// Its hop limit ends here.
    HopLimit,
    /// The caller's buffer has not the length of the plan.
    Buffer,
}

/// A value that is taken from the packet, or always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<T> {
    /// From the packet.
    Copy,
    /// This one.
    Set(T),
}

impl<T> Field<T> {
    fn or(self, of_packet: T) -> T {
        match self {
            Self::Copy => of_packet,
            Self::Set(value) => value,
        }
    }
}

/// Addresses of the outer header, and what only one version of IP has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// IPv4.
    V4 {
        /// Source address, network order.
        src: [u8; 4],
        /// Destination address, network order.
        dst: [u8; 4],
        /// Don't fragment. That of an IPv6 packet counts as set if it is longer than 1280 bytes: of a shorter
        /// one its sender would not be able to make less.
        df: Field<bool>,
    },
    /// IPv6.
    V6 {
        /// Source address, network order.
        src: [u8; 16],
        /// Destination address, network order.
        dst: [u8; 16],
        /// Flow label. That of an IPv4 packet is 0.
        label: Field<u32>,
    },
}

/// What a tunnel adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Addresses.
    pub outer: Outer,
    /// Time to live or hop limit of the outer header.
    pub hop_limit: u8,
    /// DSCP of the outer header.
    pub dscp: Field<u8>,
    /// The outer header has the packet's ECN, also if that tells of congestion (RFC 6040 section 4.1, normal
    /// mode); else it has none.
    pub ecn: bool,
    /// Entering the tunnel is a hop for the packet.
    pub dec_ttl: bool,
}

impl Tunnel {
    fn header_len(&self) -> usize {
        match self.outer {
            Outer::V4 { .. } => IPV4_HLEN,
            Outer::V6 { .. } => IPV6_HLEN,
        }
    }
}

/// What an SA adds to its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Tunnel mode, else transport mode.
    pub tunnel: Option<Tunnel>,
    /// UDP encapsulation.
    pub udp: Option<Ports>,
    /// SPI as a number.
    pub spi: u32,
    /// Lengths of IV and ICV, and block size.
    pub layout: Layout,
}

/// Where the parts of an ESP packet are. Offsets count from its IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the packet starts.
    pub room: usize,
    /// Bytes of the packet by its own length field.
    pub packet_len: usize,
    /// Start of the ESP header.
    pub esp: usize,
    /// Padding, pad length, next header and ICV, in bytes.
    pub trailer_len: usize,
    /// Length of the ESP packet with its IP header.
    pub len: usize,
    /// It takes a number of the IPv4 identification, see [`Number::id`].
    pub needs_id: bool,
    /// The outermost header is IPv6.
    v6: bool,
    /// IP headers in front of UDP or ESP, in bytes.
    front: usize,
    /// Of the ESP trailer.
    next_header: u8,
    padding: u8,
    /// In transport mode: the byte that will name UDP or ESP.
    named_at: usize,
}

/// The numbers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// 64-bit sequence number.
    pub seq: u64,
    /// Identification of an outer IPv4 header that may be fragmented. Those that may not have 0 (RFC 6864
    /// section 4.1). Others must have a number that does not come again while fragments may be under way, so
    /// the caller counts, over all SAs between two addresses or at least for each SA.
    pub id: u16,
}

impl Template {
    /// What becomes of the IP packet at the start of `packet`.
    ///
    /// # Errors
    ///
    /// [`Error::Headers`], [`Error::Length`] or [`Error::HopLimit`].
    pub fn plan(&self, packet: &[u8]) -> Result<Plan, Error> {
        let ip = Ip::whole(packet, 0).ok_or(Error::Headers)?;
        let packet = packet.get(..ip.end).ok_or(Error::Headers)?;
        let plan = match &self.tunnel {
            Some(tunnel) => self.plan_tunnel(tunnel, &ip, packet)?,
            None => self.plan_transport(&ip, packet).ok_or(Error::Headers)?,
        };
        let counted = if plan.v6 { IPV6_HLEN } else { 0 };
        if plan.len.saturating_sub(counted) > usize::from(u16::MAX) {
            return Err(Error::Length);
        }
        Ok(plan)
    }

    fn plan_tunnel(&self, tunnel: &Tunnel, ip: &Ip, packet: &[u8]) -> Result<Plan, Error> {
        if tunnel.dec_ttl && hop_limit(packet, ip.v6).is_none_or(|left| left <= 1) {
            return Err(Error::HopLimit);
        }
        let front = tunnel.header_len();
        Ok(Plan {
            room: front.saturating_add(self.added()),
            next_header: if ip.v6 { IPPROTO_IPV6 } else { IPPROTO_IPIP },
            needs_id: matches!(outer_df(tunnel, packet, ip.v6), Some(false)),
            v6: matches!(tunnel.outer, Outer::V6 { .. }),
            ..self.plan_behind(front, packet.len(), packet.len())
        })
    }

    fn plan_transport(&self, ip: &Ip, packet: &[u8]) -> Option<Plan> {
        let gap = Gap::find(packet, ip)?;
        Some(Plan {
            room: self.added(),
            next_header: gap.protocol,
            v6: ip.v6,
            named_at: gap.named_at,
            ..self.plan_behind(gap.at, packet.len(), packet.len().checked_sub(gap.at)?)
        })
    }

    /// A plan that is right for everything behind the IP headers, which have `front` bytes.
    fn plan_behind(&self, front: usize, packet_len: usize, payload_len: usize) -> Plan {
        let padding = padding(payload_len, &self.layout);
        let trailer_len = padding
            .saturating_add(TRAILER_LEN)
            .saturating_add(self.layout.icv_len.into());
        let len = front
            .saturating_add(self.added())
            .saturating_add(payload_len)
            .saturating_add(trailer_len);
        Plan {
            room: 0,
            packet_len,
            esp: front.saturating_add(self.udp_len()),
            trailer_len,
            len,
            needs_id: false,
            v6: false,
            front,
            next_header: 0,
            // Less than a block.
            padding: padding as u8,
            named_at: 0,
        }
    }

    fn udp_len(&self) -> usize {
        match self.udp {
            Some(_) => UDP_HLEN,
            None => 0,
        }
    }

    /// Bytes between the IP headers and what is encrypted.
    fn added(&self) -> usize {
        self.udp_len()
            .saturating_add(ESP_HLEN)
            .saturating_add(self.layout.iv_len.into())
    }

    /// Makes an ESP packet in clear of the packet that `plan` was made of, and which is in `buffer` at
    /// [`Plan::room`]. The buffer is as long as [`Plan::len`]; IV and ICV keep what they have.
    ///
    /// # Errors
    ///
    /// [`Error::Buffer`] if the buffer has another length; [`Error::Headers`] if the packet in it is not
    /// that of the plan.
    pub fn wrap(&self, plan: &Plan, number: &Number, buffer: &mut [u8]) -> Result<(), Error> {
        if buffer.len() != plan.len {
            return Err(Error::Buffer);
        }
        let written = match &self.tunnel {
            Some(tunnel) => self.put_outer(tunnel, plan, number, buffer),
            None => self.move_headers(plan, buffer),
        };
        written
            .and_then(|()| self.put_esp(plan, number.seq, buffer))
            .and_then(|()| put_trailer(plan, buffer))
            .ok_or(Error::Headers)
    }

    /// What is behind the IP headers.
    fn protocol(&self) -> u8 {
        match self.udp {
            Some(_) => IPPROTO_UDP,
            None => IPPROTO_ESP,
        }
    }

    /// Writes the outer header.
    fn put_outer(
        &self,
        tunnel: &Tunnel,
        plan: &Plan,
        number: &Number,
        buffer: &mut [u8],
    ) -> Option<()> {
        let (room, packet) = buffer.split_at_mut_checked(plan.room)?;
        let inner_v6 = plan.next_header == IPPROTO_IPV6;
        if tunnel.dec_ttl {
            take_hop(packet, inner_v6)?;
        }
        let inner = ds::read(packet, inner_v6)?;
        let ecn = if tunnel.ecn { inner & ECN_MASK } else { 0 };
        let class = (tunnel.dscp.or(inner >> 2) << 2) | ecn;
        match tunnel.outer {
            Outer::V4 { src, dst, .. } => {
                let header: &mut [u8; IPV4_HLEN] = room.first_chunk_mut()?;
                let df = outer_df(tunnel, packet.get(..plan.packet_len)?, inner_v6)?;
                let id = if df { 0 } else { number.id };
                *header = ipv4(src, dst, [tunnel.hop_limit, self.protocol()]);
                let written = put_be16(header, 0, u16::from_be_bytes([0x45, class]))
                    && put_be16(header, IPV4_LENGTH, u16::try_from(plan.len).ok()?)
                    && put_be16(header, IPV4_ID, id)
                    && put_be16(header, IPV4_FLAGS, if df { IPV4_DF } else { 0 })
                    && complete_ipv4(header);
                written.then_some(())
            }
            Outer::V6 { src, dst, label } => {
                let of_packet = if inner_v6 { be32(packet, 0)? } else { 0 };
                let label = label.or(of_packet) & FLOW_LABEL;
                let word = 0x6000_0000 | (u32::from(class) << 20) | label;
                let len = u16::try_from(plan.len.checked_sub(IPV6_HLEN)?).ok()?;
                let header: &mut [u8; IPV6_HLEN] = room.first_chunk_mut()?;
                *header = ipv6(word, src, dst, [self.protocol(), tunnel.hop_limit]);
                put_be16(header, IPV6_LENGTH, len).then_some(())
            }
        }
    }

    /// Moves the packet's own IP headers to the front and makes them right.
    fn move_headers(&self, plan: &Plan, buffer: &mut [u8]) -> Option<()> {
        let end = plan.room.checked_add(plan.front)?;
        if end > buffer.len() {
            return None;
        }
        buffer.copy_within(plan.room..end, 0);
        *buffer.get_mut(plan.named_at)? = self.protocol();
        let headers = buffer.get_mut(..plan.front)?;
        set_length(headers, plan.v6, plan.len)
    }

    /// Writes UDP header and ESP header.
    fn put_esp(&self, plan: &Plan, number: u64, buffer: &mut [u8]) -> Option<()> {
        let behind = buffer.get_mut(plan.front..)?;
        let udp_len = u16::try_from(behind.len());
        let behind = match self.udp {
            Some(Ports { src, dst }) => {
                let (udp, behind) = behind.split_first_chunk_mut::<UDP_HLEN>()?;
                let written = put_be16(udp, 0, src)
                    && put_be16(udp, 2, dst)
                    && put_be16(udp, UDP_LENGTH, udp_len.ok()?)
                    && put_be16(udp, UDP_FIELD, 0);
                written.then_some(behind)?
            }
            None => behind,
        };
        let header = join(self.spi, seq::lo(number));
        *behind.first_chunk_mut::<ESP_HLEN>()? = header;
        Some(())
    }

    /// Whether [`Self::finish`] has anything to do.
    pub fn has_checksum(&self, plan: &Plan) -> bool {
        self.udp.is_some() && plan.v6
    }

    /// To be called when the packet in `buffer` is sealed: over IPv6 the UDP header needs a checksum, which
    /// over IPv4 is zero (RFC 3948 section 2.1).
    ///
    /// # Errors
    ///
    /// [`Error::Buffer`] if the buffer has another length than the plan.
    pub fn finish(&self, plan: &Plan, buffer: &mut [u8]) -> Result<(), Error> {
        if buffer.len() != plan.len {
            return Err(Error::Buffer);
        }
        if !self.has_checksum(plan) {
            return Ok(());
        }
        let addresses = buffer.get(8..IPV6_HLEN).ok_or(Error::Buffer)?;
        let len = plan.len.saturating_sub(plan.front);
        let len = u32::try_from(len).map_err(|_| Error::Length)?;
        let pseudo = Sum::of(addresses).plus(IPPROTO_UDP.into()).plus(len);
        let field = plan.front.saturating_add(UDP_FIELD);
        let done = put_be16(buffer, field, pseudo.folded())
            && complete(buffer, plan.front, UDP_FIELD, plan.len);
        done.then_some(()).ok_or(Error::Buffer)
    }
}

/// Don't fragment of the outer header; `None` if that is IPv6.
fn outer_df(tunnel: &Tunnel, packet: &[u8], v6: bool) -> Option<bool> {
    let Outer::V4 { df, .. } = tunnel.outer else {
        return None;
    };
    Some(df.or(match v6 {
        true => packet.len() > IPV6_MIN_MTU,
        false => be16(packet, IPV4_FLAGS)? & IPV4_DF != 0,
    }))
}

fn hop_limit(packet: &[u8], v6: bool) -> Option<u8> {
    let offset = if v6 { IPV6_HOP_LIMIT } else { IPV4_TTL };
    packet.get(offset).copied()
}

/// Takes one hop from the packet, which has more than one left.
fn take_hop(packet: &mut [u8], v6: bool) -> Option<()> {
    let left = hop_limit(packet, v6)?.checked_sub(1)?;
    if v6 {
        *packet.get_mut(IPV6_HOP_LIMIT)? = left;
        return Some(());
    }
    let protocol = *packet.get(IPV4_TTL.checked_add(1)?)?;
    let word = u16::from_be_bytes([left, protocol]);
    ds::replace_ipv4(packet, IPV4_TTL, word).then_some(())
}

/// Writes the length of a packet of `len` bytes into the IP header at its start, of which `headers` is all
/// that is in front of the payload.
pub(crate) fn set_length(headers: &mut [u8], v6: bool, len: usize) -> Option<()> {
    if v6 {
        let len = u16::try_from(len.checked_sub(IPV6_HLEN)?).ok()?;
        return put_be16(headers, IPV6_LENGTH, len).then_some(());
    }
    let len = u16::try_from(len).ok()?;
    (put_be16(headers, IPV4_LENGTH, len) && complete_ipv4(headers)).then_some(())
}

/// Padding as RFC 4303 section 2.4 wants it, pad length and next header.
fn put_trailer(plan: &Plan, buffer: &mut [u8]) -> Option<()> {
    let start = plan.len.checked_sub(plan.trailer_len)?;
    let trailer = buffer.get_mut(start..)?;
    let (padding, rest) = trailer.split_at_mut_checked(plan.padding.into())?;
    for (byte, value) in padding.iter_mut().zip(1..) {
        *byte = value;
    }
    *rest.first_chunk_mut()? = [plan.padding, plan.next_header];
    Some(())
}

/// An IPv4 header with addresses, time to live and protocol; the rest is zero.
fn ipv4(src: [u8; 4], dst: [u8; 4], ttl_and_protocol: [u8; 2]) -> [u8; IPV4_HLEN] {
    let mut header = [0; IPV4_HLEN];
    header[8..10].copy_from_slice(&ttl_and_protocol);
    header[12..16].copy_from_slice(&src);
    header[16..].copy_from_slice(&dst);
    header
}

/// An IPv6 header without a length.
fn ipv6(word: u32, src: [u8; 16], dst: [u8; 16], next_and_hops: [u8; 2]) -> [u8; IPV6_HLEN] {
    let mut header = [0; IPV6_HLEN];
    header[..4].copy_from_slice(&word.to_be_bytes());
    header[6..8].copy_from_slice(&next_and_hops);
    header[8..24].copy_from_slice(&src);
    header[24..].copy_from_slice(&dst);
    header
}

fn join(spi: u32, lo: u32) -> [u8; ESP_HLEN] {
    let [a, b, c, d] = spi.to_be_bytes();
    let [e, f, g, h] = lo.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
#[path = "encap_tests.rs"]
pub(crate) mod tests;
