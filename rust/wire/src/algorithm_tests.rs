// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the table of algorithms against numbers and names that are written out once more.

use super::*;
use crate::sa::KEY_MAX;
use zerocopy::FromZeros;

/// Names that the selftests know.
const SELFTESTS: &str = include_str!("../../../selftests/lib/ksft/algo.py");

fn entry((kind, algo, mac, key_lens, icv_lens): (u8, u16, u16, u32, u32)) -> XSaEntry {
    XSaEntry {
        mode: cap::MODE_ESP_TUNNEL,
        kind,
        flags: 3.into(),
        algo: algo.into(),
        mac: mac.into(),
        key_lens: key_lens.into(),
        icv_lens: icv_lens.into(),
    }
}

fn all() -> Vec<Suite> {
    Suite::all().collect()
}

#[test]
fn what_the_nic_lists() {
    // Keys of 16, 24 and 32 bytes are bits 3, 5 and 7; an ICV of n bytes is bit n - 1.
    let expected = [
        (3, 1, 0, 0xa8, 0x8880),
        (3, 3, 0, 0x80, 0x8000),
        (2, 0, 41, 0xa8, 0x8000),
        (1, 3, 2, 0xa8, 0x0800),
        (1, 3, 4, 0xa8, 0x8000),
        (1, 3, 5, 0xa8, 0x80_0000),
        (1, 3, 6, 0xa8, 0x8000_0000),
    ];
    let entries: Vec<_> = Suite::all().map(|suite| suite.entry(1, 3)).collect();
    assert_eq!(entries, expected.map(entry));
}

#[test]
fn names_of_linux() {
    let names = Cipher::ALL.iter().map(|one| one.row().linux);
    let macs = Mac::ALL.iter().map(|one| one.row().linux);
    assert!(names.eq([
        c"rfc4106(gcm(aes))",
        c"rfc7539esp(chacha20,poly1305)",
        c"rfc4543(gcm(aes))",
        c"cbc(aes)"
    ]));
    assert!(macs.eq([
        c"hmac(sha1)",
        c"hmac(sha256)",
        c"hmac(sha384)",
        c"hmac(sha512)"
    ]));
}

#[test]
fn names_lead_to_their_rows() {
    for &cipher in Cipher::ALL {
        let row = cipher.row();
        assert_eq!(Cipher::named(row.name), Some(cipher));
        assert_eq!(Cipher::in_linux(row.linux.to_bytes()), Some(cipher));
    }
    for &mac in Mac::ALL {
        assert_eq!(Mac::in_linux(mac.row().linux.to_bytes()), Some(mac));
    }
    assert_eq!(Cipher::named("none"), None);
    assert_eq!(Cipher::in_linux(b"hmac(sha1)"), None);
    assert_eq!(Mac::in_linux(b"hmac(sha1)\0"), None);
}

#[test]
fn only_a_cipher_has_a_mac_beside_it() {
    assert_eq!(Suite::new(Cipher::AesCbc, None), None);
    assert_eq!(Suite::new(Cipher::AesGcm, Some(Mac::HmacSha1)), None);
    assert_eq!(Suite::new(Cipher::AesGmac, Some(Mac::HmacSha1)), None);
    for suite in all() {
        assert_eq!(Suite::new(suite.cipher(), suite.mac()), Some(suite));
        assert_eq!(
            suite.cipher().row().icv_lens.is_empty(),
            suite.mac().is_some()
        );
    }
}

#[test]
fn objects_name_their_suite() {
    for suite in all() {
        let mut object = SaObject::new_zeroed();
        suite.write(&mut object, b"the cipher's key", b"the MAC's");
        assert_eq!(Suite::of(&object), Some(suite));
        let (mut room, mut auth_room) = ([0; KEY_MAX], [0; KEY_MAX]);
        let keys = (
            object.cipher_key(&mut room).unwrap(),
            object.auth_key(&mut auth_room).unwrap(),
        );
        let expected: (&[u8], &[u8]) = match suite.cipher() {
            Cipher::AesGmac => (b"", b"the cipher's key"),
            _ => (b"the cipher's key", b"the MAC's"),
        };
        assert_eq!(keys, expected);
    }
}

#[test]
fn other_ids_name_none() {
    let ids = |aead: u32, cipher: u64, mac: u64| {
        let mut object = SaObject::new_zeroed();
        object.tail.aead_algo = aead.into();
        object.base.cipher_algo = cipher.into();
        object.base.auth_algo = mac.into();
        Suite::of(&object)
    };
    assert_eq!(
        ids(0, 3, 2),
        Suite::new(Cipher::AesCbc, Some(Mac::HmacSha1))
    );
    assert_eq!(ids(0, 0, 41), Suite::new(Cipher::AesGmac, None));
    for (aead, cipher, mac) in [
        (0, 0, 0),
        (2, 0, 0),
        (1, 3, 0),
        (1, 0, 41),
        (0, 3, 0),
        (0, 3, 41),
        (0, 2, 2),
        (0, 0, 2),
        (0x1_0001, 0, 0),
        (0, 0x1_0000_0003, 2),
    ] {
        assert_eq!(ids(aead, cipher, mac), None, "{aead} {cipher} {mac}");
    }
}

#[test]
fn single_lengths() {
    for suite in all() {
        let whole = suite.entry(2, 1);
        for (key_len, icv_len) in (0..70).flat_map(|key| (0..40).map(move |icv| (key, icv))) {
            let single = suite.single(2, 1, key_len, icv_len);
            assert_eq!(single.is_some(), whole.allows(key_len, icv_len));
            if let Some(single) = single {
                assert!(single.is_within(&whole) && single.allows(key_len, icv_len));
                assert_eq!(single.key_lens.get().count_ones(), 1);
                assert_eq!(single.icv_lens.get().count_ones(), 1);
            }
        }
    }
}

#[test]
fn selftests_know_every_algorithm() {
    for cipher in Cipher::ALL {
        let name = cipher.row().linux.to_str().unwrap();
        assert!(SELFTESTS.contains(&format!("\"{name}\"")), "{name}");
    }
    for mac in Mac::ALL {
        let name = mac.row().linux.to_str().unwrap();
        let hash = name
            .strip_prefix("hmac(")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        let (key_len, bits) = (mac.row().key_len, mac.row().icv_len * 8);
        let row = format!("\"{hash}\": ({key_len}, {bits})");
        assert!(SELFTESTS.contains(&row), "{row}");
    }
}
