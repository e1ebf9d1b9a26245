// SPDX-License-Identifier: GPL-2.0

//! Tests of counters and headers; the decisions need packets, and are tested with them.

use super::{
    ethernet,
    Counters,
    Drop, //
};
use kernel::prelude::*;

#[kunit_tests(espnic_ipsec_packet_tx)]
mod cases {
    use super::*;

    #[test]
    fn an_ethernet_header() {
        let header = ethernet([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], 0x86dd);
        assert_eq!(header, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd]);
    }

    #[test]
    fn every_reason_has_a_counter() {
        let reasons = [
            Drop::Blocked,
            Drop::Unclear,
            Drop::NoSa,
            Drop::NoHop,
            Drop::Form,
            Drop::Late,
        ];
        let counters = Counters::default();
        for (count, reason) in (1..).zip(reasons) {
            counters.count_drop(reason);
            assert_eq!(counters.dropped(), count);
        }
        assert!(counters.values().iter().all(|&value| value <= 1));
        counters.count(100, None);
        assert_eq!((counters.packets.get(), counters.bytes.get()), (1, 100));
        assert_eq!(counters.dropped(), 6);
    }
}
