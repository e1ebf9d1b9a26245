// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Validation of the checksums of received packets.

use crate::frame::Frame;
use espnic_esp::checksum;

/// Whether `frame` is TCP or UDP in an unfragmented IP packet, with a checksum that is right. False
/// for UDP without a checksum.
pub fn validated(frame: &Frame) -> bool {
    let Some(ip) = frame.layers().packet(frame.len()).filter(|ip| !ip.fragment) else {
        return false;
    };
    let addresses = || ip.address_bytes(frame).map(checksum::Sum::of);
    ip.payload(frame)
        .is_some_and(|segment| checksum::is_right(ip.protocol, addresses, segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn validated(frame: &[u8]) -> bool {
        super::validated(&frame.to_vec().into())
    }

    use checksum::UDP_FIELD;
    use espnic_esp::ip::IPPROTO_UDP as UDP;

    /// A UDP packet over IPv4 or IPv6 with a right checksum, and where its UDP header is.
    fn udp(v6: bool, payload: &[u8]) -> (Vec<u8>, usize) {
        let len = (payload.len() + 8) as u16;
        let mut frame = vec![0; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([UDP, 64]);
            frame.extend([0x11; 16]);
            frame.extend([0x22; 16]);
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((len + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        let start = frame.len();
        let addresses = start - if v6 { 32 } else { 8 }..start;
        let pseudo = checksum::Sum::of(&frame[addresses])
            .plus(UDP.into())
            .plus(len.into())
            .folded();
        frame.extend([0x30, 0x39, 0x00, 0x35]);
        frame.extend(len.to_be_bytes());
        frame.extend(pseudo.to_be_bytes());
        frame.extend(payload);
        let end = frame.len();
        assert!(checksum::complete(&mut frame, start, UDP_FIELD, end));
        (frame, start)
    }

    #[test]
    fn udp_without_checksum_is_not_validated() {
        let (mut frame, start) = udp(false, b"data");
        assert!(validated(&frame));
        frame[start + 6..start + 8].fill(0);
        assert!(!validated(&frame));
    }

    #[test]
    fn fragments_are_not_validated() {
        let (mut frame, _) = udp(false, b"data");
        frame[20] = 0x20;
        assert!(!validated(&frame));
    }

    proptest! {
        #[test]
        fn right_frames_validate_and_damaged_ones_do_not(
            v6: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            padding in 0usize..20,
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let (mut frame, start) = udp(v6, &payload);
            let end = frame.len();
            frame.extend(vec![0xaa; padding]);
            prop_assert!(validated(&frame));
            let (at, bit) = (start + flip.0.index(end - start), 1 << (flip.1 % 8));
            frame[at] ^= bit;
            prop_assert!(!validated(&frame));
        }

        #[test]
        fn never_panics(frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            validated(&frame);
        }
    }
}
