// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A short form of the flow of most packets, for caches of what the policies say of them.
//!
//! Only the flow of a whole TCP or UDP packet directly behind an IP header without options has one. It is
//! read and compared in a fraction of the time that a [`Flow`] takes.

use crate::ip::{
    array, be16, be32, Address, Ports, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETH_HLEN, IPPROTO_TCP,
    IPPROTO_UDP, IPV4_DST, IPV4_HLEN, IPV4_PROTOCOL, IPV4_SRC, IPV6_DST, IPV6_HLEN, IPV6_LENGTH,
    IPV6_NEXT_HEADER, IPV6_SRC,
};
use crate::selector::{Flow, Seen};
use crate::upper::Fragment;

/// Length of source and destination port.
const PORTS_LEN: usize = 4;
/// An IPv4 header without options begins with this.
const IPV4_PLAIN: u32 = 0x45;
/// Flags and offset of an IPv4 packet that is a part of another.
const IPV4_FRAGMENT: u32 = 0x3fff;

/// The short form of a [`Flow`]: two packets have the same exactly if they have the same flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKey {
    /// Address family, protocol and ports. Never 0 of a packet.
    upper: u64,
    /// The addresses in the byte order of memory; of IPv4 in the first of both words.
    src: [u64; 2],
    dst: [u64; 2],
}

impl FlowKey {
    /// The short form for the IP packet at the start of `packet`, if it has one.
    #[inline(always)]
    pub fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::ipv4(packet.first_chunk()?),
            6 => Self::ipv6(packet.first_chunk()?),
            _ => None,
        }
    }

    /// That of the packet directly behind the Ethernet header of `frame`, if it has one.
    #[inline]
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        let v6 = match be16(frame, ETH_HLEN.wrapping_sub(2))? {
            ETHERTYPE_IPV4 => false,
            ETHERTYPE_IPV6 => true,
            _ => return None,
        };
        Self::of(frame.get(ETH_HLEN..)?).filter(|key| key.is_v6() == v6)
    }

    #[inline(always)]
    fn ipv4(head: &[u8; IPV4_HLEN + PORTS_LEN]) -> Option<Self> {
        // In words, because a look at each byte takes three times as long.
        let (start, fragment) = (be32(head, 0)?, be32(head, 4)?);
        let is_plain = start >> 24 == IPV4_PLAIN
            && start & 0xffff >= (IPV4_HLEN + PORTS_LEN) as u32
            && fragment & IPV4_FRAGMENT == 0;
        let address = |at| {
            let [a, b, c, d] = array(head, at)?;
            Some([u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0])
        };
        let key = Self {
            upper: upper(4, *head.get(IPV4_PROTOCOL)?, array(head, IPV4_HLEN)?)?,
            src: address(IPV4_SRC)?,
            dst: address(IPV4_DST)?,
        };
        is_plain.then_some(key)
    }

    #[inline(always)]
    fn ipv6(head: &[u8; IPV6_HLEN + PORTS_LEN]) -> Option<Self> {
        let is_plain = usize::from(be16(head, IPV6_LENGTH)?) >= PORTS_LEN;
        let word = |at| array(head, at).map(u64::from_ne_bytes);
        let key = Self {
            upper: upper(6, *head.get(IPV6_NEXT_HEADER)?, array(head, IPV6_HLEN)?)?,
            src: [word(IPV6_SRC)?, word(IPV6_SRC + 8)?],
            dst: [word(IPV6_DST)?, word(IPV6_DST + 8)?],
        };
        is_plain.then_some(key)
    }

    /// IPv6, else IPv4.
    #[inline(always)]
    pub fn is_v6(&self) -> bool {
        self.upper & 0xff == 6
    }

    /// TCP or UDP, as in the IP header.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        let [_, protocol, ..] = self.upper.to_le_bytes();
        protocol
    }

    /// Source and destination port as in the packet.
    pub(crate) fn ports(&self) -> [u8; PORTS_LEN] {
        let [_, _, s0, s1, d0, d1, ..] = self.upper.to_le_bytes();
        [s0, s1, d0, d1]
    }

    /// The source address as in the packet; of IPv4 in the first four bytes.
    pub(crate) fn source(&self) -> [u8; 16] {
        bytes(self.src)
    }

    /// The destination address, likewise.
    pub(crate) fn destination(&self) -> [u8; 16] {
        bytes(self.dst)
    }

    /// Whether it is one of UDP from or to this port.
    #[inline(always)]
    pub fn is_udp_with(&self, port: u16) -> bool {
        let [_, protocol, s0, s1, d0, d1, ..] = self.upper.to_le_bytes();
        let port = port.to_be_bytes();
        protocol == IPPROTO_UDP && ([s0, s1] == port || [d0, d1] == port)
    }

    /// The flow that it is short for.
    pub fn flow(&self) -> Flow {
        let [family, ..] = self.upper.to_le_bytes();
        let [s0, s1, d0, d1] = self.ports();
        let address = |bytes| Address { family, bytes };
        Flow {
            src: address(self.source()),
            dst: address(self.destination()),
            protocol: Some(self.protocol()),
            ports: Seen::Ports(Ports {
                src: u16::from_be_bytes([s0, s1]),
                dst: u16::from_be_bytes([d0, d1]),
            }),
            fragment: Fragment::No,
        }
    }

    /// A number for a place in a table. Who chooses packets can choose them to have the same.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        let ([a, b], [c, d]) = (self.src, self.dst);
        let mixed = self.upper ^ a ^ b.rotate_left(16) ^ c.rotate_left(32) ^ d.rotate_left(48);
        // Fibonacci hashing: the high bits depend on all bits below.
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }
}

#[inline(always)]
fn bytes([first, second]: [u64; 2]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = first.to_ne_bytes();
    let [i, j, k, l, m, n, o, p] = second.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[inline(always)]
fn upper(family: u8, protocol: u8, ports: [u8; PORTS_LEN]) -> Option<u64> {
    let ports = u64::from(u32::from_le_bytes(ports));
    matches!(protocol, IPPROTO_TCP | IPPROTO_UDP)
        .then_some((ports << 16) | (u64::from(protocol) << 8) | u64::from(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IP packet with these bytes, the rest of which is taken from `random`.
    fn packet(v6: bool, protocol: u8, len: u16, random: &[u8]) -> Vec<u8> {
        let mut packet = random.to_vec();
        let [l0, l1] = len.to_be_bytes();
        if v6 {
            packet[0] = 0x60;
            packet[4..7].copy_from_slice(&[l0, l1, protocol]);
        } else {
            packet[..4].copy_from_slice(&[0x45, 0, l0, l1]);
            packet[6..10].copy_from_slice(&[0x40, 0, 64, protocol]);
        }
        packet
    }

    #[test]
    fn only_plain_packets_have_one() {
        let random: Vec<u8> = (1..61).collect();
        for (v6, least) in [(false, 24), (true, 4)] {
            for protocol in [6, 17] {
                let good = packet(v6, protocol, least, &random);
                assert!(FlowKey::of(&good).is_some());
                assert_eq!(FlowKey::of(&packet(v6, protocol, least - 1, &random)), None);
                // Where the ports end.
                let needed = if v6 { 44 } else { 24 };
                assert!(FlowKey::of(&good[..needed]).is_some());
                for len in 0..needed {
                    assert_eq!(FlowKey::of(&good[..len]), None, "{len}");
                }
            }
            for protocol in [0, 1, 43, 44, 50, 58, 60, 132] {
                assert_eq!(FlowKey::of(&packet(v6, protocol, 60, &random)), None);
            }
        }
        // Options, another version, more fragments, a later fragment.
        for (at, value) in [(0, 0x46), (0, 0x55), (6, 0x20), (7, 1)] {
            let mut other = packet(false, 6, 60, &random);
            other[at] = value;
            assert_eq!(FlowKey::of(&other), None, "{at}");
        }
    }

    #[test]
    fn hashes_are_spread() {
        let random = [7; 60];
        let place = |port: u16| {
            let mut packet = packet(false, 6, 60, &random);
            packet[20..22].copy_from_slice(&port.to_be_bytes());
            FlowKey::of(&packet).unwrap().hash() % 64
        };
        let mut places: Vec<_> = (1000..1064).map(place).collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 30, "{}", places.len());
    }

    proptest! {
        #[test]
        fn it_is_short_for_the_flow(
            random in prop::collection::vec(any::<u8>(), 60),
            v6: bool,
            protocol in prop::sample::select(vec![6u8, 17, 50]),
            len in prop::sample::select(vec![0u16, 4, 20, 23, 24, 40, 60, 1500]),
        ) {
            let packet = packet(v6, protocol, len, &random);
            if let Some(key) = FlowKey::of(&packet) {
                prop_assert_eq!(Flow::of(&packet), Some(key.flow()));
                prop_assert_eq!(key.is_v6(), v6);
                if let Seen::Ports(ports) = key.flow().ports {
                    let udp = protocol == IPPROTO_UDP;
                    prop_assert_eq!(key.is_udp_with(ports.src), udp);
                    prop_assert_eq!(key.is_udp_with(ports.dst), udp);
                    let neither = [ports.src, ports.dst].iter().all(|&port| port != 4500);
                    prop_assert!(!key.is_udp_with(4500) || !neither);
                    let other = ports.src ^ 1;
                    prop_assert_eq!(key.is_udp_with(other), udp && other == ports.dst);
                }
            }
        }

        /// Any other byte of what a flow consists of makes another one.
        #[test]
        fn others_differ(
            random in prop::collection::vec(any::<u8>(), 60), v6: bool, at in 8usize..44, bit in 0u8..8,
        ) {
            let packet = packet(v6, 6, 60, &random);
            let mut other = packet.clone();
            other[at] ^= 1 << bit;
            if let (Some(key), Some(changed)) = (FlowKey::of(&packet), FlowKey::of(&other)) {
                prop_assert_eq!(key == changed, Flow::of(&packet) == Flow::of(&other));
            }
        }
    }
}
