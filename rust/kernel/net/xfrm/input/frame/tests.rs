// SPDX-License-Identifier: GPL-2.0

//! Tests of what makes packets those of one SA.

use super::{
    EspFrame,
    EspPlace, //
};
use kernel::prelude::*;

/// Ethernet, IPv4 or IPv6 with ESP behind it; every byte that nobody looks at is 0x5a.
fn frame(v6: bool) -> [u8; 80] {
    let mut frame = [0x5a; 80];
    let (kind, version, protocol) = match v6 {
        false => ([0x08, 0x00], 0x45, 23),
        true => ([0x86, 0xdd], 0x6a, 20),
    };
    frame[12..14].copy_from_slice(&kind);
    frame[14] = version;
    frame[protocol] = 50;
    if !v6 {
        frame[20..22].copy_from_slice(&[0x40, 0]);
    }
    frame
}

/// The bytes by whose lowest bit packets of the SA may differ, as (first, last) offset.
const FREE4: [(usize, usize); 4] = [(0, 11), (15, 19), (22, 22), (24, 25)];
const FREE6: [(usize, usize); 3] = [(0, 11), (14, 19), (21, 21)];

/// The same, with a packet that ends with the frame and has the right sum.
fn whole(v6: bool) -> [u8; 80] {
    let mut frame = frame(v6);
    match v6 {
        false => {
            frame[16..18].copy_from_slice(&[0, 66]);
            frame[24..26].copy_from_slice(&[0, 0]);
            let words = frame[14..34].chunks_exact(2);
            let sum: u32 = words
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            // No more than nine carries of ten words, and none of adding them.
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        true => frame[18..20].copy_from_slice(&[0, 26]),
    }
    frame
}

#[kunit_tests(espnic_xfrm_input_frame)]
mod cases {
    use super::*;

    #[test]
    fn every_byte_that_matters() -> Result {
        let kinds: [(bool, usize, &[(usize, usize)]); 2] =
            [(false, 38, &FREE4), (true, 58, &FREE6)];
        for (v6, end, free) in kinds {
            let first = frame(v6);
            let place = EspPlace::find(&first).ok_or(ENOENT)?;
            let known = EspFrame::of(&first, place).ok_or(ENOENT)?;
            assert!(known
                .find(&first)
                .is_some_and(|found| found.len == place.len));
            for at in 0..first.len() {
                let mut other = first;
                other[at] ^= 0x01;
                let is_free = at >= end || free.iter().any(|&(from, to)| (from..=to).contains(&at));
                // "More fragments" and "don't fragment" are in a byte of their own.
                assert_eq!(known.find(&other).is_some(), is_free);
                // What is recognised is found by looking, at the same place.
                if is_free && at < end {
                    let (found, looked) = (known.find(&other), EspPlace::find(&other));
                    let found = found.ok_or(ENOENT)?;
                    let looked = looked.ok_or(ENOENT)?;
                    assert_eq!((found.offset(), found.len), (looked.offset(), looked.len));
                }
            }
            for len in 0..end {
                assert!(known.find(&first[..len]).is_none());
            }
        }
        Ok(())
    }

    #[test]
    fn whole_packets() -> Result {
        for v6 in [false, true] {
            let first = whole(v6);
            let place = EspPlace::find(&first).ok_or(ENOENT)?;
            let known = EspFrame::of(&first, place).ok_or(ENOENT)?;
            let found = known.find_whole(&first, 80).ok_or(ENOENT)?;
            assert_eq!((found.offset(), found.end()), (place.offset(), 80));
            // Frames that are shorter or longer than the packet; others of the SA are found there, too.
            assert!(
                known.find_whole(&first, 79).is_none() && known.find_whole(&first, 81).is_none()
            );
            for at in if v6 { [18, 19] } else { [16, 17] } {
                let mut other = first;
                other[at] ^= 0x01;
                assert!(known.find(&other).is_some() && known.find_whole(&other, 80).is_none());
            }
            // A wrong sum: of the time to live, which alone is not compared. IPv6 has none.
            let mut other = first;
            other[if v6 { 21 } else { 22 }] ^= 0x01;
            assert!(known.find(&other).is_some());
            assert_eq!(known.find_whole(&other, 80).is_some(), v6);
            // Another SA's.
            other = first;
            other[if v6 { 57 } else { 37 }] ^= 0x01;
            assert!(known.find_whole(&other, 80).is_none());
        }
        Ok(())
    }

    #[test]
    fn fragments_and_versions() -> Result {
        let first = frame(false);
        let place = EspPlace::find(&first).ok_or(ENOENT)?;
        let known = EspFrame::of(&first, place).ok_or(ENOENT)?;
        let with = |at: usize, byte: u8| {
            let mut other = first;
            other[at] = byte;
            known.find(&other).is_some()
        };
        // "Don't fragment" may be clear; more fragments, or an offset, may not be there.
        assert!(with(20, 0x00) && !with(20, 0x20) && !with(20, 0x60) && !with(21, 0x08));
        assert!(!with(14, 0x46) && !with(14, 0x65));
        // The other version's packets are never those of the SA.
        assert!(known.find(&frame(true)).is_none());
        Ok(())
    }

    #[test]
    fn nothing_in_udp() -> Result {
        let mut udp = frame(false);
        udp[23] = 17;
        let place = EspPlace::find(&udp).ok_or(ENOENT)?;
        assert!(EspFrame::of(&udp, place).is_none());
        Ok(())
    }
}
