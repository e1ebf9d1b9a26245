// SPDX-License-Identifier: GPL-2.0 OR MIT

//! 64-bit sequence numbers and the IVs made of them.

/// The 64-bit number with these halves.
pub const fn join(hi: u32, lo: u32) -> u64 {
    // Lossless: both halves have 32 bits.
    ((hi as u64) << 32) | lo as u64
}

/// High 32 bits; the part of an extended sequence number that is not on the wire.
pub const fn hi(seq: u64) -> u32 {
    (seq >> 32) as u32
}

/// Low 32 bits; what stands in the ESP header.
pub const fn lo(seq: u64) -> u32 {
    seq as u32
}

/// 64-bit number of the (first) packet of a socket buffer.
///
/// `header` is the number in its ESP header, which is always right. `xo_low` and `xo_hi` are the
/// numbers of the stack's offload record: equal to the packet's, or already advanced past it when
/// the stack has segmented. They belong together, so a low part below the header's means that the low
/// part has wrapped since and took the high part along.
pub const fn of_first_packet(header: u32, xo_low: u32, xo_hi: u32) -> u64 {
    let wrapped = if xo_low < header { 1 } else { 0 };
    join(xo_hi.wrapping_sub(wrapped), header)
}

/// Explicit IV of a packet (RFC 4106 section 3.1): be64(`seq` XOR `iv_xor`).
///
/// Unique under one key as long as `seq` is; `iv_xor`, drawn at random for every installation of an
/// SA, keeps a key that is installed again, or used by software as well, from meeting the same IVs.
pub const fn iv(seq: u64, iv_xor: u64) -> [u8; 8] {
    (seq ^ iv_xor).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn untouched_packet_has_the_number_of_the_record() {
        assert_eq!(of_first_packet(3, 3, 0), 3);
        assert_eq!(of_first_packet(0xffff_ffff, 0xffff_ffff, 7), 0x7_ffff_ffff);
        assert_eq!(of_first_packet(0, 0, 8), 0x8_0000_0000);
    }

    #[test]
    fn segmented_packet_has_a_record_ahead_of_it() {
        assert_eq!(of_first_packet(3, 4, 0), 3);
        assert_eq!(of_first_packet(3, 7, 0), 3);
        assert_eq!(of_first_packet(0xffff_ffff, 0, 1), 0xffff_ffff);
        assert_eq!(of_first_packet(0xffff_fffe, 2, 5), 0x4_ffff_fffe);
    }

    #[test]
    fn iv_is_big_endian() {
        assert_eq!(iv(1, 0), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            iv(0x0102_0304_0506_0708, u64::MAX),
            [0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8, 0xf7]
        );
    }

    proptest! {
        #[test]
        fn advancing_the_record_does_not_change_the_number(seq: u64, segments in 0u32..0x10000) {
            let ahead = seq.wrapping_add(u64::from(segments));
            prop_assert_eq!(of_first_packet(lo(seq), lo(ahead), hi(ahead)), seq);
        }

        #[test]
        fn halves_join(seq: u64) {
            prop_assert_eq!(join(hi(seq), lo(seq)), seq);
        }
    }
}
