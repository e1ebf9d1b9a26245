// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the hash of a frame is made of (VIRTIO 1.4 section 5.1.6.4.3).

use espnic_esp::ip::{Layers, IPPROTO_TCP, IPPROTO_UDP};
use espnic_esp::upper::{Fragment, Upper};
use espnic_wire::rss;

/// The parts of a frame that are hashed.
#[derive(Debug, PartialEq, Eq)]
pub struct Flow<'a> {
    /// Source and destination address.
    pub addresses: &'a [u8],
    /// Source and destination port; empty if they do not count.
    pub ports: &'a [u8],
    /// The type (`REPORT_`).
    pub report: u16,
}

/// The types of one version of IP, and what they are reported as.
struct Types {
    ip: (u32, u16),
    tcp: (u32, u16),
    udp: (u32, u16),
}

const IPV4: Types = Types {
    ip: (rss::HASH_IPV4, rss::REPORT_IPV4),
    tcp: (rss::HASH_TCPV4, rss::REPORT_TCPV4),
    udp: (rss::HASH_UDPV4, rss::REPORT_UDPV4),
};
const IPV6: Types = Types {
    ip: (rss::HASH_IPV6, rss::REPORT_IPV6),
    tcp: (rss::HASH_TCPV6, rss::REPORT_TCPV6),
    udp: (rss::HASH_UDPV6, rss::REPORT_UDPV6),
};

impl<'a> Flow<'a> {
    /// That of a frame with these headers, by the enabled `types`; `None` if there is none. All parts of a
    /// fragmented packet have one flow, that of their addresses.
    pub fn find(frame: &'a [u8], layers: &Layers, types: u32) -> Option<Self> {
        let ip = layers.packet(frame.len())?;
        let known = if ip.v6 { IPV6 } else { IPV4 };
        let addresses = ip.address_bytes(frame)?;
        let packet = frame.get(..ip.end)?;
        let upper = Upper::find(packet, &ip).filter(|upper| upper.fragment == Fragment::No);
        let with_ports = upper.and_then(|upper| {
            let (bit, report) = match upper.protocol {
                IPPROTO_TCP => known.tcp,
                IPPROTO_UDP => known.udp,
                _ => return None,
            };
            let ports = packet.get(upper.at..)?.get(..4)?;
            (types & bit != 0).then_some((ports, report))
        });
        let (bit, report) = known.ip;
        let (ports, report) = with_ports.or((types & bit != 0).then_some((&[][..], report)))?;
        Some(Self {
            addresses,
            ports,
            report,
        })
    }

    /// The bytes in the order in which they are hashed.
    pub fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.addresses.iter().chain(self.ports)
    }
}

#[cfg(test)]
mod tests {
    use super::super::toeplitz::{Toeplitz, EXAMPLE_KEY as KEY};
    use super::*;
    use crate::frame::Frame;
    use espnic_wire::rss::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const IPV4_ALL: u32 = HASH_IPV4 | HASH_TCPV4 | HASH_UDPV4;
    const IPV6_ALL: u32 = HASH_IPV6 | HASH_TCPV6 | HASH_UDPV6;

    /// Microsoft's examples for verification: destination and source with their ports, the hash of the
    /// addresses, and that of the connection.
    const V4: [(&str, u16, &str, u16, u32, u32); 5] = [
        (
            "161.142.100.80",
            1766,
            "66.9.149.187",
            2794,
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "65.69.140.83",
            4739,
            "199.92.111.2",
            14230,
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "12.22.207.184",
            38024,
            "24.19.198.95",
            12898,
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "209.142.163.6",
            2217,
            "38.27.205.30",
            48228,
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "202.188.127.2",
            1303,
            "153.39.163.191",
            44251,
            0x5d18_09c5,
            0x10e8_28a2,
        ),
    ];
    const V6: [(&str, u16, &str, u16, u32, u32); 3] = [
        (
            "3ffe:2501:200:3::1",
            1766,
            "3ffe:2501:200:1fff::7",
            2794,
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "ff02::1",
            4739,
            "3ffe:501:8::260:97ff:fe40:efab",
            14230,
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "fe80::200:f8ff:fe21:67cf",
            38024,
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            0x4b61_e985,
            0x02d1_feef,
        ),
    ];

    fn ipv4(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Frame {
        let [src, dst] = [src, dst].map(|address| address.parse::<Ipv4Addr>().unwrap().octets());
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((payload.len() as u16 + 20).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([src, dst].concat());
        frame.extend(payload);
        frame.into()
    }

    fn ipv6(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Frame {
        let [src, dst] = [src, dst].map(|address| address.parse::<Ipv6Addr>().unwrap().octets());
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend([src, dst].concat());
        frame.extend(payload);
        frame.into()
    }

    fn ports(src: u16, dst: u16) -> Vec<u8> {
        let mut ports = [src.to_be_bytes(), dst.to_be_bytes()].concat();
        ports.resize(20, 0);
        ports
    }

    /// The type and the hash, with Microsoft's key.
    fn hash(frame: &Frame, types: u32) -> Option<(u16, u32)> {
        let flow = Flow::find(frame, frame.layers(), types)?;
        Some((flow.report, Toeplitz::new(&KEY).hash(flow.bytes())))
    }

    #[test]
    fn hashes_are_those_of_microsofts_examples() {
        for (dst, to, src, from, addresses, connection) in V4 {
            for (protocol, report) in [(6, REPORT_TCPV4), (17, REPORT_UDPV4)] {
                let frame = ipv4(src, dst, protocol, &ports(from, to));
                assert_eq!(hash(&frame, IPV4_ALL), Some((report, connection)));
                let ip_only = Some((REPORT_IPV4, addresses));
                assert_eq!(hash(&frame, HASH_IPV4 | IPV6_ALL), ip_only);
            }
        }
        for (dst, to, src, from, addresses, connection) in V6 {
            for (protocol, report) in [(6, REPORT_TCPV6), (17, REPORT_UDPV6)] {
                let frame = ipv6(src, dst, protocol, &ports(from, to));
                assert_eq!(hash(&frame, IPV6_ALL), Some((report, connection)));
                let ip_only = Some((REPORT_IPV6, addresses));
                assert_eq!(hash(&frame, HASH_IPV6 | IPV4_ALL), ip_only);
            }
        }
    }

    #[test]
    fn only_enabled_types_have_a_hash() {
        let tcp = ipv4("10.0.0.1", "10.0.0.2", 6, &ports(1, 2));
        for (types, report) in [
            (0, None),
            (HASH_UDPV4 | IPV6_ALL, None),
            (HASH_TCPV4, Some(REPORT_TCPV4)),
            (HASH_IPV4 | HASH_UDPV4, Some(REPORT_IPV4)),
        ] {
            assert_eq!(
                hash(&tcp, types).map(|(report, _)| report),
                report,
                "{types}"
            );
        }
        // Another protocol has no ports.
        let icmp = ipv4("10.0.0.1", "10.0.0.2", 1, &ports(1, 2));
        let report = hash(&icmp, HASH_TYPES).unwrap().0;
        assert_eq!(report, REPORT_IPV4);
        assert_eq!(hash(&vec![0; 60].into(), HASH_TYPES), None);
    }

    #[test]
    fn all_parts_of_a_packet_have_one_hash() {
        let part = |flags: u16| {
            let mut bytes = Vec::from(ipv4("10.0.0.1", "10.0.0.2", 17, &ports(1, 2)));
            bytes[20..22].copy_from_slice(&flags.to_be_bytes());
            hash(&bytes.into(), HASH_TYPES)
        };
        assert_eq!(part(0x2000), part(3));
        assert_eq!(part(0x2000).unwrap().0, REPORT_IPV4);
        let part = |offset: u16| {
            let mut payload = vec![17, 0];
            payload.extend(offset.to_be_bytes());
            payload.extend([0; 4]);
            payload.extend(ports(1, 2));
            hash(&ipv6("fe80::1", "fe80::2", 44, &payload), HASH_TYPES)
        };
        assert_eq!(part(1), part(8));
        assert_eq!(part(1).unwrap().0, REPORT_IPV6);
    }

    #[test]
    fn extension_headers_are_passed_over() {
        let mut payload = vec![6, 0, 1, 4, 0, 0, 0, 0];
        payload.extend(ports(1, 2));
        let long = ipv6("fe80::1", "fe80::2", 0, &payload);
        let plain = ipv6("fe80::1", "fe80::2", 6, &ports(1, 2));
        assert_eq!(hash(&long, HASH_TYPES), hash(&plain, HASH_TYPES));
    }

    /// Ports that are not there are not hashed.
    #[test]
    fn packets_may_be_too_short() {
        let frame = ipv4("10.0.0.1", "10.0.0.2", 6, &[0, 1, 0]);
        assert_eq!(hash(&frame, HASH_TYPES).unwrap().0, REPORT_IPV4);
        assert_eq!(hash(&frame, HASH_TCPV4), None);
        // Ethernet's padding is not part of the packet.
        let mut padded = Vec::from(frame);
        padded.resize(60, 7);
        assert_eq!(hash(&padded.into(), HASH_TCPV4), None);
    }
}
