// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a bundle may look like: headers, algorithms, keys, addresses, UDP, ESN.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::{Capabilities, Lookup, Mode, Offloaded};
use espnic_ndis::sa::build::{self, Addresses, Association};
use espnic_ndis::sa::{AddSaFixed, Address, Operation, SecurityAssociation, Spi, UdpEsp};
use espnic_ndis::{Handle, Oid, Status, U32};
use std::mem::offset_of;
use zerocopy::IntoBytes as _;

/// How adding this outbound bundle ends.
pub fn status(config: Capabilities, associations: &[Association<'_>]) -> Status {
    ends(config, &outbound(associations))
}

/// How adding this bundle ends: by ADD_SA, and by ADD_SA_EX no other way (R72).
fn ends(config: Capabilities, bundle: &build::Bundle<'_>) -> Status {
    let at = snapshot(config);
    let mut buffer = add_sa_ex(bundle);
    let single = send(&at, &Table::new(8), Oid::ADD_SA_EX, &mut buffer).status;
    let list = match try_add(&at, &Table::new(8), bundle) {
        Ok(_) => Status::SUCCESS,
        Err(completion) => completion.status,
    };
    assert_eq!(list, single, "ADD_SA against ADD_SA_EX");
    list
}

/// The bundle as the table has it after an addition.
fn shape(bundle: &build::Bundle<'_>) -> Offloaded {
    let table = Table::new(8);
    let handle = add(&table, bundle, Mode::ByPacket);
    table.by_handle(handle).unwrap()
}

/// How an addition ends whose element was changed at an offset.
fn poked(at: usize, value: u32) -> Status {
    poked_in(&[gcm(0x100)], at, value)
}

/// The same with other associations.
fn poked_in(associations: &[Association<'_>], at: usize, value: u32) -> Status {
    let (mut buffer, _) = add_sa(&[outbound(associations)]);
    buffer[at..at + 4].copy_from_slice(U32::new(value).as_bytes());
    send(
        &snapshot(EVERYTHING),
        &Table::new(8),
        Oid::ADD_SA,
        &mut buffer,
    )
    .status
}

/// Where the EncryptionAlgorithm of the first association is.
const AT_CIPHER: usize = offset_of!(AddSaFixed, sec_assoc) + 0x1c;

#[test]
fn as_many_headers_as_num_ext_hdrs_says() {
    rules(&[53]);
    let count = offset_of!(AddSaFixed, num_ext_hdrs);
    assert_eq!(poked(count, 1), Status::SUCCESS);
    for bad in [0, 3, u32::MAX] {
        assert_eq!(poked(count, bad), Status::INVALID_DATA);
    }
    // The second element is all zeros, and so no AH.
    assert_eq!(poked(count, 2), Status::INVALID_DATA);
    // With NumExtHdrs 1 the second element does not count, whatever it says.
    let second = offset_of!(AddSaFixed, sec_assoc) + size_of::<SecurityAssociation>();
    assert_eq!(poked(second + 4, 7), Status::SUCCESS);
    // A UDP-ESP bundle has a single ESP.
    let pair = [gcm(0x100), ah(0x200, Authentication::SHA_1)];
    let mut udp = outbound(&pair);
    udp.udp_esp = UdpEsp::TRANSPORT;
    assert_eq!(ends(EVERYTHING, &udp), Status::INVALID_DATA);
    let alone = [ah(0x200, Authentication::SHA_1)];
    let mut udp = outbound(&alone);
    udp.udp_esp = UdpEsp::TRANSPORT;
    assert_eq!(ends(EVERYTHING, &udp), Status::INVALID_DATA);
}

#[test]
fn two_headers_are_esp_and_then_ah() {
    rules(&[54, 72]);
    let (esp, ah) = (gcm(0x100), ah(0x200, Authentication::SHA_1));
    assert_eq!(status(EVERYTHING, &[esp, ah]), Status::SUCCESS);
    for pair in [[ah, esp], [esp, esp], [ah, ah]] {
        assert_eq!(status(EVERYTHING, &pair), Status::INVALID_DATA);
    }
    let apart = Capabilities {
        ah_esp_combined: false,
        ..EVERYTHING
    };
    assert_eq!(status(apart, &[esp, ah]), Status::NOT_SUPPORTED);
    assert_eq!(status(apart, &[esp]), Status::SUCCESS);
    assert_eq!(status(apart, &[ah]), Status::SUCCESS);
}

#[test]
fn flags_give_direction_and_family() {
    rules(&[55]);
    let sa = [gcm(0x100)];
    assert!(!shape(&outbound(&sa)).inbound);
    assert!(shape(&inbound(&sa)).inbound);
    assert_eq!(shape(&outbound(&sa)).destination, Address::V4(DESTINATION));
    let addresses = Addresses::V6 {
        source: [1; 16],
        destination: [2; 16],
    };
    let v6 = build::Bundle {
        addresses,
        ..inbound(&sa)
    };
    assert_eq!(shape(&v6).source, Address::V6([1; 16]));
    assert_eq!(shape(&v6).destination, Address::V6([2; 16]));
    let flags = offset_of!(AddSaFixed, flags);
    for bad in [0x02, 0x20, 0x8000_0000] {
        assert_eq!(poked(flags, bad), Status::INVALID_DATA);
    }
    let v4_only = Capabilities {
        ipv6: false,
        ..EVERYTHING
    };
    assert_eq!(
        try_add(&snapshot(v4_only), &Table::new(8), &v6)
            .unwrap_err()
            .status,
        // Without IPv6 the adapter obeys another keyword, but is as willing as before otherwise.
        Status::NOT_SUPPORTED
    );
    assert_eq!(status(v4_only, &sa), Status::SUCCESS);
}

#[test]
fn ah_has_an_authentication_algorithm_and_nothing_else() {
    rules(&[56]);
    for algorithm in Authentication::EVERY.each() {
        assert_eq!(status(EVERYTHING, &[ah(0x200, algorithm)]), Status::SUCCESS);
    }
    let mut bad = ah(0x200, Authentication::SHA_1);
    bad.encryption = Some(algorithm(Encryption::NONE, 0, 0, 0));
    assert_eq!(status(EVERYTHING, &[bad]), Status::INVALID_DATA);
    bad.encryption = None;
    bad.authentication = None;
    assert_eq!(status(EVERYTHING, &[bad]), Status::INVALID_DATA);
    // Without an identifier the other members of the cipher's slot are zero, too.
    let sa = [ah(0x200, Authentication::SHA_1)];
    for at in [AT_CIPHER + 4, AT_CIPHER + 8, AT_CIPHER + 0xc] {
        assert_eq!(poked_in(&sa, at, 0), Status::SUCCESS);
        for value in [1, 0x100, 0x8000_0000] {
            assert_eq!(poked_in(&sa, at, value), Status::INVALID_DATA);
        }
    }
    // An algorithm that is not supported is that, whatever its key.
    let mut short = ah(0x200, Authentication::SHA_1);
    short.authentication = Some(algorithm(Authentication::SHA_1, 0, 3, 0));
    let others = Capabilities {
        authentication: Authentication::MD5,
        ..EVERYTHING
    };
    assert_eq!(status(EVERYTHING, &[short]), Status::INVALID_DATA);
    assert_eq!(status(others, &[short]), Status::NOT_SUPPORTED);
    let no_ah = Capabilities {
        ah: false,
        ..EVERYTHING
    };
    let sa = [ah(0x200, Authentication::SHA_1)];
    assert_eq!(status(no_ah, &sa), Status::NOT_SUPPORTED);
}

#[test]
fn esp_has_one_algorithm_or_two() {
    rules(&[57, 72, 106]);
    let sha = Authentication::SHA_256;
    for cipher in Encryption::EVERY.each() {
        let both = status(EVERYTHING, &[esp(0x100, cipher, sha)]);
        let mut alone = esp(0x100, cipher, sha);
        alone.authentication = None;
        let key = cipher.key_length().unwrap() + cipher.salt_length();
        alone.encryption = Some(algorithm(cipher, 0, key, 16));
        if cipher.is_combined() {
            // A combined-mode cipher stands alone.
            assert_eq!(both, Status::INVALID_DATA);
            assert_eq!(status(EVERYTHING, &[alone]), Status::SUCCESS);
        } else {
            // Encryption without authentication only together with AH.
            assert_eq!(both, Status::SUCCESS);
            assert_eq!(status(EVERYTHING, &[alone]), Status::INVALID_DATA);
            assert_eq!(
                status(EVERYTHING, &[alone, ah(0x200, sha)]),
                Status::SUCCESS
            );
        }
    }
    // Authentication without encryption, but not neither of the two.
    let mut sa = esp(0x100, Encryption::NONE, sha);
    sa.encryption = None;
    assert_eq!(status(EVERYTHING, &[sa]), Status::SUCCESS);
    let no_null = Capabilities {
        encryption: Encryption::AES_CBC_128,
        ..EVERYTHING
    };
    assert_eq!(status(no_null, &[sa]), Status::NOT_SUPPORTED);
    sa.authentication = None;
    assert_eq!(status(EVERYTHING, &[sa]), Status::INVALID_DATA);
    assert_eq!(
        status(EVERYTHING, &[sa, ah(0x200, sha)]),
        Status::INVALID_DATA
    );
}

#[test]
fn gcm_takes_its_icv_length_and_key_from_the_encryption_algorithm() {
    rules(&[58]);
    for icv in 0..40 {
        let mut sa = gcm(0x100);
        sa.encryption = Some(algorithm(Encryption::AES_GCM_256, 30, 36, icv));
        let table = Table::new(8);
        match try_add(&snapshot(EVERYTHING), &table, &outbound(&[sa])) {
            Ok(handle) => {
                assert!(matches!(icv, 8 | 12 | 16));
                let entry = table.entry(handle).unwrap();
                assert_eq!(entry.shape.esp.unwrap().icv, icv as usize);
                assert_eq!(entry.keys[0], KEY[30..66]);
            }
            Err(completion) => {
                assert!(!matches!(icv, 8 | 12 | 16));
                assert_eq!(completion.status, Status::INVALID_DATA);
            }
        }
    }
}

#[test]
fn each_key_lies_inside_the_key_buffer_behind_the_other() {
    rules(&[59]);
    let table = Table::new(8);
    let sa = esp(0x100, Encryption::AES_CBC_256, Authentication::SHA_1);
    let pair = [sa, ah(0x200, Authentication::SHA_256)];
    let handle = add(&table, &outbound(&pair), Mode::ByPacket);
    let [cipher, integrity, of_ah] = table.entry(handle).unwrap().keys;
    assert_eq!(cipher, KEY[..32]);
    assert_eq!(integrity, KEY[40..60]);
    assert_eq!(of_ah, KEY[80..112]);
    // Where a key starts, and what becomes of it: it shares no byte with any other.
    let of_esp = offset_of!(AddSaFixed, sec_assoc) + 0x0c + 8;
    let of_ah = of_esp + size_of::<SecurityAssociation>();
    let expect = |associations: &[Association<'_>], start: usize, offset: u32, good: bool| {
        let expected = if good {
            Status::SUCCESS
        } else {
            Status::INVALID_DATA
        };
        let status = poked_in(associations, start, offset);
        assert_eq!(status, expected, "{start:#x} at {offset}");
    };
    for (start, offset, good) in [
        (of_esp, 32, true),
        (of_esp, 31, false),
        (of_esp, 33, false),
        (of_esp, 0, false),
        (of_esp, 64, false),
        (of_esp, u32::MAX, false),
        (of_ah, 52, true),
        (of_ah, 51, false),
        (of_ah, 53, false),
        (of_ah, 20, false),
        (of_ah, 0, false),
    ] {
        expect(&pair, start, offset, good);
    }
    // Two keys: cipher in front, and the last place that is inside the buffer.
    let pair = [sa];
    for (offset, good) in [(32, true), (31, false), (33, false)] {
        expect(&pair, of_esp, offset, good);
    }
    // Null encryption has no key that could be in the way.
    let null = [esp(0x100, Encryption::NONE, Authentication::SHA_1)];
    for offset in [0, 7, 20] {
        expect(&null, AT_CIPHER + 8, offset, true);
    }
}

#[test]
fn an_identifier_is_one_reported_bit() {
    rules(&[60]);
    let place = AT_CIPHER;
    for bad in [0x18, 0x200, 0x8000_0008, u32::MAX] {
        assert_eq!(poked(place, bad), Status::INVALID_DATA);
    }
    // 0 means that the slot is not used: then nothing authenticates.
    assert_eq!(poked(place, 0), Status::INVALID_DATA);
    // Those of authentication, in ESP and in AH.
    let null = [esp(0x100, Encryption::NONE, Authentication::SHA_1)];
    let alone = [ah(0x200, Authentication::SHA_1)];
    let integrity = offset_of!(AddSaFixed, sec_assoc) + 0x0c;
    for associations in [&null, &alone] {
        assert_eq!(poked_in(associations, integrity, 2), Status::SUCCESS);
        for bad in [0, 3, 6, 0x40, 0x8000_0000, 0x8000_0002, u32::MAX] {
            let status = poked_in(associations, integrity, bad);
            assert_eq!(status, Status::INVALID_DATA, "{bad:#x}");
        }
    }
    for cipher in Encryption::EVERY.each().filter(|one| !one.is_combined()) {
        for integrity in Authentication::EVERY.each() {
            let sa = [esp(0x100, cipher, integrity)];
            let only = Capabilities {
                encryption: cipher,
                authentication: integrity,
                ..EVERYTHING
            };
            assert_eq!(status(only, &sa), Status::SUCCESS);
            let no_cipher = Capabilities {
                encryption: Encryption(Encryption::EVERY.0 & !cipher.0),
                ..EVERYTHING
            };
            assert_eq!(status(no_cipher, &sa), Status::NOT_SUPPORTED);
            let no_integrity = Capabilities {
                authentication: Authentication(Authentication::EVERY.0 & !integrity.0),
                ..EVERYTHING
            };
            assert_eq!(status(no_integrity, &sa), Status::NOT_SUPPORTED);
        }
    }
}

#[test]
fn ah_and_esp_in_one_packet_take_every_pair() {
    rules(&[27]);
    let old = [Authentication::MD5, Authentication::SHA_1];
    for in_ah in old {
        for in_esp in old {
            for cipher in [
                Encryption::NONE,
                Encryption::DES_CBC,
                Encryption::TRIPLE_DES_CBC,
            ] {
                let pair = [esp(0x100, cipher, in_esp), ah(0x200, in_ah)];
                assert_eq!(status(EVERYTHING, &pair), Status::SUCCESS);
            }
        }
    }
    let no_null = Capabilities {
        encryption: Encryption::DES_CBC,
        ..EVERYTHING
    };
    let pair = [
        esp(0x100, Encryption::NONE, Authentication::MD5),
        ah(0x200, Authentication::MD5),
    ];
    assert_eq!(status(no_null, &pair), Status::NOT_SUPPORTED);
}

#[test]
fn an_address_of_zero_restricts_nothing() {
    rules(&[61]);
    let sa = [gcm(0x100)];
    let (one, other) = (Address::V4([1, 2, 3, 4]), Address::V4([5, 6, 7, 8]));
    let (source, destination) = (Address::V4(SOURCE), Address::V4(DESTINATION));
    for (own, packets) in [
        (([0; 4], [0; 4]), [true, true, true]),
        (([0; 4], DESTINATION), [true, true, false]),
        ((SOURCE, [0; 4]), [true, false, false]),
        ((SOURCE, DESTINATION), [true, false, false]),
    ] {
        let bundle = build::Bundle {
            addresses: Addresses::V4 {
                source: own.0,
                destination: own.1,
            },
            ..inbound(&sa)
        };
        let shape = shape(&bundle);
        assert!(shape.accepts(source, destination));
        assert_eq!(shape.accepts(source, destination), packets[0]);
        assert_eq!(shape.accepts(one, destination), packets[1]);
        assert_eq!(shape.accepts(one, other), packets[2]);
    }
}

#[test]
fn a_tunnel_has_the_addresses_of_its_ends() {
    rules(&[62]);
    let table = Table::new(8);
    let handle = add(&table, &inbound(&[gcm(0x100)]), Mode::Tunnel);
    let shape = table.by_handle(handle).unwrap();
    assert_eq!(shape.mode, Mode::Tunnel);
    assert!(shape.accepts(Address::V4(SOURCE), Address::V4(DESTINATION)));
    let no_transport = Capabilities {
        transport: false,
        ..EVERYTHING
    };
    let now = snapshot(no_transport);
    let bundle = [gcm(0x100)];
    let refused = try_add_mode(&now, &table, &outbound(&bundle), Mode::Transport);
    assert_eq!(refused.unwrap_err().status, Status::NOT_SUPPORTED);
    assert!(try_add_mode(&now, &table, &outbound(&bundle), Mode::Tunnel).is_ok());
}

#[test]
fn udp_encapsulation_is_one_reported_subtype() {
    rules(&[63, 26, 72, 137]);
    let sa = [gcm(0x100)];
    let with = |udp_esp: u32| build::Bundle {
        udp_esp: UdpEsp(udp_esp),
        ..outbound(&sa)
    };
    for subtype in [0, 1, 2, 4, 8] {
        assert_eq!(ends(EVERYTHING, &with(subtype)), Status::SUCCESS);
        let none = Capabilities {
            udp_esp: UdpEsp::NONE,
            ..EVERYTHING
        };
        let expected = if subtype == 0 {
            Status::SUCCESS
        } else {
            Status::NOT_SUPPORTED
        };
        assert_eq!(ends(none, &with(subtype)), expected);
        let others = Capabilities {
            udp_esp: UdpEsp(0xf & !subtype),
            ..EVERYTHING
        };
        assert_eq!(ends(others, &with(subtype)), expected);
        // The subtype is the SA's own: no other request comes before.
        assert_eq!(shape(&with(subtype)).udp, UdpEsp(subtype));
    }
    let apart = Capabilities {
        transport_tunnel_combined: false,
        ..EVERYTHING
    };
    for (subtype, status) in [
        (1, Status::SUCCESS),
        (2, Status::SUCCESS),
        (4, Status::NOT_SUPPORTED),
        (8, Status::NOT_SUPPORTED),
    ] {
        assert_eq!(ends(apart, &with(subtype)), status);
    }
    // UDP in both parts, and what has no name.
    for bad in [3, 5, 9, 12, 0x10, u32::MAX] {
        assert_eq!(ends(EVERYTHING, &with(bad)), Status::INVALID_DATA);
    }
    assert_eq!(shape(&with(1)).mode, Mode::Transport);
    assert_eq!(shape(&with(2)).mode, Mode::Tunnel);
    let contrary = try_add_mode(
        &snapshot(EVERYTHING),
        &Table::new(8),
        &with(2),
        Mode::Transport,
    );
    assert_eq!(contrary.unwrap_err().status, Status::INVALID_DATA);
}

#[test]
fn esn_needs_the_capability_and_starts_where_it_is_told() {
    rules(&[64]);
    let mut sa = gcm(0x100);
    sa.esn = Some(0x1234_5678);
    let table = Table::new(8);
    let handle: Handle = add(&table, &outbound(&[sa]), Mode::ByPacket);
    assert_eq!(table.entry(handle).unwrap().high.esp, Some(0x1234_5678));
    let mut ah = ah(0x200, Authentication::SHA_1);
    ah.esn = Some(7);
    let handle = add(&table, &outbound(&[sa, ah]), Mode::ByPacket);
    assert_eq!(table.entry(handle).unwrap().high.ah, Some(7));
    let no_esn = Capabilities {
        esn: false,
        ..EVERYTHING
    };
    assert_eq!(status(no_esn, &[sa]), Status::NOT_SUPPORTED);
    assert_eq!(status(no_esn, &[gcm(0x100), ah]), Status::NOT_SUPPORTED);
    // Without the flag the number has no meaning.
    let high = offset_of!(AddSaFixed, sec_assoc) + 0x2c;
    assert_eq!(poked(high, 5), Status::SUCCESS);
    assert_eq!(
        poked(offset_of!(AddSaFixed, sec_assoc), 2),
        Status::INVALID_DATA
    );
    let operation = offset_of!(AddSaFixed, sec_assoc) + 4;
    for bad in [0, 3, 50, u32::MAX] {
        assert_eq!(poked(operation, bad), Status::INVALID_DATA);
    }
    assert_eq!(gcm(0x100).spi, Spi::new(0x100));
    assert_eq!(gcm(0x100).operation, Operation::ESP);
}
