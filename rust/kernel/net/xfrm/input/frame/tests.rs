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
const FREE4: [(usize, usize); 4] = [(0, 11), (15, 19), (22, 22), (24, 29)];
const FREE6: [(usize, usize); 3] = [(0, 11), (14, 19), (21, 37)];

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
