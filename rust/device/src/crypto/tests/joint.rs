// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several packets with AES-CBC and HMAC at once.

use super::*;
use crate::crypto::cbc_hmac::EspCbcHmac;
use crate::crypto::joint::{open_all, seal_all, Job, Jobs, MOST};
use espnic_wire::algorithm::Mac;
use proptest::prelude::*;

/// Libraries for one packet, and for several.
const LIBRARIES: [[Backend; 2]; 3] = [
    [Backend::AwsLc, Backend::IpsecMb],
    [Backend::IpsecMb, Backend::IpsecMb],
    [Backend::AwsLc, Backend::AwsLc],
];

/// A transform with keys of its own.
fn cipher(libraries: [Backend; 2], (key_len, mac, id): (usize, Mac, u8)) -> EspCbcHmac {
    let (key, auth) = (vec![id; key_len], vec![!id; mac.row().key_len]);
    EspCbcHmac::new(libraries, &key, mac, &auth).unwrap()
}

/// A packet with an IV, this many blocks of text and room for the ICV.
fn packet(cipher: &EspCbcHmac, blocks: usize, seed: u8) -> Vec<u8> {
    let len = 24 + 16 * blocks;
    let byte = |n| (n as u8).wrapping_mul(31) ^ seed;
    let mut esp: Vec<u8> = (0..len).map(byte).collect();
    esp.resize(len + cipher.icv_len, 0);
    esp
}

/// Does it to all packets at once; the results.
fn all_at_once(
    run: fn(&mut Jobs<'_>),
    ciphers: &[EspCbcHmac],
    packets: &mut [(Vec<u8>, Option<u32>)],
) -> Vec<Result<(), CipherError>> {
    let mut jobs: Jobs<'_> = [const { None }; MOST];
    for ((place, cipher), (esp, esn_hi)) in jobs.iter_mut().zip(ciphers).zip(packets.iter_mut()) {
        *place = Some(Job {
            cipher,
            esn_hi: *esn_hi,
            esp,
            result: Err(CipherError::Unsupported),
        });
    }
    run(&mut jobs);
    jobs.into_iter().flatten().map(|job| job.result).collect()
}

fn any_sa() -> impl Strategy<Value = (usize, Mac, u8)> {
    let mac = prop::sample::select(Mac::ALL.to_vec());
    (
        prop::sample::select(vec![16usize, 24, 32]),
        mac,
        any::<u8>(),
    )
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    /// A bit of it, counted from the sequence number on.
    Bit(usize),
    /// The high half of the number.
    High,
    /// It has no text.
    Short,
}

fn any_wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        3 => Just(Wrong::Nothing),
        2 => any::<usize>().prop_map(Wrong::Bit),
        1 => Just(Wrong::High),
        1 => Just(Wrong::Short),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is beside it, a packet is sealed as it is alone by the other library, and opened or refused
    /// as it came.
    #[test]
    fn together_is_like_alone(
        libraries in prop::sample::select(LIBRARIES.to_vec()),
        same in any_sa(),
        mixed: bool,
        packets in prop::collection::vec(
            (any_sa(), 1usize..100, any::<Option<u32>>(), any_wrong()), 1..=MOST
        ),
    ) {
        let sas: Vec<_> = packets.iter().map(|one| if mixed { one.0 } else { same }).collect();
        let ciphers: Vec<_> = sas.iter().map(|&sa| cipher(libraries, sa)).collect();
        let clear: Vec<_> = packets.iter().zip(&ciphers).enumerate().map(|(n, (one, cipher))| {
            (packet(cipher, one.1, n as u8), one.2)
        }).collect();
        let mut sealed = clear.clone();
        let results = all_at_once(seal_all, &ciphers, &mut sealed);
        prop_assert!(results.iter().all(Result::is_ok));
        for ((esp, esn_hi), (sa, got)) in clear.iter().zip(sas.iter().zip(&sealed)) {
            let mut alone = esp.clone();
            cipher([Backend::AwsLc; 2], *sa).seal(*esn_hi, &mut alone).unwrap();
            prop_assert_eq!(&alone, &got.0);
        }
        let mut sent = sealed;
        for ((_, _, _, wrong), (esp, esn_hi)) in packets.iter().zip(&mut sent) {
            match wrong {
                Wrong::Nothing => (),
                Wrong::Bit(bit) => {
                    let bits = (esp.len() - 4) * 8;
                    esp[4 + bit % bits / 8] ^= 1 << (bit % 8);
                }
                Wrong::High => *esn_hi = Some(esn_hi.map_or(0, |hi| hi ^ 1)),
                Wrong::Short => esp.truncate(24 + 15),
            }
        }
        let mut opened = sent.clone();
        let results = all_at_once(open_all, &ciphers, &mut opened);
        for (n, result) in results.into_iter().enumerate() {
            let expected = match packets[n].3 {
                Wrong::Nothing => Ok(()),
                Wrong::Short => Err(CipherError::Unsupported),
                _ => Err(CipherError::Auth),
            };
            prop_assert_eq!(result, expected);
            if expected.is_ok() {
                let end = clear[n].0.len() - ciphers[n].icv_len;
                prop_assert_eq!(&opened[n].0[..end], &clear[n].0[..end]);
                prop_assert_eq!(&opened[n].0[end..], &sent[n].0[end..]);
            } else {
                prop_assert_eq!(&opened[n], &sent[n]);
            }
        }
    }
}

#[test]
fn a_forged_packet_at_every_place_fails_alone() {
    for &mac in Mac::ALL {
        for count in [1, 2, 7, 8, 9, MOST] {
            let ciphers: Vec<_> = (0..count)
                .map(|n| cipher([Backend::AwsLc, Backend::IpsecMb], (16, mac, n as u8)))
                .collect();
            let mut sealed: Vec<_> = ciphers
                .iter()
                .map(|cipher| (packet(cipher, 5, 1), Some(3)))
                .collect();
            all_at_once(seal_all, &ciphers, &mut sealed);
            for forged in 0..count {
                let mut sent = sealed.clone();
                *sent[forged].0.last_mut().unwrap() ^= 0x80;
                let came = sent.clone();
                let results = all_at_once(open_all, &ciphers, &mut sent);
                for (n, result) in results.into_iter().enumerate() {
                    assert_eq!(result.is_err(), n == forged, "{mac:?} {count} {forged} {n}");
                    assert_eq!(
                        sent[n] == came[n],
                        n == forged,
                        "{mac:?} {count} {forged} {n}"
                    );
                }
            }
        }
    }
}

/// The library refuses all jobs of a call if one of them is not complete.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_job_that_the_library_refuses_fails_alone() {
    use crate::crypto::ipsec_mb::cbc_hmac::{run_all, Packet, Packets, Step};
    let keys = ipsec_mb::CbcHmac::new(&[1; 16], Mac::HmacSha1, &[2; 20]).unwrap();
    for bad in 0..5 {
        let mut esps = [[3; 100]; 5];
        let before = esps;
        let mut icvs = [[0; 12]; 5];
        let mut packets: Packets<'_> = [const { None }; MOST];
        for (n, (esp, icv)) in esps.iter_mut().zip(&mut icvs).enumerate() {
            packets[n] = Some(Packet {
                keys: &keys,
                esp,
                // No whole blocks.
                end: if n == bad { 24 + 17 } else { 24 + 32 },
                hashed: 56,
                icv,
            });
        }
        run_all(Step::Encrypt, &mut packets);
        for (n, packet) in packets.iter().take(5).enumerate() {
            assert_eq!(packet.is_none(), n == bad);
        }
        let encrypted = (0..5).find(|&n| n != bad).unwrap();
        let expected = esps[encrypted];
        for n in 0..5 {
            assert_eq!(esps[n], if n == bad { before[n] } else { expected });
        }
        assert_ne!(expected, before[encrypted]);
    }
}
