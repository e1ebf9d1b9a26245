// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The headers of a frame: Ethernet with VLAN tags (IEEE 802.1Q), IPv4 (RFC 791), IPv6 (RFC 8200) and
//! the ports of UDP (RFC 768).
//!
//! All code that reads packets starts here, except tests. Offsets count from the start of the caller's
//! bytes: of the frame, or of an IP packet. Nothing here reads checksums.
//!
//! A frame is read once: [`Layers`] then goes where the frame goes.

/// Ethernet header in bytes, without a VLAN tag.
pub const ETH_HLEN: usize = 14;
/// A VLAN tag in bytes.
pub const VLAN_HLEN: usize = 4;
/// The largest number of VLAN tags.
pub const MAX_VLAN_TAGS: usize = 2;
/// Bytes in front of an IP packet with [`MAX_VLAN_TAGS`] VLAN tags.
pub const MAX_LINK_HLEN: usize = ETH_HLEN + MAX_VLAN_TAGS * VLAN_HLEN;
/// IPv4 header in bytes, without options.
pub const IPV4_HLEN: usize = 20;
/// IPv6 header in bytes, without extension headers.
pub const IPV6_HLEN: usize = 40;
/// [`Ip::transport`] without VLAN tags and options.
const IPV4_TRANSPORT: u8 = (ETH_HLEN + IPV4_HLEN) as u8;
/// [`Ip::transport`] without VLAN tags.
const IPV6_TRANSPORT: u8 = (ETH_HLEN + IPV6_HLEN) as u8;
/// UDP header in bytes.
pub const UDP_HLEN: usize = 8;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of the outer one of two VLAN tags (IEEE 802.1ad).
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// IP protocol number of an IPv4 packet in a tunnel.
pub const IPPROTO_IPIP: u8 = 4;
/// IP protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const IPPROTO_UDP: u8 = 17;
/// IP protocol number of an IPv6 packet in a tunnel.
pub const IPPROTO_IPV6: u8 = 41;
/// IP protocol number of ESP.
pub const IPPROTO_ESP: u8 = 50;
/// IP protocol number of AH (RFC 4302).
pub const IPPROTO_AH: u8 = 51;
/// IP protocol number of IPComp (RFC 3173).
pub const IPPROTO_COMP: u8 = 108;

/// UDP port of IKE and of ESP in UDP (RFC 3948).
pub const NAT_T_PORT: u16 = 4500;

/// IPv4: more fragments, or a fragment offset.
const FRAGMENT: u16 = 0x3fff;
// Offsets in an IP header.
/// Offset of the length in an IPv4 header.
pub const IPV4_LENGTH: usize = 2;
pub(crate) const IPV4_ID: usize = 4;
const IPV4_FLAGS: usize = 6;
pub(crate) const IPV4_PROTOCOL: usize = 9;
pub(crate) const IPV4_SRC: usize = 12;
pub(crate) const IPV4_DST: usize = 16;
/// Offset of the payload's length in an IPv6 header.
pub const IPV6_LENGTH: usize = 4;
pub(crate) const IPV6_NEXT_HEADER: usize = 6;
pub(crate) const IPV6_SRC: usize = 8;
pub(crate) const IPV6_DST: usize = 24;
/// Offset of the length in a UDP header.
pub const UDP_LENGTH: usize = 4;

/// An IP address as SA lookups compare it: network order, IPv4 in the first four bytes and the rest
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// 4 or 6.
    pub family: u8,
    /// The address.
    pub bytes: [u8; 16],
}

/// The ports of a UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

impl Ports {
    /// The ports at the start of `datagram`.
    #[inline(always)]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        Some(Self {
            src: be16(datagram, 0)?,
            dst: be16(datagram, 2)?,
        })
    }
}

/// An IP header. The packet is known to be complete only if the header comes from [`Layers::packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// IPv6, else IPv4.
    pub v6: bool,
    /// Start of the header.
    pub network: usize,
    /// Start of the header that `protocol` names.
    pub transport: usize,
    /// End of the packet by its own length field; Ethernet padding may follow.
    pub end: usize,
    /// IPv4 protocol or IPv6 next header of the fixed header.
    pub protocol: u8,
    /// Part of a fragmented IPv4 packet.
    pub fragment: bool,
}

impl Ip {
    /// The header at `network`, with its fixed part complete.
    // Always: as a call it would return its result through memory, and reading that back stalls.
    #[inline(always)]
    pub fn at(bytes: &[u8], network: usize) -> Option<Self> {
        let ip = bytes.get(network..)?;
        match ip.first()? >> 4 {
            4 => Self::ipv4(ip.first_chunk()?, network),
            6 => Self::ipv6(ip.first_chunk()?, network),
            _ => None,
        }
    }

    #[inline(always)]
    fn ipv4(header: &[u8; IPV4_HLEN], network: usize) -> Option<Self> {
        let hlen = usize::from(header[0] & 0xf).checked_mul(4)?;
        if hlen < IPV4_HLEN {
            return None;
        }
        Some(Self {
            v6: false,
            network,
            transport: network.checked_add(hlen)?,
            end: network.checked_add(be16(header, IPV4_LENGTH)?.into())?,
            protocol: header[IPV4_PROTOCOL],
            fragment: be16(header, IPV4_FLAGS)? & FRAGMENT != 0,
        })
    }

    #[inline(always)]
    fn ipv6(header: &[u8; IPV6_HLEN], network: usize) -> Option<Self> {
        let transport = network.checked_add(IPV6_HLEN)?;
        Some(Self {
            v6: true,
            network,
            transport,
            end: transport.checked_add(be16(header, IPV6_LENGTH)?.into())?,
            protocol: header[IPV6_NEXT_HEADER],
            fragment: false,
        })
    }

    /// The packet at `network`, which ends before `bytes` do.
    #[inline]
    pub fn whole(bytes: &[u8], network: usize) -> Option<Self> {
        let ip = Self::at(bytes, network)?;
        (ip.transport <= ip.end && ip.end <= bytes.len()).then_some(ip)
    }

    /// Whether a frame of EtherType `kind` has an IP header of that version.
    #[inline(always)]
    fn is_kind(&self, kind: u16) -> bool {
        kind == match self.v6 {
            false => ETHERTYPE_IPV4,
            true => ETHERTYPE_IPV6,
        }
    }

    /// Whether the header has the least length.
    #[inline(always)]
    pub(crate) fn has_no_options(&self) -> bool {
        let hlen = if self.v6 { IPV6_HLEN } else { IPV4_HLEN };
        self.transport.checked_sub(self.network) == Some(hlen)
    }

    /// What is behind the header, to the end of the packet; `bytes` is what it was found in.
    #[inline(always)]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.transport..self.end)
    }

    /// Source and destination; `bytes` is what the header was found in.
    #[inline]
    pub fn addresses(&self, bytes: &[u8]) -> Option<[Address; 2]> {
        addresses(bytes.get(self.network..)?, self.v6)
    }

    /// Source and destination, one behind the other as in the header.
    #[inline]
    pub fn address_bytes<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        address_bytes(bytes.get(self.network..)?, self.v6)
    }
}

/// What the link layer of a frame leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Network {
    /// No IP header, or one that is not complete.
    #[default]
    Other,
    /// IPv4, the whole of a packet.
    V4,
    /// IPv4, a fragment.
    V4Fragment,
    /// IPv6.
    V6,
}

/// What was found of the headers of a frame.
///
/// It is true of the frame as long as nothing in front of [`Layers::end_of_headers`] changes. What is
/// behind, ESP for example, is not looked at before somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// [`Ip::end`]. This and the rest are small, because they travel with every frame.
    end: u32,
    /// Start of the IP header.
    link_len: u8,
    /// [`Ip::transport`].
    transport: u8,
    /// [`Ip::protocol`].
    protocol: u8,
    network: Network,
}

impl Default for Layers {
    fn default() -> Self {
        Self::NONE
    }
}

impl Layers {
    /// Of a frame in which there is nothing.
    pub const NONE: Self = Self {
        end: 0,
        link_len: ETH_HLEN as u8,
        transport: 0,
        protocol: 0,
        network: Network::Other,
    };

    /// The headers of `frame`.
    #[inline]
    pub fn find(frame: &[u8]) -> Self {
        let Some((link_len, kind)) = link(frame) else {
            return Self::default();
        };
        let other = Self {
            link_len: link_len as u8,
            ..Self::default()
        };
        let Some(ip) = Ip::at(frame, link_len).filter(|ip| ip.is_kind(kind)) else {
            return other;
        };
        Self {
            end: ip.end as u32,
            // At most 22 for the link layer, and 60 for IPv4.
            transport: ip.transport as u8,
            protocol: ip.protocol,
            network: match (ip.v6, ip.fragment) {
                (true, _) => Network::V6,
                (false, true) => Network::V4Fragment,
                (false, false) => Network::V4,
            },
            ..other
        }
    }

    /// Length of the Ethernet header with up to two VLAN tags.
    #[inline]
    pub fn link_len(&self) -> usize {
        self.link_len.into()
    }

    /// The IP header, whose EtherType and version agree. Whether all of the packet is there is not known.
    #[inline(always)]
    pub fn ip(&self) -> Option<Ip> {
        let (v6, fragment) = match self.network {
            Network::Other => return None,
            Network::V4 => (false, false),
            Network::V4Fragment => (false, true),
            Network::V6 => (true, false),
        };
        Some(Ip {
            v6,
            network: self.link_len.into(),
            transport: self.transport.into(),
            end: self.end as usize,
            protocol: self.protocol,
            fragment,
        })
    }

    /// Whether there may be an IP packet in `frame` although [`Self::ip`] finds none: behind more tags, or with a
    /// header that is damaged or not all there.
    pub fn may_hide_ip(frame: &[u8]) -> bool {
        link(frame).is_none_or(|(_, kind)| {
            matches!(
                kind,
                ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | ETHERTYPE_VLAN | ETHERTYPE_QINQ
            )
        })
    }

    /// The IP header if it has neither tags in front of it nor options, and is not of a fragment. Whether
    /// all of the packet is there is not known.
    #[inline(always)]
    pub(crate) fn simple_ip(&self) -> Option<Ip> {
        let v6 = self.network == Network::V6;
        // With tags or options it would begin later.
        let transport = if v6 { IPV6_TRANSPORT } else { IPV4_TRANSPORT };
        let simple = (v6 || self.network == Network::V4) && self.transport == transport;
        simple.then_some(Ip {
            v6,
            network: ETH_HLEN,
            transport: self.transport.into(),
            end: self.end as usize,
            protocol: self.protocol,
            fragment: false,
        })
    }

    /// [`Ip::transport`] and [`Ip::protocol`], or zeroes.
    #[inline(always)]
    pub(crate) fn transport(&self) -> (usize, u8) {
        (self.transport.into(), self.protocol)
    }

    /// The IP packet, which ends before the frame, of `len` bytes, does.
    #[inline]
    pub fn packet(&self, len: usize) -> Option<Ip> {
        self.ip()
            .filter(|ip| ip.transport <= ip.end && ip.end <= len)
    }

    /// Where that ends which the layers were read from; beyond every frame if there is no IP header.
    #[inline]
    pub fn end_of_headers(&self) -> usize {
        match self.network {
            Network::Other => usize::MAX,
            _ => self.transport.into(),
        }
    }

    /// Those of a frame with the same headers, whose IP packet ends at `end`.
    #[inline]
    pub fn ending_at(self, end: usize) -> Self {
        Self {
            end: end as u32,
            ..self
        }
    }
}

/// Source and destination in the IP header at the start of `ip`.
#[inline]
pub(crate) fn addresses(ip: &[u8], v6: bool) -> Option<[Address; 2]> {
    match v6 {
        false => Some([
            address::<4>(ip, IPV4_SRC, 4)?,
            address::<4>(ip, IPV4_DST, 4)?,
        ]),
        true => Some([
            address::<16>(ip, IPV6_SRC, 6)?,
            address::<16>(ip, IPV6_DST, 6)?,
        ]),
    }
}

/// [`addresses`], one behind the other as in the header.
#[inline(always)]
pub(crate) fn address_bytes(ip: &[u8], v6: bool) -> Option<&[u8]> {
    match v6 {
        false => ip.get(IPV4_SRC..IPV4_HLEN),
        true => ip.get(IPV6_SRC..IPV6_HLEN),
    }
}

/// Whether the IP header at the start of `ip` has this destination.
#[inline(always)]
pub(crate) fn is_to(ip: &[u8], v6: bool, to: &Address) -> bool {
    let [a, b, c, d, ..] = to.bytes;
    match v6 {
        false => to.family == 4 && array(ip, IPV4_DST) == Some([a, b, c, d]),
        true => to.family == 6 && array(ip, IPV6_DST) == Some(to.bytes),
    }
}

/// Offset of the last byte of the destination address from the start of an IP header.
pub const fn last_of_destination(v6: bool) -> usize {
    match v6 {
        false => IPV4_HLEN - 1,
        true => IPV6_HLEN - 1,
    }
}

/// Length of the Ethernet header of `frame` with up to two VLAN tags, and the EtherType behind them.
#[inline]
fn link(frame: &[u8]) -> Option<(usize, u16)> {
    let (mut len, mut kind) = (ETH_HLEN, be16(frame, ETH_HLEN - 2)?);
    for _ in 0..MAX_VLAN_TAGS {
        if !matches!(kind, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            break;
        }
        kind = be16(frame, len.checked_add(VLAN_HLEN - 2)?)?;
        len = len.checked_add(VLAN_HLEN)?;
    }
    Some((len, kind))
}

#[inline]
fn address<const N: usize>(ip: &[u8], at: usize, family: u8) -> Option<Address> {
    let src: [u8; N] = array(ip, at)?;
    let mut bytes = [0; 16];
    bytes.get_mut(..N)?.copy_from_slice(&src);
    Some(Address { family, bytes })
}

/// The 16-bit number at `at`.
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// The 32-bit number at `at`.
#[inline]
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes `value` at `at`; `false` if that is not in `bytes`.
pub fn put_be16(bytes: &mut [u8], at: usize, value: u16) -> bool {
    match bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        Some(field) => {
            *field = value.to_be_bytes();
            true
        }
        None => false,
    }
}

#[cfg(test)]
#[path = "ip_tests.rs"]
mod tests;
