// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers in requests, on the command line and at the control socket.

/// Speeds of VIRTIO 1.4 section 5.1.4, in Mbit/s.
const SPEED_RANGE: std::ops::RangeInclusive<u32> = 1..=0x7fff_ffff;

/// A number of SAs, or none.
pub(crate) fn parse_mark(word: &str) -> Result<Option<u32>, String> {
    match word {
        "none" => Ok(None),
        _ => number(word).map(Some),
    }
}

/// A number of 32 bits.
pub(crate) fn number(word: &str) -> Result<u32, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a number from 0 to {}", u32::MAX))
}

/// The speed of a link in Mbit/s.
pub(crate) fn parse_speed(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|speed| SPEED_RANGE.contains(speed))
        .ok_or_else(|| format!("`{text}` is not a speed in Mbit/s from 1 to 2147483647"))
}
