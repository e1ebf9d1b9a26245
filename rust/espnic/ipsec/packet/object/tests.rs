// SPDX-License-Identifier: GPL-2.0

//! Tests of SA objects of packet offload, byte by byte: offsets and values of VIRTIO 1.4 and of the NIC's
//! extension.

use super::{
    super::check::{
        checked,
        tests::nic, //
    },
    describe, //
};
use espnic_wire::sa::SaObject;
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    create::{
        fixture::{
            Change,
            TestState,
            IPV4,
            IPV6, //
        },
        Parameters, //
    },
    Direction,
    Handle,
    Limits, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// The random part of IVs.
const IV_XOR: u64 = 0x0102_0304_0506_0708;

/// What is sent for a state with a generation of 0x0a0b, which the NIC numbers from 5 on.
fn object(parameters: &Parameters<'_>, change: Change) -> Result<SaObject> {
    let (x, nic) = (TestState::changed(parameters, change)?, nic()?);
    let checked = checked(&x, &nic, false).map_err(|_| EINVAL)?;
    let handle = Handle {
        id: 0x0102,
        direction: parameters.direction,
        generation: 0x0a0b,
    };
    let mut object = SaObject::new_zeroed();
    describe(&mut object, &x, handle, &checked, 5, IV_XOR);
    Ok(object)
}

const TUNNEL4: Parameters<'static> = Parameters {
    tunnel: true,
    ..IPV4
};

#[kunit_tests(espnic_ipsec_packet_object)]
mod cases {
    use super::*;

    #[test]
    fn outbound_tunnel() -> Result {
        let object = object(&TUNNEL4, Change::Packet)?;
        let bytes = object.as_bytes();
        // Mode, direction, zero; id.
        assert_eq!(bytes[..8], [1, 1, 0, 0, 0x02, 0x01, 0, 0]);
        // Copy DSCP and DF, ECN.
        assert_eq!(bytes[16..24], [4 | 16 | 32, 0, 0, 0, 0, 0, 0, 0]);
        // The outer header: IPv4 addresses as numbers, DSCP 0, DF 0, TTL 64.
        assert_eq!(bytes[24..28], [4, 0, 0, 0]);
        assert_eq!(bytes[28..36], [1, 2, 0, 192, 2, 100, 51, 198]);
        assert_eq!(bytes[36..40], [0, 0, 64, 0]);
        // No window, no limits.
        assert_eq!(bytes[72..76], [0; 4]);
        assert_eq!(bytes[164..196], [0; 32]);
        // The tail: match address, number valid; IVs by number; the number.
        assert_eq!(bytes[200..204], [144, 0, 8 | 2, 0]);
        assert_eq!(bytes[209..214], [4, 0, 1, 0x0b, 0x0a]);
        assert_eq!(bytes[216..224], [5, 0, 0, 0, 0, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn transport_mode_has_no_outer_header() -> Result {
        let object = object(&IPV4, Change::Packet)?;
        let bytes = object.as_bytes();
        assert_eq!(bytes[0], 2);
        assert_eq!(bytes[16..68], [0; 52]);
        Ok(())
    }

    #[test]
    fn inbound_with_esn() -> Result {
        let object = object(&IPV6, Change::Packet)?;
        let bytes = object.as_bytes();
        assert_eq!(bytes[..2], [1, 2]);
        // ESN and ECN; inbound there is no outer header to write.
        assert_eq!(bytes[16..18], [1 | 32, 0]);
        assert_eq!(bytes[24], 0);
        assert_eq!(bytes[72..76], [64, 0, 0, 0]);
        assert_eq!(bytes[211], 0);
        Ok(())
    }

    #[test]
    fn limits() -> Result {
        let limits = Change::Limits([1, 2, 3, 4]);
        let object = object(&TUNNEL4, limits)?;
        let bytes = object.as_bytes();
        // Limits count; soft packets, soft bytes, hard packets, hard bytes.
        assert_eq!(bytes[16] & 64, 64);
        assert_eq!([164, 172, 180, 188].map(|at| bytes[at]), [1, 3, 2, 4]);
        Ok(())
    }

    #[test]
    fn flags_of_the_outer_header() -> Result {
        // XFRM_STATE_NOECN | XFRM_STATE_NOPMTUDISC, XFRM_SA_XFLAG_DONT_ENCAP_DSCP.
        let object = object(&TUNNEL4, Change::Flags(1 | 4, 1))?;
        assert_eq!(object.as_bytes()[16], 0);
        let inbound = Parameters {
            direction: Direction::In,
            ..TUNNEL4
        };
        // XFRM_STATE_DECAP_DSCP.
        let object = self::object(&inbound, Change::Flags(2, 0))?;
        assert_eq!(object.as_bytes()[16], 4 | 32);
        Ok(())
    }

    #[test]
    fn what_is_left_of_limits() -> Result {
        let (x, nic) = (TestState::changed(&IPV4, Change::Packet)?, nic()?);
        let left = |limits: Limits, packets, bytes| {
            let mut checked = checked(&x, &nic, false).map_err(|_| EINVAL)?;
            checked.limits = limits;
            checked
                .use_up((packets, bytes))
                .map(|()| (checked.limits.soft_packets, checked.limits.hard_packets))
        };
        let packets = Limits {
            soft_packets: Some(3),
            hard_packets: Some(5),
            ..Limits::default()
        };
        assert_eq!(left(packets, 2, 1000), Ok((Some(1), Some(3))));
        assert_eq!(left(packets, 3, 1000), Ok((None, Some(2))));
        assert_eq!(left(packets, 5, 1000), Err(EINVAL));
        let bytes = Limits {
            hard_bytes: Some(1000),
            ..Limits::default()
        };
        assert_eq!(left(bytes, 5, 999), Ok((None, None)));
        assert_eq!(left(bytes, 5, 1000), Err(EINVAL));
        Ok(())
    }
}
