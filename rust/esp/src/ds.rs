// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DSCP (RFC 2474) and ECN (RFC 3168) of IP headers, and what becomes of ECN in tunnels (RFC 6040).
//!
//! The two share a byte, the upper six bits and the lower two. Functions work on the IP header at the start
//! of a packet.

use crate::checksum::Sum;
use crate::ip::{be16, put_be16};

/// The bits of ECN.
pub const ECN_MASK: u8 = 3;
/// ECN: the transport does not know it.
pub const NOT_ECT: u8 = 0;
/// ECN: the transport knows it, second form.
pub const ECT_1: u8 = 1;
/// ECN: the transport knows it.
pub const ECT_0: u8 = 2;
/// ECN: congestion was experienced.
pub const CE: u8 = 3;

/// Offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;

/// The byte of DSCP and ECN.
pub fn read(packet: &[u8], v6: bool) -> Option<u8> {
    let [first, second] = be16(packet, 0)?.to_be_bytes();
    Some(match v6 {
        // Between version and flow label.
        true => (first << 4) | (second >> 4),
        false => second,
    })
}

/// Writes the byte of DSCP and ECN. An IPv4 checksum that was right stays right, one that was wrong stays
/// wrong. `false` if there is no header.
pub fn write(packet: &mut [u8], v6: bool, value: u8) -> bool {
    let Some([first, second]) = be16(packet, 0).map(u16::to_be_bytes) else {
        return false;
    };
    if v6 {
        let word = [
            (first & 0xf0) | (value >> 4),
            (value << 4) | (second & 0x0f),
        ];
        return put_be16(packet, 0, u16::from_be_bytes(word));
    }
    replace_ipv4(packet, 0, u16::from_be_bytes([first, value]))
}

/// Writes the word `value` at `at` into an IPv4 header and follows it with the checksum (RFC 1624).
/// `false` if there is no header.
pub(crate) fn replace_ipv4(packet: &mut [u8], at: usize, value: u16) -> bool {
    let (Some(old), Some(checksum)) = (be16(packet, at), be16(packet, IPV4_CHECKSUM)) else {
        return false;
    };
    let sum = Sum::default().plus((!checksum).into());
    let sum = sum.minus(old.into()).plus(value.into());
    put_be16(packet, at, value) && put_be16(packet, IPV4_CHECKSUM, !sum.folded())
}

/// ECN of a packet that leaves a tunnel; `None` if it must be dropped, because a router wanted to tell of
/// congestion and the transport would not understand (RFC 6040 section 4.2). Only the bits of ECN count.
pub const fn combine(outer: u8, inner: u8) -> Option<u8> {
    match (inner & ECN_MASK, outer & ECN_MASK) {
        (NOT_ECT, CE) => None,
        (ECT_0 | ECT_1, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::complete_ipv4;
    use proptest::prelude::*;

    #[test]
    fn ecn_is_combined_as_rfc_6040_says() {
        // Figure 4: rows inner, columns outer in the order Not-ECT, ECT(0), ECT(1), CE.
        let order = [NOT_ECT, ECT_0, ECT_1, CE];
        for (inner, row) in [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ] {
            assert_eq!(order.map(|outer| combine(outer, inner)), row, "{inner}");
            assert_eq!(order.map(|outer| combine(outer | 0xfc, inner | 0xb8)), row);
        }
    }

    #[test]
    fn the_byte_has_its_place() {
        let mut packet = [0x45, 0xb9, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&packet, false), Some(0xb9));
        assert!(write(&mut packet, false, 0x12) && packet[..2] == [0x45, 0x12]);
        let mut packet = [0x6a, 0xbc, 0xde, 0xf0];
        assert_eq!(read(&packet, true), Some(0xab));
        assert!(write(&mut packet, true, 0x12));
        assert_eq!(packet, [0x61, 0x2c, 0xde, 0xf0]);
        assert_eq!(read(&[0x60], true), None);
        assert!(!write(&mut [0x60], true, 1) && !write(&mut [0x45; 11], false, 1));
    }

    proptest! {
        #[test]
        fn the_checksum_follows(header in prop::array::uniform20(any::<u8>()), value: u8, damage: u16) {
            let mut header = header;
            header[0] = 0x45;
            complete_ipv4(&mut header);
            prop_assert_eq!(Sum::of(&header).folded(), 0xffff);
            prop_assert!(write(&mut header, false, value));
            prop_assert_eq!(header[1], value);
            prop_assert_eq!(Sum::of(&header).folded(), 0xffff);
            // What was wrong stays wrong by as much.
            let damaged = be16(&header, 10).unwrap().wrapping_add(damage);
            put_be16(&mut header, 10, damaged);
            let before = Sum::of(&header).folded() % 0xffff;
            prop_assert!(write(&mut header, false, !value));
            prop_assert_eq!(Sum::of(&header).folded() % 0xffff, before);
        }
    }
}
