// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ESP packets of the NIC's engine against the same packets made by RustCrypto, in both directions and by
//! each crypto library.

#![no_main]

use espnic_device::crypto::{Backend, Cipher, Keys, Suite};
use espnic_esp::engine::{open, seal, Error, Params, LONG_IV_LEN};
use espnic_fuzz::esp::{trailer, Oracle};
use espnic_fuzz::Bytes;
use espnic_wire::algorithm::Mac;
use libfuzzer_sys::fuzz_target;

/// A packet to be, and the SA it belongs to.
struct Case<'a> {
    suite: Suite,
    key: &'a [u8],
    mac_key: &'a [u8],
    salt: [u8; 4],
    params: Params,
    spi: u32,
    seq: u32,
    hi: u32,
}

const SUITES: [Suite; 9] = [
    Suite::AesGcm { icv_len: 16 },
    Suite::AesGcm { icv_len: 12 },
    Suite::AesGcm { icv_len: 8 },
    Suite::ChaCha20Poly1305,
    Suite::AesGmac,
    Suite::AesCbc(Mac::HmacSha1),
    Suite::AesCbc(Mac::HmacSha256),
    Suite::AesCbc(Mac::HmacSha384),
    Suite::AesCbc(Mac::HmacSha512),
];

impl<'a> Case<'a> {
    fn read(bytes: &mut Bytes<'_>, material: &'a [u8; 96]) -> Self {
        let suite = bytes.choose(&SUITES);
        let key_len = match suite {
            Suite::ChaCha20Poly1305 => 32,
            _ => bytes.choose(&[16, 24, 32]),
        };
        let mac_len = match suite {
            Suite::AesCbc(mac) => mac.row().key_len,
            _ => 0,
        };
        let flags = bytes.u8();
        Self {
            suite,
            key: &material[..key_len],
            mac_key: &material[32..32 + mac_len],
            salt: bytes.array(),
            params: Params {
                layout: suite.layout(),
                esn: flags & 1 != 0,
                iv_xor: bytes.u64(),
            },
            spi: bytes.u32(),
            seq: bytes.u32(),
            hi: bytes.u32(),
        }
    }

    fn keys(&self) -> Keys<'a> {
        match self.suite {
            Suite::AesGmac => Keys {
                cipher: &[],
                auth: self.key,
                salt: self.salt,
            },
            _ => Keys {
                cipher: self.key,
                auth: self.mac_key,
                salt: self.salt,
            },
        }
    }

    /// The transform in every library that works here.
    fn ciphers(&self) -> Vec<Cipher> {
        let backends = Backend::ALL.iter().filter(|one| one.is_available());
        backends
            .map(|one| one.transform(self.suite, &self.keys()).ok().unwrap())
            .collect()
    }

    fn is_cbc(&self) -> bool {
        matches!(self.suite, Suite::AesCbc(_))
    }

    /// The packet with this text as RustCrypto makes it.
    fn expected(&self, text: &[u8]) -> Vec<u8> {
        let oracle = Oracle {
            suite: self.suite,
            key: self.key,
            salt: self.salt,
        };
        let number = (u64::from(self.hi) << 32) | u64::from(self.seq);
        let iv = (number ^ self.params.iv_xor).to_be_bytes();
        let hi = self.params.esn.then_some(self.hi);
        oracle.packet(self.spi, self.seq, hi, iv, text)
    }

    /// The packet with this text as the engine wants it.
    fn clear(&self, text: &[u8]) -> Vec<u8> {
        let mut packet = [self.spi.to_be_bytes(), self.seq.to_be_bytes()].concat();
        packet.resize(8 + usize::from(self.params.layout.iv_len), 0xaa);
        packet.extend(text);
        packet.resize(packet.len() + usize::from(self.params.layout.icv_len), 0xbb);
        packet
    }
}

/// What the engine must say of an authentic packet with this text: payload and next header, or an error.
fn content(text: &[u8]) -> Result<(&[u8], u8), Error> {
    let [padded @ .., pad, next_header] = text else {
        return Err(Error::Length);
    };
    if text.len() % 4 != 0 {
        return Err(Error::Length);
    }
    match padded.len().checked_sub((*pad).into()) {
        Some(len) => Ok((&padded[..len], *next_header)),
        None => Err(Error::Format),
    }
}

fn opened(case: &Case<'_>, cipher: &Cipher, packet: &[u8], expected: Result<(&[u8], u8), Error>) {
    let mut received = packet.to_vec();
    let result = open(cipher, &case.params, case.hi, &mut received);
    match (result, expected) {
        (Ok(opened), Ok((payload, next_header))) => {
            assert_eq!((opened.payload, opened.next_header), (payload, next_header));
        }
        (Err(error), Err(expected)) => {
            assert_eq!(error, expected);
            assert_eq!(received, packet, "a refused packet has changed");
        }
        (result, expected) => panic!("{result:?} instead of {expected:?}"),
    }
}

/// A packet whose payload the sender frames.
fn framed(case: &Case<'_>, payload: &[u8], more: u8, next_header: u8, damage: u16) {
    let layout = case.params.layout;
    let behind = trailer(payload.len(), layout.block.into(), more, next_header);
    let text = [payload, &behind].concat();
    let trailer_len = behind.len() + usize::from(layout.icv_len);
    let ciphers = case.ciphers();
    for cipher in &ciphers {
        let mut packet = case.clear(&text);
        seal(cipher, &case.params, case.hi, trailer_len, &mut packet).unwrap();
        if !case.is_cbc() {
            assert_eq!(packet, case.expected(&text));
        }
        assert_eq!(packet[..4], case.spi.to_be_bytes());
        let bit = usize::from(damage) % (packet.len() * 8);
        let mut bad = packet.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        for other in &ciphers {
            opened(case, other, &packet, Ok((payload, next_header)));
            opened(case, other, &bad, Err(Error::Auth));
        }
    }
}

/// A packet of a peer that holds the key and does what it likes.
fn authentic(case: &Case<'_>, text: &[u8]) {
    let packet = case.expected(text);
    for cipher in &case.ciphers() {
        opened(case, cipher, &packet, content(text));
    }
}

/// Bytes that were not sealed, in any length and any shape.
fn forged(case: &Case<'_>, packet: &[u8], trailer_len: u16) {
    for cipher in &case.ciphers() {
        let mut received = packet.to_vec();
        assert!(open(cipher, &case.params, case.hi, &mut received).is_err());
        assert_eq!(received, packet);
        let len = usize::from(trailer_len);
        if seal(cipher, &case.params, case.hi, len, &mut received).is_ok() {
            assert!(open(cipher, &case.params, case.hi, &mut received).is_ok());
            let iv_len = usize::from(case.params.layout.iv_len);
            assert!(iv_len != LONG_IV_LEN || received[8..8 + iv_len] != packet[8..8 + iv_len]);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let what = bytes.u8();
    let material = bytes.array();
    let case = Case::read(&mut bytes, &material);
    let (more, next_header, damage) = (bytes.u8(), bytes.u8(), bytes.u16());
    match what % 3 {
        0 => framed(&case, bytes.rest(), more, next_header, damage),
        1 if !case.is_cbc() => authentic(&case, bytes.rest()),
        _ => forged(&case, bytes.rest(), damage),
    }
});
