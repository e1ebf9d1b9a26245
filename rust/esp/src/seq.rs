// SPDX-License-Identifier: GPL-2.0 OR MIT

//! 64-bit sequence numbers, and IVs that are made of them.

/// The 64-bit number with these halves.
#[inline]
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
/// numbers of the stack's offload record: equal to the packet's, or already advanced past it if the
/// stack has segmented (X50). They belong together, so if the low part is below the header's, it has
/// wrapped since, and the high part is one too high.
pub const fn of_first_packet(header: u32, xo_low: u32, xo_hi: u32) -> u64 {
    let wrapped = if xo_low < header { 1 } else { 0 };
    join(xo_hi.wrapping_sub(wrapped), header)
}

/// High part of the number of a received packet, whose header has `lo` (RFC 4303 appendix A2.2).
///
/// `top` is the highest number that was verified, `window` the replay window in packets, at least 1.
/// The stack, which has the same window, gets the same result (`xfrm_replay_seqhi()`).
#[inline]
pub const fn infer_hi(top: u64, window: u32, lo: u32) -> u32 {
    let top_lo = self::lo(top);
    let behind = window.saturating_sub(1);
    let bottom = top_lo.wrapping_sub(behind);
    if top_lo >= behind {
        // The window is in one subspace.
        hi(top).wrapping_add((lo < bottom) as u32)
    } else {
        // It began in the subspace before.
        hi(top).wrapping_sub((lo >= bottom) as u32)
    }
}

/// Whether the verified number `seq` is ahead of `top`, which then becomes `seq`.
///
/// The difference counts with its sign: a number inferred to be below zero is not ahead.
#[inline]
pub const fn is_ahead(seq: u64, top: u64) -> bool {
    seq != top && seq.wrapping_sub(top) < 1 << 63
}

/// Explicit IV of a packet (RFC 4106 section 3.1): be64(`seq` XOR `iv_xor`).
///
/// It is unique under one key as long as `seq` is. `iv_xor` is drawn at random for every installation of
/// an SA, so that IVs do not repeat if the key is installed again, or software uses it as well.
#[inline]
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

    /// The rule as the stack has it, on signed and unsigned numbers that are wide enough.
    fn model(top: u64, window: u32, lo: u32) -> u32 {
        let top = i128::from(top);
        let bottom = top - i128::from(window) + 1;
        // The number with this low half that lies in [bottom, bottom + 2^32).
        let mut number = (bottom >> 32 << 32) + i128::from(lo);
        if number < bottom {
            number += 1 << 32;
        }
        (number >> 32) as u32
    }

    #[test]
    fn inference_at_the_edges() {
        assert_eq!(infer_hi(0, 32, 1), 0);
        assert_eq!(infer_hi(0, 32, 0xffff_ff00), 0);
        // Within the window below zero: the stack subtracts as well, and the ICV fails.
        assert_eq!(infer_hi(0, 32, 0xffff_ffff), 0xffff_ffff);
        assert_eq!(infer_hi(0xffff_ffff, 32, 0), 1);
        assert_eq!(infer_hi(0xffff_ffff, 32, 0xffff_ffe0), 0);
        assert_eq!(infer_hi(0xffff_ffff, 32, 0xffff_ffdf), 1);
        assert_eq!(infer_hi(0x1_0000_0000, 32, 0xffff_ffff), 0);
        assert_eq!(infer_hi(0x1_0000_0000, 32, 0xffff_ffe1), 0);
        assert_eq!(infer_hi(0x1_0000_0000, 32, 0xffff_ffe0), 1);
        assert_eq!(infer_hi(0x1_0000_001f, 32, 0xffff_ffff), 1);
        assert_eq!(infer_hi(0x1_0000_001e, 32, 0xffff_ffff), 0);
        assert_eq!(infer_hi(0x1_0000_0000, 1, 0xffff_ffff), 1);
    }

    #[test]
    fn below_zero_is_not_ahead() {
        assert!(is_ahead(2, 1) && !is_ahead(1, 1) && !is_ahead(1, 2));
        assert!(is_ahead(0x1_0000_0000, 0xffff_ffff));
        assert!(!is_ahead(join(0xffff_ffff, 0xffff_ffff), 0));
    }

    #[test]
    fn half_of_the_number_space_is_ahead() {
        for top in [0, 5, 1 << 63, u64::MAX] {
            assert!(is_ahead(top.wrapping_add((1 << 63) - 1), top));
            assert!(!is_ahead(top.wrapping_add(1 << 63), top));
            assert!(!is_ahead(top.wrapping_sub(1), top));
        }
    }

    proptest! {
        #[test]
        fn inference_is_that_of_the_model(
            hi in 1u32..=0xffff_fffe, near: bool, offset in -5000i64..5000, any_lo: u32,
            window in 1u32..=4096, lo in prop_oneof![any::<u32>(), 0u32..5000, 0xffff_e000u32..]
        ) {
            let top = if near {
                join(hi, 0).wrapping_add_signed(offset)
            } else {
                join(hi, any_lo)
            };
            prop_assert_eq!(infer_hi(top, window, lo), model(top, window, lo));
        }

        /// Loss and reordering within half of the number space never make the inference wrong.
        #[test]
        fn inference_follows_a_stream(
            start in 0xffff_f000u64..0x1_0000_1000, window in 32u32..=4096,
            steps in prop::collection::vec((1u64..3000, 0u64..4096), 1..200)
        ) {
            let (mut top, mut newest) = (start, start);
            for (ahead, late) in steps {
                newest += ahead;
                // One packet in order, and one that is late but in the window.
                for seq in [newest, newest - late.min(u64::from(window) - 1)] {
                    prop_assert_eq!(infer_hi(top, window, lo(seq)), hi(seq), "{:#x}", seq);
                    if is_ahead(seq, top) {
                        top = seq;
                    }
                }
            }
            prop_assert_eq!(top, newest);
        }

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
