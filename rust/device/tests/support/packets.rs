// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames for tests.

use espnic_device::net::csum;

/// UDP over IPv4 with a payload of `len` bytes; the checksum field holds the pseudo header's sum.
pub fn udp_partial(len: usize) -> Vec<u8> {
    let udp_len = (len + 8) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x10, 0x08, 0x00];
    frame.extend([0x45, 0]);
    frame.extend((udp_len + 20).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
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

/// The same with a complete checksum.
pub fn udp(len: usize) -> Vec<u8> {
    let mut frame = udp_partial(len);
    let end = frame.len();
    assert!(csum::complete(
        &mut frame,
        UDP_START.into(),
        UDP_FIELD.into(),
        end
    ));
    frame
}
