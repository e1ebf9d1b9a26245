// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Keys and integrity values: how long they are and where a key is found.

use crate::fixture::*;
use crate::form::status;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::direct;
use espnic_ndis::model::{Capabilities, Convention, Direct, Lookup, Mode, Repeated};
use espnic_ndis::sa::build::Association;
use espnic_ndis::sa::{AddSaFixed, SecurityAssociation};
use espnic_ndis::{Oid, Status, U32};
use std::mem::offset_of;
use zerocopy::IntoBytes as _;

#[test]
fn a_key_has_the_length_of_its_algorithm() {
    rules(&[37, 59]);
    for (cipher, length) in [
        (Encryption::DES_CBC, 8),
        (Encryption::TRIPLE_DES_CBC, 24),
        (Encryption::AES_CBC_128, 16),
        (Encryption::AES_CBC_192, 24),
        (Encryption::AES_CBC_256, 32),
    ] {
        for tried in 0..40 {
            let mut sa = esp(0x100, cipher, Authentication::MD5);
            sa.encryption = Some(algorithm(cipher, 0, tried, 0));
            let good = status(EVERYTHING, &[sa]) == Status::SUCCESS;
            assert_eq!(good, tried == length);
            // What is not supported is that, whatever its key.
            let others = Capabilities {
                encryption: Encryption::AES_GCM_128,
                ..EVERYTHING
            };
            assert_eq!(status(others, &[sa]), Status::NOT_SUPPORTED);
        }
    }
}

#[test]
fn an_integrity_value_has_the_length_of_its_algorithm() {
    for (integrity, length) in [
        (Authentication::MD5, 12),
        (Authentication::SHA_1, 12),
        (Authentication::SHA_256, 16),
        (Authentication::AES_GCM_128, 16),
        (Authentication::AES_GCM_192, 16),
        (Authentication::AES_GCM_256, 16),
    ] {
        let pair = [
            esp(0x100, Encryption::NONE, integrity),
            ah(0x200, integrity),
        ];
        let table = Table::new(1);
        let handle = add(&table, &outbound(&pair), Mode::ByPacket);
        let shape = table.by_handle(handle).unwrap();
        assert_eq!(shape.esp.unwrap().icv, length);
        assert_eq!(shape.ah.unwrap().icv, length);
    }
}

#[test]
fn a_combined_cipher_may_be_named_twice() {
    rules(&[57]);
    let ends = |words: [u32; 4], repeated: Repeated| {
        let (mut buffer, offsets) = add_sa(&[outbound(&[gcm(0x100)])]);
        let at = offset_of!(AddSaFixed, sec_assoc) + 0x0c;
        for (n, word) in words.into_iter().enumerate() {
            buffer[at + 4 * n..at + 4 * n + 4].copy_from_slice(U32::new(word).as_bytes());
        }
        let table = Table::new(8);
        let request = Direct {
            convention: Convention {
                repeated,
                ..Convention::default()
            },
            ..set(Oid::ADD_SA)
        };
        let done = direct::request(&snapshot(EVERYTHING), &table, &request, &mut buffer);
        if let Some(handle) = handles(&buffer, &offsets)[0] {
            // One algorithm, one key, one ICV, whatever was written beside it.
            let entry = table.entry(handle).unwrap();
            assert!(entry.shape.authentication.is_empty() && entry.keys[1].is_empty());
            assert_eq!(entry.keys[0], KEY[..20]);
            assert_eq!(entry.shape.esp.unwrap().icv, 16);
        }
        done.status
    };
    // Identifier, key length and offset, ICV. The cipher is AES-GCM-128 with 20 bytes of key.
    for (words, good) in [
        ([0, 0, 0, 0], true),
        ([0x08, 0, 0, 0], true),
        ([0x08, 20, 0, 0], true),
        ([0x08, 20, 0, 16], true),
        ([0x08, 20, 0, 12], false),
        ([0x08, 0, 0, 12], false),
        ([0x08, 16, 0, 16], false),
        ([0x08, 20, 4, 16], false),
        ([0x10, 0, 0, 0], false),
        ([0x02, 0, 0, 0], false),
    ] {
        let expected = if good {
            Status::SUCCESS
        } else {
            Status::INVALID_DATA
        };
        assert_eq!(ends(words, Repeated::Accepted), expected, "{words:?}");
        if words[0] != 0 {
            assert_eq!(ends(words, Repeated::Refused), Status::INVALID_DATA);
        }
    }
}

#[test]
fn the_key_of_gcm_is_where_its_offset_says() {
    rules(&[58, 59]);
    let pair = [gcm(0x100), ah(0x200, Authentication::SHA_1)];
    let (mut buffer, offsets) = add_sa(&[outbound(&pair)]);
    let first = offset_of!(AddSaFixed, sec_assoc);
    let second = first + size_of::<SecurityAssociation>();
    for (at, offset) in [(first + 0x1c, 20u32), (second + 0x0c, 0)] {
        buffer[at + 8..at + 12].copy_from_slice(U32::new(offset).as_bytes());
    }
    let table = Table::new(8);
    let done = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
    assert_eq!(done.status, Status::SUCCESS);
    let entry = table.entry(handles(&buffer, &offsets)[0].unwrap()).unwrap();
    // The buffer has the 20 bytes for AES-GCM first, then the 20 bytes for SHA-1.
    assert_eq!(entry.keys[0], KEY[80..100]);
    assert_eq!(entry.keys[2], KEY[..20]);
}

#[test]
fn null_encryption_goes_with_gmac() {
    rules(&[57, 58]);
    for (gmac, key) in [
        (Authentication::AES_GCM_128, 20),
        (Authentication::AES_GCM_192, 28),
        (Authentication::AES_GCM_256, 36),
    ] {
        let named = esp(0x100, Encryption::NONE, gmac);
        let unnamed = Association {
            encryption: None,
            ..named
        };
        for sa in [named, unnamed] {
            let table = Table::new(8);
            let handle = add(&table, &inbound(&[sa]), Mode::Transport);
            let entry = table.entry(handle).unwrap();
            let shape = entry.shape.esp.unwrap();
            // RFC 4543: eight bytes of vector and sixteen of ICV.
            assert_eq!((shape.iv, shape.icv, shape.alignment), (8, 16, 4));
            assert_eq!(entry.keys[1], KEY[40..40 + key]);
            let mut short = sa;
            short.authentication = Some(algorithm(gmac, 40, key - 4, 0));
            assert_eq!(status(EVERYTHING, &[short]), Status::INVALID_DATA);
        }
    }
}
