// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Comparing ICVs in a time that does not depend on them.

use subtle::{Choice, ConstantTimeEq};

const WORD: usize = size_of::<u128>();

/// Whether the two are equal. Sixteen bytes at once, because byte by byte takes longer than decrypting
/// a small packet.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let words = a.chunks(WORD).zip(b.chunks(WORD));
    words
        .fold(Choice::from(1), |equal, (a, b)| {
            equal & word(a).ct_eq(&word(b))
        })
        .into()
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
