// SPDX-License-Identifier: GPL-2.0

//! Recognising the next packet of an SA by its first bytes.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    EspPlace,
    Family, //
};
use crate::net::ip::IPV6_HLEN;

/// Where the bytes of a frame begin that are compared, and how many they are. They end behind the SPI.
const AT4: usize = 6;
const LEN4: usize = 32;
const AT6: usize = 10;
const LEN6: usize = 48;

/// What of them all packets of an SA without a header of UDP have in common.
const MASK4: [u8; LEN4] = {
    let mut mask = [0; LEN4];
    // EtherType; version and length of the header.
    mask[12 - AT4] = 0xff;
    mask[13 - AT4] = 0xff;
    mask[14 - AT4] = 0xff;
    // No fragment: all of the field but "don't fragment" and the bit in front of it.
    mask[20 - AT4] = 0x3f;
    mask[21 - AT4] = 0xff;
    // Protocol.
    mask[23 - AT4] = 0xff;
    // Destination and SPI.
    ones(mask, 30 - AT4)
};
const MASK6: [u8; LEN6] = {
    let mut mask = [0; LEN6];
    // EtherType, version, next header.
    mask[12 - AT6] = 0xff;
    mask[13 - AT6] = 0xff;
    mask[14 - AT6] = 0xf0;
    mask[20 - AT6] = 0xff;
    // Destination and SPI.
    ones(mask, 38 - AT6)
};

/// The mask with all ones from `from` on.
const fn ones<const N: usize>(mut mask: [u8; N], from: usize) -> [u8; N] {
    let mut at = from;
    while at < N {
        mask[at] = 0xff;
        at += 1;
    }
    mask
}

/// The first bytes of a packet of an SA, for recognising the next one. Where they match, [`EspPlace::find`]
/// finds the same, but for the packet's length, and destination and SPI are the same, too.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::input::{
///     EspFrame,
///     EspPlace, //
/// };
///
/// // Ethernet, IPv4 with the protocol 50, and the SPI 7.
/// let mut frame = [0; 60];
/// frame[12] = 8;
/// frame[14] = 0x45;
/// frame[23] = 50;
/// frame[37] = 7;
/// let first = EspPlace::find(&frame).and_then(|place| EspFrame::of(&frame, place));
/// // The sequence number does not matter, the SPI does.
/// frame[41] = 2;
/// assert!(first.is_some_and(|first| first.find(&frame).is_some()));
/// frame[37] = 8;
/// assert!(first.is_some_and(|first| first.find(&frame).is_none()));
/// ```
#[derive(Clone, Copy)]
pub enum EspFrame {
    /// IPv4.
    V4([u8; LEN4]),
    /// IPv6.
    V6([u8; LEN6]),
}

impl EspFrame {
    /// Those of `frame`, where ESP is at `place`; `None` if that is in UDP.
    pub fn of(frame: &[u8], place: EspPlace) -> Option<Self> {
        if place.in_udp {
            return None;
        }
        match place.family {
            Family::V4 => part::<LEN4>(frame, AT4).map(|bytes| Self::V4(*bytes)),
            Family::V6 => part::<LEN6>(frame, AT6).map(|bytes| Self::V6(*bytes)),
        }
    }

    /// Where ESP is in a frame of the same SA; `None` if it is another one's.
    #[inline]
    pub fn find(&self, frame: &[u8]) -> Option<EspPlace> {
        // INVARIANT: The frame has so many bytes, and in them what `EspPlace::find` looks for.
        match self {
            Self::V4(bytes) => {
                let fits = is_same(part(frame, AT4)?, bytes, &MASK4);
                let len = frame.get(16..)?.first_chunk()?;
                fits.then_some(EspPlace {
                    family: Family::V4,
                    in_udp: false,
                    len: u16::from_be_bytes(*len).into(),
                })
            }
            Self::V6(bytes) => {
                let fits = is_same(part(frame, AT6)?, bytes, &MASK6);
                let len = u32::from(u16::from_be_bytes(*frame.get(18..)?.first_chunk()?));
                fits.then_some(EspPlace {
                    family: Family::V6,
                    in_udp: false,
                    len: len.saturating_add(IPV6_HLEN as u32),
                })
            }
        }
    }
}

#[inline]
fn part<const N: usize>(frame: &[u8], at: usize) -> Option<&[u8; N]> {
    frame.get(at..)?.first_chunk()
}

/// Whether two pieces are the same where the mask has ones.
#[inline]
fn is_same<const N: usize>(one: &[u8; N], other: &[u8; N], mask: &[u8; N]) -> bool {
    let pairs = words(one).zip(words(other)).zip(words(mask));
    pairs.fold(0, |sum, ((one, other), mask)| sum | ((one ^ other) & mask)) == 0
}

/// The whole words of some bytes.
#[inline]
fn words<const N: usize>(bytes: &[u8; N]) -> impl Iterator<Item = u64> + '_ {
    let words = bytes.chunks_exact(8).filter_map(|word| word.first_chunk());
    words.map(|&word| u64::from_ne_bytes(word))
}
