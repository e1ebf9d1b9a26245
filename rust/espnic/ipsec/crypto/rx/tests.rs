// SPDX-License-Identifier: GPL-2.0

//! Tests of what the NIC's word on a packet means.

use super::{
    status,
    Counters, //
};
use espnic_wire::hdr::NetHdr48;
use kernel::prelude::*;
use kernel_net::net::xfrm::RxStatus;

/// A header with an operation, the error flag (bit 5) or not, and a status.
fn header(operation: u8, error: bool, status: u8) -> NetHdr48 {
    let mut header = NetHdr48::default();
    header.sec.sec_op = operation;
    header.sec.sec_status = status;
    header.net.flags = if error { 0x20 } else { 0 };
    header
}

/// The result of the operation "crypto only".
fn result(error: bool, code: u8) -> Option<RxStatus> {
    status(&header(1, error, code))
}

#[kunit_tests(espnic_ipsec_rx)]
mod cases {
    use super::*;

    #[test]
    fn results() {
        // 1 is a wrong ICV, 3 a wrong form, 9 a wrong length.
        assert!(result(false, 0) == Some(RxStatus::Success));
        assert!(result(true, 1) == Some(RxStatus::AuthFailed));
        assert!(result(true, 3) == Some(RxStatus::BadSyntax));
        assert!(result(true, 9) == Some(RxStatus::BadSyntax));
    }

    #[test]
    fn contradictions_are_no_result() {
        // Above all nothing but "good" without the error flag is good.
        assert!(result(true, 0).is_none());
        assert!((1..=255).all(|code| result(false, code).is_none()));
        assert!([2, 4, 5, 6, 7, 8, 10, 255]
            .iter()
            .all(|&code| result(true, code).is_none()));
    }

    #[test]
    fn other_operations() {
        for operation in (0..=255).filter(|&operation| operation != 1) {
            assert!(status(&header(operation, false, 0)).is_none());
            assert!(status(&header(operation, true, 1)).is_none());
        }
    }

    #[test]
    fn counters() {
        let counters = Counters::default();
        counters.count(RxStatus::Success, 100);
        counters.count(RxStatus::Success, 50);
        counters.count(RxStatus::AuthFailed, 7);
        counters.count(RxStatus::BadSyntax, 7);
        assert_eq!((counters.packets.get(), counters.bytes.get()), (2, 150));
        let failed = (counters.auth_failed.get(), counters.format_failed.get());
        assert_eq!(failed, (1, 1));
        assert_eq!(counters.dropped(), 0);
        counters.stale.add(1);
        counters.no_memory.add(2);
        counters.mismatched.add(4);
        counters.diverted.add(8);
        assert_eq!(counters.dropped(), 15);
        let sum = Counters::default();
        sum.add(&counters);
        sum.add(&counters);
        assert_eq!((sum.packets.get(), sum.bytes.get()), (4, 300));
        assert_eq!(sum.dropped(), 30);
    }
}
