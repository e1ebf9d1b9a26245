// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The packets of the measurements, over IPv4, as a driver hands them over.

use espnic_device::testing::{self, ESP};
use espnic_esp::checksum::Sum;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa;

/// Headers of Ethernet, IPv4 and TCP.
pub const HEADERS: usize = ESP + TCP_LEN;
const TCP_LEN: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_FIELD: u16 = 16;
/// ESP header and IV.
const ESP_LEN: usize = 16;

/// A TCP header with `data` bytes behind it; the checksum is that of the pseudo header.
fn tcp(data: usize) -> Vec<u8> {
    let len = TCP_LEN + data;
    let mut tcp = vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0, 0, 0, 2];
    tcp.extend([0x50, 0x18, 1, 0]);
    let addresses = Sum::of(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let pseudo = addresses.plus(TCP.into()).plus(len as u32).folded();
    tcp.extend(pseudo.to_be_bytes());
    tcp.extend([0, 0]);
    tcp.extend((0..data).map(|n| n as u8));
    tcp
}

/// An Ethernet frame of `len` bytes without a checksum: UDP, which does not need one.
pub fn plain(len: usize) -> (NetHdr48, Vec<u8>) {
    let (_, mut frame) = with_checksum(len);
    if let Some(protocol) = frame.get_mut(23) {
        *protocol = UDP;
    }
    let udp = ((len - ESP) as u32) << 16;
    if let Some(field) = frame.get_mut(38..42) {
        field.copy_from_slice(&udp.to_be_bytes());
    }
    testing::correct(&mut frame);
    (NetHdr48::default(), frame)
}

/// An Ethernet frame of `len` bytes whose checksum the NIC completes.
pub fn with_checksum(len: usize) -> (NetHdr48, Vec<u8>) {
    let (_, mut frame) = testing::frame(0, 1, &[]);
    frame.truncate(ESP);
    frame.extend(tcp(len - HEADERS));
    let total = (frame.len() - 14) as u16;
    if let Some(field) = frame.get_mut(16..18) {
        field.copy_from_slice(&total.to_be_bytes());
    }
    if let Some(protocol) = frame.get_mut(23) {
        *protocol = TCP;
    }
    testing::correct(&mut frame);
    let mut hdr = NetHdr48::default();
    complete(&mut hdr, ESP);
    (hdr, frame)
}

/// The same packet for the outbound SA, with ESP around it in transport mode. The NIC completes its inner
/// checksum, too.
pub fn protected(len: usize) -> (NetHdr48, Vec<u8>) {
    let (mut hdr, frame) = testing::frame(0, 1, &tcp(len - HEADERS));
    complete(&mut hdr, ESP + ESP_LEN);
    (hdr, frame)
}

/// The packet of [`plain`] for the same SA: UDP without a checksum, so the NIC does nothing but ESP.
pub fn protected_plain(len: usize) -> (NetHdr48, Vec<u8>) {
    let (_, inner) = plain(len);
    let (hdr, mut frame) = testing::frame(0, 1, inner.get(ESP..).unwrap_or_default());
    let next_header = frame.len() - testing::ICV - 1;
    if let Some(field) = frame.get_mut(next_header) {
        *field = UDP;
    }
    (hdr, frame)
}

/// The object id of the SA of the standard for this queue pair.
pub fn standard_sa(pair: u16) -> u32 {
    u32::from(pair) + 1
}

/// The packet of [`with_checksum`] for that SA, which adds ESP and a tunnel.
pub fn tunnelled(pair: u16, len: usize) -> (NetHdr48, Vec<u8>) {
    let (mut hdr, frame) = with_checksum(len);
    hdr.net.flags |= hdr::F_SECURITY | hdr::F_X_SEC;
    hdr.out.resource_id = standard_sa(pair).into();
    hdr.out.resource_type = sa::OBJ_OUTB_SA.into();
    hdr.sec.generation = testing::GENERATION.into();
    (hdr, frame)
}

fn complete(hdr: &mut NetHdr48, start: usize) {
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.csum_start = (start as u16).into();
    hdr.net.csum_offset = TCP_FIELD.into();
}

/// A packet that becomes `count` frames of `len` bytes, which is without ESP.
pub fn large(len: usize, count: usize, esp: bool) -> (NetHdr48, Vec<u8>) {
    let size = len - HEADERS;
    let (mut hdr, mut frame) = match esp {
        false => with_checksum(HEADERS + size * count),
        true => {
            let (hdr, mut frame) = testing::frame(0, 1, &[]);
            frame.truncate(ESP + ESP_LEN);
            frame.extend(tcp(size * count));
            (hdr, frame)
        }
    };
    if esp {
        complete(&mut hdr, ESP + ESP_LEN);
        hdr.sec.trailer_len = 0.into();
        hdr.sec.next_header = TCP;
        // As the length of one segment, which the NIC writes anew.
        testing::correct(&mut frame);
    }
    hdr.net.gso_type = hdr::GSO_TCPV4;
    hdr.net.gso_size = (size as u16).into();
    (hdr, frame)
}
