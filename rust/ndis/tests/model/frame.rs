// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets, and a NIC's cryptography that is good enough to tell right from wrong.
//!
//! The cipher is XOR with a constant and the integrity value a checksum: the model never looks into
//! either, so that all a test needs is that a changed byte shows.

use crate::fixture::{DESTINATION, EVERYTHING, SOURCE};
use crate::table::Table;
use espnic_ndis::model::flow::{self, Engine};
use espnic_ndis::model::send;
use espnic_ndis::model::table::{AhShape, EspShape};
use espnic_ndis::model::{Capabilities, Lookup, Report, SendSlots, Verdict};
use espnic_ndis::oob::SendHeader;
use espnic_ndis::{Handle, Status};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ESP: u8 = 50;
pub const AH: u8 = 51;
pub const IPV4: u8 = 4;

const MASK: u8 = 0x5a;

/// An integrity value of `length` bytes.
fn tag(data: &[u8], length: usize) -> Vec<u8> {
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    for byte in data {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    sum.to_be_bytes().into_iter().cycle().take(length).collect()
}

/// An IPv4 packet between given addresses.
pub fn ipv4_between(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

/// An IPv4 packet between the addresses of the fixture.
pub fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_between(SOURCE, DESTINATION, protocol, payload)
}

/// An IPv4 packet with four bytes of options.
pub fn ipv4_options(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, &[&[1, 1, 1, 0], payload].concat());
    packet[0] = 0x46;
    packet
}

/// An IPv6 packet from 1s to 2s, with its extension headers (type and bytes) in front of the
/// payload.
pub fn ipv6(extensions: &[(u8, &[u8])], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut next: Vec<u8> = extensions.iter().map(|one| one.0).collect();
    next.push(protocol);
    let mut body = Vec::new();
    for (n, (_, bytes)) in extensions.iter().enumerate() {
        body.push(next[n + 1]);
        body.extend(*bytes);
    }
    body.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([next[0], 64]);
    packet.extend([1; 16]);
    packet.extend([2; 16]);
    packet.extend(body);
    packet
}

/// UDP from port 4500 to `port`.
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 4500u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// ESP as a transport frames it: nothing encrypted, room for the integrity value.
pub fn framed(shape: &EspShape, payload: &[u8], next: u8) -> Vec<u8> {
    let mut esp = shape.spi.to_be_bytes().to_vec();
    esp.extend(1u32.to_be_bytes());
    esp.extend(vec![0x11; shape.iv]);
    esp.extend(payload);
    let body = payload.len() + 2;
    let pad = body.next_multiple_of(shape.alignment) - body;
    esp.extend((0..pad).map(|n| n as u8 + 1));
    esp.extend([pad as u8, next]);
    esp.extend(vec![0; shape.icv]);
    esp
}

/// ESP as it is on the wire.
pub fn sealed(shape: &EspShape, payload: &[u8], next: u8) -> Vec<u8> {
    seal(shape, framed(shape, payload, next))
}

/// ESP on the wire whose payload and trailer are these bytes.
pub fn sealed_body(shape: &EspShape, body: &[u8]) -> Vec<u8> {
    let mut esp = framed(shape, &[], 0)[..8 + shape.iv].to_vec();
    esp.extend(body);
    esp.extend(vec![0; shape.icv]);
    seal(shape, esp)
}

fn seal(shape: &EspShape, mut esp: Vec<u8>) -> Vec<u8> {
    let end = esp.len() - shape.icv;
    for byte in &mut esp[8 + shape.iv..end] {
        *byte ^= MASK;
    }
    let icv = tag(&esp[..end], shape.icv);
    esp[end..].copy_from_slice(&icv);
    esp
}

/// AH with what it protects behind it.
fn authenticated(shape: &AhShape, payload: &[u8], next: u8) -> Vec<u8> {
    let words = (12 + shape.icv) / 4 - 2;
    let mut header = vec![next, words as u8, 0, 0];
    header.extend(shape.spi.to_be_bytes());
    header.extend(1u32.to_be_bytes());
    header.extend(tag(payload, shape.icv));
    header.extend(payload);
    header
}

/// ESP of an SA in a table, on the wire.
pub fn esp_of(table: &Table, handle: Handle, payload: &[u8], next: u8) -> Vec<u8> {
    sealed(
        &table.by_handle(handle).unwrap().esp.unwrap(),
        payload,
        next,
    )
}

/// ESP of an SA in a table, as a transport frames it.
pub fn framed_of(table: &Table, handle: Handle, payload: &[u8], next: u8) -> Vec<u8> {
    framed(
        &table.by_handle(handle).unwrap().esp.unwrap(),
        payload,
        next,
    )
}

/// AH of an SA in a table.
pub fn ah_of(table: &Table, handle: Handle, payload: &[u8], next: u8) -> Vec<u8> {
    authenticated(&table.by_handle(handle).unwrap().ah.unwrap(), payload, next)
}

/// The NIC's cryptography with the SAs of a table.
pub struct Nic<'a>(pub &'a Table);

impl Engine for Nic<'_> {
    fn verify_ah(&self, handle: Handle, packet: &[u8], offset: usize) -> bool {
        let shape = self.0.by_handle(handle).unwrap().ah.unwrap();
        let header = 12 + shape.icv;
        packet[offset + 12..offset + header] == tag(&packet[offset + header..], shape.icv)
    }

    fn open_esp(&self, handle: Handle, packet: &mut [u8], offset: usize) -> bool {
        let shape = self.0.by_handle(handle).unwrap().esp.unwrap();
        let end = packet.len() - shape.icv;
        if packet[end..] != tag(&packet[offset..end], shape.icv) {
            return false;
        }
        for byte in &mut packet[offset + 8 + shape.iv..end] {
            *byte ^= MASK;
        }
        true
    }
}

/// Receives a packet with this configuration; the packet is left as the NIC indicates it.
pub fn receive_with(config: &Capabilities, table: &Table, packet: &mut [u8]) -> Report {
    flow::receive(true, config, packet, table, &Nic(table))
}

/// Receives a packet with everything enabled.
pub fn receive(table: &Table, mut packet: Vec<u8>) -> Report {
    receive_with(&EVERYTHING, table, &mut packet)
}

/// The verdict on a packet that is not sent.
pub const FAIL: Verdict = Verdict::Fail(Status::FAILURE);

/// What comes with a packet to send under an SA.
pub fn slots(handle: Handle, next_header: u8, pad_length: u8, ah: u16, esp: u16) -> SendSlots {
    let header = SendHeader {
        next_header,
        pad_length,
        ah_offset: ah,
        esp_offset: esp,
    };
    SendSlots {
        ipsec: handle.get(),
        header: header.word().unwrap(),
        ..SendSlots::default()
    }
}

/// Looks at a packet to send with everything enabled.
pub fn verdict(table: &Table, slots: &SendSlots, packet: &[u8]) -> Verdict {
    send::check(true, &EVERYTHING, slots, packet, table)
}
