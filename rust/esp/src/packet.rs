// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finds ESP in an Ethernet frame.
//!
//! Only what the NIC processes is found: untagged frames with ESP directly in IPv4 without options
//! and not fragmented, directly in IPv6, or behind UDP in such an IPv4 packet (RFC 3948). Checksums
//! are not looked at to find it; [`Esp::header_is_right`] does.

use crate::checksum::{self, Sum};
use crate::ip::{
    self, be16, be32, Address, Ip, Layers, Ports, ETH_HLEN, IPPROTO_ESP, IPPROTO_UDP, NAT_T_PORT,
    UDP_HLEN, UDP_LENGTH,
};
use core::ops::Range;

/// ESP header: SPI and sequence number.
pub const ESP_HLEN: usize = 8;

/// What a frame with ESP has at least beside the text: Ethernet, IPv4 and ESP headers, the shortest IV and the shortest
/// ICV, in bytes.
pub const LEAST_BESIDE_TEXT: usize = ETH_HLEN + ip::IPV4_HLEN + ESP_HLEN + 8 + 8;

/// An ESP packet in a frame. Offsets count from the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esp {
    /// Start of the ESP header.
    pub offset: usize,
    /// End of the packet as the IP header has it, which is the end of the ICV; not more than the
    /// frame's length. A short frame has padding behind it.
    pub end: usize,
    /// Security parameters index, as a number.
    pub spi: u32,
    /// Sequence number in the header.
    pub seq: u32,
    /// UDP encapsulation.
    pub udp: Option<Ports>,
    /// The outer IP header is IPv6, else IPv4. Its addresses stay where they are, because copies would
    /// take longer than anything else that is done to find a packet.
    pub v6: bool,
}

impl Esp {
    /// Whether the packet, which was found in `frame`, goes to `address`.
    #[inline]
    pub fn is_to(&self, frame: &[u8], address: &Address) -> bool {
        frame
            .get(ETH_HLEN..)
            .is_some_and(|header| ip::is_to(header, self.v6, address))
    }

    /// Whether the outer IP header of the packet, which was found in `frame`, has a right checksum; IPv6 has
    /// none. The ICV does not cover that header.
    #[inline(always)]
    pub fn header_is_right(&self, frame: &[u8]) -> bool {
        let header = || frame.get(ETH_HLEN..)?.first_chunk();
        self.v6 || header().is_some_and(checksum::ipv4_is_right)
    }

    /// Source and destination address of the outer IP header of the packet, which was found in `frame`.
    pub fn addresses(&self, frame: &[u8]) -> Option<[Address; 2]> {
        ip::addresses(frame.get(ETH_HLEN..)?, self.v6)
    }
}

/// The sum of source and destination address of the outer IP header of an ESP packet that was found in `frame`.
// Of the bytes where they are: copies would take longer than the sum.
#[inline(always)]
pub fn address_sum(frame: &[u8], v6: bool) -> Option<Sum> {
    let header = frame.get(ETH_HLEN..)?;
    // Apart, so that the compiler knows their length.
    match v6 {
        false => ip::address_bytes(header, false).map(Sum::of),
        true => ip::address_bytes(header, true).map(Sum::of),
    }
}

/// Finds the ESP packet in an Ethernet frame with these `layers`; `None` if there is none of the
/// supported form or it is not complete.
///
/// UDP may carry anything, so a packet in UDP is ESP only if there is an SA with this SPI and these ports.
/// Packets with a non-ESP marker and keepalives are never taken for ESP.
// Always: as a call it would return its result through memory, and reading that back stalls.
#[inline(always)]
pub fn find(frame: &[u8], layers: &Layers) -> Option<Esp> {
    let ip = header(layers)?;
    let packet = ip.payload(frame)?;
    match ip.protocol {
        IPPROTO_ESP => esp(&ip, packet, None),
        IPPROTO_UDP if !ip.v6 => in_udp(&ip, packet),
        _ => None,
    }
}

/// Finds what [`find`] leaves alone: an ESP packet in UDP directly in IPv6.
pub fn find_in_udp6(frame: &[u8], layers: &Layers) -> Option<Esp> {
    let ip = header(layers).filter(|ip| ip.v6 && ip.protocol == IPPROTO_UDP)?;
    in_udp(&ip, ip.payload(frame)?)
}

/// The place of the ESP packet in `frame`: directly in IP, or in UDP from or to [`NAT_T_PORT`]. Unlike
/// [`find`], this also finds ESP packets that the NIC does not process.
pub fn range(frame: &[u8], layers: &Layers) -> Option<Range<usize>> {
    let ip = layers.packet(frame.len()).filter(|ip| !ip.fragment)?;
    let packet = ip.payload(frame)?;
    match ip.protocol {
        IPPROTO_ESP => Some(ip.transport..ip.end),
        IPPROTO_UDP => {
            let ports = Ports::of(packet)?;
            // Zero is the marker of IKE; a keepalive has only one byte.
            let spi = be32(packet, UDP_HLEN)?;
            let start = ip.transport.checked_add(UDP_HLEN)?;
            ([ports.src, ports.dst].contains(&NAT_T_PORT) && spi != 0).then_some(start..ip.end)
        }
        _ => None,
    }
}

/// The SPI of the frame if it is an ESP packet, and an arbitrary number if it is not. For prefetching,
/// before the turn of the packet comes.
#[inline]
pub fn peek_spi(frame: &[u8], layers: &Layers) -> u32 {
    let (transport, protocol) = layers.transport();
    let skip = match protocol {
        IPPROTO_UDP => UDP_HLEN,
        _ => 0,
    };
    be32(frame, transport.saturating_add(skip)).unwrap_or(0)
}

/// Finds the ESP packet in a frame that will be segmented. The length in its IP header has no meaning; the
/// packet reaches to the end of the frame. Not in UDP.
pub fn find_unsegmented(frame: &[u8], layers: &Layers) -> Option<Esp> {
    let ip = header(layers)?;
    let ip = Ip {
        end: frame.len(),
        ..ip
    };
    if ip.protocol != IPPROTO_ESP {
        return None;
    }
    esp(&ip, ip.payload(frame)?, None)
}

/// The IP header of an untagged frame: without options, and of no fragment. Its length has not been
/// compared with that of the frame.
#[inline(always)]
fn header(layers: &Layers) -> Option<Ip> {
    layers.simple_ip()
}

/// The ESP packet in the UDP packet `packet`, the payload of `ip`.
#[inline(always)]
fn in_udp(ip: &Ip, packet: &[u8]) -> Option<Esp> {
    let ports = Ports::of(packet)?;
    if usize::from(be16(packet, UDP_LENGTH)?) != packet.len() {
        return None;
    }
    esp(ip, packet, Some(ports)).filter(|esp| esp.spi != 0)
}

/// The ESP packet in `packet`, the payload of `ip`, behind UDP if there are ports.
#[inline(always)]
fn esp(ip: &Ip, packet: &[u8], udp: Option<Ports>) -> Option<Esp> {
    let skip = if udp.is_some() { UDP_HLEN } else { 0 };
    let header: &[u8; ESP_HLEN] = packet.get(skip..)?.first_chunk()?;
    Some(Esp {
        offset: ip.transport.checked_add(skip)?,
        end: ip.end,
        spi: be32(header, 0)?,
        seq: be32(header, 4)?,
        udp,
        v6: ip.v6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(frame: &[u8]) -> Option<Esp> {
        super::find(frame, &Layers::find(frame))
    }

    fn find_unsegmented(frame: &[u8]) -> Option<Esp> {
        super::find_unsegmented(frame, &Layers::find(frame))
    }

    fn peek_spi(frame: &[u8]) -> u32 {
        super::peek_spi(frame, &Layers::find(frame))
    }

    fn ipv4(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((20 + payload as u16).to_be_bytes());
        frame.extend([
            0,
            1,
            0x40,
            0,
            64,
            IPPROTO_ESP,
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
        ]);
        frame.extend([0, 0, 0x43, 0x21, 0x87, 0x65, 0x43, 0x21]);
        frame.resize(34 + payload, 0xaa);
        frame
    }

    fn ipv6(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((payload as u16).to_be_bytes());
        frame.extend([IPPROTO_ESP, 64]);
        frame.extend([0xfd; 16]);
        frame.extend([0xfe; 16]);
        frame.extend([0, 0, 0x43, 0x21, 0x87, 0x65, 0x43, 0x21]);
        frame.resize(54 + payload, 0xaa);
        frame
    }

    #[test]
    fn finds_esp_in_ipv4_and_ignores_ethernet_padding() {
        let mut frame = ipv4(24);
        frame.resize(60, 0);
        let esp = find(&frame).unwrap();
        assert_eq!((esp.offset, esp.end), (34, 58));
        assert_eq!((esp.spi, esp.seq), (0x4321, 0x8765_4321));
        let [src, dst] = esp.addresses(&frame).unwrap();
        assert_eq!(src.bytes[..5], [10, 0, 0, 1, 0]);
        assert_eq!((dst.family, &dst.bytes[..5]), (4, &[10, 0, 0, 2, 0][..]));
        assert!(esp.is_to(&frame, &dst) && !esp.is_to(&frame, &src));
        assert!(!esp.is_to(&frame, &Address { family: 6, ..dst }));
    }

    #[test]
    fn finds_esp_in_ipv6() {
        let frame = ipv6(24);
        let esp = find(&frame).unwrap();
        assert_eq!((esp.offset, esp.end, esp.spi), (54, 78, 0x4321));
        let [src, dst] = [0xfd, 0xfe].map(|byte| Address {
            family: 6,
            bytes: [byte; 16],
        });
        assert_eq!(esp.addresses(&frame), Some([src, dst]));
        assert!(esp.is_to(&frame, &dst) && !esp.is_to(&frame, &src));
    }

    /// ESP in UDP over IPv4.
    fn udp(payload: usize) -> Vec<u8> {
        let mut frame = ipv4(8 + payload);
        frame[23] = IPPROTO_UDP;
        let len = 8 + payload as u16;
        let header = [[0x11, 0x94], [0x11, 0x95], len.to_be_bytes(), [0, 0]].concat();
        frame[34..42].copy_from_slice(&header);
        if payload >= 8 {
            frame[42..50].copy_from_slice(&[0, 0, 0x43, 0x21, 0x87, 0x65, 0x43, 0x21]);
        }
        frame
    }

    #[test]
    fn finds_esp_in_udp() {
        let mut frame = udp(24);
        frame.extend([0; 7]);
        let esp = find(&frame).unwrap();
        assert_eq!((esp.offset, esp.end, esp.spi), (42, 66, 0x4321));
        let ports = Ports {
            src: 4500,
            dst: 4501,
        };
        assert_eq!((esp.udp, esp.seq), (Some(ports), 0x8765_4321));
        // Another length than that of the IP packet.
        for len in [31, 33] {
            let mut other = frame.clone();
            other[39] = len;
            assert_eq!(find(&other), None);
        }
        let mut marker = frame.clone();
        marker[42..46].fill(0);
        assert_eq!(find(&marker), None);
        for payload in [0, 1, 7] {
            assert_eq!(find(&udp(payload)), None, "{payload}");
        }
        assert_eq!(find_unsegmented(&frame), None);
    }

    #[test]
    fn esp_in_udp_over_ipv6_is_found_on_request() {
        let mut frame = ipv6(32);
        let esp = frame[54..62].to_vec();
        frame[54..62].copy_from_slice(&[0x11, 0x94, 0x11, 0x94, 0, 32, 0, 0]);
        frame[62..70].copy_from_slice(&esp);
        frame[20] = IPPROTO_UDP;
        assert_eq!(find(&frame), None);
        let esp = find_in_udp6(&frame, &Layers::find(&frame)).unwrap();
        assert_eq!((esp.offset, esp.end, esp.spi), (62, 86, 0x4321));
        assert!(esp.v6 && esp.udp.is_some());
        assert_eq!(find_in_udp6(&udp(24), &Layers::find(&udp(24))), None);
        // A marker of IKE, and another length.
        for (at, value) in [(64, 0), (59, 31)] {
            let mut other = frame.clone();
            other[at] = value;
            other[65] = if at == 64 { 0 } else { other[65] };
            assert_eq!(find_in_udp6(&other, &Layers::find(&other)), None);
        }
        // With the same bytes as ESP there is nothing wrong with the frame.
        frame[20] = IPPROTO_ESP;
        assert!(find(&frame).is_some());
    }

    #[test]
    fn peeking_finds_the_same_spi() {
        for frame in [ipv4(30), ipv6(30), udp(30)] {
            assert_eq!(peek_spi(&frame), find(&frame).unwrap().spi);
            assert_eq!(peek_spi(&frame[..36]), 0);
        }
    }

    #[test]
    fn the_length_of_what_is_to_be_segmented_does_not_matter() {
        for (mut frame, length) in [(ipv4(24), 16..18), (ipv6(24), 18..20)] {
            frame[length.clone()].fill(0);
            assert_eq!(find(&frame), None);
            let end = frame.len();
            assert_eq!(find_unsegmented(&frame).unwrap().end, end);
        }
    }

    #[test]
    fn other_packets_are_left_alone() {
        // (offset, value): EtherType, IHL, version, fragment flags and offset, protocol, length.
        for (at, value) in [
            (12, 0x81),
            (14, 0x46),
            (14, 0x65),
            (20, 0x20),
            (21, 1),
            (23, 17),
            (17, 200),
            (17, 27),
        ] {
            let mut frame = ipv4(24);
            frame[at] = value;
            assert_eq!(find(&frame), None, "{at}");
        }
        for (at, value) in [(12, 0x81), (14, 0x45), (20, 0), (19, 200), (19, 7)] {
            let mut frame = ipv6(24);
            frame[at] = value;
            assert_eq!(find(&frame), None, "{at}");
        }
    }

    #[test]
    fn truncated_frames_are_left_alone() {
        for frame in [ipv4(24), ipv6(24), udp(24)] {
            for len in 0..frame.len() {
                assert_eq!(find(&frame[..len]), None);
            }
        }
    }

    fn in_network(frame: &[u8]) -> Option<Range<usize>> {
        range(frame, &Layers::find(frame))
    }

    #[test]
    fn networks_find_esp_in_ip_and_in_udp() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0]);
        frame.extend([
            0x45,
            0,
            0,
            40,
            0,
            0,
            0,
            0,
            64,
            IPPROTO_ESP,
            0,
            0,
            1,
            1,
            1,
            1,
            2,
            2,
            2,
            2,
        ]);
        frame.extend([0x30, 0, 0x11, 0x94, 0, 20, 0, 0, 0, 0, 0x10, 0]);
        frame.resize(60, 0);
        assert_eq!(in_network(&frame), Some(34..54));
        frame[23] = IPPROTO_UDP;
        assert_eq!(in_network(&frame), Some(42..54));
        // IKE, another port, a keepalive.
        for (at, value) in [(44, 0), (37, 0x95), (17, 29)] {
            let mut other = frame.clone();
            other[at] = value;
            assert_eq!(in_network(&other), None, "{at}");
        }
        frame[20] = 0x20;
        assert_eq!(in_network(&frame), None);
    }

    proptest! {
        #[test]
        fn what_is_found_lies_in_the_frame(
            mut frame in prop::collection::vec(any::<u8>(), 0..120), kind in 0u8..3
        ) {
            let head = match kind {
                0 => ipv4(24),
                1 => ipv6(24),
                _ => udp(24),
            };
            // Keep what makes the frame ESP, leave lengths and the rest random.
            for at in [12, 13, 14, 20, 21, 23] {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = head[at];
                }
            }
            if let Some(esp) = find(&frame) {
                prop_assert!(esp.offset + ESP_HLEN <= esp.end && esp.end <= frame.len());
            }
        }
    }
}
