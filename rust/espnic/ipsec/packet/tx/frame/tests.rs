// SPDX-License-Identifier: GPL-2.0

//! Tests of what programs may send.

use super::{
    super::super::{
        known::Known,
        policy::{
            fixture,
            Action, //
        },
        spd::{
            Policies,
            Spd, //
        }, //
    },
    must_not_leave, //
};
use espnic_esp::selector::Selector;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::xfrm::Direction;

/// From 10.0.0.1 to 10.0.0.2 with this EtherType and protocol.
fn frame(kind: u16, protocol: u8) -> [u8; 46] {
    let mut frame = [0; 46];
    let ip = [
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let parts = [[0; 12].as_slice(), &kind.to_be_bytes(), &ip];
    let bytes = parts.into_iter().flatten().copied();
    frame
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    frame
}

/// An outbound policy for UDP with this action.
fn known(action: Action) -> Result<Known> {
    let selector = Selector {
        family: 4,
        protocol: 17,
        ..Selector::default()
    };
    let policy = fixture::of(Direction::Out, 1, selector, action)?;
    Ok(Known::new(Spd {
        out: Arc::new(Policies::new(&[policy])?, GFP_KERNEL)?,
        ..Spd::empty()?
    }))
}

#[kunit_tests(espnic_ipsec_packet_tx_frame)]
mod cases {
    use super::*;

    #[test]
    fn what_a_policy_is_for() -> Result {
        let protect = || Action::Protect(fixture::transport(7));
        for (action, kept) in [
            (protect(), true),
            (Action::Block, true),
            (Action::Hole, false),
        ] {
            assert_eq!(must_not_leave(&known(action)?, &frame(0x0800, 17)), kept);
        }
        assert!(!must_not_leave(&known(protect())?, &frame(0x0800, 6)));
        assert!(!must_not_leave(&known(protect())?, &frame(0x0806, 17)));
        Ok(())
    }

    #[test]
    fn what_cannot_be_read() -> Result {
        let known = known(Action::Hole)?;
        let whole = frame(0x0800, 17);
        for damaged in [&whole[..30], &frame(0x86dd, 17), &frame(0x8100, 17)[..15]] {
            assert!(must_not_leave(&known, damaged));
        }
        let nobody = Known::new(Spd::empty()?);
        assert!(!must_not_leave(&nobody, &whole[..30]));
        Ok(())
    }
}
