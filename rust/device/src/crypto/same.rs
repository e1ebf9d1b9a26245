// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Constant-time comparison of ICVs.

use std::hint::black_box;

const WORD: usize = size_of::<u128>();

/// Whether the two are equal. Sixteen bytes at once, because byte by byte takes longer than decrypting
/// a small packet; all differences are collected before the first is looked at.
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let all = if a.len() == WORD {
        word(a) ^ word(b)
    } else {
        differences(a, b)
    };
    // Hides the value from the compiler, which could otherwise return at the first difference.
    black_box((all >> 64) as u64 | all as u64) == 0
}

/// The differences of two slices of the same length, which may be any.
#[inline(never)]
fn differences(a: &[u8], b: &[u8]) -> u128 {
    let words = a.chunks(WORD).zip(b.chunks(WORD));
    words.fold(0, |all, (a, b)| all | (word(a) ^ word(b)))
}

/// Up to sixteen bytes as a number.
#[inline]
fn word(bytes: &[u8]) -> u128 {
    if let Ok(bytes) = <[u8; WORD]>::try_from(bytes) {
        return u128::from_ne_bytes(bytes);
    }
    let mut padded = [0; WORD];
    if let Some(start) = padded.get_mut(..bytes.len()) {
        start.copy_from_slice(bytes);
    }
    u128::from_ne_bytes(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts() {
        for len in 0..40usize {
            let a: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert!(same(&a, &a.clone()));
            for bit in 0..8 * len {
                let mut b = a.clone();
                b[bit / 8] ^= 1 << (bit % 8);
                assert!(!same(&a, &b), "{len} {bit}");
            }
            assert!(!same(&a, &[&a[..], &[0]].concat()));
        }
    }
}
