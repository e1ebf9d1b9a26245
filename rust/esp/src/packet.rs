// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Finds ESP in an Ethernet frame.
//!
//! Only what the NIC processes is found: untagged frames with ESP directly in IPv4 without options
//! and not fragmented, or directly in IPv6. Checksums are not looked at.

/// Ethernet header in bytes, without a VLAN tag.
pub const ETH_HLEN: usize = 14;
/// ESP header: SPI and sequence number.
pub const ESP_HLEN: usize = 8;
/// IP protocol number of ESP.
pub const IPPROTO_ESP: u8 = 50;

const IPV4_HLEN: usize = 20;
const IPV6_HLEN: usize = 40;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// More fragments, or a fragment offset.
const IPV4_FRAGMENT: u16 = 0x3fff;

/// An IP address as SA lookups compare it: network order, IPv4 in the first four bytes and the rest
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// 4 or 6.
    pub family: u8,
    /// The address.
    pub bytes: [u8; 16],
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
    /// Source address of the outer IP header.
    pub src: Address,
    /// Destination address of the outer IP header.
    pub dst: Address,
}

/// Finds the ESP packet in an Ethernet frame; `None` if there is none of the supported form or it
/// is not complete.
pub fn find(frame: &[u8]) -> Option<Esp> {
    let ip = frame.get(ETH_HLEN..)?;
    match be16(frame, 12)? {
        ETHERTYPE_IPV4 => find_ipv4(ip),
        ETHERTYPE_IPV6 => find_ipv6(ip),
        _ => None,
    }
}

fn find_ipv4(ip: &[u8]) -> Option<Esp> {
    let plain = *ip.first()? == 0x45 && be16(ip, 6)? & IPV4_FRAGMENT == 0;
    if !plain || *ip.get(9)? != IPPROTO_ESP {
        return None;
    }
    let total = usize::from(be16(ip, 2)?);
    esp(
        ip,
        IPV4_HLEN,
        total,
        address::<4>(ip, 12, 4)?,
        address::<4>(ip, 16, 4)?,
    )
}

fn find_ipv6(ip: &[u8]) -> Option<Esp> {
    if *ip.first()? >> 4 != 6 || *ip.get(6)? != IPPROTO_ESP {
        return None;
    }
    let total = IPV6_HLEN.checked_add(usize::from(be16(ip, 4)?))?;
    esp(
        ip,
        IPV6_HLEN,
        total,
        address::<16>(ip, 8, 6)?,
        address::<16>(ip, 24, 6)?,
    )
}

/// The ESP packet between `start` and `end` of the IP packet `ip`.
fn esp(ip: &[u8], start: usize, end: usize, src: Address, dst: Address) -> Option<Esp> {
    let packet = ip.get(start..end)?;
    Some(Esp {
        offset: ETH_HLEN.checked_add(start)?,
        end: ETH_HLEN.checked_add(end)?,
        spi: be32(packet, 0)?,
        seq: be32(packet, 4)?,
        src,
        dst,
    })
}

fn address<const N: usize>(ip: &[u8], at: usize, family: u8) -> Option<Address> {
    let src: [u8; N] = array(ip, at)?;
    let mut bytes = [0; 16];
    bytes.get_mut(..N)?.copy_from_slice(&src);
    Some(Address { family, bytes })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

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
        assert_eq!(esp.src.bytes[..5], [10, 0, 0, 1, 0]);
        assert_eq!(
            (esp.dst.family, &esp.dst.bytes[..5]),
            (4, &[10, 0, 0, 2, 0][..])
        );
    }

    #[test]
    fn finds_esp_in_ipv6() {
        let esp = find(&ipv6(24)).unwrap();
        assert_eq!((esp.offset, esp.end, esp.spi), (54, 78, 0x4321));
        assert_eq!(
            esp.src,
            Address {
                family: 6,
                bytes: [0xfd; 16]
            }
        );
        assert_eq!(
            esp.dst,
            Address {
                family: 6,
                bytes: [0xfe; 16]
            }
        );
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
        for frame in [ipv4(24), ipv6(24)] {
            for len in 0..frame.len() {
                assert_eq!(find(&frame[..len]), None);
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_found_lies_in_the_frame(
            mut frame in prop::collection::vec(any::<u8>(), 0..120), v6: bool
        ) {
            let head = if v6 { ipv6(24) } else { ipv4(24) };
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
