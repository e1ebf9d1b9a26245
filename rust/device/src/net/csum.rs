// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Internet checksums (RFC 1071): completion on transmit, validation on receive.

use super::frame;

const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_FIELD: usize = 16;
const UDP_FIELD: usize = 6;

/// Completes the checksum over `frame[start..end]` and stores it `offset` bytes after `start`, where
/// the sum of the pseudo header already is (VIRTIO 1.4 section 5.1.6.2). `false` if the field does
/// not lie within the range.
pub fn complete(frame: &mut [u8], start: usize, offset: usize, end: usize) -> bool {
    let Some(range) = frame.get_mut(start..end) else {
        return false;
    };
    // RFC 768: a sum of zero is sent as all ones; for TCP both mean the same.
    let value = match !fold(sum(range)) {
        0 => 0xffff,
        value => value,
    };
    match offset
        .checked_add(2)
        .and_then(|after| range.get_mut(offset..after))
    {
        Some(field) => field.copy_from_slice(&value.to_be_bytes()),
        None => return false,
    }
    true
}

/// Whether `frame` is TCP or UDP in an unfragmented IP packet whose checksum was checked and is
/// right. UDP without checksum is not called checked.
pub fn validated(frame: &[u8]) -> bool {
    let Some(packet) = frame::parse(frame) else {
        return false;
    };
    let Some(segment) = frame.get(packet.transport..packet.end) else {
        return false;
    };
    let field = match packet.protocol {
        TCP => TCP_FIELD,
        UDP if segment.get(UDP_FIELD..UDP_FIELD + 2) != Some(&[0, 0]) => UDP_FIELD,
        _ => return false,
    };
    if packet.fragment || segment.len() < field + 2 {
        return false;
    }
    let addresses = if packet.v6 { 8..40 } else { 12..20 };
    let range = packet.network + addresses.start..packet.network + addresses.end;
    let pseudo = sum(frame.get(range).unwrap_or_default())
        + u64::from(packet.protocol)
        + segment.len() as u64;
    fold(pseudo + sum(segment)) == 0xffff
}

/// Sum of big-endian 16-bit words; an odd last byte counts as the high half.
fn sum(data: &[u8]) -> u64 {
    let mut words = data.chunks_exact(4);
    let mut total = 0u64;
    for word in &mut words {
        if let [a, b, c, d] = *word {
            total += u64::from(u32::from_be_bytes([a, b, c, d]));
        }
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    total + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A UDP packet over IPv4 or IPv6 with only the pseudo header's sum in the checksum field.
    fn partial(v6: bool, payload: &[u8]) -> (Vec<u8>, usize) {
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
        let addresses = if v6 {
            start - 32..start
        } else {
            start - 8..start
        };
        let pseudo = fold(sum(&frame[addresses]) + u64::from(UDP) + u64::from(len));
        frame.extend([0x30, 0x39, 0x00, 0x35]);
        frame.extend(len.to_be_bytes());
        frame.extend(pseudo.to_be_bytes());
        frame.extend(payload);
        (frame, start)
    }

    #[test]
    fn rfc_1071_example() {
        assert_eq!(
            fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])),
            0xddf2
        );
    }

    #[test]
    fn completion_outside_the_frame_is_refused() {
        let mut frame = [0; 60];
        assert!(!complete(&mut frame, 61, 0, 60));
        assert!(!complete(&mut frame, 34, 25, 60));
        assert!(!complete(&mut frame, 34, usize::MAX, 60));
        assert!(!complete(&mut frame, 34, 16, 61));
        assert!(complete(&mut frame, 34, 24, 60));
    }

    #[test]
    fn udp_without_checksum_is_not_validated() {
        let (mut frame, start) = partial(false, b"data");
        frame[start + 6..start + 8].fill(0);
        assert!(!validated(&frame));
    }

    proptest! {
        #[test]
        fn completed_frames_validate_and_damaged_ones_do_not(
            v6: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            padding in 0usize..20,
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let (mut frame, start) = partial(v6, &payload);
            let end = frame.len();
            prop_assert!(complete(&mut frame, start, UDP_FIELD, end));
            frame.extend(vec![0xaa; padding]);
            prop_assert!(validated(&frame));
            let (at, bit) = (start + flip.0.index(end - start), 1 << (flip.1 % 8));
            frame[at] ^= bit;
            // A length field that now disagrees is a matter of the stack, and a checksum that became
            // zero means none was sent.
            prop_assert!(!validated(&frame) );
        }

        #[test]
        fn never_panics(frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut frame = frame;
            validated(&frame);
            let (start, offset) = (frame.len() / 3, frame.len() / 2);
            let end = frame.len();
            complete(&mut frame, start, offset, end);
        }
    }
}
