// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All algorithms, from the object of the driver to the packet on the wire.

mod batches;

use super::*;
use espnic_wire::algorithm::Suite;
use std::collections::HashSet;

/// Algorithms of an object, as its fields say it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithms {
    aead: u32,
    cipher: u64,
    mac: u64,
    key: usize,
    auth: usize,
    icv: usize,
}

impl Algorithms {
    pub(super) fn all() -> Vec<Self> {
        let new = |aead, cipher, mac, key, auth, icv| Self {
            aead,
            cipher,
            mac,
            key,
            auth,
            icv,
        };
        let mut all = vec![new(cap::AEAD_CHACHA20_POLY1305, 0, 0, 32, 0, 16)];
        for len in [16, 24, 32] {
            for icv in [8, 12, 16] {
                all.push(new(cap::AEAD_GCM, 0, 0, len, 0, icv));
            }
            all.push(new(0, 0, cap::MAC_GMAC_AES, 0, len, 16));
            for (mac, auth, icv) in [
                (cap::MAC_HMAC_SHA1, 20, 12),
                (cap::MAC_HMAC_SHA256, 32, 16),
                (cap::MAC_HMAC_SHA384, 48, 24),
                (cap::MAC_HMAC_SHA512, 64, 32),
            ] {
                all.push(new(0, cap::CIPHER_AES_CBC, mac, len, auth, icv));
            }
        }
        all
    }

    pub(super) fn is_cbc(&self) -> bool {
        self.cipher != 0
    }

    pub(super) fn object(&self, obj_type: u16, esn: bool) -> SaObject {
        let mut object = object(obj_type);
        object.tail.aead_algo = self.aead.into();
        object.base.cipher_algo = self.cipher.into();
        object.base.auth_algo = self.mac.into();
        object.tail.icv_len = self.icv as u8;
        object.base.cipher_key.length = (self.key as u16).into();
        object.base.auth_key.length = (self.auth as u16).into();
        object.base.auth_key.data.fill(0x11);
        object.tail.auth_key_ext.fill(0x12);
        if self.is_cbc() {
            object.tail.iv_mode = wire::IV_DEVICE;
        }
        if esn {
            object.base.options = u64::from(cap::OPT_ESN).into();
            if obj_type == OBJ_INB_SA {
                object.base.replay_win_sz = 32.into();
            }
        }
        object
    }

    /// A frame as the driver hands it over, and the range of its payload.
    fn frame(&self, seq: u32, payload: &[u8]) -> (NetHdr48, Vec<u8>, std::ops::Range<usize>) {
        let (iv_len, block) = if self.is_cbc() { (16, 16) } else { (8, 4) };
        let pad = (block - (payload.len() + 2) % block) % block;
        let (mut hdr, gcm) = frame(1, seq, &[]);
        let mut frame = gcm[..42].to_vec();
        frame.resize(42 + iv_len, 0);
        let start = frame.len();
        frame.extend(payload);
        frame.extend((1..=pad).map(|n| n as u8));
        frame.extend([pad as u8, 6]);
        frame.extend(vec![0; self.icv]);
        let len = frame.len() as u16 - 14;
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        testing::correct(&mut frame);
        hdr.sec.trailer_len = ((pad + 2 + self.icv) as u16).into();
        (hdr, frame, start..start + payload.len())
    }
}

#[test]
fn every_row_of_the_table_is_tested() {
    let all = Algorithms::all();
    for suite in Suite::all() {
        let row = suite.cipher().row();
        let icv_lens = match suite.mac() {
            Some(mac) => vec![mac.row().icv_len],
            None => row.icv_lens.to_vec(),
        };
        let lens = |key: usize| icv_lens.iter().map(move |&icv| (key, icv));
        for (key, icv) in row.key_lens.iter().copied().flat_map(lens) {
            let is_it = |one: &&Algorithms| {
                let key_len = if one.key == 0 { one.auth } else { one.key };
                Suite::of(&one.object(OBJ_OUTB_SA, false)) == Some(suite)
                    && (key_len, one.icv) == (key, icv)
            };
            assert_eq!(all.iter().filter(is_it).count(), 1, "{suite:?} {key} {icv}");
        }
    }
}

#[test]
fn every_algorithm_carries_packets_between_all_backends() {
    for algorithms in Algorithms::all() {
        for (n, &sender) in Backend::ALL.iter().enumerate() {
            for &receiver in Backend::ALL {
                let (a, b, esn) = (ready(sender), ready(receiver), n % 2 == 0);
                let outbound = algorithms.object(OBJ_OUTB_SA, esn);
                let inbound = algorithms.object(OBJ_INB_SA, esn);
                assert_eq!(
                    create(&a, OBJ_OUTB_SA, 1, &outbound),
                    DONE,
                    "{algorithms:?}"
                );
                assert_eq!(create(&b, OBJ_INB_SA, 1, &inbound), DONE, "{algorithms:?}");
                for len in [0, 1, 13, 14, 15, 64, 1300] {
                    let payload = vec![0xa5; len];
                    let (hdr, mut wire, range) = algorithms.frame(len as u32, &payload);
                    assert_eq!(send(&a, &hdr, &mut wire), Ok(()), "{algorithms:?} {len}");
                    let clear = wire[range.clone()] == payload;
                    // A single byte may be its own ciphertext.
                    let readable = algorithms.mac == cap::MAC_GMAC_AES;
                    assert!(len < 13 || clear == readable, "{algorithms:?} {len}");
                    let mut damaged = wire.clone();
                    damaged[range.start - 1] ^= 1;
                    assert_eq!(received(&b, &mut damaged), Some(hdr::SEC_AUTH));
                    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
                    assert_eq!(wire[range], payload);
                }
            }
        }
    }
}

#[test]
fn cbc_has_new_ivs_even_for_the_same_number() {
    let cbc = *Algorithms::all().iter().find(|a| a.is_cbc()).unwrap();
    let a = ready(Backend::default());
    let object = cbc.object(OBJ_OUTB_SA, false);
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object), DONE);
    let mut ivs = HashSet::new();
    for _ in 0..100 {
        let (hdr, mut wire, _) = cbc.frame(7, b"the same packet");
        send(&a, &hdr, &mut wire).unwrap();
        assert!(ivs.insert(wire[42..58].to_vec()));
    }
    // A text that does not fill blocks of 16 bytes.
    let (mut hdr, mut wire, _) = cbc.frame(7, &[0; 14]);
    wire.truncate(wire.len() - 4);
    let len = wire.len() as u16 - 14;
    wire[16..18].copy_from_slice(&len.to_be_bytes());
    hdr.sec.trailer_len = 10.into();
    assert_eq!(send(&a, &hdr, &mut wire), Err(TxDrop::Format));
}

#[test]
fn a_predictable_iv_is_refused_for_cbc() {
    let cbc = *Algorithms::all().iter().find(|a| a.is_cbc()).unwrap();
    let a = ready(Backend::default());
    let mut object = cbc.object(OBJ_OUTB_SA, false);
    object.tail.iv_mode = wire::IV_SEQ_XOR;
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object), INVALID_FIELD);
}

#[test]
fn mixtures_of_algorithms_are_refused() {
    let ipsec = ready(Backend::default());
    for algorithms in Algorithms::all() {
        let mut changes: Vec<fn(&mut SaObject)> = vec![
            |object| object.base.cipher_algo = 4.into(),
            |object| object.base.auth_algo = 1.into(),
            |object| object.tail.aead_algo = cap::AEAD_CCM.into(),
            |object| object.base.cipher_key.length = 65.into(),
            |object| object.base.auth_key.length = 65.into(),
            |object| object.tail.icv_len += 1,
        ];
        if algorithms.auth == 0 {
            changes.push(|object| object.base.auth_key.length = 16.into());
        }
        if algorithms.key == 0 {
            changes.push(|object| object.base.cipher_key.length = 16.into());
        }
        for (n, change) in changes.iter().enumerate() {
            let mut object = algorithms.object(OBJ_OUTB_SA, false);
            change(&mut object);
            let got = create(&ipsec, OBJ_OUTB_SA, 1, &object);
            assert_eq!(got, INVALID_FIELD, "{algorithms:?} change {n}");
        }
    }
}

#[test]
fn segments_of_every_algorithm_open() {
    for algorithms in Algorithms::all() {
        let (a, b) = (ready(Backend::default()), ready(Backend::default()));
        let outbound = algorithms.object(OBJ_OUTB_SA, false);
        assert_eq!(create(&a, OBJ_OUTB_SA, 1, &outbound), DONE);
        let inbound = algorithms.object(OBJ_INB_SA, false);
        assert_eq!(create(&b, OBJ_INB_SA, 1, &inbound), DONE);
        let mut tcp = vec![0; 12];
        tcp.extend([0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        tcp.resize(20 + 5000, 0x3c);
        let (mut hdr, mut frame, range) = algorithms.frame(1, &tcp);
        frame.truncate(range.end);
        hdr.net.flags |= hdr::F_NEEDS_CSUM;
        hdr.net.gso_type = hdr::GSO_TCPV4;
        hdr.net.gso_size = 1000.into();
        hdr.net.csum_start = (range.start as u16).into();
        hdr.net.csum_offset = 16.into();
        hdr.sec.trailer_len = 0.into();
        hdr.sec.next_header = 6;
        let mut out = Frames::default();
        let sent = a.transmit(&hdr, &mut frame.into(), LONGEST, &mut out);
        assert_eq!((sent, out.len()), (Ok(()), 5), "{algorithms:?}");
        for mut wire in out.drain().map(Vec::from) {
            assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK), "{algorithms:?}");
        }
    }
}
