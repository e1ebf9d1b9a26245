// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where things are in an Ethernet frame.

use std::ops::Range;

/// Ethernet header without VLAN tag.
pub const ETH_LEN: usize = 14;
const VLAN_LEN: usize = 4;
/// VLAN tags that are looked through.
const MAX_TAGS: usize = 2;
/// Bytes in front of the longest IP packet: Ethernet header with all VLAN tags.
pub const MAX_L2_LEN: usize = ETH_LEN + MAX_TAGS * VLAN_LEN;
const ESP: u8 = 50;
const UDP: u8 = 17;
const UDP_LEN: usize = 8;
/// UDP port of IKE and of ESP in UDP (RFC 3948).
const PORT_NAT_T: u16 = 4500;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_QINQ: u16 = 0x88a8;
const IPV6_LEN: usize = 40;

/// An IP packet in a frame. All offsets are inside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// IPv6, else IPv4.
    pub v6: bool,
    /// Start of the IP header.
    pub network: usize,
    /// Start of what `protocol` names.
    pub transport: usize,
    /// End of the packet by its own length field; Ethernet padding may follow.
    pub end: usize,
    /// IPv4 protocol or IPv6 next header of the fixed header.
    pub protocol: u8,
    /// Part of a fragmented IPv4 packet.
    pub fragment: bool,
}

/// Length of the Ethernet header of `frame` with up to two VLAN tags, and the EtherType behind them.
fn l2(frame: &[u8]) -> Option<(usize, u16)> {
    let mut len = ETH_LEN;
    let mut kind = be16(frame, len - 2)?;
    for _ in 0..MAX_TAGS {
        if matches!(kind, TYPE_VLAN | TYPE_QINQ) {
            len += VLAN_LEN;
            kind = be16(frame, len - 2)?;
        }
    }
    Some((len, kind))
}

/// Length of the longest frame with VLAN tags like those of `frame`, if packets have up to `mtu`
/// bytes.
pub fn longest(frame: &[u8], mtu: u16) -> usize {
    l2(frame).map_or(ETH_LEN, |(len, _)| len) + usize::from(mtu)
}

/// Where the ESP packet in `frame` is, if there is one: directly in IP, or in UDP from or to the port
/// for it. Whether there is an SA does not matter.
pub fn esp(frame: &[u8]) -> Option<Range<usize>> {
    let packet = parse(frame).filter(|packet| !packet.fragment)?;
    match packet.protocol {
        ESP => Some(packet.transport..packet.end),
        UDP => esp_in_udp(frame, &packet),
        _ => None,
    }
}

fn esp_in_udp(frame: &[u8], packet: &IpPacket) -> Option<Range<usize>> {
    let ports = [
        be16(frame, packet.transport)?,
        be16(frame, packet.transport + 2)?,
    ];
    let start = packet.transport + UDP_LEN;
    // Zero is the marker of IKE; a keepalive has only one byte.
    let spi = frame.get(start..packet.end)?.first_chunk::<4>()?;
    (ports.contains(&PORT_NAT_T) && *spi != [0; 4]).then_some(start..packet.end)
}

/// Finds the IP packet in `frame`, below up to two VLAN tags.
pub fn parse(frame: &[u8]) -> Option<IpPacket> {
    let (network, kind) = l2(frame)?;
    let packet = match kind {
        TYPE_IPV4 => ipv4(frame, network)?,
        TYPE_IPV6 => ipv6(frame, network)?,
        _ => return None,
    };
    (packet.transport <= packet.end && packet.end <= frame.len()).then_some(packet)
}

fn ipv4(frame: &[u8], network: usize) -> Option<IpPacket> {
    let first = *frame.get(network)?;
    let header = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    Some(IpPacket {
        v6: false,
        network,
        transport: network + header,
        end: network + usize::from(be16(frame, network + 2)?),
        protocol: *frame.get(network + 9)?,
        fragment: be16(frame, network + 6)? & 0x3fff != 0,
    })
}

fn ipv6(frame: &[u8], network: usize) -> Option<IpPacket> {
    if frame.get(network)? >> 4 != 6 {
        return None;
    }
    let transport = network + IPV6_LEN;
    Some(IpPacket {
        v6: true,
        network,
        transport,
        end: transport + usize::from(be16(frame, network + 4)?),
        protocol: *frame.get(network + 6)?,
        fragment: false,
    })
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    match *frame.get(at..at + 2)? {
        [a, b] => Some(u16::from_be_bytes([a, b])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_ipv4_below_a_vlan_tag() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 5, 0x08, 0]);
        frame.extend([
            0x45, 0, 0, 24, 0, 0, 0x40, 0, 64, 6, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
        ]);
        frame.extend([0; 30]);
        let packet = parse(&frame).unwrap();
        assert_eq!((packet.network, packet.transport, packet.end), (18, 38, 42));
        assert!(!packet.v6 && !packet.fragment);
        frame[18 + 6] = 0x20;
        assert!(parse(&frame).unwrap().fragment);
        frame[18 + 3] = 19;
        assert_eq!(parse(&frame), None);
    }

    #[test]
    fn esp_is_found_in_ip_and_in_udp() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0]);
        frame.extend([
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, ESP, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
        ]);
        frame.extend([0x30, 0, 0x11, 0x94, 0, 20, 0, 0, 0, 0, 0x10, 0]);
        frame.resize(60, 0);
        assert_eq!(esp(&frame), Some(34..54));
        frame[23] = UDP;
        assert_eq!(esp(&frame), Some(42..54));
        // IKE, another port, a keepalive.
        for (at, value) in [(44, 0), (37, 0x95), (17, 29)] {
            let mut other = frame.clone();
            other[at] = value;
            assert_eq!(esp(&other), None, "{at}");
        }
        frame[20] = 0x20;
        assert_eq!(esp(&frame), None);
    }

    #[test]
    fn tags_do_not_count_as_packet() {
        let mut frame = vec![0; 60];
        assert_eq!(longest(&frame, 1500), 1514);
        assert_eq!(longest(&[], 1500), 1514);
        frame[12] = 0x81;
        assert_eq!(longest(&frame, 1500), 1518);
        frame[16] = 0x88;
        frame[17] = 0xa8;
        assert_eq!(longest(&frame, 1500), 1522);
        frame[20] = 0x81;
        assert_eq!(longest(&frame, 1500), 1522);
        assert_eq!(longest(&frame[..14], 1500), 1514);
    }

    proptest! {
        #[test]
        fn offsets_stay_inside(frame in proptest::collection::vec(any::<u8>(), 0..128), kind in 0u8..3) {
            let mut frame = frame;
            if let Some(at) = frame.get_mut(12..15) {
                at.copy_from_slice([&[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0, 0]][usize::from(kind)]);
            }
            if let Some(packet) = parse(&frame) {
                prop_assert!(packet.network <= packet.transport);
                prop_assert!(packet.transport <= packet.end && packet.end <= frame.len());
            }
        }
    }
}
