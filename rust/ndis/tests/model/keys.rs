// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Keys and integrity values: how long they are and where a key is found.

use crate::fixture::*;
use crate::form::status;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::{Capabilities, Lookup, Mode};
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
