// SPDX-License-Identifier: GPL-2.0

//! Tests of next hops that need no interface of the driver.

use super::{
    ipv4_number,
    Address,
    Family,
    Route, //
};
use crate::bindings;
use kernel::prelude::*;

/// Looks for a route through the loopback device of the initial namespace, which is no way to anybody.
fn find_through_loopback(family: Family, dst: &Address) -> Result {
    // SAFETY: The initial namespace is always live. The index is that of its loopback device.
    let dev = unsafe { bindings::dev_get_by_index(&raw mut bindings::init_net, 1) };
    assert!(!dev.is_null());
    // SAFETY: The device was found just now, and is kept by the reference.
    let result = unsafe { Route::find(dev, family, &[0; 16], dst) };
    // SAFETY: The reference that came with the device ends here.
    unsafe { bindings::dev_put(dev) };
    result.map(drop)
}

#[kunit_tests(espnic_neighbour)]
mod cases {
    use super::*;

    #[test]
    fn address_as_number_in_network_order() {
        let mut address = [0xee; 16];
        address[..4].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(u32::from_be(ipv4_number(&address)), 0xc000_0201);
    }

    #[test]
    fn no_route_to_oneself() {
        let mut own = [0; 16];
        own[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert!(find_through_loopback(Family::V4, &own).is_err());
    }

    #[test]
    fn no_route_to_a_group() {
        let mut group = [0; 16];
        group[..4].copy_from_slice(&[224, 0, 0, 1]);
        let error = find_through_loopback(Family::V4, &group).err();
        // ENETUNREACH of include/uapi/asm-generic/errno.h.
        assert_eq!(error.map(|error| error.to_errno()), Some(-101));
        let mut group = [0; 16];
        (group[0], group[1], group[15]) = (0xff, 2, 1);
        assert!(find_through_loopback(Family::V6, &group).is_err());
    }
}
