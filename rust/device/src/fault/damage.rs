// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Damage to one ESP frame.

use espnic_esp::checksum::{complete_ipv4, UDP_FIELD};
use espnic_esp::ip::{put_be16, Ip, IPV4_LENGTH, IPV6_LENGTH, UDP_LENGTH};
use espnic_esp::packet;

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
    /// Damages `frame`, if it is ESP.
    pub fn apply(self, frame: &mut Vec<u8>) {
        let Some(ip) = Ip::find(frame) else {
            return;
        };
        let Some(range) = packet::range(frame, &ip) else {
            return;
        };
        if self == Self::Length {
            shorten(frame, &ip, range.start);
            return;
        }
        let esp = frame.get_mut(range).unwrap_or_default();
        let byte = match self {
            Self::Payload => esp.get_mut(ESP_CLEAR_LEN),
            _ => esp.last_mut(),
        };
        if let Some(byte) = byte {
            *byte ^= 1;
        }
    }
}

/// Cuts the packet `ip`, whose ESP header is at `start`, and corrects the headers in front of it.
fn shorten(frame: &mut Vec<u8>, ip: &Ip, start: usize) {
    let end = ip.end.min(start + SHORT_LEN);
    frame.truncate(end);
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
