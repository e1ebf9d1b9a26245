// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Bitmaps of administration commands: arrays of le64 words in which bit *n* stands for opcode or
//! capability *n* (VIRTIO 1.4 sections 2.13.1.1 and 2.13.1.4).
//!
//! In little-endian words bit *n* is bit `n % 8` of byte `n / 8`, so the functions work on bytes.

use crate::Error;

/// Bytes of a bitmap, in whole 64-bit words, whose largest member is `max`.
///
/// Follows the text of the standard ("up to and including"); its formula would be one word short for
/// a multiple of 64.
pub const fn size_for(max: u16) -> usize {
    // A u16 divided by 64 is at most 1023.
    (max as usize / 64).saturating_add(1).saturating_mul(8)
}

/// Whether `bit` is set; a bit behind the end is not.
pub fn get(bitmap: &[u8], bit: u16) -> bool {
    bitmap
        .get(usize::from(bit / 8))
        .is_some_and(|byte| byte & mask(bit) != 0)
}

/// Sets `bit`.
///
/// # Errors
///
/// [`Error::NoSpace`] if the bitmap ends before it.
pub fn set(bitmap: &mut [u8], bit: u16) -> Result<(), Error> {
    let byte = bitmap.get_mut(usize::from(bit / 8)).ok_or(Error::NoSpace)?;
    *byte |= mask(bit);
    Ok(())
}

/// Whether every bit of `set` is in `superset`; the two may differ in length.
pub fn is_subset(set: &[u8], superset: &[u8]) -> bool {
    set.iter()
        .enumerate()
        .all(|(i, byte)| byte & !superset.get(i).copied().unwrap_or(0) == 0)
}

const fn mask(bit: u16) -> u8 {
    match 1u8.checked_shl((bit % 8) as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_words_that_hold_the_largest_member() {
        assert_eq!(size_for(0), 8);
        assert_eq!(size_for(63), 8);
        assert_eq!(size_for(64), 16);
        assert_eq!(size_for(0x0804), 33 * 8);
        assert_eq!(size_for(0x0fc0), 64 * 8);
        assert_eq!(size_for(u16::MAX), 8192);
    }

    #[test]
    fn bits_are_little_endian_words() {
        let mut map = [0u8; 16];
        set(&mut map, 0).unwrap();
        set(&mut map, 70).unwrap();
        assert_eq!(u64::from_le_bytes(map[..8].try_into().unwrap()), 1);
        assert_eq!(u64::from_le_bytes(map[8..].try_into().unwrap()), 1 << 6);
        assert!(get(&map, 70) && !get(&map, 69) && !get(&map, 5000));
        assert_eq!(set(&mut map, 128), Err(Error::NoSpace));
    }

    #[test]
    fn subset_ignores_trailing_zero_words() {
        assert!(is_subset(&[1, 0, 0], &[3]));
        assert!(!is_subset(&[1, 0, 1], &[3]));
        assert!(is_subset(&[], &[]));
        assert!(!is_subset(&[4], &[3, 255]));
    }
}
