// SPDX-License-Identifier: GPL-2.0 OR MIT

//! OID_TCP_OFFLOAD_PARAMETERS and OID_OFFLOAD_ENCAPSULATION.

use crate::fixture::*;
use crate::frame::{esp_of, ipv4, ipv6, Nic, ESP, TCP};
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::Encryption;
use espnic_ndis::encapsulation::{Family, OffloadEncapsulation, Set, IEEE_802_3};
use espnic_ndis::model::flow;
use espnic_ndis::model::{Adapter, Capabilities, Effects, Hardware, Keywords, Mode, Report, State};
use espnic_ndis::offload::Offload;
use espnic_ndis::parameters::{OffloadParameters, SKIP_REGISTRY_UPDATE};
use espnic_ndis::sa::build::{self, Addresses};
use espnic_ndis::{Oid, Status, Version, U32};
use zerocopy::IntoBytes as _;

/// A buffer with these settings: IPsecV1, IPsecV2, IPsecV2IPv4, Flags.
fn settings(v1: u8, v2: u8, v2_ipv4: u8, flags: u32) -> Vec<u8> {
    let parameters = OffloadParameters {
        ipsec_v1: v1,
        ipsec_v2: v2,
        ipsec_v2_ipv4: v2_ipv4,
        flags: U32::new(flags),
        ..OffloadParameters::new(3).unwrap()
    };
    let mut buffer = vec![0; 0x1a];
    assert_eq!(parameters.encode(&mut buffer), Ok(0x1a));
    buffer
}

fn set(adapter: &mut Adapter, v2: u8) -> Effects {
    adapter.set(Oid::PARAMETERS, &settings(0, v2, 0, 0))
}

fn enabled(adapter: &Adapter) -> (bool, bool) {
    let config = adapter.snapshot().config;
    // The report and what counts are always the same.
    assert_eq!(Capabilities::from(&adapter.current().ipsec_v2), config);
    (config.ah, config.esp)
}

#[test]
fn settings_select_protocols_and_zero_leaves_them() {
    rules(&[8]);
    let mut adapter = adapter(EVERYTHING);
    for (setting, expected) in [
        (1, (false, false)),
        (0, (false, false)),
        (2, (true, false)),
        (0, (true, false)),
        (3, (false, true)),
        (4, (true, true)),
        (0, (true, true)),
    ] {
        let effects = set(&mut adapter, setting);
        assert_eq!(effects.completion.status, Status::SUCCESS);
        assert_eq!(enabled(&adapter), expected);
    }
}

#[test]
fn which_member_an_adapter_obeys() {
    rules(&[6, 7]);
    let mut both = adapter(EVERYTHING);
    both.set(Oid::PARAMETERS, &settings(0, 0, 1, 0));
    assert_eq!(enabled(&both), (true, true));
    both.set(Oid::PARAMETERS, &settings(0, 1, 4, 0));
    assert_eq!(enabled(&both), (false, false));
    let mut ipv4 = adapter(Capabilities {
        ipv6: false,
        ..EVERYTHING
    });
    ipv4.set(Oid::PARAMETERS, &settings(0, 1, 0, 0));
    assert_eq!(enabled(&ipv4), (true, true));
    ipv4.set(Oid::PARAMETERS, &settings(0, 4, 3, 0));
    assert_eq!(enabled(&ipv4), (false, true));
}

#[test]
fn every_set_is_followed_by_an_indication_of_what_is_enabled() {
    rules(&[9, 10, 11]);
    let mut adapter = adapter(EVERYTHING);
    for (setting, changed) in [(1, true), (1, false), (0, false), (4, true)] {
        let effects = set(&mut adapter, setting);
        assert!(effects.current_config && !effects.hardware_capabilities);
        assert_eq!(effects.changed, changed);
    }
    set(&mut adapter, 3);
    let current = Capabilities::from(&adapter.current().ipsec_v2);
    assert!(current.esp && !current.ah && !current.ah_esp_combined);
    // Without ESP nothing is left of what only ESP has.
    set(&mut adapter, 2);
    let current = &adapter.current().ipsec_v2;
    assert_eq!((current.ah, current.esp, current.lso_supported), (1, 0, 0));
    assert_eq!(current.encryption(), Encryption(0));
    assert_eq!(current.authentication(), EVERYTHING.authentication);
    set(&mut adapter, 3);
    let hardware = Capabilities::from(&adapter.hardware().ipsec_v2);
    assert_eq!(hardware, EVERYTHING);
    for (set, changed) in [(Set::ON, false), (Set::OFF, true), (Set::NO_CHANGE, false)] {
        let effects = adapter.set(Oid::ENCAPSULATION, &encapsulate(set, IEEE_802_3));
        assert_eq!(effects.completion.status, Status::SUCCESS);
        assert!(effects.current_config);
        assert_eq!(effects.changed, changed);
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    rules(&[12, 37, 38]);
    let mut adapter = adapter(EVERYTHING);
    let mut bad_header = settings(0, 1, 0, 0);
    bad_header[0] = 0x96;
    let mut bad_size = settings(0, 1, 0, 0);
    bad_size[2] = 0x15;
    for (buffer, status) in [
        (settings(0, 5, 0, 0), Status::INVALID_DATA),
        (settings(9, 1, 0, 0), Status::INVALID_DATA),
        (settings(0, 1, 0xff, 0), Status::INVALID_DATA),
        (settings(0, 1, 0, 2), Status::INVALID_DATA),
        (settings(0, 1, 0, 0x8000_0001), Status::INVALID_DATA),
        (bad_header, Status::INVALID_DATA),
        (bad_size, Status::INVALID_DATA),
        (
            settings(0, 1, 0, 0)[..0x19].to_vec(),
            Status::INVALID_LENGTH,
        ),
        (vec![], Status::INVALID_LENGTH),
    ] {
        let effects = adapter.set(Oid::PARAMETERS, &buffer);
        assert_eq!(effects.completion.status, status);
        assert!(!effects.current_config && !effects.changed && effects.keywords.is_none());
        assert_eq!(enabled(&adapter), (true, true));
        assert_eq!(adapter.keywords(), &Keywords::default());
    }
    // Each other member has its highest value: checksums 4, all others 2.
    for (at, highest) in [
        (0x04, 4),
        (0x05, 4),
        (0x06, 4),
        (0x07, 4),
        (0x08, 4),
        (0x09, 2),
        (0x0b, 2),
        (0x0c, 2),
        (0x0d, 2),
        (0x0e, 2),
        (0x16, 2),
        (0x17, 2),
        (0x18, 2),
    ] {
        let mut buffer = settings(0, 0, 0, SKIP_REGISTRY_UPDATE);
        for value in 0..=u8::MAX {
            buffer[at] = value;
            let status = adapter.set(Oid::PARAMETERS, &buffer).completion.status;
            let expected = if value <= highest {
                Status::SUCCESS
            } else {
                Status::INVALID_DATA
            };
            assert_eq!(status, expected, "{value} at {at:#x}");
        }
    }
    assert_eq!(enabled(&adapter), (true, true));
    // A miniport without any offload does not know the OID.
    let nothing = Hardware {
        others: Offload::default(),
        ipsec: Capabilities::NONE,
    };
    let mut none = Adapter::initialize(Version::V6_30, nothing, Keywords::default());
    assert_eq!(set(&mut none, 4).completion.status, Status::NOT_SUPPORTED);
}

#[test]
fn parameters_cannot_be_queried() {
    rules(&[13]);
    let done = adapter(EVERYTHING).query(Oid::PARAMETERS, &mut [0; 512]);
    assert_eq!(done.status, Status::NOT_SUPPORTED);
    // Nor can the answers of NDIS be set.
    for oid in [Oid::CURRENT_CONFIG, Oid::HARDWARE_CAPABILITIES] {
        let effects = adapter(EVERYTHING).set(oid, &[0; 512]);
        assert_eq!(effects.completion.status, Status::NOT_SUPPORTED);
    }
}

#[test]
fn the_keywords_follow_so_that_a_restart_keeps_the_settings() {
    rules(&[14]);
    let mut adapter = adapter(EVERYTHING);
    let effects = adapter.set(Oid::PARAMETERS, &settings(2, 3, 1, 0));
    let stored = Keywords {
        v1_ipv4: Some(1),
        v2: Some(2),
        v2_ipv4: Some(0),
        ..Keywords::default()
    };
    assert_eq!(effects.keywords, Some(stored));
    assert_eq!(adapter.keywords(), &stored);
    adapter.restart();
    assert_eq!(enabled(&adapter), (false, true));
    // No change leaves the keywords as well.
    let effects = set(&mut adapter, 0);
    assert_eq!(effects.keywords, Some(stored));
    // With the flag the setting counts until the restart only.
    let effects = adapter.set(Oid::PARAMETERS, &settings(0, 1, 0, SKIP_REGISTRY_UPDATE));
    assert_eq!(effects.keywords, None);
    assert_eq!(enabled(&adapter), (false, false));
    adapter.restart();
    assert_eq!(enabled(&adapter), (false, true));
}

#[test]
fn receive_processing_waits_for_the_encapsulation() {
    rules(&[15, 17]);
    let mut adapter = adapter(EVERYTHING);
    assert!(!adapter.processing());
    set(&mut adapter, 4);
    assert!(!adapter.processing());
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    assert!(adapter.processing());
    set(&mut adapter, 1);
    assert!(!adapter.processing());
    set(&mut adapter, 4);
    assert!(adapter.processing());
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::OFF, 0));
    assert!(!adapter.processing());
    set(&mut adapter, 4);
    assert!(!adapter.processing());
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    assert!(adapter.processing());
    adapter.restart();
    assert!(!adapter.processing());
}

#[test]
fn off_deactivates_all_offloads() {
    rules(&[17, 11]);
    let mut adapter = adapter(EVERYTHING);
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::OFF, 0));
    assert_eq!(adapter.current(), &Offload::default());
    assert_eq!(enabled(&adapter), (false, false));
    assert_eq!(Capabilities::from(&adapter.hardware().ipsec_v2), EVERYTHING);
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    assert_eq!(enabled(&adapter), (true, true));
    assert_eq!(adapter.current().lso_v2, adapter.hardware().lso_v2);
}

/// A buffer for OID_OFFLOAD_ENCAPSULATION with a setting for each IP version.
fn versions(ipv4: Set, ipv6: Set) -> Vec<u8> {
    let family = |set: Set| Family::new(set, IEEE_802_3, 14);
    let request = OffloadEncapsulation::new(family(ipv4), family(ipv6));
    request.as_bytes().to_vec()
}

/// Whether an SA can be added now, for IPv4 and for IPv6.
fn adds(adapter: &Adapter) -> (bool, bool) {
    let sa = [gcm(0x100)];
    let v6 = build::Bundle {
        addresses: Addresses::V6 {
            source: [1; 16],
            destination: [2; 16],
        },
        ..inbound(&sa)
    };
    let try_one = |bundle| match try_add(&adapter.snapshot(), &Table::new(1), bundle) {
        Ok(_) => true,
        Err(refused) => {
            assert_eq!(refused.status, Status::NOT_SUPPORTED);
            false
        }
    };
    (try_one(&inbound(&sa)), try_one(&v6))
}

/// Whether a packet is processed now, over IPv4 and over IPv6. Its SA matches any address.
fn receives(adapter: &Adapter) -> (bool, bool) {
    let table = Table::new(2);
    let sa = [gcm(0x100)];
    let v6 = build::Bundle {
        addresses: Addresses::V6 {
            source: [0; 16],
            destination: [0; 16],
        },
        ..inbound(&sa)
    };
    let v4 = add(&table, &inbound(&sa), Mode::Transport);
    let esp = esp_of(&table, v4, &[7; 40], TCP);
    add(&table, &v6, Mode::Transport);
    let processes = |mut packet: Vec<u8>| {
        let (on, config) = (adapter.processing(), adapter.processed());
        flow::receive(on, &config, &mut packet, &table, &Nic(&table)) != Report::NONE
    };
    (processes(ipv4(ESP, &esp)), processes(ipv6(&[], ESP, &esp)))
}

#[test]
fn each_ip_version_has_its_own_switch() {
    rules(&[11, 15, 17]);
    let mut adapter = adapter(EVERYTHING);
    // Before the first set the default configuration holds, but nothing is processed.
    assert_eq!(
        (adds(&adapter), receives(&adapter)),
        ((true, true), (false, false))
    );
    for (ipv4, ipv6, on, processed) in [
        (Set::ON, Set::NO_CHANGE, (true, true), (true, false)),
        (Set::NO_CHANGE, Set::OFF, (true, false), (true, false)),
        (Set::NO_CHANGE, Set::ON, (true, true), (true, true)),
        (Set::OFF, Set::NO_CHANGE, (false, true), (false, true)),
        (Set::NO_CHANGE, Set::OFF, (false, false), (false, false)),
        (Set::ON, Set::OFF, (true, false), (true, false)),
    ] {
        let effects = adapter.set(Oid::ENCAPSULATION, &versions(ipv4, ipv6));
        assert_eq!(effects.completion.status, Status::SUCCESS);
        assert_eq!(adds(&adapter), on);
        assert_eq!(receives(&adapter), processed);
        let config = adapter.snapshot().config;
        assert_eq!((config.ipv4, config.ipv6), on);
        // What NDIS_OFFLOAD can say of it (C35).
        let current = Capabilities::from(&adapter.current().ipsec_v2);
        assert_eq!((current.esp, current.ipv6), (on.0 || on.1, on.1));
        assert_eq!(adapter.processing(), processed.0 || processed.1);
    }
    // It is a change also where the report cannot show it.
    let mut only_ipsec = Adapter::initialize(
        Version::V6_30,
        Hardware {
            others: Offload::default(),
            ipsec: EVERYTHING,
        },
        Keywords::default(),
    );
    for changed in [true, false] {
        let effects = only_ipsec.set(Oid::ENCAPSULATION, &versions(Set::OFF, Set::ON));
        assert_eq!(effects.changed, changed);
    }
}

/// Hardware with every offload that belongs to an IP version.
fn full_hardware() -> Hardware {
    let mut hardware = hardware(EVERYTHING);
    let word = U32::new(IEEE_802_3);
    let others = &mut hardware.others;
    for part in [
        &mut others.checksum.ipv4_transmit,
        &mut others.checksum.ipv4_receive,
        &mut others.checksum.ipv6_transmit,
        &mut others.checksum.ipv6_receive,
    ] {
        (part.encapsulation, part.bits) = (word, U32::new(0x55));
    }
    let lso = others.lso_v2.ipv4;
    others.lso_v2.ipv6 = lso;
    others.lso_v2.ipv6_bits = U32::new(5);
    (others.lso_v1.ipv4, others.lso_v1.bits) = (lso, U32::new(5));
    (others.ipsec_v1.encapsulation, others.ipsec_v1.ipv4_esp) = (word, U32::new(0x5555));
    hardware
}

#[test]
fn an_ip_version_that_is_off_has_no_offload_in_the_report() {
    rules(&[11, 17, 24]);
    let hardware = full_hardware();
    let full = hardware.others;
    let mut adapter = Adapter::initialize(Version::V6_30, hardware, Keywords::default());
    let expect = |adapter: &Adapter, ipv4: bool, ipv6: bool| {
        let now = adapter.current();
        let checksum = &now.checksum;
        let v4 = [
            checksum.ipv4_transmit == full.checksum.ipv4_transmit,
            checksum.ipv4_receive == full.checksum.ipv4_receive,
            now.lso_v1 == full.lso_v1,
            now.lso_v2.ipv4 == full.lso_v2.ipv4,
            now.ipsec_v1 == full.ipsec_v1,
        ];
        let v6 = [
            checksum.ipv6_transmit == full.checksum.ipv6_transmit,
            checksum.ipv6_receive == full.checksum.ipv6_receive,
            now.lso_v2.ipv6 == full.lso_v2.ipv6,
            now.lso_v2.ipv6_bits == full.lso_v2.ipv6_bits,
        ];
        assert_eq!((v4, v6), ([ipv4; 5], [ipv6; 4]));
        let zero = Offload::default();
        let gone = ipv4
            || (checksum.ipv4_receive == zero.checksum.ipv4_receive
                && now.lso_v1 == zero.lso_v1
                && now.lso_v2.ipv4 == zero.lso_v2.ipv4
                && now.ipsec_v1 == zero.ipsec_v1);
        assert!(gone);
        assert_eq!(now.ipsec_v2.lso_supported != 0, ipv4 || ipv6);
        // The hardware is as it was.
        assert_eq!(adapter.hardware().checksum, full.checksum);
        assert_eq!(adapter.hardware().lso_v2, full.lso_v2);
    };
    expect(&adapter, true, true);
    for (ipv4, ipv6) in [(false, true), (true, false), (true, true), (false, false)] {
        let set = |on| if on { Set::ON } else { Set::OFF };
        adapter.set(Oid::ENCAPSULATION, &versions(set(ipv4), set(ipv6)));
        expect(&adapter, ipv4, ipv6);
    }
    // LSO that there is for IPv4 only goes with it, for IPsec too.
    let mut one = crate::fixture::adapter(EVERYTHING);
    one.set(Oid::ENCAPSULATION, &versions(Set::OFF, Set::ON));
    assert!(!one.snapshot().config.lso && one.snapshot().config.esp);
    // Hardware that does IPsec for IPv4 only loses it, and keeps the rest for IPv6.
    let mut ipv4_only = full_hardware();
    ipv4_only.ipsec.ipv6 = false;
    let mut adapter = Adapter::initialize(Version::V6_30, ipv4_only, Keywords::default());
    adapter.set(Oid::ENCAPSULATION, &versions(Set::OFF, Set::ON));
    assert!(!adapter.snapshot().config.is_offered() && !adapter.processing());
    assert_eq!(adapter.current().lso_v2.ipv6, full.lso_v2.ipv6);
}

#[test]
fn a_normal_request_meets_low_power() {
    rules(&[40]);
    let mut adapter = adapter(EVERYTHING);
    adapter.set_state(State::LowPower);
    let effects = set(&mut adapter, 1);
    assert_eq!(effects.completion.status, Status::NOT_ACCEPTED);
    assert!(!effects.changed && effects.keywords.is_none());
    adapter.set_state(State::Running);
    assert_eq!(enabled(&adapter), (true, true));
}

#[test]
fn a_normal_request_meets_a_reset() {
    rules(&[40, 39]);
    let mut adapter = adapter(EVERYTHING);
    adapter.set_state(State::Resetting);
    assert_eq!(set(&mut adapter, 1).completion.status, Status::NOT_ACCEPTED);
    // A restart does not end it.
    adapter.restart();
    assert_eq!(adapter.state(), State::Resetting);
    adapter.set_state(State::Running);
    assert_eq!(enabled(&adapter), (true, true));
    assert_eq!(adapter.query(Oid(1), &mut []).status, Status::INVALID_OID);
    assert_eq!(
        adapter.set(Oid(1), &[]).completion.status,
        Status::INVALID_OID
    );
}
