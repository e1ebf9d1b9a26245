// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Copies of the headers in front of packets. They are short, and have one of few lengths: with a length that the
//! compiler knows, a copy is a few moves instead of a call. They are moves of words; of an array of bytes the compiler moves
//! each by itself.

use vm_memory::{ByteValued, VolatileMemory, VolatileSlice};

/// Copies the start of `from` to `to`. `false`, and nothing is done, if `to` has no header's length, or `from` is
/// shorter.
#[inline(always)]
pub(super) fn load(from: &VolatileSlice<'_>, to: &mut [u8]) -> bool {
    match to.len() {
        12 => get::<[u32; 3]>(from, to),
        20 => get::<[u32; 5]>(from, to),
        32 => get::<[u64; 4]>(from, to),
        48 => get::<[u64; 6]>(from, to),
        _ => false,
    }
}

#[inline(always)]
fn get<T: ByteValued>(from: &VolatileSlice<'_>, to: &mut [u8]) -> bool {
    let place = from.get_ref::<T>(0);
    place.is_ok_and(|place| {
        to.copy_from_slice(place.load().as_slice());
        true
    })
}

/// Copies `from` to the start of `to`. `false`, and nothing is done, if `from` has no header's length, or `to` is
/// shorter.
#[inline(always)]
pub(super) fn store(to: &VolatileSlice<'_>, from: &[u8]) -> bool {
    match from.len() {
        12 => put::<[u32; 3]>(to, from),
        20 => put::<[u32; 5]>(to, from),
        32 => put::<[u64; 4]>(to, from),
        48 => put::<[u64; 6]>(to, from),
        _ => false,
    }
}

#[inline(always)]
fn put<T: ByteValued + Default>(to: &VolatileSlice<'_>, from: &[u8]) -> bool {
    let place = to.get_ref::<T>(0);
    place.is_ok_and(|place| {
        let mut value = T::default();
        value.as_mut_slice().copy_from_slice(from);
        place.store(value);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_are_copied() {
        for len in 0..64 {
            let bytes: Vec<u8> = (1..).take(len).collect();
            let (mut there, mut back) = (vec![0; 64], vec![0; len]);
            let is_header = [12, 20, 32, 48].contains(&len);
            let place = VolatileSlice::from(&mut there[..]);
            assert_eq!(store(&place, &bytes), is_header, "{len}");
            assert_eq!(load(&place, &mut back), is_header, "{len}");
            if is_header {
                assert_eq!((&there[..len], &back), (&bytes[..], &bytes));
            }
            assert!(there[if is_header { len } else { 0 }..]
                .iter()
                .all(|&byte| byte == 0));
        }
    }

    #[test]
    fn what_is_too_short_is_left_alone() {
        let (mut there, mut back) = ([0; 47], [0; 48]);
        let place = VolatileSlice::from(&mut there[..]);
        assert!(!store(&place, &[1; 48]) && !load(&place, &mut back));
        assert_eq!((there, back), ([0; 47], [0; 48]));
    }
}
