// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets between two NICs.

mod batches;
mod equal_spis;

use super::*;
use proptest::prelude::*;

/// A sender with outbound SA 1 and a receiver with inbound SA 2.
fn pair(sender: Backend, receiver: Backend) -> (Engine, Engine) {
    let (a, b) = (ready(sender), ready(receiver));
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &object(OBJ_INB_SA)), DONE);
    (a, b)
}

fn default_pair() -> (Engine, Engine) {
    pair(Backend::default(), Backend::default())
}

#[test]
fn frames_travel_between_all_backends() {
    for &sender in Backend::ALL {
        for &receiver in Backend::ALL {
            let (a, b) = pair(sender, receiver);
            for seq in 1..=50u32 {
                let (hdr, clear) = frame(1, seq, &vec![seq as u8; seq as usize * 20]);
                let mut wire = clear.clone();
                assert_eq!(send(&a, &hdr, &mut wire), Ok(()));
                assert_eq!(wire[..42], clear[..42], "headers, SPI and number stay");
                assert_eq!(
                    wire[42..50],
                    (u64::from(seq) ^ 0x0102_0304_0506_0708).to_be_bytes()
                );
                assert_ne!(wire[50..66], clear[50..66]);

                let mut hdr = NetHdr48::default();
                receive_bytes(&b, &mut wire, &mut hdr);
                assert_eq!(hdr.net.flags, F_SECURITY | F_X_SEC);
                assert_eq!(hdr.out.resource_id.get(), 2);
                assert_eq!(hdr.out.resource_type.get(), OBJ_INB_SA);
                assert_eq!((hdr.sec.sec_op, hdr.sec.sec_status), (1, hdr::SEC_OK));
                assert_eq!(
                    (hdr.sec.esp_offset.get(), hdr.sec.generation.get()),
                    (34, 7)
                );
                let text = 50..clear.len() - 16;
                assert_eq!(wire[text.clone()], clear[text]);
            }
            assert_eq!(counter(&a, "ipsec_tx_packets"), 50);
            assert_eq!(counter(&b, "ipsec_rx_packets"), 50);
            assert_eq!(counter(&a, "ipsec_tx_bytes"), counter(&b, "ipsec_rx_bytes"));
        }
    }
}

#[test]
fn the_wire_is_what_rfc_4106_says() {
    let (a, _) = default_pair();
    let (mut hdr, clear) = frame(1, 5, b"payload that nobody may read");
    hdr.sec.seq_half = 3.into();
    let mut wire = clear.clone();
    send(&a, &hdr, &mut wire).unwrap();
    // Opened by hand, with the other library.
    let other = Backend::AwsLc.aes_gcm(&[0x42; 16], 16).unwrap();
    let mut nonce = [9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0];
    nonce[4..].copy_from_slice(&wire[42..50]);
    assert_eq!(
        wire[42..50],
        (0x3_0000_0005_u64 ^ 0x0102_0304_0506_0708).to_be_bytes()
    );
    let (head, icv) = wire.split_at_mut(clear.len() - 16);
    let (header, text) = head.split_at_mut(50);
    espnic_esp::aead::Aead::open(&other, &nonce, &header[34..42], text, icv).unwrap();
    assert_eq!(text, &clear[50..clear.len() - 16]);
}

#[test]
fn every_corrupted_bit_is_reported_and_delivered_as_it_came() {
    for &backend in Backend::ALL {
        let (a, b) = pair(backend, backend);
        let (hdr, mut wire) = frame(1, 1, b"some payload");
        send(&a, &hdr, &mut wire).unwrap();
        // Sequence number, IV, ciphertext, ICV.
        let bits = (38 * 8)..(wire.len() * 8);
        for bit in bits.clone() {
            let mut bad = wire.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let sent = bad.clone();
            assert_eq!(received(&b, &mut bad), Some(hdr::SEC_AUTH), "bit {bit}");
            assert_eq!(bad, sent, "bit {bit}");
        }
        assert_eq!(counter(&b, "ipsec_rx_auth_fail"), bits.len() as u64);
        assert_eq!(counter(&b, "ipsec_rx_packets"), 0);
        assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
    }
}

#[test]
fn esp_without_an_sa_and_plain_frames_are_left_alone() {
    let (a, b) = default_pair();
    let (hdr, mut wire) = frame(1, 1, b"x");
    send(&a, &hdr, &mut wire).unwrap();
    for (at, what) in [
        (37, "SPI"),
        (33, "destination"),
        (23, "protocol"),
        (20, "fragment"),
    ] {
        let mut other = wire.clone();
        other[at] ^= 0x20;
        testing::correct(&mut other);
        let sent = other.clone();
        assert_eq!(received(&b, &mut other), None, "{what}");
        assert_eq!(other, sent);
    }
    assert_eq!(counter(&b, "ipsec_rx_no_sa"), 2);
    assert_eq!(counter(&b, "ipsec_rx_auth_fail"), 0);
}

#[test]
fn impossible_length_is_reported() {
    let (_, b) = default_pair();
    let (_, wire) = frame(1, 1, b"x");
    for cut in 1..=4 {
        let mut short = wire[..wire.len() - cut].to_vec();
        short[17] -= cut as u8;
        testing::correct(&mut short);
        assert_eq!(received(&b, &mut short), Some(hdr::SEC_LENGTH));
    }
    assert_eq!(counter(&b, "ipsec_rx_length_fail"), 4);
}

/// The stack drops it, and counts it.
#[test]
fn an_outer_header_with_a_wrong_checksum_is_left_to_the_stack() {
    let (a, b) = default_pair();
    let (hdr, mut wire) = frame(1, 1, b"x");
    send(&a, &hdr, &mut wire).unwrap();
    let mut damaged = wire.clone();
    damaged[26] ^= 1;
    let sent = damaged.clone();
    assert_eq!(received(&b, &mut damaged), None);
    assert_eq!(damaged, sent);
    let counts = ["ipsec_rx_header_fail", "ipsec_rx_dropped"];
    assert_eq!(counts.map(|name| counter(&b, name)), [1, 0]);
    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
}

#[test]
fn ethernet_padding_is_not_part_of_the_packet() {
    let (a, b) = default_pair();
    let (hdr, mut wire) = frame(1, 1, b"x");
    send(&a, &hdr, &mut wire).unwrap();
    wire.extend([0x77; 10]);
    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
    assert_eq!(wire[wire.len() - 10..], [0x77; 10]);
    // Outbound, the frame ends with the packet. Without padding, the bytes in front of a later end
    // would pass for a trailer too.
    for extra in [1, 4, 8] {
        let (hdr, mut frame) = frame(1, 1, b"xx");
        frame.extend(vec![0; extra]);
        assert_eq!(send(&a, &hdr, &mut frame), Err(TxDrop::Format));
    }
}

#[test]
fn a_frame_that_does_not_fit_its_sa_is_dropped() {
    let (a, _) = default_pair();
    let drop_of = |change: fn(&mut NetHdr48, &mut Vec<u8>)| {
        let (mut hdr, mut frame) = frame(1, 1, b"payload");
        change(&mut hdr, &mut frame);
        send(&a, &hdr, &mut frame).unwrap_err()
    };
    assert_eq!(
        drop_of(|hdr, _| hdr.out.resource_id = 2.into()),
        TxDrop::NoSa
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.out.resource_id = u32::MAX.into()),
        TxDrop::NoSa
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.out.resource_type = OBJ_INB_SA.into()),
        TxDrop::NoSa
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.sec.generation = 8.into()),
        TxDrop::Stale
    );
    assert_eq!(drop_of(|_, frame| frame[37] ^= 1), TxDrop::Stale);
    assert_eq!(
        drop_of(|hdr, _| hdr.sec.esp_offset = 38.into()),
        TxDrop::Format
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.sec.trailer_len = 20.into()),
        TxDrop::Format
    );
    assert_eq!(drop_of(|_, frame| frame[23] = 6), TxDrop::Format);
    assert_eq!(drop_of(|_, frame| frame.clear()), TxDrop::Format);
    assert_eq!(drop_of(|hdr, _| hdr.sec.sec_op = 0), TxDrop::Unsupported);
    assert_eq!(
        drop_of(|hdr, _| hdr.net.flags = F_SECURITY),
        TxDrop::Unsupported
    );
    assert_eq!(drop_of(|hdr, _| hdr.net.gso_type = 3), TxDrop::Unsupported);
    assert_eq!(
        drop_of(|_, frame| frame.resize(LONGEST + 1, 0)),
        TxDrop::Long
    );
    let counters = [
        "ipsec_tx_drop_no_sa",
        "ipsec_tx_drop_stale",
        "ipsec_tx_drop_format",
        "ipsec_tx_drop_unsupported",
        "ipsec_tx_drop_long",
    ];
    assert_eq!(counters.map(|name| counter(&a, name)), [3, 2, 4, 3, 1]);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 0);
    // Resource type 0 is accepted.
    let (mut hdr, mut frame) = frame(1, 1, b"payload");
    hdr.out.resource_type = 0.into();
    assert_eq!(send(&a, &hdr, &mut frame), Ok(()));
}

#[test]
fn a_batch_is_its_packets() {
    let (a, b) = default_pair();
    let mut other = object(OBJ_OUTB_SA);
    other.base.spi = 0x2002.into();
    assert_eq!(create(&a, OBJ_OUTB_SA, 3, &other), DONE);
    // Two SAs, an id that does not exist, and one frame that is none; first short packets, then long ones.
    let batch: Vec<_> = (0..40u32)
        .map(|n| {
            let payload = vec![n as u8; 50 + 20 * n as usize];
            let (mut hdr, mut frame) = frame(1, n, &payload);
            match n % 4 {
                1 => {
                    hdr.out.resource_id = 3.into();
                    frame[34..38].copy_from_slice(&0x2002u32.to_be_bytes());
                }
                2 => hdr.out.resource_id = 70.into(),
                3 => frame.truncate(20),
                _ => (),
            }
            (hdr, frame)
        })
        .collect();
    let one_by_one: Vec<_> = batch
        .iter()
        .filter_map(|(hdr, frame)| {
            let mut frame = frame.clone();
            send(&a, hdr, &mut frame).ok().map(|()| frame)
        })
        .collect();
    let mut out = Frames::default();
    let mut batch: Vec<_> = batch
        .into_iter()
        .map(|(hdr, frame)| (hdr, Frame::from(frame)))
        .collect();
    assert_eq!(a.transmit_all(&mut batch, LONGEST, &mut out), 20);
    let sent: Vec<_> = out.drain().map(Vec::from).collect();
    assert_eq!(sent, one_by_one);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 40);
    let mut batch: Vec<_> = sent
        .into_iter()
        .chain([vec![0; 10], vec![]])
        .map(|frame| Inbound::from(Frame::from(frame)))
        .collect();
    b.receive_all(&mut batch);
    let decrypted = batch.iter().filter(|one| one.hdr.has(F_SECURITY)).count();
    assert_eq!((decrypted, counter(&b, "ipsec_rx_no_sa")), (10, 10));
    assert_eq!(counter(&b, "ipsec_rx_packets"), 10);
}

#[test]
fn ipv6_is_found_by_its_whole_address() {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    let mut out = object(OBJ_OUTB_SA);
    out.base.cipher_key.length = 32.into();
    let mut inb = object(OBJ_INB_SA);
    inb.base.cipher_key.length = 32.into();
    inb.tail.family = 6;
    inb.tail.dst = [0xfe; 16];
    assert_eq!(create(&a, OBJ_OUTB_SA, 0, &out), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 0, &inb), DONE);
    let (mut hdr, v4) = frame(0, 1, b"version six");
    let mut wire = vec![2; 12];
    wire.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, (v4.len() - 34) as u8, 50, 64]);
    wire.extend([[0xfd; 16], [0xfe; 16]].concat());
    wire.extend(&v4[34..]);
    hdr.sec.esp_offset = 54.into();
    assert_eq!(send(&a, &hdr, &mut wire), Ok(()));
    let mut other = wire.clone();
    other[53] ^= 1;
    assert_eq!(received(&b, &mut other), None);
    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
    assert_eq!(wire[70..81], *b"version six");
}

#[test]
fn the_checksum_inside_is_completed_and_verified() {
    let (a, b) = default_pair();
    // UDP from 10.0.0.1 to 10.0.0.2, only the pseudo header summed up.
    let len: u16 = 8 + 13;
    let pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + len;
    let mut udp = [1000u16, 2000, len, pseudo].map(u16::to_be_bytes).concat();
    udp.extend(b"thirteen byte");
    let clear = |complete: bool| {
        let (mut hdr, mut frame) = frame(1, 1, &udp);
        let next_header = frame.len() - 17;
        frame[next_header] = 17;
        if complete {
            hdr.net.flags |= hdr::F_NEEDS_CSUM;
            hdr.net.csum_start = 50.into();
            hdr.net.csum_offset = 6.into();
        }
        (hdr, frame)
    };
    for complete in [false, true] {
        let (hdr, mut wire) = clear(complete);
        send(&a, &hdr, &mut wire).unwrap();
        let mut hdr = NetHdr48::default();
        receive_bytes(&b, &mut wire, &mut hdr);
        assert_eq!(hdr.sec.sec_status, hdr::SEC_OK);
        assert_eq!(hdr.has(hdr::F_DATA_VALID), complete);
        assert_eq!(wire[50..56], udp[..6]);
        assert_eq!(wire[56..58] == udp[6..8], !complete);
    }
    assert_eq!(counter(&a, "ipsec_tx_csum"), 1);
    assert_eq!(counter(&b, "ipsec_rx_csum_valid"), 1);
    // It must lie in the payload: not in the headers, not across the trailer.
    for (start, offset) in [(34, 0), (49, 0), (50, 20), (72, 0), (u16::MAX, 6)] {
        let (mut hdr, mut frame) = clear(true);
        hdr.net.csum_start = start.into();
        hdr.net.csum_offset = offset.into();
        assert_eq!(send(&a, &hdr, &mut frame), Err(TxDrop::Format), "{start}");
    }
    let (mut hdr, mut frame) = clear(true);
    hdr.sec.trailer_len = u16::MAX.into();
    assert_eq!(send(&a, &hdr, &mut frame), Err(TxDrop::Format));
}

#[test]
fn the_nic_draws_its_own_ivs() {
    let mut ivs = std::collections::HashSet::new();
    for _ in 0..20 {
        let a = ready(Backend::default());
        let mut device = object(OBJ_OUTB_SA);
        device.tail.iv_mode = wire::IV_DEVICE;
        assert_eq!(create(&a, OBJ_OUTB_SA, 1, &device), DONE);
        for seq in 1..=20 {
            let (hdr, mut wire) = frame(1, seq, b"x");
            send(&a, &hdr, &mut wire).unwrap();
            assert!(ivs.insert(wire[42..50].to_vec()), "an IV was used twice");
        }
    }
}

#[test]
fn packets_and_commands_at_the_same_time() {
    let (a, b) = default_pair();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for seq in 0..2000 {
                    let (hdr, mut wire) = frame(1, seq, &[5; 100]);
                    send(&a, &hdr, &mut wire).unwrap();
                    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
                }
            });
        }
        for _ in 0..200 {
            let mut other = object(OBJ_INB_SA);
            other.tail.dst[3] = 77;
            assert_eq!(create(&b, OBJ_INB_SA, 9, &other), DONE);
            assert_eq!(create(&a, OBJ_OUTB_SA, 9, &object(OBJ_OUTB_SA)), DONE);
            assert_eq!(destroy(&b, OBJ_INB_SA, 9), DONE);
            assert_eq!(destroy(&a, OBJ_OUTB_SA, 9), DONE);
        }
    });
    assert_eq!(counter(&b, "ipsec_rx_packets"), 4000);
}

proptest! {
    #[test]
    fn any_frame_is_survived_and_never_half_changed(
        tail in prop::collection::vec(any::<u8>(), 0..120), len: u8, keep in 0usize..60
    ) {
        let (_, b) = default_pair();
        let (_, head) = frame(1, 1, b"");
        let mut frame = head[..keep.min(head.len())].to_vec();
        frame.extend(tail);
        if let Some(byte) = frame.get_mut(17) {
            *byte = len;
        }
        let sent = frame.clone();
        prop_assert_ne!(received(&b, &mut frame), Some(hdr::SEC_OK));
        prop_assert_eq!(frame, sent);
    }

    #[test]
    fn any_header_is_survived(bytes: [[u8; 16]; 3], payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let (a, _) = default_pair();
        let (_, mut frame) = frame(1, 1, &payload);
        let hdr: NetHdr48 = espnic_wire::read_zero_extended(bytes.as_flattened());
        if hdr.out.resource_id.get() != 1 {
            prop_assert!(send(&a, &hdr, &mut frame).is_err());
        }
    }
}

/// Packets of a batch are opened together; it must not be seen, wherever in the batch one fails.
#[test]
fn a_batch_is_what_its_packets_are_one_by_one() {
    for &backend in Backend::ALL {
        let ((a, b), (_, c)) = (pair(backend, backend), pair(backend, backend));
        let wire = |seq: u32| {
            let (hdr, mut wire) = frame(1, seq, &vec![seq as u8; 3 + seq as usize]);
            a.faults.corrupt_padding(u32::from(seq % 5 == 3));
            send(&a, &hdr, &mut wire).unwrap();
            let last = wire.len() - 1;
            match seq % 7 {
                2 => wire[last] ^= 1,
                4 => wire[37] ^= 1,
                5 => wire[60] ^= 1,
                _ => (),
            }
            wire
        };
        let frames: Vec<_> = (1..=70).map(wire).collect();
        let inbound = |bytes: &Vec<u8>| Inbound::from(Frame::from(bytes.clone()));
        let mut batch: Vec<_> = frames.iter().map(inbound).collect();
        b.receive_all(&mut batch);
        let mut failed = 0;
        for (came, got) in frames.iter().zip(&batch) {
            let mut single = inbound(came);
            c.receive(&mut single);
            assert_eq!((&got.frame, got.hdr), (&single.frame, single.hdr));
            let good = got.hdr.has(F_SECURITY) && !got.hdr.has(F_SECURITY_ERR);
            assert_eq!(good, got.frame[..] != came[..]);
            failed += usize::from(!good);
        }
        assert!((30..50).contains(&failed), "{failed}");
        for name in ["packets", "auth_fail", "format_fail", "no_sa"] {
            let name = format!("ipsec_rx_{name}");
            assert!(counter(&b, &name) > 5, "{name}");
            assert_eq!(counter(&b, &name), counter(&c, &name));
        }
    }
}
