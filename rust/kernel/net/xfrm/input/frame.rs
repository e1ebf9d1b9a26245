// SPDX-License-Identifier: GPL-2.0

//! Recognising the next packet of an SA by its first bytes.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    is_sum_right,
    EspPlace,
    Family,
    ETH_HLEN,
    IPPROTO_ESP, //
};
use crate::net::ip::IPV6_HLEN;

/// Where the bytes of a frame begin that are looked at: with the EtherType. How many they are; they end behind the SPI.
const AT: usize = ETH_HLEN - 2;
const LEN4: usize = 2 + 20 + 4;
const LEN6: usize = 2 + IPV6_HLEN + 4;

/// What packets of an SA without a header of UDP, from one source, have in common in the first word of their IPv4
/// header: version and length, and that they are no fragment, which is all of its field but "don't fragment" and the bit
/// in front of it.
const START4: u64 = word([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
const PLAIN4: u64 = word([0x45, 0, 0, 0, 0, 0, 0, 0]);
/// The same in the second one: protocol and source.
const MIDDLE4: u64 = word([0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff]);
/// The same in the first word of their IPv6 header: version and next header.
const START6: u64 = word([0xf0, 0, 0, 0, 0, 0, 0xff, 0]);
const PLAIN6: u64 = word([0x60, 0, 0, 0, 0, 0, IPPROTO_ESP, 0]);

#[inline(always)]
const fn word(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

/// The first bytes of a packet of an SA, for recognising the next one. Where they match, [`EspPlace::find`]
/// finds the same, but for the packet's length, and source, destination and SPI are the same, too.
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
pub struct EspFrame(Known);

/// What is the same in all frames, in words in the byte order of memory.
#[derive(Clone, Copy)]
enum Known {
    /// Protocol and source as under [`MIDDLE4`]; destination and SPI.
    V4([u64; 2]),
    /// Source, destination; SPI.
    V6([u64; 4], u32),
}

impl EspFrame {
    /// Those of `frame`, where ESP is at `place`; `None` if that is in UDP.
    pub fn of(frame: &[u8], place: EspPlace) -> Option<Self> {
        if place.in_udp {
            return None;
        }
        let known = match place.family {
            Family::V4 => Known::V4(Head4::of(frame)?.known()),
            Family::V6 => {
                let head = Head6::of(frame)?;
                Known::V6(head.addresses, head.spi)
            }
        };
        Some(Self(known))
    }

    /// Where ESP is in a frame of the same SA and source; `None` if it is another one's.
    #[inline(always)]
    pub fn find(&self, frame: &[u8]) -> Option<EspPlace> {
        // INVARIANT: The frame has so many bytes, and in them what `EspPlace::find` looks for.
        match &self.0 {
            Known::V4([middle, end]) => {
                let head = Head4::of(frame)?;
                let [known_middle, known_end] = head.known();
                let differ =
                    (head.start & START4) ^ PLAIN4 | middle ^ known_middle | end ^ known_end;
                (head.kind == [0x08, 0x00] && differ == 0).then_some(EspPlace {
                    family: Family::V4,
                    in_udp: false,
                    len: head.len.into(),
                })
            }
            Known::V6([a, b, c, d], spi) => {
                let head = Head6::of(frame)?;
                let [other_a, other_b, other_c, other_d] = head.addresses;
                let differ = (head.start & START6) ^ PLAIN6
                    | a ^ other_a
                    | b ^ other_b
                    | c ^ other_c
                    | d ^ other_d
                    | u64::from(spi ^ head.spi);
                (head.kind == [0x86, 0xdd] && differ == 0).then_some(EspPlace {
                    family: Family::V6,
                    in_udp: false,
                    len: u32::from(head.len).saturating_add(IPV6_HLEN as u32),
                })
            }
        }
    }

    /// The same of a frame that has `len` bytes in all and that [`RxSkb::trim_esp`] would leave as it is: the packet
    /// ends with it, and the sum of the IPv4 header is right. `None` of others.
    ///
    /// [`RxSkb::trim_esp`]: crate::net::skbuff::RxSkb::trim_esp
    #[inline(always)]
    pub fn find_whole(&self, frame: &[u8], len: u32) -> Option<EspPlace> {
        let place = self.find(frame)?;
        let is_sound = match place.family {
            Family::V4 => is_sum_right(part(frame, ETH_HLEN)?),
            Family::V6 => true,
        };
        // CAST: At most the length of an IPv6 packet and of an Ethernet header.
        (is_sound && place.end() as u32 == len).then_some(place)
    }
}

/// The first bytes of a frame with IPv4.
struct Head4 {
    kind: [u8; 2],
    start: u64,
    middle: u64,
    end: u64,
    /// Length of the packet in bytes, by its header.
    len: u16,
}

impl Head4 {
    #[inline(always)]
    fn of(frame: &[u8]) -> Option<Self> {
        let head = part::<LEN4>(frame, AT)?;
        Some(Self {
            kind: *part(head, 0)?,
            start: word(*part(head, 2)?),
            middle: word(*part(head, 10)?),
            end: word(*part(head, 18)?),
            len: u16::from_be_bytes(*part(head, 4)?),
        })
    }

    /// What [`Known::V4`] has.
    #[inline(always)]
    fn known(&self) -> [u64; 2] {
        [self.middle & MIDDLE4, self.end]
    }
}

/// The first bytes of a frame with IPv6.
struct Head6 {
    kind: [u8; 2],
    start: u64,
    addresses: [u64; 4],
    spi: u32,
    /// Length of what is behind the header in bytes.
    len: u16,
}

impl Head6 {
    #[inline(always)]
    fn of(frame: &[u8]) -> Option<Self> {
        let head = part::<LEN6>(frame, AT)?;
        let at = |at| Some(word(*part(head, at)?));
        Some(Self {
            kind: *part(head, 0)?,
            start: at(2)?,
            addresses: [at(10)?, at(18)?, at(26)?, at(34)?],
            spi: u32::from_ne_bytes(*part(head, 42)?),
            len: u16::from_be_bytes(*part(head, 6)?),
        })
    }
}

#[inline(always)]
fn part<const N: usize>(frame: &[u8], at: usize) -> Option<&[u8; N]> {
    frame.get(at..)?.first_chunk()
}
