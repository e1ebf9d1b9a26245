// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an adapter reports: initialisation, keywords, images, queries, indications.

use crate::fixture::*;
use crate::rules;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{Set, IEEE_802_3, IEEE_LLC_SNAP_ROUTED, NULL};
use espnic_ndis::keyword::{CHECKSUMS, IPSEC_V1_IPV4, IPSEC_V2, IPSEC_V2_IPV4, LSO};
use espnic_ndis::model::{Adapter, Capabilities, Hardware, Keywords, State};
use espnic_ndis::offload::{
    IpsecV1, Offload, AND_TCP_CHECKSUM_COEXISTENCE, AND_UDP_CHECKSUM_COEXISTENCE,
    FLAGS_GROUP_CHECKSUM_CAPABILITIES,
};
use espnic_ndis::sa::UdpEsp;
use espnic_ndis::{Oid, Status, Version, U32};

/// The image that a query answers, parsed.
fn query(adapter: &Adapter, oid: Oid) -> Offload {
    let mut buffer = [0; 512];
    let done = adapter.query(oid, &mut buffer);
    assert_eq!(done.status, Status::SUCCESS);
    Offload::parse(&buffer[..done.done as usize]).unwrap()
}

/// What is enabled in an image.
fn v2(image: &Offload) -> Capabilities {
    Capabilities::from(&image.ipsec_v2)
}

fn with_keywords(hardware: Hardware, keywords: Keywords) -> Adapter {
    Adapter::initialize(Version::V6_30, hardware, keywords)
}

#[test]
fn initialisation_reports_the_default_and_the_hardware() {
    rules(&[1, 2]);
    let off = Keywords {
        v2: Some(0),
        ..Keywords::default()
    };
    let adapter = with_keywords(hardware(EVERYTHING), off);
    assert_eq!(v2(adapter.hardware()), EVERYTHING);
    assert_eq!(v2(adapter.current()), Capabilities::NONE);
    assert!(!adapter.snapshot().config.is_offered());
    // Only IPsec is gone from the default.
    assert_eq!(adapter.current().lso_v2, adapter.hardware().lso_v2);
}

#[test]
fn every_keyword_is_read_before_anything_is_reported() {
    rules(&[3]);
    let mut asked = Vec::new();
    let keywords = Keywords::read(|name| {
        asked.push(name);
        (name == IPSEC_V2).then_some(0)
    });
    asked.sort_unstable();
    let mut all = vec![IPSEC_V1_IPV4, IPSEC_V2, IPSEC_V2_IPV4];
    all.extend(CHECKSUMS.iter().chain(&LSO));
    all.sort_unstable();
    assert_eq!(all.len(), 11);
    assert_eq!(asked, all);
    let adapter = with_keywords(hardware(EVERYTHING), keywords);
    assert_eq!(v2(adapter.current()), Capabilities::NONE);
}

#[test]
fn a_keyword_selects_ah_and_esp() {
    rules(&[4, 5]);
    for (value, ah, esp) in [
        (Some(0), false, false),
        (Some(1), true, false),
        (Some(2), false, true),
        (Some(3), true, true),
        (None, true, true),
    ] {
        let keywords = Keywords {
            v2: value,
            ..Keywords::default()
        };
        let config = v2(with_keywords(hardware(EVERYTHING), keywords).current());
        assert_eq!((config.ah, config.esp), (ah, esp));
        assert_eq!(config.ah_esp_combined, ah && esp);
        // What the hardware lacks, no keyword gives it.
        let esp_only = Capabilities {
            ah: false,
            ah_esp_combined: false,
            ..EVERYTHING
        };
        let config = v2(with_keywords(hardware(esp_only), keywords).current());
        assert_eq!((config.ah, config.esp), (false, esp));
    }
}

#[test]
fn the_keyword_of_version_1_enables_version_1() {
    rules(&[4, 5]);
    let mut hardware = hardware(EVERYTHING);
    hardware.others.ipsec_v1 = IpsecV1 {
        encapsulation: U32::new(IEEE_802_3),
        ah_esp_combined: U32::new(1),
        ipv4_ah: U32::new(0x555),
        ipv4_esp: U32::new(0x5555),
        ..IpsecV1::default()
    };
    for (value, ah, esp) in [
        (Some(0), false, false),
        (Some(1), true, false),
        (Some(2), false, true),
        (Some(3), true, true),
        (None, true, true),
    ] {
        let keywords = Keywords {
            v1_ipv4: value,
            ..Keywords::default()
        };
        let adapter = with_keywords(hardware, keywords);
        let v1 = &adapter.current().ipsec_v1;
        assert_eq!((v1.ipv4_ah.get() != 0, v1.ipv4_esp.get() != 0), (ah, esp));
        assert_eq!(v1.ah_esp_combined.get() != 0, ah && esp);
        assert_eq!(v1.encapsulation.get() != 0, ah || esp);
        assert_eq!(adapter.hardware().ipsec_v1, hardware.others.ipsec_v1);
        assert_eq!(v2(adapter.current()), EVERYTHING);
    }
}

#[test]
fn which_keyword_an_adapter_obeys() {
    rules(&[6, 7]);
    let ipv4_only = Capabilities {
        ipv6: false,
        ..EVERYTHING
    };
    let both_off = Keywords {
        v2: Some(0),
        ..Keywords::default()
    };
    let v4_off = Keywords {
        v2_ipv4: Some(0),
        ..Keywords::default()
    };
    for (capabilities, keywords, offered) in [
        (EVERYTHING, both_off, false),
        (EVERYTHING, v4_off, true),
        (ipv4_only, both_off, true),
        (ipv4_only, v4_off, false),
    ] {
        let mut adapter = with_keywords(hardware(capabilities), keywords);
        assert_eq!(v2(adapter.current()).is_offered(), offered);
        // Hardware of the other kind obeys the other keyword, and back.
        let other = Capabilities {
            ipv6: !capabilities.ipv6,
            ..EVERYTHING
        };
        adapter.hardware_changed(hardware(other));
        assert_eq!(v2(adapter.current()).is_offered(), !offered);
        adapter.hardware_changed(hardware(capabilities));
        assert_eq!(v2(adapter.current()).is_offered(), offered);
    }
}

#[test]
fn keywords_are_set_by_name() {
    rules(&[3]);
    let mut keywords = Keywords::default();
    assert!(keywords.set(IPSEC_V2, Some(2)));
    assert_eq!(keywords.get(IPSEC_V2), Some(Some(2)));
    assert!(!keywords.set(IPSEC_V2, Some(4)));
    assert!(!keywords.set("*IPsecOffloadV3", Some(1)));
    assert_eq!(keywords.get("*IPsecOffloadV3"), None);
    assert_eq!(keywords.get(IPSEC_V1_IPV4), Some(None));
    assert!(keywords.set(IPSEC_V2, None));
    for (names, most) in [(&CHECKSUMS[..], 3), (&LSO[..], 1)] {
        for name in names {
            assert!(keywords.set(name, Some(most)) && !keywords.set(name, Some(most + 1)));
            assert_eq!(keywords.get(name), Some(Some(most)));
            assert!(keywords.set(name, None));
        }
    }
    assert_eq!(keywords, Keywords::default());
}

#[test]
fn ipsec_always_comes_with_802_3_and_tunnel_mode() {
    rules(&[18, 23]);
    let odd = Capabilities {
        encapsulation: IEEE_LLC_SNAP_ROUTED,
        tunnel: false,
        ..EVERYTHING
    };
    let adapter = adapter(odd);
    for image in [adapter.hardware(), adapter.current()] {
        let reported = v2(image);
        assert_eq!(reported.encapsulation, IEEE_802_3 | IEEE_LLC_SNAP_ROUTED);
        assert!(reported.tunnel);
    }
    let without = Capabilities {
        ah: false,
        esp: false,
        ..odd
    };
    assert_eq!(
        v2(crate::fixture::adapter(without).hardware()),
        Capabilities::NONE
    );
}

#[test]
fn lso_for_ipsec_needs_lso() {
    rules(&[24]);
    let mut hardware = hardware(EVERYTHING);
    let with = with_keywords(hardware, Keywords::default());
    assert!(v2(with.hardware()).lso && v2(with.current()).lso);
    hardware.others = Offload::default();
    let without = with_keywords(hardware, Keywords::default());
    assert!(!v2(without.hardware()).lso && !v2(without.current()).lso);
}

#[test]
fn checksum_coexistence_is_a_flag_of_the_image() {
    rules(&[25, 22]);
    let both = AND_TCP_CHECKSUM_COEXISTENCE | AND_UDP_CHECKSUM_COEXISTENCE;
    let mut hardware = hardware(EVERYTHING);
    hardware.others.flags = U32::new(FLAGS_GROUP_CHECKSUM_CAPABILITIES | both);
    let off = Keywords {
        v2: Some(0),
        ..Keywords::default()
    };
    let on = with_keywords(hardware, Keywords::default());
    assert_eq!(query(&on, Oid::CURRENT_CONFIG).flags.get(), 7);
    let off = with_keywords(hardware, off);
    assert_eq!(query(&off, Oid::CURRENT_CONFIG).flags.get(), 1);
    assert_eq!(query(&off, Oid::HARDWARE_CAPABILITIES).flags.get(), 7);
    // Before NDIS 6.30 the two flags do not exist.
    let old = Adapter::initialize(Version::V6_20, hardware, Keywords::default());
    assert_eq!(query(&old, Oid::CURRENT_CONFIG).flags.get(), 1);
}

#[test]
fn udp_esp_goes_with_esp() {
    rules(&[26]);
    let ah_only = Keywords {
        v2: Some(1),
        ..Keywords::default()
    };
    let adapter = with_keywords(hardware(EVERYTHING), ah_only);
    assert_eq!(v2(adapter.current()).udp_esp, UdpEsp::NONE);
    assert_eq!(v2(adapter.hardware()).udp_esp, UdpEsp(0xf));
}

#[test]
fn ndis_answers_queries_from_the_last_report() {
    rules(&[19]);
    let mut adapter = adapter(EVERYTHING);
    let before = query(&adapter, Oid::CURRENT_CONFIG);
    assert_eq!(v2(&before), EVERYTHING);
    // A keyword that changes has no effect before the adapter reports again.
    adapter.keywords_mut().v2 = Some(0);
    assert_eq!(query(&adapter, Oid::CURRENT_CONFIG), before);
    adapter.restart();
    assert_eq!(
        v2(&query(&adapter, Oid::CURRENT_CONFIG)),
        Capabilities::NONE
    );
    assert_eq!(v2(&query(&adapter, Oid::HARDWARE_CAPABILITIES)), EVERYTHING);
    // NDIS answers also while the miniport takes no requests.
    let before = query(&adapter, Oid::CURRENT_CONFIG);
    adapter.set_state(State::Resetting);
    assert_eq!(query(&adapter, Oid::CURRENT_CONFIG), before);
    assert_eq!(v2(&query(&adapter, Oid::HARDWARE_CAPABILITIES)), EVERYTHING);
    adapter.set_state(State::Running);
    // Both images are those of the reports, whatever asks for them.
    assert_eq!(
        adapter.current().ipsec_v2,
        query(&adapter, Oid::CURRENT_CONFIG).ipsec_v2
    );
}

#[test]
fn a_query_buffer_that_is_too_small() {
    rules(&[20]);
    let adapter = adapter(EVERYTHING);
    for oid in [
        Oid::CURRENT_CONFIG,
        Oid::HARDWARE_CAPABILITIES,
        Oid::ENCAPSULATION,
    ] {
        let size = if oid == Oid::ENCAPSULATION {
            0x1c
        } else {
            0x9c
        };
        for length in [0, 4, size - 1] {
            let done = adapter.query(oid, &mut vec![0; length]);
            assert_eq!(done.status, Status::BUFFER_TOO_SHORT);
            assert_eq!((done.done, done.needed as usize), (0, size));
        }
        let done = adapter.query(oid, &mut vec![0; size]);
        assert_eq!((done.status, done.done as usize), (Status::SUCCESS, size));
    }
}

#[test]
fn the_image_has_ipsec_v2_from_revision_2() {
    rules(&[22]);
    for (version, revision, size) in [
        (Version::V6_0, 1, 0x70),
        (Version::V6_1, 2, 0x90),
        (Version::V6_20, 2, 0x90),
        (Version::V6_30, 3, 0x9c),
        (Version::V6_40, 3, 0x9c),
        (Version::V6_50, 4, 0xb1),
        (Version::V6_51, 4, 0xb1),
        (Version::V6_60, 4, 0xb1),
        (Version::V6_70, 5, 0xbc),
        (Version::V6_80, 5, 0xbc),
        (Version::V6_81, 5, 0xbc),
        (Version::V6_82, 5, 0xbc),
        (Version::V6_83, 6, 0xd8),
    ] {
        let adapter = Adapter::initialize(version, hardware(EVERYTHING), Keywords::default());
        let mut buffer = [0; 512];
        let done = adapter.query(Oid::CURRENT_CONFIG, &mut buffer);
        assert_eq!(done.done, size);
        let image = Offload::parse(&buffer).unwrap();
        assert_eq!(image.header.object_type, 0xa7);
        assert_eq!(image.header.revision, revision);
        assert_eq!(image.ipsec_v2().is_some(), revision >= 2);
        assert_eq!(adapter.snapshot().config.is_offered(), revision >= 2);
    }
}

#[test]
fn other_hardware_is_announced() {
    rules(&[21, 11]);
    let mut adapter = adapter(EVERYTHING);
    let less = Capabilities {
        esn: false,
        authentication: Authentication(0),
        encryption: Encryption::AES_GCM_128,
        ..EVERYTHING
    };
    let effects = adapter.hardware_changed(hardware(less));
    assert!(effects.hardware_capabilities && effects.current_config && effects.changed);
    assert_eq!(v2(adapter.hardware()), less);
    assert_eq!(v2(adapter.current()), less);
    // What is not enabled is announced as hardware, but not as current configuration.
    assert!(adapter.external_change(false).current_config);
    let effects = adapter.hardware_changed(hardware(EVERYTHING));
    assert!(effects.hardware_capabilities && !effects.current_config && !effects.changed);
    assert_eq!(v2(adapter.hardware()), EVERYTHING);
    assert_eq!(v2(adapter.current()), Capabilities::NONE);
    // Switched on again from elsewhere.
    assert!(adapter.external_change(true).current_config);
    assert_eq!(v2(adapter.current()), EVERYTHING);
    assert!(!adapter.external_change(true).current_config);
    assert_eq!(adapter.keywords(), &Keywords::default());
}

#[test]
fn encapsulation_can_be_queried() {
    rules(&[19]);
    let mut adapter = adapter(EVERYTHING);
    let enabled = |adapter: &Adapter| {
        let mut buffer = [0; 0x1c];
        assert_eq!(
            adapter.query(Oid::ENCAPSULATION, &mut buffer).status,
            Status::SUCCESS
        );
        let answer = espnic_ndis::encapsulation::OffloadEncapsulation::parse(&buffer).unwrap();
        (answer.ipv4.enabled(), answer.ipv4.encapsulation_type.get())
    };
    assert_eq!(enabled(&adapter), (Set::OFF, 0));
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    assert_eq!(enabled(&adapter), (Set::ON, IEEE_802_3));
    let refused = adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, NULL));
    assert_eq!(refused.completion.status, Status::INVALID_PARAMETER);
    assert_eq!(enabled(&adapter), (Set::ON, IEEE_802_3));
}
