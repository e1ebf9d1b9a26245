// SPDX-License-Identifier: GPL-2.0

//! Tests of which packets are ESP, and what they show of their SA.

use super::Esp;
use kernel::prelude::*;

/// From 10.0.0.1 to 10.0.0.2 with this protocol, flags and payload.
fn frame(protocol: u8, flags: u8, payload: [u8; 12]) -> [u8; 46] {
    let mut frame = [0; 46];
    let head = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let ip = [
        0x45, 0, 0, 32, 0, 0, flags, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let parts = [head.as_slice(), &ip, &payload];
    let bytes = parts.into_iter().flatten().copied();
    frame
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    frame
}

const ESP: [u8; 12] = [1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0];
/// From port 4501 to port 4500, and ESP behind.
const IN_UDP: [u8; 12] = [0x11, 0x95, 0x11, 0x94, 0, 12, 0, 0, 1, 2, 3, 4];

#[kunit_tests(espnic_ipsec_packet_own)]
mod cases {
    use super::*;

    #[test]
    fn esp_alone_and_in_udp() -> Result {
        let esp = Esp::find(&frame(50, 0, ESP)).ok_or(EINVAL)?;
        assert_eq!((esp.spi, esp.ports), (0x0102_0304, None));
        assert_eq!(esp.src.bytes.first_chunk(), Some(&[10, 0, 0, 1]));
        assert_eq!(esp.dst.bytes.first_chunk(), Some(&[10, 0, 0, 2]));
        let esp = Esp::find(&frame(17, 0, IN_UDP)).ok_or(EINVAL)?;
        assert_eq!((esp.spi, esp.ports), (0x0102_0304, Some((4501, 4500))));
        Ok(())
    }

    #[test]
    fn all_else() {
        // Another protocol, a fragment, the start of a frame.
        assert_eq!(Esp::find(&frame(6, 0, ESP)), None);
        assert_eq!(Esp::find(&frame(50, 0x20, ESP)), None);
        let whole = frame(50, 0, ESP);
        assert_eq!(whole.get(..37).and_then(Esp::find), None);
        assert_eq!(Esp::find(&[]), None);
    }
}
