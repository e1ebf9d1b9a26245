// SPDX-License-Identifier: GPL-2.0

//! Tests of who does an SA's work.

use super::{
    Left,
    Question,
    Reasons, //
    Versions,
};
use kernel::prelude::*;
use kernel_net::net::{
    ip::Family,
    xfrm::Direction::{
        self,
        In,
        Out, //
    }, //
};

const IPV4: Versions = Versions {
    ipv4: true,
    ipv6: false,
};
const IPV6: Versions = Versions {
    ipv4: false,
    ipv6: true,
};

/// Whether an SA is left: made by XFRM, made through NDIS.
fn left(left: Left, direction: Direction, family: Family) -> (bool, bool) {
    let has = |by_ndis| {
        left.has(Question {
            direction,
            family: Some(family),
            by_ndis,
        })
    };
    (has(false), has(true))
}

#[kunit_tests(espnic_ipsec_left)]
mod cases {
    use super::*;

    #[test]
    fn nothing_is_left_at_first() {
        let nothing = Reasons::new().get();
        assert_eq!(nothing, Left::default());
        for family in [Family::V4, Family::V6] {
            assert_eq!(left(nothing, In, family), (false, false));
            assert_eq!(left(nothing, Out, family), (false, false));
        }
    }

    #[test]
    fn off_is_for_both_directions_of_one_version() {
        let off = Left {
            off: IPV4,
            ..Left::default()
        };
        for direction in [In, Out] {
            assert_eq!(left(off, direction, Family::V4), (true, true));
            assert_eq!(left(off, direction, Family::V6), (false, false));
        }
    }

    #[test]
    fn waiting_is_for_what_ndis_receives() {
        let waiting = Left {
            waiting: IPV6,
            ..Left::default()
        };
        assert_eq!(left(waiting, In, Family::V6), (false, true));
        assert_eq!(left(waiting, In, Family::V4), (false, false));
        assert_eq!(left(waiting, Out, Family::V6), (false, false));
    }

    #[test]
    fn diverted_is_for_all_that_is_received() {
        let diverted = Left {
            diverted: true,
            ..Left::default()
        };
        for family in [Family::V4, Family::V6] {
            assert_eq!(left(diverted, In, family), (true, true));
            assert_eq!(left(diverted, Out, family), (false, false));
        }
    }

    #[test]
    fn lent_is_for_all_that_is_received() {
        let lent = Left {
            lent: true,
            ..Left::default()
        };
        for family in [Family::V4, Family::V6] {
            assert_eq!(left(lent, In, family), (true, true));
            assert_eq!(left(lent, Out, family), (false, false));
        }
    }

    #[test]
    fn reasons_do_not_end_each_other() {
        let wanted = Reasons::new();
        wanted.set_diverted(true);
        wanted.set_by_ndis(IPV6, IPV4);
        let both = Left {
            diverted: true,
            lent: false,
            off: IPV6,
            waiting: IPV4,
        };
        assert_eq!(wanted.get(), both);
        wanted.add_lent();
        wanted.add_lent();
        wanted.remove_lent();
        assert_eq!(wanted.get(), Left { lent: true, ..both });
        wanted.remove_lent();
        assert_eq!(wanted.get(), both);
        assert!(wanted.is_anything_off());
        wanted.set_diverted(false);
        assert_eq!(left(wanted.get(), In, Family::V4), (false, true));
        assert_eq!(left(wanted.get(), In, Family::V6), (true, true));
        wanted.set_diverted(true);
        wanted.set_by_ndis(Versions::default(), IPV4);
        assert!(!wanted.is_anything_off());
        assert_eq!(left(wanted.get(), In, Family::V6), (true, true));
        assert_eq!(left(wanted.get(), Out, Family::V6), (false, false));
    }

    #[test]
    fn every_set_of_reasons_comes_back() {
        let wanted = Reasons::new();
        for bits in 0..16u32 {
            let flag = |number: u32| bits & (1 << number) != 0;
            let versions = |first| Versions {
                ipv4: flag(first),
                ipv6: flag(first + 1),
            };
            wanted.set_by_ndis(versions(0), versions(2));
            let got = wanted.get();
            assert_eq!((got.off, got.waiting), (versions(0), versions(2)));
        }
    }
}
