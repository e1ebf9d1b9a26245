// SPDX-License-Identifier: GPL-2.0

//! Tests of what is read from a packet and its header for a record.

use super::{
    check,
    ip_length,
    is_delete_request,
    named_sa,
    numbers_at,
    packet,
    set_numbers,
    work,
    Check,
    Class,
    Mode,
    NetHdr48,
    Received,
    Work, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    create::fixture::{
        TestState,
        IPV4,
        IPV6, //
    },
    Direction, //
};
use zerocopy::FromZeros;

/// A header with flags, what the NIC says of NDIS, and an inbound SA.
fn header(flags: u8, ndis_flags: u8) -> NetHdr48 {
    let mut header = NetHdr48::default();
    header.net.flags = flags;
    header.sec.ndis_flags = ndis_flags;
    // 0x0204 is an inbound SA.
    header.out.resource_type = 0x0204.into();
    header.out.resource_id = 7.into();
    header.sec.generation = 0x0102.into();
    header
}

#[kunit_tests(espnic_ndis_oob)]
mod cases {
    use super::*;

    #[test]
    fn requests_to_delete() {
        // Bit 4: an SA; bit 7: the extension is valid; bit 0 of the extension: the request.
        assert!(is_delete_request(&header(0x90, 1)) && is_delete_request(&header(0xff, 0xff)));
        assert!(!is_delete_request(&header(0x90, 0)) && !is_delete_request(&header(0x90, 0xfe)));
        assert!(!is_delete_request(&header(0x10, 1)) && !is_delete_request(&header(0x80, 1)));
    }

    #[test]
    fn sa_of_a_packet() {
        let sa = named_sa(&header(0x90, 0));
        assert!(sa.is_some_and(|sa| {
            sa.id == 7 && sa.generation == 0x0102 && sa.direction == Direction::In
        }));
        for kind in [0, 0x0203, 0x0205, 0xffff] {
            let mut other = header(0x90, 0);
            other.out.resource_type = kind.into();
            assert!(named_sa(&other).is_none());
        }
    }

    #[test]
    fn numbers_of_esp() {
        let mut record = Received::new_zeroed();
        set_numbers(&mut record, &[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((record.spi, record.sequence), ([0; 4], [0; 4]));
        set_numbers(&mut record, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((record.spi, record.sequence), ([1, 2, 3, 4], [5, 6, 7, 8]));
    }

    #[test]
    fn numbers_of_ah_and_esp() -> Result {
        // IPv4, then NextHeader, length and zeros, SPI 1 to 4, number 5 to 8 (RFC 4302).
        let mut ah = [0; 44];
        ah[..4].copy_from_slice(&[0x45, 0, 0, 44]);
        ah[9] = 51;
        ah[20..32].copy_from_slice(&[6, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut esp = ah;
        esp[9] = 50;
        esp[20..28].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        for whole in [ah, esp] {
            let Class::Protected(found) = packet::classify_head(&whole, whole.len()) else {
                return Err(EINVAL);
            };
            let mut record = Received::new_zeroed();
            set_numbers(&mut record, &whole[numbers_at(&found)..]);
            assert_eq!((record.spi, record.sequence), ([1, 2, 3, 4], [5, 6, 7, 8]));
        }
        Ok(())
    }

    #[test]
    fn lengths_of_packets() {
        assert_eq!(ip_length(&[0x45, 0, 0x12, 0x34]), Some(0x1234));
        // The header of IPv6 does not count itself.
        assert_eq!(ip_length(&[0x60, 0, 0, 0, 0x12, 0x34]), Some(0x125c));
        assert_eq!(ip_length(&[0x60, 0, 0, 0, 0xff, 0xff]), Some(65_575));
        for short in [&[][..], &[0x45, 0, 0x12], &[0x60, 0, 0, 0, 0x12]] {
            assert_eq!(ip_length(short), None);
        }
        assert_eq!(ip_length(&[0x50, 0, 0x12, 0x34, 0, 0]), None);
    }

    #[test]
    fn results_of_the_nic() {
        let of = |flags, code| {
            let mut header = header(flags, 0);
            // Crypto only.
            header.sec.sec_op = 1;
            header.sec.sec_status = code;
            check(&header)
        };
        // Bit 5: an error.
        assert!(of(0x90, 0) == Some(Check::Good));
        assert!(of(0xb0, 1) == Some(Check::EspFailed));
        assert!(of(0xb0, 3) == Some(Check::Syntax));
        assert!(of(0xb0, 7) == Some(Check::Other));
        assert!(of(0xb0, 0).is_none() && of(0x90, 1).is_none() && of(0x90, 7).is_none());
    }

    #[test]
    fn work_of_the_nic() -> Result {
        let (transport, tunnel) = (TestState::new(&IPV4)?, TestState::new(&IPV6)?);
        let single = |mode| Work::Single {
            mode,
            check: Check::EspFailed,
        };
        assert!(work(&transport, Check::EspFailed) == single(Mode::Transport));
        assert!(work(&tunnel, Check::EspFailed) == single(Mode::Tunnel));
        Ok(())
    }
}
