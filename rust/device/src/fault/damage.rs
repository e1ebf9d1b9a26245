// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Damage to one ESP frame.

use crate::frame::Frame;
use espnic_esp::checksum::{complete_ipv4, UDP_FIELD};
use espnic_esp::ip::{put_be16, Ip, IPV4_LENGTH, IPV6_LENGTH, UDP_LENGTH};
use std::ops::Range;

/// ESP header and IV of the AEAD algorithms; ciphertext follows.
const ESP_CLEAR_LEN: usize = 16;
/// The length of a cut packet: ESP header and eight bytes, too short for IV and ICV of any algorithm.
const SHORT_LEN: usize = 16;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit of the last byte of the ESP packet, which belongs to the ICV.
    Icv,
    /// One bit of the byte behind header and IV.
    Payload,
    /// The packet, its IP and UDP headers included, has a length that no ESP packet has.
    Length,
}

impl Damage {
    /// Damages `frame`, which had the ESP packet `esp` in it when it came. Several kinds of damage add up.
    pub fn apply(self, frame: &mut Frame, esp: &Range<usize>) {
        if self == Self::Length {
            shorten(frame, esp.start);
            return;
        }
        let end = esp.end.min(frame.len());
        let at = match self {
            Self::Payload => esp.start + ESP_CLEAR_LEN,
            _ => end.saturating_sub(1).max(esp.start),
        };
        // A packet may end before its ESP header.
        if at < end {
            frame.change(at, |_, rest| rest.first_mut().map(|byte| *byte ^= 1));
        }
    }
}

/// Cuts the packet, whose ESP header is at `start`, and corrects the headers in front of it.
fn shorten(frame: &mut Frame, start: usize) {
    let Some(ip) = frame.layers().ip() else {
        return;
    };
    let end = ip.end.min(start + SHORT_LEN);
    frame.truncate(end);
    frame.change(0, |_, frame| correct(frame, &ip, start));
}

/// Corrects the headers of the packet `ip`, whose ESP header is at `start`, in a frame that ends with it.
fn correct(frame: &mut [u8], ip: &Ip, start: usize) {
    let end = frame.len();
    if start > ip.transport {
        // ESP in UDP: corrects the length and removes the checksum. IPv6 does not allow a missing
        // checksum, so there the packet is wrong in one more way.
        put(frame, ip.transport + UDP_LENGTH, end - ip.transport);
        put(frame, ip.transport + UDP_FIELD, 0);
    }
    if ip.v6 {
        put(frame, ip.network + IPV6_LENGTH, end - ip.transport);
        return;
    }
    put(frame, ip.network + IPV4_LENGTH, end - ip.network);
    if let Some(header) = frame.get_mut(ip.network..ip.transport) {
        complete_ipv4(header);
    }
}

/// Writes a 16-bit field of a header that the frame has.
fn put(frame: &mut [u8], at: usize, value: usize) {
    put_be16(frame, at, value as u16);
}
