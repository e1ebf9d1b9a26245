// SPDX-License-Identifier: GPL-2.0

//! Tests of SA objects, byte by byte: offsets and values of VIRTIO 1.4 and of the NIC's extension.

use super::describe;
use crate::ipsec::{
    algorithm,
    check::Supported,
    object::name, //
};
use espnic_wire::sa::SaObject;
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    create::{
        fixture::{
            TestState,
            CBC,
            IPV4,
            IPV6, //
        },
        Parameters, //
    },
    state::Encapsulation,
    Direction,
    Handle, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// What is sent for a state, with a generation of 0x0a0b.
fn object(
    x: &TestState,
    direction: Direction,
    (mode, family, options): (u8, u8, u32),
    encapsulation: Option<Encapsulation>,
) -> Result<SaObject> {
    let supported = Supported {
        mode,
        family,
        options,
        algorithm: algorithm::of(x).map_err(|_| EINVAL)?,
        encapsulation,
    };
    let handle = Handle {
        id: 0x0102,
        direction,
        generation: 0x0a0b,
    };
    let mut object = SaObject::new_zeroed();
    describe(&mut object, x, handle, &supported, 0x0000_0005_8000_0001);
    Ok(object)
}

#[kunit_tests(espnic_ipsec_object)]
mod cases {
    use super::*;

    #[test]
    fn names_of_objects() {
        let handle = |direction| Handle {
            id: 7,
            direction,
            generation: 1,
        };
        assert_eq!(name(handle(Direction::In)), (0x0204, 7));
        assert_eq!(name(handle(Direction::Out)), (0x0203, 7));
    }

    #[test]
    fn outbound() -> Result {
        let object = object(&TestState::new(&IPV4)?, Direction::Out, (2, 4, 0), None)?;
        let bytes = object.as_bytes();
        // Mode, direction, zero; id; SPI; salt; options.
        assert_eq!(bytes[..4], [2, 1, 0, 0]);
        assert_eq!(bytes[4..8], [0x02, 0x01, 0, 0]);
        assert_eq!(bytes[8..12], [0x04, 0x03, 0x02, 0x01]);
        assert_eq!(&bytes[12..16], b"SALT");
        assert_eq!(bytes[16..24], [0; 8]);
        // No ports, no window, no cipher; the key.
        assert_eq!(bytes[68..84], [0; 16]);
        assert_eq!(bytes[84..88], [16, 0, 0, 0]);
        assert_eq!(&bytes[88..104], b"0123456789abcdef");
        // The tail: length, flags (crypto only, match address, deliver errors), AEAD.
        assert_eq!(bytes[200..208], [144, 0, 1 | 8 | 16, 0, 1, 0, 0, 0]);
        // ICV, family, encapsulation, IV by sequence number, generation.
        assert_eq!(bytes[208..216], [16, 4, 0, 1, 0x0b, 0x0a, 0, 0]);
        assert_eq!(bytes[216..224], [0; 8]);
        assert_eq!(bytes[240..244], [198, 51, 100, 2]);
        assert_eq!(bytes[244..256], [0; 12]);
        assert_eq!(bytes[256..260], [192, 0, 2, 1]);
        Ok(())
    }

    #[test]
    fn inbound_with_esn() -> Result {
        let object = object(&TestState::new(&IPV6)?, Direction::In, (1, 6, 1), None)?;
        let bytes = object.as_bytes();
        assert_eq!(bytes[..4], [1, 2, 0, 0]);
        assert_eq!(bytes[16..24], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[72..76], [64, 0, 0, 0]);
        // The flag for a sequence number, too, which follows; no IV.
        assert_eq!(bytes[202..204], [1 | 2 | 8 | 16, 0]);
        assert_eq!(bytes[209..212], [6, 0, 0]);
        assert_eq!(bytes[216..224], [0x01, 0, 0, 0x80, 5, 0, 0, 0]);
        assert_eq!(bytes[224..232], [0; 8]);
        assert_eq!((bytes[240], bytes[255], bytes[271]), (0x20, 2, 1));
        Ok(())
    }

    #[test]
    fn inbound_without_esn() -> Result {
        let x = TestState::new(&Parameters { esn: None, ..IPV6 })?;
        let object = object(&x, Direction::In, (1, 6, 0), None)?;
        let bytes = object.as_bytes();
        // The NIC checks no replays, so it needs neither window nor number.
        assert_eq!(bytes[72..76], [0; 4]);
        assert_eq!(bytes[202..204], [1 | 8 | 16, 0]);
        assert_eq!(bytes[216..224], [0; 8]);
        Ok(())
    }

    #[test]
    fn in_udp() -> Result {
        let encapsulation = Some(Encapsulation {
            is_udp: true,
            source_port: 4500,
            destination_port: 10_001,
        });
        let x = TestState::new(&IPV4)?;
        let outbound = object(&x, Direction::Out, (2, 4, 2), encapsulation)?;
        let bytes = outbound.as_bytes();
        assert_eq!(bytes[68..72], [0x94, 0x11, 0x11, 0x27]);
        // Outbound the ports are not compared: the stack may write others.
        assert_eq!(bytes[202..204], [1 | 8 | 16 | 64, 0]);
        assert_eq!(bytes[210], 1);
        let x = TestState::new(&Parameters {
            direction: Direction::In,
            ..IPV4
        })?;
        let inbound = object(&x, Direction::In, (2, 4, 2), encapsulation)?;
        assert_eq!(inbound.as_bytes()[202..204], [1 | 8 | 16, 0]);
        Ok(())
    }

    #[test]
    fn ivs_of_cbc_are_the_nics() -> Result {
        let x = TestState::new(&Parameters {
            algorithm: CBC,
            ..IPV4
        })?;
        let object = object(&x, Direction::Out, (2, 4, 0), None)?;
        assert_eq!(object.as_bytes()[211], 0);
        assert_eq!(object.as_bytes()[224..232], [0; 8]);
        Ok(())
    }

    #[test]
    fn ivs_of_gcm_are_drawn_anew() -> Result {
        let x = TestState::new(&IPV4)?;
        let first = object(&x, Direction::Out, (2, 4, 0), None)?;
        let second = object(&x, Direction::Out, (2, 4, 0), None)?;
        assert!(first.as_bytes()[224..232] != second.as_bytes()[224..232]);
        assert!(first.as_bytes()[..224] == second.as_bytes()[..224]);
        assert!(first.as_bytes()[232..] == second.as_bytes()[232..]);
        Ok(())
    }
}
