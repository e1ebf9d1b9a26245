// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The choice of a receive queue for a frame.
//!
//! ESP goes by destination address and SPI, so that the packets of an SA stay in order and different
//! SAs spread; other packets go by their flow, both directions alike. All packets of a flow have the
//! same hash; packets without ports, and fragments, go by their addresses.

use crate::frame::Frame;
use espnic_esp::ip::{be32, Address, Layers, IPPROTO_TCP, IPPROTO_UDP};
use espnic_esp::packet;

/// The one of `active` queue pairs that the hash of a frame names.
pub fn place(frame: &Frame, active: u16) -> u16 {
    place_of(frame, frame.layers(), active)
}

/// The same for a frame with these headers.
pub fn place_of(frame: &[u8], layers: &Layers, active: u16) -> u16 {
    match active {
        0 | 1 => 0,
        _ => (hash(frame, layers) % u64::from(active)) as u16,
    }
}

/// The hash of a frame with these headers; zero if it is not IP.
fn hash(frame: &[u8], layers: &Layers) -> u64 {
    let Some(ip) = layers.packet(frame.len()) else {
        return 0;
    };
    let Some([src, dst]) = ip.addresses(frame) else {
        return 0;
    };
    if let Some(spi) = packet::range(frame, layers).and_then(|esp| be32(frame, esp.start)) {
        return mix(end(&dst, 0) ^ u64::from(spi));
    }
    let ports = match ip.protocol {
        IPPROTO_TCP | IPPROTO_UDP if !ip.fragment => be32(frame, ip.transport).unwrap_or(0),
        _ => 0,
    };
    // A sum, so that both directions have one hash.
    let ends = end(&src, (ports >> 16) as u16).wrapping_add(end(&dst, ports as u16));
    mix(ends ^ u64::from(ip.protocol))
}

/// Hash of an address and a port.
fn end(address: &Address, port: u16) -> u64 {
    address
        .bytes
        .chunks(8)
        .map(|half| {
            half.iter()
                .fold(0, |sum, &byte| (sum << 8) | u64::from(byte))
        })
        .fold(port.into(), |sum, half: u64| mix(sum ^ half))
}

/// Spreads the bits of `value` over the result (the finaliser of MurmurHash3, as published).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::{Frame, IPPROTO_TCP as TCP, IPPROTO_UDP as UDP};
    use proptest::prelude::*;

    fn hash(frame: &[u8]) -> u64 {
        let frame = Frame::from(frame.to_vec());
        super::hash(&frame, frame.layers())
    }

    fn frame(v6: bool, src: u8, dst: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([src; 16]);
            frame.extend([dst; 16]);
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((payload.len() as u16 + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([[src; 4], [dst; 4]].concat());
        }
        frame.extend(payload);
        frame
    }

    fn ports(a: u16, b: u16, rest: &[u8]) -> Vec<u8> {
        [&a.to_be_bytes()[..], &b.to_be_bytes(), rest].concat()
    }

    #[test]
    fn esp_goes_by_destination_and_spi() {
        for v6 in [false, true] {
            let esp = |src, dst, spi: u32, rest: &[u8]| {
                hash(&frame(
                    v6,
                    src,
                    dst,
                    50,
                    &[&spi.to_be_bytes()[..], rest].concat(),
                ))
            };
            let base = esp(1, 2, 0x1000, &[0, 0, 0, 1, 9]);
            assert_eq!(base, esp(3, 2, 0x1000, &[0, 0, 0, 2, 8, 7]));
            assert_ne!(base, esp(1, 3, 0x1000, &[0, 0, 0, 1, 9]));
            assert_ne!(base, esp(1, 2, 0x1001, &[0, 0, 0, 1, 9]));
        }
    }

    #[test]
    fn esp_in_udp_goes_like_esp_whatever_its_source_port() {
        let udp = |src, dst, spi: u32| {
            let rest = [&[0, 16, 0, 0][..], &spi.to_be_bytes(), &[0, 0, 0, 1]].concat();
            hash(&frame(false, 1, 2, UDP, &ports(src, dst, &rest)))
        };
        assert_eq!(udp(4500, 4500, 7), udp(1024, 4500, 7));
        assert_ne!(udp(4500, 4500, 7), udp(4500, 4500, 8));
        assert_eq!(udp(5, 6, 7), udp(5, 6, 8));
    }

    #[test]
    fn fragments_of_a_packet_stay_together() {
        let fragment = |flags: u16, payload: &[u8]| {
            let mut frame = frame(false, 1, 2, UDP, payload);
            frame[20..22].copy_from_slice(&flags.to_be_bytes());
            hash(&frame)
        };
        assert_eq!(
            fragment(0x2000, &ports(1, 2, &[0; 20])),
            fragment(0x0003, &[7; 24])
        );
    }

    #[test]
    fn flows_spread_over_the_queues() {
        for count in [2, 3, 8] {
            let mut hits = vec![0; count];
            for port in 0..800 {
                let frame = frame(false, 1, 2, TCP, &ports(30_000 + port, 5201, &[0; 16]));
                hits[hash(&frame) as usize % count] += 1;
            }
            assert!(hits.iter().all(|&hit| hit > 600 / count), "{hits:?}");
        }
    }

    proptest! {
        #[test]
        fn both_directions_have_one_hash(
            v6: bool, tcp: bool, src: u8, dst: u8, a in 1u16..4500, b in 1u16..4500,
            rest in prop::collection::vec(any::<u8>(), 8..40),
        ) {
            let protocol = if tcp { TCP } else { UDP };
            let there = frame(v6, src, dst, protocol, &ports(a, b, &rest));
            let back = frame(v6, dst, src, protocol, &ports(b, a, &rest));
            prop_assert_eq!(hash(&there), hash(&back));
        }

        #[test]
        fn never_panics(frame in prop::collection::vec(any::<u8>(), 0..100)) {
            hash(&frame);
        }
    }
}
