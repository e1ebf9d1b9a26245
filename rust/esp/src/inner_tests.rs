// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Each packet with a right checksum, and with everything that keeps it from being looked at.

use super::*;
use crate::checksum::{complete, TCP_FIELD, UDP_FIELD};
use crate::ip::{put_be16, Address};

const SRC: u8 = 0x21;
const DST: u8 = 0x42;

/// Makes the checksum in `ip[start..]` right for addresses that are at `addresses` and an own length of `len`.
fn finish(
    mut ip: Vec<u8>,
    protocol: u8,
    addresses: std::ops::Range<usize>,
    start: usize,
) -> Vec<u8> {
    let len = ip.len() - start;
    let field = if protocol == IPPROTO_TCP {
        TCP_FIELD
    } else {
        assert!(put_be16(&mut ip, start + 4, len as u16));
        UDP_FIELD
    };
    let pseudo = Sum::of(&ip[addresses])
        .plus(protocol.into())
        .plus(len as u32);
    assert!(put_be16(&mut ip, start + field, pseudo.folded()));
    let end = ip.len();
    assert!(complete(&mut ip, start, field, end));
    ip
}

/// TCP or UDP in IPv4, with a header of `hlen` bytes; with less than 20 the addresses are part of both.
fn in_ipv4(protocol: u8, hlen: usize) -> Vec<u8> {
    let mut ip = vec![0x40 | (hlen / 4) as u8, 0, 0, 60 + hlen as u8];
    ip.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend([[SRC; 4], [DST; 4]].concat());
    ip.resize(hlen.max(20), 1);
    ip.resize(60 + hlen, 0x5a);
    finish(ip, protocol, 12..20, hlen)
}

fn in_ipv6(protocol: u8) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0, 0, 60, protocol, 64];
    ip.extend([[SRC; 16], [DST; 16]].concat());
    ip.resize(100, 0x5a);
    finish(ip, protocol, 8..40, 40)
}

fn no_addresses() -> Option<Sum> {
    panic!("in tunnel mode the addresses are those of the inner packet")
}

fn in_tunnel(next_header: u8, payload: &[u8]) -> bool {
    let opened = Opened {
        payload,
        next_header,
    };
    checksum_is_right(&opened, true, no_addresses)
}

fn in_transport(next_header: u8, payload: &[u8], addresses: Option<[Address; 2]>) -> bool {
    let opened = Opened {
        payload,
        next_header,
    };
    let sum = |[src, dst]: [Address; 2]| Sum::of(&src.bytes).and(Sum::of(&dst.bytes));
    checksum_is_right(&opened, false, || addresses.map(sum))
}

/// Every damage to what the checksum covers must be seen.
fn every_byte_counts(next_header: u8, ip: &[u8], covered: impl IntoIterator<Item = usize>) {
    assert!(in_tunnel(next_header, ip));
    for at in covered {
        let mut bad = ip.to_vec();
        bad[at] ^= 0x10;
        assert!(!in_tunnel(next_header, &bad), "byte {at}");
    }
}

#[test]
fn tunnelled_ipv4() {
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        for hlen in [20, 24, 60] {
            let ip = in_ipv4(protocol, hlen);
            every_byte_counts(IPPROTO_IPIP, &ip, (12..20).chain(hlen..ip.len()));
            // What is behind the packet is padding for traffic flow confidentiality.
            assert!(in_tunnel(IPPROTO_IPIP, &[&ip[..], &[1, 2, 3]].concat()));
            for len in 0..ip.len() {
                assert!(!in_tunnel(IPPROTO_IPIP, &ip[..len]), "{len}");
            }
        }
    }
}

#[test]
fn tunnelled_ipv6() {
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        let ip = in_ipv6(protocol);
        every_byte_counts(IPPROTO_IPV6, &ip, 8..ip.len());
        assert!(in_tunnel(IPPROTO_IPV6, &[&ip[..], &[1, 2, 3]].concat()));
        for len in 0..ip.len() {
            assert!(!in_tunnel(IPPROTO_IPV6, &ip[..len]), "{len}");
        }
    }
}

#[test]
fn only_the_version_that_the_next_header_names() {
    let (v4, v6) = (in_ipv4(IPPROTO_TCP, 20), in_ipv6(IPPROTO_TCP));
    assert!(!in_tunnel(IPPROTO_IPV6, &v4) && !in_tunnel(IPPROTO_IPIP, &v6));
    for (next_header, ip, first) in [
        (IPPROTO_IPIP, &v4, [0x55, 0x65, 0x05]),
        (IPPROTO_IPV6, &v6, [0x40, 0x70, 0x00]),
    ] {
        for first in first {
            let other = [&[first], &ip[1..]].concat();
            assert!(!in_tunnel(next_header, &other), "{first:#x}");
        }
        // Tunnelled packets are nothing for a transport mode SA, and the other way round.
        assert!(!in_transport(next_header, ip, None));
    }
    for next_header in [IPPROTO_TCP, IPPROTO_UDP, 59] {
        assert!(!in_tunnel(next_header, &v4));
    }
}

#[test]
fn ipv4_headers_that_are_too_short() {
    for hlen in [12, 16] {
        // All else would be right.
        let ip = in_ipv4(IPPROTO_TCP, hlen);
        assert!(!in_tunnel(IPPROTO_IPIP, &ip), "{hlen}");
    }
}

#[test]
fn fragments_are_not_looked_at() {
    for (at, bits) in [(6, 0x20), (6, 0x01), (7, 0x01)] {
        let mut ip = in_ipv4(IPPROTO_TCP, 20);
        ip[at] |= bits;
        assert!(!in_tunnel(IPPROTO_IPIP, &ip));
    }
}

#[test]
fn other_protocols_are_not_looked_at() {
    let (mut v4, mut v6) = (in_ipv4(IPPROTO_TCP, 20), in_ipv6(IPPROTO_TCP));
    v4[9] = 1;
    // A fragment header.
    v6[6] = 44;
    assert!(!in_tunnel(IPPROTO_IPIP, &v4) && !in_tunnel(IPPROTO_IPV6, &v6));
}

#[test]
fn transport_mode_takes_the_addresses_of_the_outer_header() {
    let address = |byte| Address {
        family: 6,
        bytes: [byte; 16],
    };
    let right = [address(SRC), address(DST)];
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        let ip = in_ipv6(protocol);
        let segment = &ip[40..];
        assert!(in_transport(protocol, segment, Some(right)));
        let wrong = [address(SRC), address(DST + 1)];
        assert!(!in_transport(protocol, segment, Some(wrong)));
        assert!(!in_transport(protocol, segment, None));
        assert!(!in_transport(59, segment, Some(right)));
    }
}
