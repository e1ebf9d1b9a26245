// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Recognises the frames of one flow by their bytes, without reading their headers.
//!
//! Packets of a flow come in rows. Who knows what to do with one compares the next one with it in a few
//! wide words, which takes a fraction of the time of a [`FlowKey`].

use crate::flow_key::FlowKey;
use crate::ip::{
    array, be16, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETH_HLEN, IPV4_DST, IPV4_HLEN, IPV4_SRC, IPV6_DST,
    IPV6_HLEN, IPV6_LENGTH, IPV6_SRC,
};

/// Length of source and destination port.
const PORTS_LEN: usize = 4;
/// Where the bytes of a frame begin that are looked at: with the Ethernet type. How many they are; they end with
/// the ports.
const START: usize = ETH_HLEN - 2;
const LEN4: usize = 2 + IPV4_HLEN + PORTS_LEN;
const LEN6: usize = 2 + IPV6_HLEN + PORTS_LEN;
/// Where the IP header begins in them, and its length is.
const IP: usize = 2;
const TOTAL4: usize = IP + 2;
const PAYLOAD6: usize = IP + IPV6_LENGTH;

/// What the first word of an IPv4 header without options says of a whole packet: version, length of the header,
/// neither more fragments nor an offset.
const START4: u64 = word([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
const PLAIN4: u64 = word([0x45, 0, 0, 0, 0, 0, 0, 0]);
/// The second word of it has protocol and source.
const MIDDLE4: u64 = word([0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff]);
/// The first word of an IPv6 header has version and next header.
const START6: u64 = word([0xf0, 0, 0, 0, 0, 0, 0xff, 0]);

#[inline(always)]
const fn word(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

/// What the frames of a flow have in common.
#[derive(Clone, Copy, Debug)]
pub struct FlowFrame(Known);

/// In words in the byte order of memory.
#[derive(Clone, Copy, Debug)]
enum Known {
    V4 {
        /// Under [`MIDDLE4`].
        middle: u64,
        /// Destination and ports.
        end: u64,
    },
    V6 {
        /// Under [`START6`].
        start: u64,
        addresses: [u64; 4],
        ports: u32,
    },
}

impl FlowFrame {
    /// That of the frames whose packets have this key, directly behind the Ethernet header.
    pub fn of(key: &FlowKey) -> Self {
        let (source, destination) = (key.source(), key.destination());
        if key.is_v6() {
            let [a, b] = halves(source);
            let [c, d] = halves(destination);
            return Self(Known::V6 {
                start: word([0x60, 0, 0, 0, 0, 0, key.protocol(), 0]),
                addresses: [a, b, c, d],
                ports: u32::from_ne_bytes(key.ports()),
            });
        }
        let [a, b, c, d, ..] = source;
        let [e, f, g, h, ..] = destination;
        let [i, j, k, l] = key.ports();
        Self(Known::V4 {
            middle: word([0, key.protocol(), 0, 0, a, b, c, d]),
            end: word([e, f, g, h, i, j, k, l]),
        })
    }

    /// IPv6, else IPv4.
    #[inline(always)]
    pub fn is_v6(&self) -> bool {
        matches!(self.0, Known::V6 { .. })
    }

    /// Whether `frame` has no VLAN tags, and its packet has this key.
    #[inline(always)]
    pub fn matches(&self, frame: &[u8]) -> bool {
        match self.0 {
            Known::V4 { middle, end } => matches4(middle, end, frame),
            Known::V6 {
                start,
                addresses,
                ports,
            } => matches6(start, addresses, ports, frame),
        }
        .unwrap_or(false)
    }
}

/// `None` if the frame is too short.
#[inline(always)]
fn matches4(middle: u64, end: u64, frame: &[u8]) -> Option<bool> {
    let head: &[u8; LEN4] = frame.get(START..)?.first_chunk()?;
    let at = |at: usize| array(head, IP.wrapping_add(at)).map(word);
    const { assert!(IPV4_SRC == 12 && IPV4_DST == 16) };
    let differ = ((at(0)? & START4) ^ PLAIN4) | ((at(8)? & MIDDLE4) ^ middle) | (at(16)? ^ end);
    let is_long = usize::from(be16(head, TOTAL4)?) >= IPV4_HLEN + PORTS_LEN;
    Some(be16(head, 0)? == ETHERTYPE_IPV4 && differ == 0 && is_long)
}

/// As [`matches4`].
#[inline(always)]
fn matches6(start: u64, [a, b, c, d]: [u64; 4], ports: u32, frame: &[u8]) -> Option<bool> {
    let head: &[u8; LEN6] = frame.get(START..)?.first_chunk()?;
    let at = |at: usize| array(head, IP.wrapping_add(at)).map(word);
    let source = (at(IPV6_SRC)? ^ a) | (at(IPV6_SRC + 8)? ^ b);
    let destination = (at(IPV6_DST)? ^ c) | (at(IPV6_DST + 8)? ^ d);
    let other_ports = array(head, IP + IPV6_HLEN).map(u32::from_ne_bytes)?;
    let differ =
        ((at(0)? & START6) ^ start) | source | destination | u64::from(other_ports ^ ports);
    let is_long = usize::from(be16(head, PAYLOAD6)?) >= PORTS_LEN;
    Some(be16(head, 0)? == ETHERTYPE_IPV6 && differ == 0 && is_long)
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let half = |at| array(&bytes, at).map_or(0, word);
    [half(0), half(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with a packet that has a key, the rest of which is taken from `random`.
    fn frame(v6: bool, protocol: u8, len: u16, random: &[u8]) -> Vec<u8> {
        let mut frame = random.to_vec();
        let [l0, l1] = len.to_be_bytes();
        if v6 {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame[14] = 0x60 | (frame[14] & 0xf);
            frame[18..21].copy_from_slice(&[l0, l1, protocol]);
        } else {
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            frame[16..18].copy_from_slice(&[l0, l1]);
            frame[20..24].copy_from_slice(&[0x40, 0, 64, protocol]);
        }
        frame
    }

    fn of(frame: &[u8]) -> FlowFrame {
        FlowFrame::of(&FlowKey::of_frame(frame).unwrap())
    }

    #[test]
    fn other_lengths_times_to_live_and_marks_match() {
        let random: Vec<u8> = (1..81).collect();
        for (v6, others) in [
            (false, &[0, 6, 11, 15, 17, 18, 19, 22, 24, 25, 38, 60][..]),
            (true, &[0, 6, 11, 15, 16, 17, 19, 21, 58, 60][..]),
        ] {
            let first = frame(v6, 6, 60, &random);
            let pattern = of(&first);
            for &at in others {
                let mut other = first.clone();
                other[at] = other[at].wrapping_add(1);
                assert!(pattern.matches(&other), "{at}");
            }
        }
    }

    #[test]
    fn what_ends_early_does_not_match() {
        let random: Vec<u8> = (1..81).collect();
        for (v6, least, end) in [(false, 24, 38), (true, 4, 58)] {
            let first = frame(v6, 6, least, &random);
            let pattern = of(&first);
            assert!(pattern.matches(&first[..end]));
            assert!(!pattern.matches(&first[..end - 1]));
            assert!(!pattern.matches(&[]));
            assert!(!pattern.matches(&frame(v6, 6, least - 1, &random)));
        }
    }

    proptest! {
        /// It says of no frame what the key does not say.
        #[test]
        fn it_is_the_key(
            random in prop::collection::vec(any::<u8>(), 80),
            v6: bool,
            protocol in prop::sample::select(vec![6u8, 17]),
            len in 24u16..1500,
            at in 0usize..60, byte: u8,
        ) {
            let first = frame(v6, protocol, len, &random);
            let mut other = first.clone();
            other[at] = byte;
            let key = FlowKey::of_frame(&first);
            prop_assert!(key.is_some());
            prop_assert!(of(&first).matches(&first));
            prop_assert_eq!(of(&first).is_v6(), v6);
            prop_assert_eq!(of(&first).matches(&other), FlowKey::of_frame(&other) == key);
        }

        #[test]
        fn frames_of_others_do_not_match(
            random in prop::collection::vec(any::<u8>(), 80),
            other in prop::collection::vec(any::<u8>(), 0..80),
            v6: bool,
        ) {
            let first = frame(v6, 6, 60, &random);
            if of(&first).matches(&other) {
                prop_assert_eq!(FlowKey::of_frame(&other), FlowKey::of_frame(&first));
            }
        }
    }
}
