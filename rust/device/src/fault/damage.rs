// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Damage to one ESP frame.

use crate::net::frame;

/// ESP header and IV of the AEAD algorithms; ciphertext follows.
const ESP_CLEAR_LEN: usize = 16;
/// What a frame is cut to: ESP header and eight bytes. No algorithm has an IV and an ICV that fit.
const SHORT_LEN: usize = 16;
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// What is wrong with the frame.
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
        let Some(range) = frame::esp(frame) else {
            return;
        };
        if self == Self::Length {
            shorten(frame, range.start, range.end);
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

/// Cuts the ESP packet at `start..end` and corrects the headers in front of it.
fn shorten(frame: &mut Vec<u8>, start: usize, end: usize) {
    let Some(packet) = frame::parse(frame) else {
        return;
    };
    let new_end = end.min(start + SHORT_LEN);
    frame.truncate(new_end);
    if start > packet.transport {
        // ESP in UDP: length, and no checksum, which is right over IPv4 only; over IPv6 the packet
        // is wrong one way more.
        put(frame, start - UDP_LEN + 4, new_end + UDP_LEN - start);
        put(frame, start - UDP_LEN + 6, 0);
    }
    if packet.v6 {
        put(frame, packet.network + 4, new_end - packet.transport);
        return;
    }
    put(frame, packet.network + 2, new_end - packet.network);
    renew_ipv4_checksum(frame, packet.network, packet.transport);
}

/// Makes the checksum of an IPv4 header at `network`, in front of `transport`, right.
pub(crate) fn renew_ipv4_checksum(frame: &mut [u8], network: usize, transport: usize) {
    put(frame, network + 10, 0);
    let header = network..transport.max(network + IPV4_LEN);
    let sum = frame
        .get(header)
        .map_or(0, |header| !espnic_esp::checksum::Sum::of(header).folded());
    put(frame, network + 10, sum.into());
}

/// Writes a 16-bit field, if the frame reaches so far.
fn put(frame: &mut [u8], at: usize, value: usize) {
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&(value as u16).to_be_bytes());
    }
}
