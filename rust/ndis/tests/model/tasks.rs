// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checksums and large sends: settings, keywords, and what is reported of them.

use crate::fixture::*;
use crate::rules;
use espnic_ndis::encapsulation::IEEE_802_3;
use espnic_ndis::keyword::{CHECKSUMS, LSO};
use espnic_ndis::model::{Adapter, Capabilities, Hardware, Keywords, Tasks};
use espnic_ndis::parameters::{OffloadParameters, SKIP_REGISTRY_UPDATE};
use espnic_ndis::{Oid, Status, Version, U32};
use zerocopy::IntoBytes as _;

/// Where the members of the settings are, in the order of the keywords.
const AT_CHECKSUMS: usize = 0x04;
const AT_LSO: [usize; 3] = [0x09, 0x0b, 0x0c];

/// Hardware with every checksum and every large send.
fn full() -> Hardware {
    let mut hardware = hardware(EVERYTHING);
    let others = &mut hardware.others;
    let word = U32::new(IEEE_802_3);
    let checksum = &mut others.checksum;
    for part in [&mut checksum.ipv4_transmit, &mut checksum.ipv4_receive] {
        (part.encapsulation, part.bits) = (word, U32::new(0x155));
    }
    for part in [&mut checksum.ipv6_transmit, &mut checksum.ipv6_receive] {
        (part.encapsulation, part.bits) = (word, U32::new(0x55));
    }
    let lso = others.lso_v2.ipv4;
    (others.lso_v1.ipv4, others.lso_v1.bits) = (lso, U32::new(5));
    (others.lso_v2.ipv6, others.lso_v2.ipv6_bits) = (lso, U32::new(5));
    hardware
}

/// What is reported as enabled: the bits of checksums (IPv4 and IPv6, send and receive), and whether
/// there is each large send.
fn reported(adapter: &Adapter) -> ([u32; 4], [bool; 3]) {
    let now = adapter.current();
    let sum = &now.checksum;
    let bits = [
        sum.ipv4_transmit,
        sum.ipv4_receive,
        sum.ipv6_transmit,
        sum.ipv6_receive,
    ]
    .map(|part| {
        assert_eq!(part.bits.get() != 0, part.encapsulation.get() != 0);
        part.bits.get()
    });
    let lso = [&now.lso_v1.ipv4, &now.lso_v2.ipv4, &now.lso_v2.ipv6];
    (bits, lso.map(|one| one.max_offload_size.get() != 0))
}

const ALL: ([u32; 4], [bool; 3]) = ([0x155, 0x155, 0x55, 0x55], [true; 3]);

/// Settings with one member, by its offset.
fn one(at: usize, value: u8, flags: u32) -> Vec<u8> {
    let mut parameters = OffloadParameters::new(2).unwrap();
    parameters.flags = U32::new(flags);
    parameters.as_mut_bytes()[at] = value;
    parameters.as_bytes()[..0x16].to_vec()
}

fn new(keywords: Keywords) -> Adapter {
    Adapter::initialize(Version::V6_30, full(), keywords)
}

/// Bits of IPv4 that each of the first three checksums stands for, and of IPv6 the last two.
const FIELDS: [(usize, u32); 5] = [(0, 0x300), (0, 0x3c), (0, 0xc0), (2, 0x3c), (2, 0xc0)];

/// What is reported when one checksum is set to a keyword's value and all else is on.
fn with_checksum(which: usize, value: u32) -> ([u32; 4], [bool; 3]) {
    let (at, fields) = FIELDS[which];
    let (mut bits, mut lso) = ALL;
    if value & 1 == 0 {
        bits[at] &= !fields;
        match which {
            0 | 1 => (lso[0], lso[1]) = (false, false),
            3 => lso[2] = false,
            _ => {}
        }
    }
    if value & 2 == 0 {
        bits[at + 1] &= !fields;
    }
    (bits, lso)
}

#[test]
fn every_member_counts_in_what_is_reported() {
    rules(&[8, 9, 142, 145]);
    for which in 0..5 {
        for value in 0..4 {
            let mut adapter = new(Keywords::default());
            let buffer = one(AT_CHECKSUMS + which, value as u8 + 1, 0);
            let effects = adapter.set(Oid::PARAMETERS, &buffer);
            assert_eq!(effects.completion.status, Status::SUCCESS);
            assert_eq!(
                (effects.current_config, effects.changed),
                (true, value != 3)
            );
            assert_eq!(reported(&adapter), with_checksum(which, value));
            // Zero leaves it, and both brings it back.
            adapter.set(Oid::PARAMETERS, &one(AT_CHECKSUMS + which, 0, 0));
            assert_eq!(reported(&adapter), with_checksum(which, value));
            adapter.set(Oid::PARAMETERS, &one(AT_CHECKSUMS + which, 4, 0));
            assert_eq!(reported(&adapter), ALL);
        }
    }
    for (which, at) in AT_LSO.into_iter().enumerate() {
        let mut adapter = new(Keywords::default());
        for (value, on) in [(2, true), (1, false), (0, false), (2, true)] {
            adapter.set(Oid::PARAMETERS, &one(at, value, 0));
            let mut wanted = ALL;
            wanted.1[which] = on;
            assert_eq!(reported(&adapter), wanted);
            // The hardware can do what it could.
            assert_eq!(adapter.hardware().lso_v2, full().others.lso_v2);
            assert_eq!(adapter.hardware().checksum, full().others.checksum);
        }
    }
}

#[test]
fn without_large_sends_there_are_none_for_ipsec() {
    rules(&[24, 142]);
    let mut adapter = new(Keywords::default());
    for (at, lso) in [(AT_LSO[0], true), (AT_LSO[1], true), (AT_LSO[2], false)] {
        adapter.set(Oid::PARAMETERS, &one(at, 1, 0));
        let current = Capabilities::from(&adapter.current().ipsec_v2);
        assert_eq!((current.lso, current.esp), (lso, true));
        assert_eq!(adapter.snapshot().config.lso, lso);
    }
}

#[test]
fn the_granular_keywords_are_obeyed_and_stored() {
    rules(&[3, 14, 142]);
    for (which, name) in CHECKSUMS.iter().enumerate() {
        for value in 0..4 {
            let mut keywords = Keywords::default();
            assert!(keywords.set(name, Some(value)));
            assert_eq!(reported(&new(keywords)), with_checksum(which, value));
            let mut adapter = new(Keywords::default());
            let setting = value as u8 + 1;
            let at = AT_CHECKSUMS + which;
            adapter.set(Oid::PARAMETERS, &one(at, setting, SKIP_REGISTRY_UPDATE));
            assert_eq!(adapter.keywords().get(name), Some(None));
            let effects = adapter.set(Oid::PARAMETERS, &one(at, setting, 0));
            assert_eq!(effects.keywords, Some(keywords));
            adapter.restart();
            assert_eq!(reported(&adapter), with_checksum(which, value));
        }
    }
    for (which, name) in LSO.iter().enumerate() {
        let mut adapter = new(Keywords::default());
        adapter.set(Oid::PARAMETERS, &one(AT_LSO[which], 1, 0));
        assert_eq!(adapter.keywords().get(name), Some(Some(0)));
        adapter.restart();
        let mut wanted = ALL;
        wanted.1[which] = false;
        assert_eq!(reported(&adapter), wanted);
        adapter.set(Oid::PARAMETERS, &one(AT_LSO[which], 2, 0));
        assert_eq!(adapter.keywords().get(name), Some(Some(1)));
        assert_eq!(reported(&adapter), ALL);
    }
}

#[test]
fn what_the_miniport_cannot_switch_is_refused() {
    rules(&[142]);
    let mut adapter = new(Keywords::default());
    let together = |tasks: &Tasks| tasks.lso[1] == tasks.lso[2];
    let single = one(AT_LSO[1], 1, 0);
    let effects = adapter.set_if(Oid::PARAMETERS, &single, together);
    assert_eq!(effects.completion.status, Status::INVALID_DATA);
    assert!(!effects.current_config && effects.keywords.is_none());
    assert_eq!((reported(&adapter), adapter.tasks()), (ALL, Tasks::ALL));
    assert_eq!(adapter.keywords(), &Keywords::default());
    let mut both = single.clone();
    both[AT_LSO[2]] = 1;
    let effects = adapter.set_if(Oid::PARAMETERS, &both, together);
    assert_eq!(effects.completion.status, Status::SUCCESS);
    assert_eq!(reported(&adapter).1, [true, false, false]);
    // What changes none of them is not asked about.
    let effects = adapter.set_if(Oid::PARAMETERS, &both, |_| false);
    assert_eq!(effects.completion.status, Status::SUCCESS);
}

#[test]
fn others_switch_them_too() {
    rules(&[9, 142]);
    let mut adapter = new(Keywords::default());
    let mut tasks = Tasks::ALL;
    tasks.lso[1] = false;
    let effects = adapter.external_tasks(tasks);
    assert!(effects.current_config && effects.changed && !effects.hardware_capabilities);
    assert_eq!(reported(&adapter).1, [true, false, true]);
    assert_eq!(adapter.keywords(), &Keywords::default());
    assert!(!adapter.external_tasks(tasks).current_config);
}
