// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Words and structures that are written, bit by bit.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_ndis::attributes::OffloadAttributes;
use espnic_ndis::encapsulation::{self, Family, OffloadEncapsulation, Set};
use espnic_ndis::indication::StatusIndication;
use espnic_ndis::nbl::Slot;
use espnic_ndis::object::ObjectType;
use espnic_ndis::offload::{self, two_bits, v1_ah, v1_esp, Offload};
use espnic_ndis::oid::RequestType;
use espnic_ndis::oob::{
    handle_word, CryptoStatus, LargeSend, Receive, ReceiveHeader, ReceiveV1, SendHeader,
};
use espnic_ndis::parameters::{self, IpsecSetting, OffloadParameters};
use espnic_ndis::request::OidRequest;
use espnic_ndis::{Fault, Handle, ObjectHeader, Oid, Ptr, Status, Version, U32, U64};
use proptest::prelude::*;
use support::rules;
use zerocopy::IntoBytes as _;

#[test]
fn receive_word() {
    let vectors = [
        (Receive::default(), 0),
        (
            Receive {
                sa_delete_req: true,
                status: CryptoStatus::INVALID_PROTOCOL,
                ..Receive::default()
            },
            0x0000_0000_0007_0001,
        ),
        (
            Receive {
                crypto_done: true,
                status: CryptoStatus::TRANSPORT_ESP_AUTH_FAILED,
                ..Receive::default()
            },
            0x0000_0000_0003_0002,
        ),
        (
            Receive {
                crypto_done: true,
                next_crypto_done: true,
                ..Receive::default()
            },
            0x0000_0000_0000_0006,
        ),
    ];
    for (receive, word) in vectors {
        assert_eq!(receive.word(), word);
        assert_eq!(Receive::from_word(word), receive);
        // Version 1 has the same bits in two members.
        assert_eq!(ReceiveV1::from(receive).word(), word);
        assert_eq!(ReceiveV1::from_word(word).status, receive.status);
    }
    let reserved = Receive::from_word(0xffff_ffff_0003_fff8);
    assert_eq!(reserved.word(), 0x0003_0000);
    assert_eq!(CryptoStatus::ALL.len(), 8);
}

#[test]
fn header_words() {
    let send = |next_header, pad_length, ah_offset, esp_offset| SendHeader {
        next_header,
        pad_length,
        ah_offset,
        esp_offset,
    };
    let vectors = [
        (send(0x11, 0x22, 0x33 * 4, 0x44 * 4), 0x4433_2211),
        (send(6, 2, 20, 44), 0x0b05_0206),
        (send(0, 0, 1020, 1020), 0xffff_0000),
        (send(50, 255, 0, 20), 0x0500_ff32),
    ];
    for (header, word) in vectors {
        assert_eq!(header.word(), Some(word));
        assert_eq!(SendHeader::from_word(word), header);
    }
    assert_eq!(send(6, 2, 0, 22).word(), None);
    assert_eq!(send(6, 2, 1024, 0).word(), None);

    let only_set = ReceiveHeader::new(0, 0);
    assert_eq!(only_set.word(), 0x0001_0000);
    assert_eq!(ReceiveHeader::new(0x29, 0x0e).word(), 0x0001_0e29);
    assert_eq!(
        ReceiveHeader::from_word(0xfffd_0e29).info(),
        Some((0x29, 0x0e))
    );
    assert_eq!(ReceiveHeader::from_word(0xfffe_0e29).info(), None);
    assert_eq!(ReceiveHeader::default().word(), 0);
    rules(&[97, 125]);
}

#[test]
fn handle_words() {
    assert_eq!(handle_word(None), 0);
    let handle = Handle::new(0x0123_4567_89ab_cdef);
    assert_eq!(handle_word(handle), 0x0123_4567_89ab_cdef);
    assert_eq!(Handle::new(0), None);
    assert_eq!(Ptr::from(handle).handle(), handle);
    assert_eq!(Ptr::from(None), Ptr::NULL);
    rules(&[74]);
}

#[test]
fn large_send_word() {
    let v1 = LargeSend::V1 {
        mss: 0x5b4,
        tcp_header_offset: 34,
    };
    let v2 = LargeSend::V2 {
        mss: 0xf_ffff,
        tcp_header_offset: 0x3ff,
        ipv6: true,
    };
    let v2_ipv4 = LargeSend::V2 {
        mss: 1,
        tcp_header_offset: 54,
        ipv6: false,
    };
    let vectors = [(v1, 0x0220_05b4), (v2, 0xffff_ffff), (v2_ipv4, 0x4360_0001)];
    for (send, word) in vectors {
        assert_eq!(send.word(), Some(word));
        assert_eq!(LargeSend::from_word(word), Some(send));
    }
    assert_eq!(LargeSend::from_word(0), None);
    let too_much = LargeSend::V1 {
        mss: 0x10_0000,
        tcp_header_offset: 0,
    };
    assert_eq!(too_much.word(), None);
    assert_eq!(v1.complete(0x3fff_ffff), Some(0x3fff_ffff));
    assert_eq!(v1.complete(0x4000_0000), None);
    assert_eq!(v2.complete(7), Some(0x4000_0000));
    rules(&[110]);
}

#[test]
fn slots_of_a_packet() {
    assert_eq!(
        Slot::ALL.iter().map(|slot| slot.0).collect::<Vec<_>>(),
        [0, 1, 2, 11, 12]
    );
    assert_eq!(Slot::IPSEC.offset(), 0x98);
    assert_eq!(Slot::IPSEC_HEADER.offset(), 0xf0);
}

/// Revision and size of NDIS_OFFLOAD by version.
const REVISIONS: [(Version, u8, u16); 8] = [
    (Version::V6_0, 1, 0x70),
    (Version::V6_1, 2, 0x90),
    (Version::V6_20, 2, 0x90),
    (Version::V6_30, 3, 0x9c),
    (Version::V6_50, 4, 0xb1),
    (Version::V6_70, 5, 0xbc),
    (Version::V6_83, 6, 0xd8),
    (Version(0x0006_0057), 6, 0xd8),
];

#[test]
fn offload_has_the_revision_of_the_version() {
    let mut offload = Offload::default();
    offload.ipsec_v2.encapsulation = U32::new(encapsulation::IEEE_802_3);
    offload.ipsec_v2.esp = 1;
    offload.ipsec_v2.sa_offload_capacity = U32::new(0x0102_0304);
    offload.udp_segmentation = [0xee; 0x1c];
    offload.flags = U32::new(7);
    for (version, revision, size) in REVISIONS {
        let mut buffer = [0x55; 0xe0];
        let length = offload.encode(version, &mut buffer).unwrap();
        assert_eq!(length, usize::from(size));
        assert_eq!(buffer[..2], [0xa7, revision]);
        assert_eq!(buffer[2..4], size.to_le_bytes());
        assert!(buffer[length..].iter().all(|&byte| byte == 0x55));
        let flags = if revision >= 3 { 7 } else { 1 };
        assert_eq!(buffer[0x6c], flags);
        let read = Offload::parse(&buffer).unwrap();
        assert_eq!(read.ipsec_v2().is_some(), revision >= 2);
        if revision >= 2 {
            assert_eq!(buffer[0x70], 2);
            assert_eq!(buffer[0x78], 1);
            assert_eq!(buffer[0x8c..0x90], [4, 3, 2, 1]);
            assert_eq!(read.ipsec_v2(), Some(&offload.ipsec_v2));
        } else {
            // What lies behind a revision is not read.
            assert_eq!(read.ipsec_v2, Default::default());
        }
        let needed = Fault::Length { needed: length };
        assert_eq!(Offload::parse(&buffer[..length - 1]), Err(needed));
        assert_eq!(
            offload.encode(version, &mut buffer[..length - 1]),
            Err(needed)
        );
    }
    rules(&[22, 25]);
}

#[test]
fn offload_of_later_revisions_is_read() {
    let mut buffer = [0; 0xe0];
    Offload::default()
        .encode(Version::V6_83, &mut buffer)
        .unwrap();
    buffer[..4].copy_from_slice(&[0xa7, 7, 0xd9, 0]);
    assert!(Offload::parse(&buffer).is_ok());
    buffer[2] = 0xd7;
    assert_eq!(Offload::parse(&buffer), Err(Fault::Size));
    buffer[1] = 0;
    assert_eq!(Offload::parse(&buffer), Err(Fault::Revision));
    buffer[0] = 0x80;
    assert_eq!(Offload::parse(&buffer), Err(Fault::Type));
    assert_eq!(Offload::default().ipsec_v2(), None);
    rules(&[22]);
}

#[test]
fn two_bit_fields() {
    let ah = two_bits(v1_ah::SHA_1, true) | two_bits(v1_ah::RECEIVE, true);
    assert_eq!(ah, 0x404);
    let esp = two_bits(v1_esp::NULL_ESP, true) | two_bits(v1_esp::DES, false);
    assert_eq!(esp, 0x40);
    assert_eq!(two_bits(v1_esp::RECEIVE, true), 0x4000);
    assert_eq!(two_bits(32, true), 0);
    assert_eq!((offload::NOT_SUPPORTED, offload::SUPPORTED), (0, 1));
}

#[test]
fn parameters_of_every_revision() {
    let mut image = OffloadParameters::new(5).unwrap();
    image.ipsec_v1 = 1;
    image.ipsec_v2 = 2;
    image.ipsec_v2_ipv4 = 3;
    image.flags = U32::new(parameters::SKIP_REGISTRY_UPDATE);
    image.udp_segmentation_ipv6 = 9;
    for (revision, size) in [(1, 0x14), (2, 0x16), (3, 0x1a), (4, 0x20), (5, 0x22)] {
        image.header = OffloadParameters::new(revision).unwrap().header;
        let mut buffer = [0x04; 0x30];
        assert_eq!(image.encode(&mut buffer), Ok(size));
        assert_eq!(
            buffer[..4],
            [0x80, revision, u8::try_from(size).unwrap(), 0]
        );
        assert_eq!((buffer[0x0a], buffer[0x10]), (1, 1));
        let read = OffloadParameters::parse(&buffer).unwrap();
        assert_eq!(read.ipsec_v1(), IpsecSetting::DISABLED);
        let (v2, v2_ipv4) = if revision >= 2 {
            assert_eq!(buffer[0x14..0x16], [2, 3]);
            (IpsecSetting::AH_ENABLED, IpsecSetting::ESP_ENABLED)
        } else {
            // Members of later revisions mean no change, whatever lies there.
            (IpsecSetting::NO_CHANGE, IpsecSetting::NO_CHANGE)
        };
        assert_eq!((read.ipsec_v2(), read.ipsec_v2_ipv4()), (v2, v2_ipv4));
        assert_eq!(
            read.udp_segmentation_ipv6,
            if revision == 5 { 9 } else { 0 }
        );
        let short = OffloadParameters::parse(&buffer[..size - 1]);
        assert_eq!(short, Err(Fault::Length { needed: size }));
        buffer[2] -= 1;
        assert_eq!(OffloadParameters::parse(&buffer), Err(Fault::Size));
    }
    assert_eq!(OffloadParameters::new(0), Err(Fault::Revision));
    let enabled: Vec<_> = (0..6).map(|value| IpsecSetting(value).enabled()).collect();
    let off_ah_esp_both = [(false, false), (true, false), (false, true), (true, true)];
    assert_eq!(enabled[0], None);
    assert_eq!(enabled[1..5], off_ah_esp_both.map(Some));
    assert_eq!(enabled[5], None);
}

#[test]
fn encapsulation_structure() {
    let family = |enabled: Set, kind, size| Family {
        enabled: U32::new(enabled.0),
        encapsulation_type: U32::new(kind),
        header_size: U32::new(size),
    };
    let image = OffloadEncapsulation::new(
        family(Set::ON, encapsulation::IEEE_802_3, 14),
        family(Set::OFF, encapsulation::NULL, 0),
    );
    let bytes = image.as_bytes();
    assert_eq!(bytes[..4], [0xa8, 1, 0x1c, 0]);
    assert_eq!(bytes[4..16], [1, 0, 0, 0, 2, 0, 0, 0, 14, 0, 0, 0]);
    assert_eq!(bytes[16..], [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let read = OffloadEncapsulation::parse(bytes).unwrap();
    assert_eq!(
        (read.ipv4.enabled(), read.ipv6.enabled()),
        (Set::ON, Set::OFF)
    );
    assert_eq!(
        OffloadEncapsulation::parse(&bytes[..27]),
        Err(Fault::Length { needed: 28 })
    );
}

#[test]
fn oid_request() {
    let mut request = OidRequest::new(RequestType::SET_INFORMATION, Oid::ADD_SA);
    request.information_buffer = Ptr(U64::new(0x1122_3344_5566_7788));
    request.information_buffer_length = U32::new(0xb0);
    let bytes = request.as_bytes();
    assert_eq!(bytes[..8], [0x96, 1, 0xec, 0, 1, 0, 0, 0]);
    assert_eq!(bytes[0x20..0x24], [0x02, 0x02, 0x03, 0xfc]);
    assert_eq!(bytes[0x28..0x30], 0x1122_3344_5566_7788u64.to_le_bytes());
    assert_eq!(bytes[0x30], 0xb0);
    let read = OidRequest::parse(&bytes[..0xec]).unwrap();
    assert_eq!(read.oid(), Oid::ADD_SA);
    assert_eq!(read.request_type(), RequestType::SET_INFORMATION);
    assert_eq!(
        OidRequest::parse(&bytes[..0xeb]),
        Err(Fault::Length { needed: 0xec })
    );

    request.header = ObjectHeader::new(ObjectType::OID_REQUEST, 2, 0xf8);
    request.flags = U32::new(5);
    assert_eq!(
        OidRequest::parse(request.as_bytes()).unwrap().flags.get(),
        5
    );
}

#[test]
fn indication() {
    let mut config = [0; 0xd8];
    let length = Offload::default()
        .encode(Version::V6_30, &mut config)
        .unwrap();
    let mut buffer = [0xff; 0x200];
    let status = Status::TASK_OFFLOAD_CURRENT_CONFIG;
    let end = StatusIndication::encode(status, &config[..length], &mut buffer).unwrap();
    assert_eq!(end, 0x70 + 0x9c);
    assert_eq!(buffer[..4], [0x98, 1, 0x70, 0]);
    assert_eq!(buffer[0x14..0x18], [0x06, 0, 0x02, 0x40]);
    assert_eq!(buffer[0x30..0x38], [0x70, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(buffer[0x38], 0x9c);
    let (read, contents) = StatusIndication::parse(&buffer[..end]).unwrap();
    assert_eq!(read.status(), status);
    assert_eq!(contents, &config[..length]);
    assert!(StatusIndication::parse(&buffer[..end - 1]).is_err());
    // The status buffer lies behind the structure.
    buffer[0x30] = 0x6f;
    let inside = StatusIndication::parse(&buffer).map(|_| ());
    assert_eq!(inside, Err(Fault::Link));
    assert!(StatusIndication::encode(status, &config, &mut [0; 0x100]).is_err());
}

#[test]
fn attributes_hold_two_images() {
    let image = OffloadAttributes::new(Ptr(U64::new(1)), Ptr(U64::new(2)));
    let bytes = image.as_bytes();
    assert_eq!(bytes[..4], [0xa0, 1, 0x28, 0]);
    assert_eq!((bytes[0x08], bytes[0x10]), (1, 2));
    assert!(bytes[0x18..].iter().all(|&byte| byte == 0));
}

#[test]
fn names_and_numbers() {
    assert_eq!(
        Status::INVALID_LENGTH.to_string(),
        "NDIS_STATUS_INVALID_LENGTH"
    );
    assert_eq!(Status(0x1234).to_string(), "0x1234");
    assert_eq!(
        Status::from_name("NDIS_STATUS_OFFLOAD_ENCASPULATION_CHANGE"),
        Some(Status::OFFLOAD_ENCAPSULATION_CHANGE)
    );
    assert_eq!(Status::from_name("SUCCESS"), None);
    // Positive as signed numbers, and yet no success.
    assert!(!Status::PENDING.is_success() && !Status::NOT_ACCEPTED.is_success());
    assert!(Status::SUCCESS.is_success());
}

proptest! {
    #[test]
    fn words_survive_a_round_trip(word: u64) {
        let receive = Receive::from_word(word).word();
        prop_assert_eq!(receive, word & 0xffff_0007);
        prop_assert_eq!(ReceiveV1::from_word(word).word(), word & 0xffff_ffff);
        prop_assert_eq!(SendHeader::from_word(word).word(), Some(word & 0xffff_ffff));
        prop_assert_eq!(ReceiveHeader::from_word(word).word(), word & 0x1_ffff);
        if let Some(send) = LargeSend::from_word(word) {
            let kept = if word & 0x4000_0000 != 0 { 0xffff_ffff } else { 0x7fff_ffff };
            prop_assert_eq!(send.word(), Some(word & kept));
        }
    }
}
