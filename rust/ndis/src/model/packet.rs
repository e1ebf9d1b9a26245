// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The headers of a packet: IP header, fragments, UDP encapsulation, AH and ESP headers.
//!
//! Offsets are in bytes from the first byte of the slice, which is the IP header. Nothing here
//! trusts a length: a packet that ends early is [`Plain::Short`].

use crate::sa::{Address, Operation, Spi};

/// IP protocol number of IPv4 in IP.
pub const PROTOCOL_IPV4: u8 = 4;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of IPv6 in IP.
pub const PROTOCOL_IPV6: u8 = 41;
/// IP protocol number of ESP.
pub const PROTOCOL_ESP: u8 = 50;
/// IP protocol number of AH.
pub const PROTOCOL_AH: u8 = 51;
/// The destination port of UDP-encapsulated ESP (R129).
pub const UDP_ESP_PORT: u16 = 4500;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// Bytes of an ESP header: SPI and sequence number (RFC 4303).
pub const ESP_HEADER: usize = 8;
/// Bytes of an AH header before its integrity value (RFC 4302).
pub const AH_HEADER: usize = 12;

/// An IP header with its extension headers, as far as IPsec offload asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Protocol of what follows the header and its extension headers.
    pub protocol: u8,
    /// Bytes of the header, with options and extension headers.
    pub header: usize,
    /// Bytes of the whole packet, as the header says; not more than there are.
    pub length: usize,
    /// IPv4 options are there.
    pub options: bool,
    /// IPv6 extension headers other than AH, ESP and Fragment are there.
    pub extensions: bool,
    /// It is a fragment, and needs reassembly (R126).
    pub fragment: bool,
}

/// The reason for which a packet has nothing for IPsec offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Neither AH nor ESP, with or without UDP encapsulation.
    NoIpsec,
    /// No IP, or it ends before the fields that would be needed.
    Short,
    /// A fragment (R126).
    Fragment,
    /// Four zero bytes after the UDP header (R130).
    Ike,
    /// One byte 0xFF after the UDP header (C31, RFC 3948 section 2.3).
    KeepAlive,
}

/// The first IPsec header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected {
    /// The IP header in front of it.
    pub ip: Ip,
    /// A UDP header with destination port 4500 stands between the two.
    pub udp: bool,
    /// AH or ESP.
    pub operation: Operation,
    /// Its SPI.
    pub spi: Spi,
    /// Where it starts.
    pub offset: usize,
}

/// A packet, sorted (R129-R131).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It passes without IPsec processing.
    Plain(Plain),
    /// AH or ESP follows the IP header.
    Protected(Protected),
}

/// Sorts a packet that starts with its IP header.
pub fn classify(packet: &[u8]) -> Class {
    classify_head(packet, packet.len())
}

/// Sorts a packet of `whole` bytes of which only the first ones are at hand; they start with the
/// IP header. It is [`Plain::Short`] also if a header does not lie in them.
pub fn classify_head(head: &[u8], whole: usize) -> Class {
    let Some(ip) = parse_head(head, whole) else {
        return Class::Plain(Plain::Short);
    };
    if ip.fragment {
        return Class::Plain(Plain::Fragment);
    }
    // Bytes after the packet do not belong to it.
    let head = head.get(..ip.length).unwrap_or(head);
    match ip.protocol {
        PROTOCOL_ESP => header(head, ip, false, Operation::ESP, ip.header),
        PROTOCOL_AH => header(head, ip, false, Operation::AH, ip.header),
        PROTOCOL_UDP => udp(head, ip),
        _ => Class::Plain(Plain::NoIpsec),
    }
}

/// Whether a receive path may merge this packet with others (RSC): never if IPsec protects it
/// (R127).
pub fn may_coalesce(packet: &[u8]) -> bool {
    matches!(classify(packet), Class::Plain(Plain::NoIpsec))
}

/// Reads the IP header at the start of a packet; `None` if it is no IP or ends early.
pub fn parse(packet: &[u8]) -> Option<Ip> {
    parse_head(packet, packet.len())
}

fn parse_head(head: &[u8], whole: usize) -> Option<Ip> {
    let ip = match head.first()? >> 4 {
        4 => parse_v4(head)?,
        6 => parse_v6(head)?,
        _ => return None,
    };
    (ip.header <= ip.length && ip.length <= whole).then_some(ip)
}

/// The byte at `at`.
pub(super) fn byte(packet: &[u8], at: usize) -> Option<u8> {
    packet.get(at).copied()
}

/// `N` bytes at `at`.
pub(super) fn bytes<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

/// The AH or ESP header that starts at `offset`.
pub(super) fn spi(packet: &[u8], operation: Operation, offset: usize) -> Option<Spi> {
    let at = match operation {
        Operation::AH => offset.checked_add(4)?,
        _ => offset,
    };
    bytes(packet, at).map(Spi::from_be_bytes)
}

fn header(packet: &[u8], ip: Ip, udp: bool, operation: Operation, offset: usize) -> Class {
    match spi(packet, operation, offset) {
        Some(spi) => Class::Protected(Protected {
            ip,
            udp,
            operation,
            spi,
            offset,
        }),
        None => Class::Plain(Plain::Short),
    }
}

fn udp(packet: &[u8], ip: Ip) -> Class {
    let Some(port) = bytes(packet, ip.header.saturating_add(2)).map(u16::from_be_bytes) else {
        return Class::Plain(Plain::Short);
    };
    if port != UDP_ESP_PORT {
        return Class::Plain(Plain::NoIpsec);
    }
    let offset = ip.header.saturating_add(UDP_HEADER);
    let ends = packet.len() == ip.length;
    match packet.get(offset..) {
        Some([0xff]) if ends => Class::Plain(Plain::KeepAlive),
        Some([0, 0, 0, 0, ..]) => Class::Plain(Plain::Ike),
        Some(rest) if rest.len() >= ESP_HEADER => header(packet, ip, true, Operation::ESP, offset),
        _ => Class::Plain(Plain::Short),
    }
}

/// RFC 791.
fn parse_v4(packet: &[u8]) -> Option<Ip> {
    let words = usize::from(byte(packet, 0)? & 0x0f);
    let header = words.checked_mul(4)?;
    let length = usize::from(u16::from_be_bytes(bytes(packet, 2)?));
    if words < 5 {
        return None;
    }
    // The flag "more fragments" and the 13 bits of offset.
    let fragment = u16::from_be_bytes(bytes(packet, 6)?) & 0x3fff != 0;
    Some(Ip {
        source: Address::V4(bytes(packet, 12)?),
        destination: Address::V4(bytes(packet, 16)?),
        protocol: byte(packet, 9)?,
        header,
        length,
        options: words > 5,
        extensions: false,
        fragment,
    })
}

/// RFC 8200.
fn parse_v6(packet: &[u8]) -> Option<Ip> {
    const HEADER: usize = 40;
    let payload = usize::from(u16::from_be_bytes(bytes(packet, 4)?));
    let length = payload.checked_add(HEADER)?;
    let mut ip = Ip {
        source: Address::V6(bytes(packet, 8)?),
        destination: Address::V6(bytes(packet, 24)?),
        protocol: byte(packet, 6)?,
        header: HEADER,
        length,
        options: false,
        extensions: false,
        fragment: false,
    };
    loop {
        let words = match ip.protocol {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                ip.extensions = true;
                usize::from(byte(packet, ip.header.checked_add(1)?)?)
            }
            44 => {
                ip.fragment = true;
                0
            }
            _ => return Some(ip),
        };
        ip.protocol = byte(packet, ip.header)?;
        let bytes = words.checked_add(1)?.checked_mul(8)?;
        // Each turn goes at least 8 bytes on, so that the packet's end ends the loop.
        ip.header = ip.header.checked_add(bytes)?;
    }
}
