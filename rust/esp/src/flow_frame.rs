// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Recognises the frames of one flow by their bytes, without reading their headers.
//!
//! Packets of a flow come in rows. Who knows what to do with one compares the next one with it in a few
//! wide words, which takes a fraction of the time of a [`FlowKey`].

use crate::flow_key::FlowKey;
use crate::ip::{
    array, be32, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETH_HLEN, IPV4_DST, IPV4_HLEN, IPV4_PROTOCOL,
    IPV4_SRC, IPV6_DST, IPV6_HLEN, IPV6_LENGTH, IPV6_NEXT_HEADER, IPV6_SRC,
};

/// How many words are compared.
const WORDS: usize = 3;
/// The part of a frame that is compared. It ends with the ports of TCP or UDP over IPv6, which are the ones
/// that stand farthest from the start.
const LEN: usize = WORDS * 16;
const START: usize = ETH_HLEN + IPV6_HLEN + PORTS_LEN - LEN;

/// Length of source and destination port.
const PORTS_LEN: usize = 4;
/// Where the Ethernet type, and where flags and offset of an IPv4 fragment are.
const ETHERTYPE: usize = ETH_HLEN - 2;
const IPV4_FRAGMENT: usize = 6;
/// Where the lengths of both versions are: a word that has that of IPv4 in its high half, and that of IPv6 in
/// the low one.
const LENGTHS: usize = ETH_HLEN + 2;
const _: () = assert!(LENGTHS + 2 == ETH_HLEN + IPV6_LENGTH);

/// What the frames of a flow have in common.
#[derive(Clone, Copy, Debug)]
pub struct FlowFrame {
    /// The bytes that matter, and a mask of them; both in the byte order of memory.
    bytes: [u128; WORDS],
    mask: [u128; WORDS],
    /// By how many bits the length is shifted in its word, and the least that leaves room for the ports.
    shift: u32,
    least: u32,
}

impl FlowFrame {
    /// That of the frames whose packets have this key, directly behind the Ethernet header.
    pub fn of(key: &FlowKey) -> Self {
        let mut part = Part {
            bytes: [0; LEN],
            mask: [0; LEN],
        };
        let (source, destination) = (key.source(), key.destination());
        let (shift, least) = if key.is_v6() {
            part.put(ETHERTYPE, ETHERTYPE_IPV6.to_be_bytes());
            part.put_masked(ETH_HLEN, [0x60], [0xf0]);
            part.put(ETH_HLEN + IPV6_NEXT_HEADER, [key.protocol()]);
            part.put(ETH_HLEN + IPV6_SRC, source);
            part.put(ETH_HLEN + IPV6_DST, destination);
            part.put(ETH_HLEN + IPV6_HLEN, key.ports());
            (0, PORTS_LEN)
        } else {
            let short = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
            part.put(ETHERTYPE, ETHERTYPE_IPV4.to_be_bytes());
            part.put(ETH_HLEN, [0x45]);
            // Neither more fragments nor an offset.
            part.put_masked(ETH_HLEN + IPV4_FRAGMENT, [0, 0], [0x3f, 0xff]);
            part.put(ETH_HLEN + IPV4_PROTOCOL, [key.protocol()]);
            part.put(ETH_HLEN + IPV4_SRC, short(source));
            part.put(ETH_HLEN + IPV4_DST, short(destination));
            part.put(ETH_HLEN + IPV4_HLEN, key.ports());
            (16, IPV4_HLEN + PORTS_LEN)
        };
        Self {
            bytes: words(&part.bytes),
            mask: words(&part.mask),
            shift,
            least: least as u32,
        }
    }

    /// Whether `frame` has no VLAN tags, and its packet has this key. False of some that do: those that end
    /// before the ports of an IPv6 packet would.
    #[inline(always)]
    pub fn matches(&self, frame: &[u8]) -> bool {
        let Some(part) = frame.get(START..).and_then(|rest| rest.first_chunk()) else {
            return false;
        };
        // Word by word: the compiler makes calls of iterators here.
        let [a, b, c] = words(part);
        let [mask_a, mask_b, mask_c] = self.mask;
        let [bytes_a, bytes_b, bytes_c] = self.bytes;
        let differ = ((a & mask_a) ^ bytes_a) | ((b & mask_b) ^ bytes_b) | ((c & mask_c) ^ bytes_c);
        let lengths = be32(part, LENGTHS - START).unwrap_or(0);
        differ == 0 && (lengths >> (self.shift & 31)) & 0xffff >= self.least
    }
}

#[inline(always)]
fn words(part: &[u8; LEN]) -> [u128; WORDS] {
    let word = |at| array(part, at).map_or(0, u128::from_ne_bytes);
    [word(0), word(16), word(32)]
}

/// A pattern that is being put together.
struct Part {
    bytes: [u8; LEN],
    mask: [u8; LEN],
}

impl Part {
    /// The bytes from `at` on, counted from the start of the frame.
    #[inline(always)]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.put_masked(at, bytes, [0xff; N]);
    }

    #[inline(always)]
    fn put_masked<const N: usize>(&mut self, at: usize, bytes: [u8; N], mask: [u8; N]) {
        put(&mut self.bytes, at, bytes);
        put(&mut self.mask, at, mask);
    }
}

#[inline(always)]
fn put<const N: usize>(part: &mut [u8; LEN], at: usize, bytes: [u8; N]) {
    let rest = part.get_mut(at.wrapping_sub(START)..);
    if let Some(to) = rest.and_then(|rest| rest.first_chunk_mut()) {
        *to = bytes;
    }
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
        for (v6, least) in [(false, 24), (true, 4)] {
            let first = frame(v6, 6, least, &random);
            let pattern = of(&first);
            assert!(pattern.matches(&first[..58]));
            assert!(!pattern.matches(&first[..57]));
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
