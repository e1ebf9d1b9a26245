// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an SA has counted, experimental: read-only objects that come and go with the SA of the same id.
//!
//! QUERY of one gives a [`SaState`], and behind it the replay window as a bitmap
//! ([`crate::bitmap`]).

use crate::{put, Error, U32, U64};
use zerocopy::IntoBytes as _;

/// Object type: state of an outbound SA.
pub const OBJ_OUTB_STATE: u16 = 0x04f0;
/// Object type: state of an inbound SA.
pub const OBJ_INB_STATE: u16 = 0x04f1;

/// Largest replay window in packets, as XFRM has it (`XFRMA_REPLAY_ESN_MAX`).
pub const MAX_WINDOW: u32 = 4096;

layout! {
    /// The fixed part of the object.
    pub struct SaState {
        /// Packets that were processed.
        pub packets: U64,
        /// Bytes of them.
        pub bytes: U64,
        /// Last (outbound) or highest (inbound) sequence number, 64 bits.
        pub seq: U64,
        /// Packets whose ICV was wrong.
        pub auth_fail: U64,
        /// Packets that had come before.
        pub replay_drop: U64,
        /// Packets that were too late for the window.
        pub replay_late: U64,
        /// Packets whose padding, length or content was wrong.
        pub format_fail: U64,
        /// Packets that came after a hard limit or the last number.
        pub limit_drop: U64,
        /// Size of the replay window in packets, 0 for none. A bitmap of as many bits follows, in whole
        /// 32-bit words.
        pub window: U32,
    }
}

impl SaState {
    /// Length of the fixed part in bytes.
    pub const LEN: usize = 68;

    /// Reads an object: the fixed part, and the bitmap of its window. What is missing at the end reads as
    /// zero for the fixed part ([`crate::read_zero_extended`]).
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if the bitmap is not as long as the window demands, or the window larger than
    /// [`MAX_WINDOW`].
    pub fn parse(data: &[u8]) -> Result<(Self, &[u8]), Error> {
        let state: Self = crate::read_zero_extended(data);
        let len = bitmap_len(state.window.get()).ok_or(Error::Truncated)?;
        let rest = data.get(Self::LEN..).unwrap_or_default();
        let (words, _) = rest.split_at_checked(len).ok_or(Error::Truncated)?;
        Ok((state, words))
    }

    /// Writes the object to the start of `buf` and returns its length; `words` is the bitmap.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if `buf` is too small, or `words` not as long as the window demands.
    pub fn write(&self, words: &[u8], buf: &mut [u8]) -> Result<usize, Error> {
        if bitmap_len(self.window.get()) != Some(words.len()) {
            return Err(Error::NoSpace);
        }
        let at = put(buf, 0, self.as_bytes())?;
        put(buf, at, words)
    }
}

/// Bytes of the bitmap of a window of `window` packets: whole words of 32 bits. `None` beyond
/// [`MAX_WINDOW`].
pub const fn bitmap_len(window: u32) -> Option<usize> {
    if window > MAX_WINDOW {
        return None;
    }
    Some((window.div_ceil(32) as usize).saturating_mul(4))
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SaState>() == SaState::LEN);
    assert!(offset_of!(SaState, bytes) == 8);
    assert!(offset_of!(SaState, seq) == 16);
    assert!(offset_of!(SaState, auth_fail) == 24);
    assert!(offset_of!(SaState, replay_drop) == 32);
    assert!(offset_of!(SaState, replay_late) == 40);
    assert!(offset_of!(SaState, format_fail) == 48);
    assert!(offset_of!(SaState, limit_drop) == 56);
    assert!(offset_of!(SaState, window) == 64);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn state(window: u32) -> SaState {
        SaState {
            packets: U64::new(1),
            seq: U64::new(0x0102_0304_0506_0708),
            limit_drop: U64::new(3),
            window: U32::new(window),
            ..SaState::default()
        }
    }

    #[test]
    fn a_bitmap_has_whole_words() {
        for (window, len) in [(0, 0), (1, 4), (32, 4), (33, 8), (4096, 512)] {
            assert_eq!(bitmap_len(window), Some(len));
        }
        assert_eq!([4097, u32::MAX].map(bitmap_len), [None; 2]);
    }

    #[test]
    fn what_is_written_reads_back() {
        for (window, words) in [
            (0, &[][..]),
            (32, &[1, 2, 3, 4]),
            (33, &[1, 0, 0, 0, 1, 0, 0, 0]),
        ] {
            let mut buf = [0xee; 100];
            let len = state(window).write(words, &mut buf).unwrap();
            assert_eq!(len, 68 + words.len());
            assert!(buf[len..].iter().all(|&byte| byte == 0xee));
            assert_eq!(SaState::parse(&buf), Ok((state(window), words)));
            assert_eq!(SaState::parse(&buf[..len]), Ok((state(window), words)));
            assert_eq!(
                state(window).write(words, &mut buf[..len - 1]),
                Err(Error::NoSpace)
            );
            assert_eq!(state(window).write(&[0; 3], &mut buf), Err(Error::NoSpace));
        }
        let mut buf = [0; 80];
        state(33)
            .write(&[1, 0, 0, 0, 1, 0, 0, 0], &mut buf)
            .unwrap();
        let (_, words) = SaState::parse(&buf).unwrap();
        let set: Vec<_> = (0..64)
            .filter(|&bit| crate::bitmap::get(words, bit))
            .collect();
        assert_eq!(set, [0, 32]);
    }

    #[test]
    fn numbers_are_little_endian() {
        let mut buf = [0; 72];
        state(32).write(&[0; 4], &mut buf).unwrap();
        assert_eq!(buf[16..24], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!((buf[56], buf[64]), (3, 32));
    }

    #[test]
    fn a_window_without_its_bitmap_is_refused() {
        let mut buf = [0; 100];
        let len = state(33).write(&[0; 8], &mut buf).unwrap();
        assert_eq!(SaState::parse(&buf[..len - 1]), Err(Error::Truncated));
        for window in [4097u32, u32::MAX] {
            buf[64..68].copy_from_slice(&window.to_le_bytes());
            assert_eq!(SaState::parse(&buf), Err(Error::Truncated));
        }
        // The fixed part alone, and less.
        assert_eq!(SaState::parse(&[0; 68]), Ok((SaState::default(), &[][..])));
        assert_eq!(SaState::parse(&[]), Ok((SaState::default(), &[][..])));
    }
}
