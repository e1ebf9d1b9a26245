// SPDX-License-Identifier: GPL-2.0

//! Tests of what the user may set, and of what the NIC is told.

use super::{
    check,
    limits,
    Pair, //
};
use kernel::prelude::*;
use kernel_net::net::{
    ethtool::{
        Coalesce,
        Moderation, //
    },
    netlink::ExtAck, //
};

fn both(usecs: u32, frames: u32) -> [Coalesce; 2] {
    let moderation = Moderation { usecs, frames };
    let none = Coalesce::default();
    [
        Coalesce {
            rx: moderation,
            ..none
        },
        Coalesce {
            tx: moderation,
            ..none
        },
    ]
}

#[kunit_tests(espnic_coalesce)]
mod cases {
    use super::*;

    #[test]
    fn what_cannot_end_is_refused() {
        let checked = |usecs, frames| {
            both(usecs, frames).map(|wanted| check(&wanted, &mut ExtAck::absent()).is_ok())
        };
        for (usecs, frames) in [(0, 0), (0, 1), (10_000, 0), (1, u32::MAX)] {
            assert!(checked(usecs, frames) == [true; 2]);
        }
        for (usecs, frames) in [(0, 2), (0, u32::MAX), (10_001, 1), (u32::MAX, 0)] {
            assert!(checked(usecs, frames) == [false; 2]);
        }
    }

    #[test]
    fn only_a_time_is_any_number_of_packets() {
        for (usecs, frames, packets) in [(0, 0, 0), (0, 1, 0), (50, 0, u32::MAX), (50, 9, 9)] {
            let told = limits(Moderation { usecs, frames });
            assert!(told.max_packets.get() == packets);
            assert!(told.max_usecs.get() == usecs);
        }
    }

    #[test]
    fn what_was_chosen_counts_while_it_is_adaptive() {
        let [rx, _] = both(30, 3);
        let chosen = Moderation {
            usecs: 8,
            frames: 256,
        };
        let mut pair = Pair { set: rx, chosen };
        assert!(pair.now().rx == rx.rx);
        pair.set.adaptive_rx = true;
        assert!(pair.now().rx == chosen && pair.now().tx == rx.tx);
        pair.keep_chosen();
        assert!(pair.now().rx == chosen && !pair.now().adaptive_rx);
    }
}
