// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Internet checksums (RFC 1071): of IPv4 headers, and of TCP and UDP.

use crate::ip::{put_be16, IPPROTO_TCP, IPPROTO_UDP, IPV4_HLEN};

/// Offset of the checksum in a TCP header.
pub const TCP_FIELD: usize = 16;
/// Offset of the checksum in a UDP header.
pub const UDP_FIELD: usize = 6;
/// Offset of the checksum in an IPv4 header.
const IPV4_FIELD: usize = 10;

/// A number of bytes that whole registers of all processors divide.
const BLOCK: usize = 64;

/// Below so many bytes a choice among processors costs what wide registers gain.
#[cfg(feature = "wide")]
const WORTH_A_CHOICE: usize = 192;

/// A ones' complement sum of big-endian 16-bit words.
///
/// It is kept with the bytes of each word swapped, and not folded: what is compared with another sum in the end needs
/// neither.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

/// Sums are numbers modulo this.
const MODULUS: u64 = 0xffff;
/// This times [`MODULUS`] is 1, modulo 2^64.
const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
const _: () = assert!(MODULUS.wrapping_mul(INVERSE) == 1);
/// Bits of a byte. A sum that is shifted by them has its bytes swapped, modulo [`MODULUS`].
const BYTE: u32 = 8;

impl Sum {
    /// The sum of `data`, which starts with the first byte of a word. An odd last byte is the high half of
    /// a word.
    #[inline]
    pub fn of(data: &[u8]) -> Self {
        // A program is compiled for the least of all processors. Where it may choose at run time, the same
        // code is there for wider registers, too.
        #[cfg(feature = "wide")]
        if data.len() >= WORTH_A_CHOICE {
            return pulp::Arch::new().dispatch(|| Self::of_words(data));
        }
        Self::of_words(data)
    }

    // Always: it is compiled with what it is called from, for the same processors.
    #[inline(always)]
    fn of_words(data: &[u8]) -> Self {
        // Neither the order of words nor that of bytes matters, if the result is swapped in the end. So the
        // sum is made of 64-bit words: of all of them, modulo 2^64, and of their high halves. What the first
        // has more than the second is the sum of the low halves. This needs fewer operations than adding
        // halves, and the compiler makes wide ones of them, if there are whole blocks.
        let (blocks, rest) = data.split_at(data.len() & !(BLOCK - 1));
        let (mut all, mut high) = (0u64, 0u64);
        for word in blocks.chunks_exact(8) {
            if let Some(word) = word.first_chunk() {
                let word = u64::from_le_bytes(*word);
                all = all.wrapping_add(word);
                high = high.wrapping_add(word >> 32);
            }
        }
        let total = all.wrapping_sub(high << 32).wrapping_add(high);
        // Small enough that some more can be added.
        Self(halves(total.wrapping_add(sum_of_rest(data, rest))))
    }

    /// This sum and `value`, all 32 bits of it.
    #[must_use]
    #[inline]
    pub const fn plus(self, value: u32) -> Self {
        Self(self.0.wrapping_add((value as u64) << BYTE))
    }

    /// This sum without `value`.
    #[must_use]
    pub const fn minus(self, value: u32) -> Self {
        self.plus((!fold(value as u64)) as u32)
    }

    /// This sum and another.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(halves(other.0)))
    }

    /// Whether it is all ones: that of data with a right checksum (RFC 1071 section 1). Only zeroes have the sum
    /// zero.
    #[must_use]
    #[inline]
    pub const fn is_right(self) -> bool {
        // Multiples of the modulus become the numbers from 0 on; all others greater ones. It takes fewer operations
        // than a division.
        let multiple = self.0.wrapping_mul(INVERSE);
        multiple.wrapping_sub(1) < u64::MAX / MODULUS
    }

    /// This sum, of `len` bytes, and that of `pieces` which follow them one behind the other. Any of them may have
    /// an odd number of bytes.
    #[must_use]
    fn followed_by<'a>(self, len: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut is_odd = len % 2 != 0;
        pieces.into_iter().fold(self, |sum, piece| {
            let Self(of_piece) = Self::of(piece);
            // Behind an odd number of bytes each one is in the other half of a word.
            let moved = match is_odd {
                true => of_piece << BYTE,
                false => of_piece,
            };
            is_odd ^= piece.len() % 2 != 0;
            sum.and(Self(moved))
        })
    }

    /// The sum in 16 bits.
    pub const fn folded(self) -> u16 {
        fold(self.0).swap_bytes()
    }

    /// The value for a TCP or UDP header, which is the complement. RFC 768 requires that zero is sent as
    /// all ones; for TCP both mean the same.
    const fn transport_field(self) -> u16 {
        match !self.folded() {
            0 => 0xffff,
            value => value,
        }
    }
}

/// The sum of the little-endian words of `rest`, the end of `data` and shorter than a block.
#[inline(always)]
fn sum_of_rest(data: &[u8], mut rest: &[u8]) -> u64 {
    // Carries are counted in the upper half. No loop: it would take more instructions than what is in it.
    let mut sum = 0;
    take_words::<{ BLOCK / 2 }>(&mut rest, &mut sum);
    take_words::<{ BLOCK / 4 }>(&mut rest, &mut sum);
    take_words::<{ BLOCK / 8 }>(&mut rest, &mut sum);
    // Read together with bytes in front of them, if there are enough: in one piece.
    let last = match data.last_chunk() {
        Some(last) => u64::from_le_bytes(*last)
            .checked_shr(unused_bits(rest))
            .unwrap_or(0),
        None => short_word(rest),
    };
    let sum = sum.wrapping_add(last.into());
    halves(sum as u64).wrapping_add((sum >> u64::BITS) as u64)
}

/// Adds the words of the first `LEN` bytes of `rest` to `sum`, and takes them away, if there are so many.
#[inline(always)]
fn take_words<const LEN: usize>(rest: &mut &[u8], sum: &mut u128) {
    let Some((words, behind)) = rest.split_first_chunk::<LEN>() else {
        return;
    };
    for word in words.chunks_exact(8) {
        if let Some(word) = word.first_chunk() {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word).into());
        }
    }
    *rest = behind;
}

/// The bits of a 64-bit word beside these bytes, of which there are fewer than eight.
const fn unused_bits(bytes: &[u8]) -> u32 {
    64u32.saturating_sub((bytes.len() as u32).saturating_mul(8))
}

/// The sum of the halves of a word.
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff).wrapping_add(word >> 32)
}

/// Up to eight bytes, zero-extended.
fn short_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

const fn fold(sum: u64) -> u16 {
    // Each step keeps the value modulo 0xffff; after four it has 16 bits.
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    sum as u16
}

/// Completes the checksum over `frame[start..end]` and stores it `offset` bytes after `start`, where
/// the sum of the pseudo header already is (VIRTIO 1.4 section 5.1.6.2). `false`, and nothing changes, if
/// the field does not lie within the range.
pub fn complete(frame: &mut [u8], start: usize, offset: usize, end: usize) -> bool {
    match frame.get_mut(..end) {
        Some(frame) => complete_in_pieces(frame, start, offset, []),
        None => false,
    }
}

/// As [`complete`], of a frame that begins with `first` and goes on with `rest`, piece by piece, to its end.
/// The field must lie in `first`.
pub fn complete_in_pieces<'a>(
    first: &mut [u8],
    start: usize,
    offset: usize,
    rest: impl IntoIterator<Item = &'a [u8]>,
) -> bool {
    let Some(range) = first.get_mut(start..) else {
        return false;
    };
    let value = Sum::of(range).followed_by(range.len(), rest);
    put_be16(range, offset, value.transport_field())
}

/// Writes the checksum of a complete TCP header and its data. `partial` is the sum of the pseudo header.
/// `false` if `segment` is too short.
pub(crate) fn complete_tcp(segment: &mut [u8], partial: Sum) -> bool {
    put_be16(segment, TCP_FIELD, 0)
        && put_be16(
            segment,
            TCP_FIELD,
            Sum::of(segment).and(partial).transport_field(),
        )
}

/// Writes the checksum of an IPv4 header. `false` if it is too short.
pub fn complete_ipv4(header: &mut [u8]) -> bool {
    put_be16(header, IPV4_FIELD, 0) && put_be16(header, IPV4_FIELD, !Sum::of(header).folded())
}

/// Whether an IPv4 header without options has a right checksum.
#[inline]
pub fn ipv4_is_right(header: &[u8; IPV4_HLEN]) -> bool {
    // So few that halves of words need no carry.
    let words = header.chunks_exact(4).filter_map(|word| word.first_chunk());
    let words = words.map(|word| u64::from(u32::from_le_bytes(*word)));
    Sum(words.fold(0, u64::wrapping_add)).is_right()
}

/// Whether `segment`, from its header to its end, is TCP or UDP with a right checksum. False for UDP
/// without a checksum. `addresses` gives the sum of both addresses.
#[inline(always)]
pub fn is_right(protocol: u8, addresses: impl FnOnce() -> Option<Sum>, segment: &[u8]) -> bool {
    let field = match protocol {
        IPPROTO_TCP => TCP_FIELD,
        IPPROTO_UDP => UDP_FIELD,
        _ => return false,
    };
    let Some(value) = segment
        .get(field..)
        .and_then(|rest| rest.first_chunk::<2>())
    else {
        return false;
    };
    if protocol == IPPROTO_UDP && !udp_is_whole(segment, *value) {
        return false;
    }
    let (Ok(len), Some(addresses)) = (u32::try_from(segment.len()), addresses()) else {
        return false;
    };
    let sum = addresses.plus(protocol.into()).plus(len);
    sum.and(Sum::of(segment)).is_right()
}

/// Whether UDP has a checksum, and its length is that of the packet.
fn udp_is_whole(segment: &[u8], checksum: [u8; 2]) -> bool {
    let len = segment.get(4..).and_then(|rest| rest.first_chunk::<2>());
    checksum != [0, 0]
        && len.map(|len| usize::from(u16::from_be_bytes(*len))) == Some(segment.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::Address;
    use proptest::prelude::*;

    fn is_right(protocol: u8, src: &Address, dst: &Address, segment: &[u8]) -> bool {
        let addresses = || Some(Sum::of(&src.bytes).and(Sum::of(&dst.bytes)));
        super::is_right(protocol, addresses, segment)
    }

    /// Word by word, as RFC 1071 section 1 describes it.
    fn slow(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn rfc_1071_example() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&data).folded(), 0xddf2);
    }

    proptest! {
        #[test]
        fn headers_are_right_as_they_were_sent(
            header: [u8; IPV4_HLEN], at in 0..IPV4_HLEN, bit in 0..8u8
        ) {
            let mut header = header;
            complete_ipv4(&mut header);
            prop_assert!(ipv4_is_right(&header));
            prop_assert_eq!(slow(&header), 0xffff);
            header[at] ^= 1 << bit;
            prop_assert!(!ipv4_is_right(&header));
        }
    }

    /// The sum of nothing is 0, which is no sum of any header.
    #[test]
    fn a_header_of_zeroes_is_wrong() {
        assert!(!ipv4_is_right(&[0; IPV4_HLEN]));
    }

    #[test]
    fn completion_outside_the_frame_is_refused() {
        let mut frame = [0; 60];
        for (start, offset, end) in [
            (61, 0, 60),
            (34, 25, 60),
            (34, usize::MAX, 60),
            (34, 16, 61),
            (60, 0, 60),
        ] {
            assert!(!complete(&mut frame, start, offset, end));
            assert_eq!(frame, [0; 60]);
        }
        assert!(complete(&mut frame, 34, 24, 60));
    }

    #[test]
    fn completion_needs_the_field_in_the_first_piece() {
        let mut first = [0; 60];
        for (start, offset) in [(61, 0), (34, 25), (34, usize::MAX), (60, 0)] {
            assert!(!complete_in_pieces(
                &mut first,
                start,
                offset,
                [&[1; 9][..]]
            ));
            assert_eq!(first, [0; 60]);
        }
        assert!(complete_in_pieces(&mut first, 34, 24, [&[1; 9][..]]));
    }

    fn address(family: u8, byte: u8) -> Address {
        let mut bytes = [0; 16];
        bytes[..if family == 4 { 4 } else { 16 }].fill(byte);
        Address { family, bytes }
    }

    /// A header with the pseudo header's sum in the checksum field.
    fn partial(protocol: u8, src: &Address, dst: &Address, data: &[u8]) -> (Vec<u8>, usize) {
        let (hlen, field) = if protocol == IPPROTO_TCP {
            (20, TCP_FIELD)
        } else {
            (8, UDP_FIELD)
        };
        let mut segment = vec![0x5a; hlen];
        segment.extend(data);
        let len = segment.len() as u16;
        if protocol == IPPROTO_UDP {
            segment[4..6].copy_from_slice(&len.to_be_bytes());
        }
        let pseudo = [
            &src.bytes[..],
            &dst.bytes,
            &[0, protocol],
            &len.to_be_bytes(),
        ]
        .concat();
        segment[field..field + 2].copy_from_slice(&slow(&pseudo).to_be_bytes());
        (segment, field)
    }

    #[test]
    fn udp_without_checksum_or_with_another_length_is_not_right() {
        let (src, dst) = (address(4, 1), address(4, 2));
        let (mut segment, field) = partial(IPPROTO_UDP, &src, &dst, b"data");
        let len = segment.len();
        assert!(complete(&mut segment, 0, field, len));
        assert!(is_right(IPPROTO_UDP, &src, &dst, &segment));
        assert!(!is_right(IPPROTO_TCP, &src, &dst, &segment));
        assert!(!is_right(50, &src, &dst, &segment));
        segment.extend([0, 0]);
        assert!(!is_right(IPPROTO_UDP, &src, &dst, &segment));
        segment.truncate(len);
        segment[6..8].fill(0);
        assert!(!is_right(IPPROTO_UDP, &src, &dst, &segment));
    }

    /// The sums are right here, so that nothing but the length can be wrong.
    #[test]
    fn the_length_of_udp_counts_even_if_the_sum_is_right() {
        let (src, dst) = (address(4, 1), address(4, 2));
        for (more, right) in [(0, true), (1, false), (0xffff, false), (0x100, false)] {
            let (mut segment, field) = partial(IPPROTO_UDP, &src, &dst, b"data");
            let len = segment.len();
            let claimed = (len as u16).wrapping_add(more);
            segment[4..6].copy_from_slice(&claimed.to_be_bytes());
            assert!(complete(&mut segment, 0, field, len));
            assert_eq!(is_right(IPPROTO_UDP, &src, &dst, &segment), right);
        }
    }

    /// Zero is what 0xffff means as a sum, but in UDP it means that there is no checksum (RFC 768).
    #[test]
    fn zero_is_no_checksum_of_udp() {
        let (src, dst) = (address(4, 1), address(4, 2));
        let (mut segment, field) = partial(IPPROTO_UDP, &src, &dst, &[0; 2]);
        let len = segment.len();
        assert!(complete(&mut segment, 0, field, len));
        // The data take over what the checksum has to add.
        segment.copy_within(field..field + 2, 8);
        for (checksum, right) in [([0xff; 2], true), ([0; 2], false)] {
            segment[field..field + 2].copy_from_slice(&checksum);
            assert_eq!(is_right(IPPROTO_UDP, &src, &dst, &segment), right);
        }
        // For TCP both mean the same.
        let (mut segment, field) = partial(IPPROTO_TCP, &src, &dst, &[0; 2]);
        let len = segment.len();
        assert!(complete(&mut segment, 0, field, len));
        segment.copy_within(field..field + 2, 20);
        for checksum in [[0xff; 2], [0; 2]] {
            segment[field..field + 2].copy_from_slice(&checksum);
            assert!(is_right(IPPROTO_TCP, &src, &dst, &segment));
        }
    }

    /// Every length around blocks and words, from every place in a word of memory, with the largest sums.
    #[test]
    fn length_and_place_do_not_matter() {
        let bytes: Vec<u8> = (0..420u32).map(|n| !((n * n) >> 3) as u8).collect();
        for data in [bytes, vec![0xff; 420]] {
            for start in 0..16 {
                for end in start..data.len() {
                    let data = &data[start..end];
                    assert_eq!(
                        Sum::of(data).folded() % 0xffff,
                        slow(data) % 0xffff,
                        "{start} {end}"
                    );
                }
            }
        }
    }

    /// More than there is of a frame.
    #[test]
    fn sums_of_much_data_do_not_overflow() {
        let data = vec![0xff; 1 << 20];
        assert_eq!(Sum::of(&data).folded(), 0xffff);
        assert_eq!(Sum::of(&data[1..]).folded(), 0xff00);
    }

    proptest! {
        #[test]
        fn sum_is_that_of_the_words(
            data in prop::collection::vec(any::<u8>(), 0..2000), value: u32
        ) {
            let same = |a: u16, b: u16| a % 0xffff == b % 0xffff;
            prop_assert!(same(Sum::of(&data).folded(), slow(&data)));
            let with = [&value.to_be_bytes()[..], &data].concat();
            prop_assert!(same(Sum::of(&data).plus(value).folded(), slow(&with)));
            prop_assert!(same(Sum::of(&with).minus(value).folded(), slow(&data)));
            prop_assert_eq!(Sum::of(&vec![0xff; data.len() & !1]).folded(),
                if data.len() < 2 { 0 } else { 0xffff });
        }

        /// Wherever a frame is cut, the checksum is that of the frame.
        #[test]
        fn pieces_make_no_difference(
            frame in prop::collection::vec(any::<u8>(), 40..400), start in 0..20usize,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut whole = frame.clone();
            let end = whole.len();
            prop_assert!(complete(&mut whole, start, 6, end));
            let mut cuts: Vec<_> = cuts.iter().map(|cut| 30 + cut.index(end - 29)).collect();
            cuts.sort_unstable();
            let (first, mut rest) = frame.split_at(cuts.first().copied().unwrap_or(end));
            let mut first = first.to_vec();
            let mut pieces = Vec::new();
            for pair in cuts.windows(2) {
                let (piece, behind) = rest.split_at(pair[1] - pair[0]);
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            prop_assert!(complete_in_pieces(&mut first, start, 6, pieces.iter().copied()));
            prop_assert_eq!([&first[..], &pieces.concat()].concat(), whole);
        }

        #[test]
        fn completed_is_right_and_damaged_is_not(
            v6: bool, tcp: bool,
            data in prop::collection::vec(any::<u8>(), 0..200),
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let family = if v6 { 6 } else { 4 };
            let protocol = if tcp { IPPROTO_TCP } else { IPPROTO_UDP };
            let (src, dst) = (address(family, 0x11), address(family, 0x22));
            let (mut segment, field) = partial(protocol, &src, &dst, &data);
            let len = segment.len();
            prop_assert!(complete(&mut segment, 0, field, len));
            prop_assert!(is_right(protocol, &src, &dst, &segment));
            segment[flip.0.index(len)] ^= 1 << (flip.1 % 8);
            prop_assert!(!is_right(protocol, &src, &dst, &segment));
        }
    }
}
