// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs that are older than the configuration: what it no longer covers is not processed, in either
//! direction, and nothing of it leaves in the clear.

use crate::fixture::*;
use crate::frame::{ah_of, esp_of, framed, ipv4, ipv6, receive_with, udp, ESP, TCP, UDP};
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{Set, IEEE_802_3};
use espnic_ndis::model::send::check;
use espnic_ndis::model::{Capabilities, Lookup, Mode, Report, SendSlots, Verdict};
use espnic_ndis::oob::{handle_word, SendHeader};
use espnic_ndis::parameters::{IpsecSetting, OffloadParameters};
use espnic_ndis::sa::build::{self, Addresses, Association};
use espnic_ndis::sa::UdpEsp;
use espnic_ndis::{Handle, Oid, Status};

const PAYLOAD: [u8; 40] = [7; 40];

/// What happens with this configuration to a received packet of an SA and to one to send.
struct Both {
    table: Table,
    inbound: Handle,
    outbound: Handle,
    udp: UdpEsp,
    ipv6: bool,
}

impl Both {
    fn new(bundle: &build::Bundle<'_>, mode: Mode) -> Self {
        let table = Table::new(2);
        let other = build::Bundle {
            inbound: true,
            ..*bundle
        };
        Self {
            inbound: add(&table, &other, mode),
            outbound: add(&table, bundle, mode),
            table,
            udp: bundle.udp_esp,
            ipv6: matches!(bundle.addresses, Addresses::V6 { .. }),
        }
    }

    fn packet(&self, esp: &[u8]) -> Vec<u8> {
        match (self.udp, self.ipv6) {
            (UdpEsp::NONE, false) => ipv4(ESP, esp),
            (UdpEsp::NONE, true) => ipv6(&[], ESP, esp),
            _ => ipv4(UDP, &udp(4500, esp)),
        }
    }

    /// Whether a received packet is processed; one that is not is as it was.
    fn receives(&self, config: &Capabilities) -> bool {
        let mut packet = self.packet(&esp_of(&self.table, self.inbound, &PAYLOAD, TCP));
        let before = packet.clone();
        let report = receive_with(config, &self.table, &mut packet);
        assert_eq!(report == Report::NONE, packet == before);
        report != Report::NONE
    }

    /// Whether a packet is sent; one that is not fails.
    fn sends(&self, config: &Capabilities) -> bool {
        let shape = self.table.by_handle(self.outbound).unwrap().esp.unwrap();
        let esp = framed(&shape, &PAYLOAD, TCP);
        let packet = self.packet(&esp);
        let header = SendHeader {
            next_header: TCP,
            pad_length: esp[esp.len() - shape.icv - 2],
            ah_offset: 0,
            esp_offset: (packet.len() - esp.len()) as u16,
        };
        let slots = SendSlots {
            ipsec: handle_word(Some(self.outbound)),
            header: header.word().unwrap(),
            ..SendSlots::default()
        };
        match check(true, config, &slots, &packet, &self.table) {
            Verdict::Crypto(_) => true,
            verdict => {
                assert_eq!(verdict, Verdict::Fail(Status::FAILURE));
                false
            }
        }
    }

    fn works(&self, config: Capabilities) -> bool {
        let sends = self.sends(&config);
        assert_eq!(self.receives(&config), sends);
        sends
    }
}

#[test]
fn an_sa_that_the_configuration_no_longer_covers_is_not_used() {
    rules(&[8, 28, 115]);
    let cbc = [esp(0x100, Encryption::AES_CBC_128, Authentication::SHA_1)];
    let both = Both::new(&outbound(&cbc), Mode::Transport);
    assert!(both.works(EVERYTHING));
    let without: [fn(&mut Capabilities); 5] = [
        |config| config.esp = false,
        |config| config.ipv4 = false,
        |config| config.transport = false,
        |config| config.encryption = Encryption::AES_GCM_128 | Encryption::NONE,
        |config| config.authentication = Authentication::SHA_256,
    ];
    for remove in without {
        let mut config = EVERYTHING;
        remove(&mut config);
        assert!(!both.works(config), "{config:?}");
    }
    let unrelated = Capabilities {
        ipv6: false,
        ah: false,
        ah_esp_combined: false,
        esn: false,
        udp_esp: UdpEsp::NONE,
        encryption: Encryption::AES_CBC_128,
        authentication: Authentication::SHA_1,
        ..EVERYTHING
    };
    assert!(both.works(unrelated));
}

#[test]
fn udp_encapsulation_that_is_no_longer_offered_is_not_used() {
    rules(&[26, 28]);
    let sa = [gcm(0x100)];
    for (subtype, mode) in [
        (UdpEsp::TRANSPORT, Mode::Transport),
        (UdpEsp::TUNNEL, Mode::Tunnel),
    ] {
        let bundle = build::Bundle {
            udp_esp: subtype,
            ..outbound(&sa)
        };
        let both = Both::new(&bundle, mode);
        for (mask, works) in [
            (0xf, true),
            (subtype.0, true),
            (0, false),
            (0xf & !subtype.0, false),
        ] {
            let config = Capabilities {
                udp_esp: UdpEsp(mask),
                ..EVERYTHING
            };
            assert_eq!(both.works(config), works);
        }
    }
}

#[test]
fn esn_and_ipv6_that_are_no_longer_offered_are_not_used() {
    rules(&[28]);
    let esn = [Association {
        esn: Some(0),
        ..gcm(0x100)
    }];
    let addresses = Addresses::V6 {
        source: [1; 16],
        destination: [2; 16],
    };
    let bundle = build::Bundle {
        addresses,
        ..outbound(&esn)
    };
    let both = Both::new(&bundle, Mode::Transport);
    for (esn, ipv6) in [(true, true), (false, true), (true, false)] {
        let config = Capabilities {
            esn,
            ipv6,
            ..EVERYTHING
        };
        assert_eq!(both.works(config), esn && ipv6);
    }
    // IPv4 is none of its business.
    assert!(both.works(Capabilities {
        ipv4: false,
        ..EVERYTHING
    }));
}

#[test]
fn a_pair_of_ah_and_esp_needs_both() {
    rules(&[28]);
    let table = Table::new(1);
    let pair = [gcm(0x100), ah(0x200, Authentication::SHA_1)];
    let handle = add(&table, &inbound(&pair), Mode::Transport);
    let esp = esp_of(&table, handle, &PAYLOAD, TCP);
    let packet = ipv4(crate::frame::AH, &ah_of(&table, handle, &esp, ESP));
    for (combined, sha_1) in [(true, true), (false, true), (true, false)] {
        let config = Capabilities {
            ah_esp_combined: combined,
            authentication: if sha_1 {
                Authentication::EVERY
            } else {
                Authentication::MD5
            },
            ..EVERYTHING
        };
        let report = receive_with(&config, &table, &mut packet.clone());
        assert_eq!(report != Report::NONE, combined && sha_1);
    }
}

#[test]
fn switched_off_with_sas_and_on_again() {
    rules(&[8, 28]);
    let mut adapter = adapter(EVERYTHING);
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    let sa = [gcm(0x100)];
    let both = Both::new(&outbound(&sa), Mode::Transport);
    for (setting, works) in [
        (IpsecSetting::AH_AND_ESP_ENABLED, true),
        (IpsecSetting::AH_ENABLED, false),
        (IpsecSetting::ESP_ENABLED, true),
        (IpsecSetting::DISABLED, false),
        (IpsecSetting::AH_AND_ESP_ENABLED, true),
    ] {
        let parameters = OffloadParameters {
            ipsec_v2: setting.0,
            ..OffloadParameters::new(2).unwrap()
        };
        let mut buffer = [0; 0x16];
        parameters.encode(&mut buffer).unwrap();
        adapter.set(Oid::PARAMETERS, &buffer);
        assert_eq!(both.works(adapter.processed()), works);
    }
}
