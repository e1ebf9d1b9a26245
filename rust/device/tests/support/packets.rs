// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames for tests.

use espnic_device::testing;
use espnic_esp::checksum::{self, Sum};
use espnic_wire::hdr::{self, NetHdr48};

/// UDP over IPv4 with a payload of `len` bytes; the checksum field holds the pseudo header's sum.
pub fn udp_partial(len: usize) -> Vec<u8> {
    let udp_len = (len + 8) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x10, 0x08, 0x00];
    frame.extend([0x45, 0]);
    frame.extend((udp_len + 20).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    testing::correct(&mut frame);
    let pseudo = u32::from(udp_len) + 17 + 0x0a00 + 0x0001 + 0x0a00 + 0x0002;
    frame.extend([0x30, 0x39, 0x00, 0x35]);
    frame.extend(udp_len.to_be_bytes());
    frame.extend((pseudo as u16).to_be_bytes());
    frame.extend((0..len).map(|byte| byte as u8));
    frame
}

/// Where the checksum of [`udp_partial`] starts and where it is stored.
pub const UDP_START: u16 = 34;
pub const UDP_FIELD: u16 = 6;

/// What [`udp_partial`] asks for.
pub fn udp_request() -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_NEEDS_CSUM;
    hdr.net.csum_start = UDP_START.into();
    hdr.net.csum_offset = UDP_FIELD.into();
    hdr
}

/// The same with a complete checksum.
pub fn udp(len: usize) -> Vec<u8> {
    let mut frame = udp_partial(len);
    let end = frame.len();
    assert!(checksum::complete(
        &mut frame,
        UDP_START.into(),
        UDP_FIELD.into(),
        end
    ));
    frame
}

/// TCP over IPv4 or IPv6 from port `port` with `len` bytes of data; the checksum field holds the pseudo
/// header's sum, the length being that of all data.
pub fn tcp_partial(v6: bool, port: u16, len: usize) -> Vec<u8> {
    let tcp_len = len + 20;
    let mut frame = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x10];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((tcp_len as u16).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0xfd; 16]);
        frame.extend([0xfe; 16]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((tcp_len as u16 + 20).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    let addresses = if v6 { 22..54 } else { 26..34 };
    let pseudo = Sum::of(&frame[addresses]).plus(6).plus(tcp_len as u32);
    frame.extend(port.to_be_bytes());
    frame.extend([0x14, 0x51, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x50, 0x18, 1, 0]);
    frame.extend(pseudo.folded().to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..len).map(|byte| byte as u8));
    frame
}

/// What [`tcp_partial`] asks for if it is to be cut into segments with `size` bytes of data.
pub fn gso(v6: bool, size: usize) -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = if v6 { hdr::GSO_TCPV6 } else { hdr::GSO_TCPV4 };
    hdr.net.gso_size = (size as u16).into();
    hdr.net.csum_start = if v6 { 54 } else { 34 }.into();
    hdr.net.csum_offset = 16.into();
    hdr
}

/// ESP over IPv4 with this SPI and sequence number, for which there is no SA.
pub fn esp(spi: u32, seq: u32) -> Vec<u8> {
    let mut frame = udp(64);
    frame[23] = 50;
    testing::correct(&mut frame);
    frame[34..38].copy_from_slice(&spi.to_be_bytes());
    frame[38..42].copy_from_slice(&seq.to_be_bytes());
    frame
}
