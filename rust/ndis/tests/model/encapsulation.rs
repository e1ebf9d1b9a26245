// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a set of OID_OFFLOAD_ENCAPSULATION may ask for.

use crate::fixture::*;
use crate::rules;
use espnic_ndis::encapsulation::{
    Family, OffloadEncapsulation, Set, IEEE_802_3, IEEE_LLC_SNAP_ROUTED, NULL,
};
use espnic_ndis::model::{Adapter, Capabilities, Hardware, Keywords};
use espnic_ndis::offload::Offload;
use espnic_ndis::{Oid, Status, Version, U32};
use zerocopy::IntoBytes as _;

#[test]
fn an_encapsulation_that_some_offload_supports() {
    rules(&[16, 139]);
    let mut hardware = hardware(EVERYTHING);
    hardware.others.checksum.ipv4_receive.encapsulation = U32::new(IEEE_LLC_SNAP_ROUTED);
    let mut adapter = Adapter::initialize(Version::V6_30, hardware, Keywords::default());
    for (set, encapsulation, status) in [
        (Set::ON, IEEE_802_3, Status::SUCCESS),
        (Set::ON, IEEE_LLC_SNAP_ROUTED, Status::SUCCESS),
        (Set::ON, NULL, Status::INVALID_PARAMETER),
        (Set::ON, 0, Status::INVALID_PARAMETER),
        (Set(3), IEEE_802_3, Status::INVALID_PARAMETER),
        (Set::OFF, 0, Status::SUCCESS),
        (Set::NO_CHANGE, 0, Status::SUCCESS),
    ] {
        let effects = adapter.set(Oid::ENCAPSULATION, &encapsulate(set, encapsulation));
        assert_eq!(effects.completion.status, status);
        assert_eq!(effects.current_config, status == Status::SUCCESS);
    }
    // An adapter that offloads nothing does not know the OID, whatever is asked.
    let nothing = Hardware {
        others: Offload::default(),
        ipsec: Capabilities::NONE,
    };
    let mut none = Adapter::initialize(Version::V6_30, nothing, Keywords::default());
    for set in [Set::ON, Set::OFF, Set::NO_CHANGE] {
        let effects = none.set(Oid::ENCAPSULATION, &encapsulate(set, IEEE_802_3));
        assert_eq!(effects.completion.status, Status::NOT_SUPPORTED);
        assert!(!effects.current_config);
    }
    let short = encapsulate(Set::ON, IEEE_802_3)[..0x1b].to_vec();
    let effects = adapter.set(Oid::ENCAPSULATION, &short);
    assert_eq!(effects.completion.status, Status::INVALID_LENGTH);
    assert_eq!(effects.completion.needed, 0x1c);
}

#[test]
fn the_members_of_an_encapsulation_go_together() {
    rules(&[140]);
    let mut hardware = hardware(EVERYTHING);
    let every = NULL | IEEE_802_3 | IEEE_LLC_SNAP_ROUTED | 0x0c;
    hardware.others.checksum.ipv4_receive.encapsulation = U32::new(every);
    let mut adapter = Adapter::initialize(Version::V6_30, hardware, Keywords::default());
    for (set, encapsulation, size, good) in [
        (Set::ON, IEEE_802_3, 14, true),
        (Set::ON, IEEE_802_3, 18, true),
        (Set::ON, IEEE_LLC_SNAP_ROUTED, 22, true),
        (Set::OFF, 0, 0, true),
        (Set::NO_CHANGE, 0, 0, true),
        (Set::ON, IEEE_802_3, 0, false),
        (Set::ON, IEEE_802_3, 999, false),
        (Set::ON, IEEE_LLC_SNAP_ROUTED, 0, false),
        // These are supported, but none of the two that may be named; a mask is none either.
        (Set::ON, NULL, 14, false),
        (Set::ON, 0x04, 18, false),
        (Set::ON, IEEE_802_3 | IEEE_LLC_SNAP_ROUTED, 14, false),
        (Set::OFF, IEEE_802_3, 0, false),
        (Set::OFF, 0, 14, false),
        (Set::NO_CHANGE, IEEE_802_3, 0, false),
        (Set::NO_CHANGE, 0, 14, false),
    ] {
        let family = Family {
            enabled: U32::new(set.0),
            encapsulation_type: U32::new(encapsulation),
            header_size: U32::new(size),
        };
        let nothing = Family::default();
        for request in [
            OffloadEncapsulation::new(family, nothing),
            OffloadEncapsulation::new(nothing, family),
        ] {
            let effects = adapter.set(Oid::ENCAPSULATION, request.as_bytes());
            let expected = if good {
                Status::SUCCESS
            } else {
                Status::INVALID_PARAMETER
            };
            let what = (set, encapsulation, size);
            assert_eq!(effects.completion.status, expected, "{what:?}");
            assert_eq!(effects.current_config, good);
        }
    }
}
