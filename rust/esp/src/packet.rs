// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finds ESP in an Ethernet frame.
//!
//! Only what the NIC processes is found: untagged frames with ESP directly in IPv4 without options
//! and not fragmented, directly in IPv6, or behind UDP in such an IPv4 packet (RFC 3948). Checksums
//! are not looked at.

use crate::checksum::IPPROTO_UDP;

/// Ethernet header in bytes, without a VLAN tag.
pub const ETH_HLEN: usize = 14;
/// ESP header: SPI and sequence number.
pub const ESP_HLEN: usize = 8;
/// IP protocol number of ESP.
pub const IPPROTO_ESP: u8 = 50;

/// IPv4 header without options.
pub(crate) const IPV4_HLEN: usize = 20;
/// IPv6 header without extension headers.
pub(crate) const IPV6_HLEN: usize = 40;
const UDP_HLEN: usize = 8;
// From the start of the frame.
const IPV4_SRC: usize = ETH_HLEN + 12;
const IPV4_DST: usize = ETH_HLEN + 16;
const IPV6_SRC: usize = ETH_HLEN + 8;
const IPV6_DST: usize = ETH_HLEN + 24;
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// More fragments, or a fragment offset.
pub(crate) const IPV4_FRAGMENT: u16 = 0x3fff;

/// An IP address as SA lookups compare it: network order, IPv4 in the first four bytes and the rest
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// 4 or 6.
    pub family: u8,
    /// The address.
    pub bytes: [u8; 16],
}

/// The UDP ports in front of an ESP packet (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

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
        let [a, b, c, d, ..] = address.bytes;
        if self.v6 {
            address.family == 6 && array(frame, IPV6_DST) == Some(address.bytes)
        } else {
            address.family == 4 && array(frame, IPV4_DST) == Some([a, b, c, d])
        }
    }

    /// Source and destination address of the outer IP header of the packet, which was found in `frame`.
    pub fn addresses(&self, frame: &[u8]) -> Option<[Address; 2]> {
        if self.v6 {
            Some([
                address::<16>(frame, IPV6_SRC, 6)?,
                address::<16>(frame, IPV6_DST, 6)?,
            ])
        } else {
            Some([
                address::<4>(frame, IPV4_SRC, 4)?,
                address::<4>(frame, IPV4_DST, 4)?,
            ])
        }
    }
}

/// Finds the ESP packet in an Ethernet frame; `None` if there is none of the supported form or it
/// is not complete.
///
/// What is in UDP may be anything: whether it is ESP is known only when there is an SA with this SPI
/// and these ports. Packets with a non-ESP marker and keepalives are never taken for ESP.
// Always: as a call it would return its result through memory, and reading that back stalls.
#[inline(always)]
pub fn find(frame: &[u8]) -> Option<Esp> {
    let ip = Ip::parse(frame)?;
    let packet = frame.get(ip.payload..ip.end)?;
    match ip.protocol {
        IPPROTO_ESP => ip.esp(packet, None),
        IPPROTO_UDP if !ip.v6 => {
            let ports = Ports {
                src: be16(packet, 0)?,
                dst: be16(packet, 2)?,
            };
            if usize::from(be16(packet, 4)?) != packet.len() {
                return None;
            }
            ip.esp(packet, Some(ports)).filter(|esp| esp.spi != 0)
        }
        _ => None,
    }
}

/// The SPI that the frame has if it is an ESP packet; anything if it is not. For those who want to make
/// ready for the packet before its turn comes.
#[inline]
pub fn peek_spi(frame: &[u8]) -> u32 {
    let Some(head) = frame.first_chunk::<64>() else {
        return 0;
    };
    let at = match (head[12], head[ETH_HLEN + 9]) {
        (0x08, IPPROTO_UDP) => ETH_HLEN + IPV4_HLEN + UDP_HLEN,
        (0x08, _) => ETH_HLEN + IPV4_HLEN,
        _ => ETH_HLEN + IPV6_HLEN,
    };
    be32(head, at).unwrap_or(0)
}

/// Finds the ESP packet in a frame that is to be segmented: the length in its IP header has no
/// meaning, the packet reaches to the end of the frame. Not in UDP.
pub fn find_unsegmented(frame: &[u8]) -> Option<Esp> {
    let ip = Ip::parse(frame)?;
    let ip = Ip {
        end: frame.len(),
        ..ip
    };
    if ip.protocol != IPPROTO_ESP {
        return None;
    }
    ip.esp(frame.get(ip.payload..)?, None)
}

/// The outer IP header; its length has not been compared with that of the frame.
struct Ip {
    /// Start of what `protocol` names, from the start of the frame.
    payload: usize,
    /// End by the header's own length.
    end: usize,
    protocol: u8,
    v6: bool,
}

impl Ip {
    /// Of an untagged frame with IPv4 without options and not fragmented, or with IPv6.
    #[inline(always)]
    fn parse(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(ETH_HLEN..)?;
        match be16(frame, 12)? {
            ETHERTYPE_IPV4 => {
                let ip: &[u8; IPV4_HLEN] = ip.first_chunk()?;
                if ip[0] != 0x45 || be16(ip, 6)? & IPV4_FRAGMENT != 0 {
                    return None;
                }
                Self::new(false, be16(ip, 2)?, ip[9])
            }
            ETHERTYPE_IPV6 => {
                let ip: &[u8; IPV6_HLEN] = ip.first_chunk()?;
                if ip[0] >> 4 != 6 {
                    return None;
                }
                Self::new(true, be16(ip, 4)?, ip[6])
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn new(v6: bool, len: u16, protocol: u8) -> Option<Self> {
        let header = if v6 { IPV6_HLEN } else { IPV4_HLEN };
        let payload = ETH_HLEN.checked_add(header)?;
        // The length in IPv6 is that of the payload.
        let before = if v6 { payload } else { ETH_HLEN };
        Some(Self {
            payload,
            end: before.checked_add(len.into())?,
            protocol,
            v6,
        })
    }

    /// The ESP packet in the payload `packet`, behind UDP if there are ports.
    #[inline(always)]
    fn esp(&self, packet: &[u8], udp: Option<Ports>) -> Option<Esp> {
        let skip = if udp.is_some() { UDP_HLEN } else { 0 };
        let header: &[u8; ESP_HLEN] = packet.get(skip..)?.first_chunk()?;
        Some(Esp {
            offset: self.payload.checked_add(skip)?,
            end: self.end,
            spi: be32(header, 0)?,
            seq: be32(header, 4)?,
            udp,
            v6: self.v6,
        })
    }
}

/// The address of `N` bytes at `at` in an IP header. `None` if the header ends before, or if no address is so
/// long.
#[inline]
pub fn address<const N: usize>(ip: &[u8], at: usize, family: u8) -> Option<Address> {
    let src: [u8; N] = array(ip, at)?;
    let mut bytes = [0; 16];
    bytes.get_mut(..N)?.copy_from_slice(&src);
    Some(Address { family, bytes })
}

#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn esp_in_udp_over_ipv6_is_left_alone() {
        let mut frame = ipv6(32);
        let esp = frame[54..62].to_vec();
        frame[54..62].copy_from_slice(&[0x11, 0x94, 0x11, 0x94, 0, 32, 0, 0]);
        frame[62..70].copy_from_slice(&esp);
        frame[20] = IPPROTO_UDP;
        assert_eq!(find(&frame), None);
        // With the same bytes as ESP there is nothing wrong with the frame.
        frame[20] = IPPROTO_ESP;
        assert!(find(&frame).is_some());
    }

    #[test]
    fn peeking_finds_the_same_spi() {
        for frame in [ipv4(30), ipv6(30), udp(30)] {
            assert_eq!(peek_spi(&frame), find(&frame).unwrap().spi);
            assert_eq!(peek_spi(&frame[..40]), 0);
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
