// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the engine, with the `aes-gcm` crate as cipher.

use super::*;
use crate::aead::{Aead, EspAead};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use proptest::prelude::*;

/// Independent AES-GCM.
pub(crate) enum Gcm {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl Gcm {
    /// As an ESP transform, with the salt of these tests.
    pub(crate) fn esp(key: &[u8]) -> EspAead<Self> {
        Self::salted(key, [1, 2, 3, 4])
    }

    fn salted(key: &[u8], salt: [u8; 4]) -> EspAead<Self> {
        EspAead {
            aead: Self::new(key),
            salt,
            icv_len: 16,
        }
    }

    fn new(key: &[u8]) -> Self {
        match key.len() {
            16 => Self::Aes128(Box::new(Aes128Gcm::new_from_slice(key).unwrap())),
            24 => Self::Aes192(Box::new(AesGcm::new_from_slice(key).unwrap())),
            _ => Self::Aes256(Box::new(Aes256Gcm::new_from_slice(key).unwrap())),
        }
    }
}

impl Aead for Gcm {
    fn seal(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        let tag = match self {
            Self::Aes128(gcm) => gcm.encrypt_in_place_detached(nonce.into(), aad, text),
            Self::Aes192(gcm) => gcm.encrypt_in_place_detached(nonce.into(), aad, text),
            Self::Aes256(gcm) => gcm.encrypt_in_place_detached(nonce.into(), aad, text),
        };
        let tag = tag.unwrap();
        icv.copy_from_slice(tag.get(..icv.len()).ok_or(CipherError::Unsupported)?);
        Ok(())
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CipherError> {
        let icv: [u8; 16] = icv.try_into().map_err(|_| CipherError::Unsupported)?;
        match self {
            Self::Aes128(gcm) => {
                gcm.decrypt_in_place_detached(nonce.into(), aad, text, &icv.into())
            }
            Self::Aes192(gcm) => {
                gcm.decrypt_in_place_detached(nonce.into(), aad, text, &icv.into())
            }
            Self::Aes256(gcm) => {
                gcm.decrypt_in_place_detached(nonce.into(), aad, text, &icv.into())
            }
        }
        .map_err(|_| CipherError::Auth)
    }
}

fn params() -> Params {
    Params {
        layout: Layout::aead(16),
        esn: false,
        iv_xor: 0x1122_3344_5566_7788,
    }
}

/// A packet as the stack hands it over, with `pad_len` bytes of padding to a multiple of 4, and its
/// trailer length.
fn packet(seq: u32, payload: &[u8], extra_pad: u8) -> (Vec<u8>, usize) {
    let mut packet = vec![0, 0, 0x10, 1];
    packet.extend(seq.to_be_bytes());
    packet.extend([0; IV_LEN]);
    packet.extend(payload);
    let pad_len = (4 - (payload.len() + 2) % 4) % 4 + 4 * usize::from(extra_pad);
    packet.extend((1..=pad_len).map(|i| i as u8));
    packet.extend([pad_len as u8, 4]);
    packet.extend([0; 16]);
    (packet, pad_len + 2 + 16)
}

struct Case {
    key: Vec<u8>,
    nonce: Vec<u8>,
    plain: Vec<u8>,
    aad: Vec<u8>,
    cipher: Vec<u8>,
    icv: Vec<u8>,
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn published_cases() -> Vec<Case> {
    include_str!("../testdata/draft-mcgrew-gcm-test-01.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut column = line.split(' ').map(unhex);
            let mut next = || column.next().unwrap();
            Case {
                key: next(),
                nonce: next(),
                plain: next(),
                aad: next(),
                cipher: next(),
                icv: next(),
            }
        })
        .collect()
}

#[test]
fn published_esp_packets() {
    let cases = published_cases();
    assert_eq!(cases.len(), 14);
    for case in &cases {
        let esn = case.aad.len() == 12;
        let hi = u32::from_be_bytes(case.aad[4..8].try_into().unwrap());
        let esn_hi = if esn { hi } else { 0 };
        let lo = u32::from_be_bytes(case.aad[case.aad.len() - 4..].try_into().unwrap());
        let iv = u64::from_be_bytes(case.nonce[4..].try_into().unwrap());
        let params = Params {
            layout: Layout::aead(16),
            esn,
            // Makes the IV that of the case.
            iv_xor: iv ^ seq::join(esn_hi, lo),
        };
        let gcm = Gcm::salted(&case.key, case.nonce[..4].try_into().unwrap());
        let mut clear = [
            &case.aad[..4],
            &lo.to_be_bytes(),
            &[0; 8],
            &case.plain,
            &[0; 16],
        ]
        .concat();
        let pad_len = case.plain[case.plain.len() - 2];
        let trailer_len = usize::from(pad_len) + 2 + 16;
        assert_eq!(seal(&gcm, &params, esn_hi, trailer_len, &mut clear), Ok(()));
        let (header, rest) = clear.split_at(8);
        assert_eq!(header[..4], case.aad[..4]);
        assert_eq!(rest[..8], case.nonce[4..]);
        assert_eq!(rest[8..], [&case.cipher[..], &case.icv[..]].concat());

        let mut esp = clear.clone();
        let opened = open(&gcm, &params, esn_hi, &mut esp).unwrap();
        let payload = case.plain.len() - 2 - usize::from(pad_len);
        assert_eq!(opened.payload, &case.plain[..payload]);
        assert_eq!(Some(&opened.next_header), case.plain.last());
        assert_eq!(esp[16..esp.len() - 16], case.plain);
        if esn {
            let mut esp = clear.clone();
            assert_eq!(open(&gcm, &params, esn_hi ^ 1, &mut esp), Err(Error::Auth));
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_and_changes_nothing() {
    let gcm = Gcm::esp(&[7; 16]);
    let (mut esp, trailer_len) = packet(9, b"hello, world", 0);
    seal(&gcm, &params(), 0, trailer_len, &mut esp).unwrap();
    for bit in 0..esp.len() * 8 {
        let mut bad = esp.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let sent = bad.clone();
        assert_eq!(
            open(&gcm, &params(), 0, &mut bad),
            Err(Error::Auth),
            "bit {bit}"
        );
        assert_eq!(bad, sent, "bit {bit}");
    }
    assert!(open(&gcm, &params(), 0, &mut esp).is_ok());
}

#[test]
fn wrong_lengths_are_refused() {
    let gcm = Gcm::esp(&[7; 16]);
    let (full, trailer_len) = packet(9, &[0x5a; 18], 0);
    for len in 0..full.len() {
        // 16 header and IV, 16 ICV, at least 4 of text.
        let expected = if len >= 36 && len % 4 == 0 {
            Error::Auth
        } else {
            Error::Length
        };
        assert_eq!(
            open(&gcm, &params(), 0, &mut full.clone()[..len]),
            Err(expected),
            "{len}"
        );
    }
    let mut esp = full.clone();
    for wrong in [
        0,
        trailer_len - 1,
        trailer_len + 1,
        trailer_len + 4,
        usize::MAX,
    ] {
        assert_eq!(
            seal(&gcm, &params(), 0, wrong, &mut esp),
            Err(Error::Format)
        );
        assert_eq!(esp, full);
    }
    // A pad length that reaches into the IV.
    let at = esp.len() - 18;
    esp[at] = 19;
    assert_eq!(
        seal(&gcm, &params(), 0, 19 + 18, &mut esp),
        Err(Error::Format)
    );
}

#[test]
fn authentic_packet_with_bad_padding_is_refused_unchanged() {
    let gcm = Gcm::esp(&[7; 32]);
    let nonce = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5];
    let (mut esp, _) = packet(9, &[0x5a; 18], 0);
    let at = esp.len() - 18;
    esp[at] = 19;
    esp[8..16].copy_from_slice(&nonce[4..]);
    let (header, rest) = esp.split_at_mut(8);
    let (text, icv) = rest[8..].split_at_mut(20);
    gcm.aead.seal(&nonce, header, text, icv).unwrap();
    let sent = esp.clone();
    assert_eq!(open(&gcm, &params(), 0, &mut esp), Err(Error::Format));
    assert_eq!(esp, sent);
}

/// AEADs make their IVs of the sequence number; one that said it had random ones might repeat them.
#[test]
fn aeads_have_no_random_iv() {
    let gcm = Gcm::esp(&[7; 16]);
    assert_eq!(gcm.random_iv(), Err(CipherError::Unsupported));
    let (mut esp, trailer_len) = packet(9, &[0x5a; 26], 0);
    let long = Params {
        layout: Layout {
            iv_len: LONG_IV_LEN as u8,
            ..Layout::aead(16)
        },
        ..params()
    };
    assert_eq!(
        seal(&gcm, &long, 0, trailer_len, &mut esp),
        Err(Error::Unsupported)
    );
}

#[test]
fn iv_follows_the_64_bit_number() {
    let gcm = Gcm::esp(&[7; 16]);
    let (mut esp, trailer_len) = packet(0xffff_ffff, &[1; 40], 3);
    seal(&gcm, &params(), 2, trailer_len, &mut esp).unwrap();
    assert_eq!(
        esp[8..16],
        (0x2_ffff_ffff_u64 ^ 0x1122_3344_5566_7788).to_be_bytes()
    );
}

proptest! {
    #[test]
    fn round_trip(
        payload in prop::collection::vec(any::<u8>(), 0..1500),
        seq: u32, esn_hi: u32, esn: bool, iv_xor: u64, extra_pad in 0u8..60, long_key: bool
    ) {
        let gcm = Gcm::esp(&vec![3; if long_key { 32 } else { 16 }]);
        let params = Params { esn, iv_xor, ..params() };
        let (clear, trailer_len) = packet(seq, &payload, extra_pad);
        let mut esp = clear.clone();
        prop_assert_eq!(seal(&gcm, &params, esn_hi, trailer_len, &mut esp), Ok(()));
        prop_assert_eq!(&esp[..8], &clear[..8]);
        if payload.len() >= 16 {
            prop_assert_ne!(&esp[16..32], &clear[16..32]);
        }
        let opened = open(&gcm, &params, esn_hi, &mut esp).unwrap();
        prop_assert_eq!((opened.payload, opened.next_header), (&payload[..], 4));
        let text = 16..clear.len() - 16;
        prop_assert_eq!(&esp[text.clone()], &clear[text]);
    }

    #[test]
    fn any_bytes_are_refused_unchanged(
        mut esp in prop::collection::vec(any::<u8>(), 0..200), trailer_len: usize, icv_len in 0u8..40,
        long_iv: bool, block in prop::sample::select(vec![1u8, 4, 16])
    ) {
        let gcm = Gcm::esp(&[7; 16]);
        let sent = esp.clone();
        let iv_len = if long_iv { 16 } else { 8 };
        let params = Params { layout: Layout { iv_len, icv_len, block }, ..params() };
        prop_assert!(open(&gcm, &params, 0, &mut esp).is_err());
        prop_assert_eq!(&esp, &sent);
        let _ = seal(&gcm, &params, 0, trailer_len, &mut esp);
    }
}
