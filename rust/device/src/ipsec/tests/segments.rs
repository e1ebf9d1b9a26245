// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames that become many packets.

use super::*;
use std::collections::HashSet;

/// A TCP packet over IPv4 in transport mode, as the driver hands it over.
fn big(seq: u32, data: usize, size: u16) -> (NetHdr48, Vec<u8>) {
    let mut tcp = vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0, 0, 0, 2];
    tcp.extend([0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    tcp.extend((0..data).map(|n| n as u8));
    let len = tcp.len() as u32;
    let mut pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + (len & 0xffff) + (len >> 16);
    pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    tcp[16..18].copy_from_slice(&(pseudo as u16).to_be_bytes());
    let (mut hdr, mut frame) = frame(1, seq, &[]);
    frame.truncate(50);
    frame.extend(tcp);
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = hdr::GSO_TCPV4;
    hdr.net.gso_size = size.into();
    hdr.net.csum_start = 50.into();
    hdr.net.csum_offset = 16.into();
    hdr.sec.trailer_len = 0.into();
    hdr.sec.next_header = 6;
    (hdr, frame)
}

fn pair() -> (Engine, Engine) {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &object(OBJ_INB_SA)), DONE);
    (a, b)
}

#[test]
fn every_segment_is_a_packet_of_its_own() {
    let (a, b) = pair();
    let (hdr, frame) = big(100, 60_000, 1400);
    let (mut frame, mut out) = (Frame::from(frame), Frames::default());
    out.push(vec![9; 60]);
    let before = frame.clone();
    assert_eq!(a.transmit(&hdr, &mut frame, LONGEST, &mut out), Ok(()));
    assert_eq!(frame, before, "stays with the caller");
    assert_eq!(
        out.drain().map(Vec::from).next(),
        Some(vec![9; 60]),
        "was there before"
    );

    assert_eq!(a.transmit(&hdr, &mut frame, LONGEST, &mut out), Ok(()));
    let (mut data, mut ivs) = (Vec::new(), HashSet::new());
    for (i, mut wire) in out.drain().map(Vec::from).enumerate() {
        assert!(wire.len() <= LONGEST);
        assert_eq!(wire[38..42], (100 + i as u32).to_be_bytes());
        assert!(ivs.insert(wire[42..50].to_vec()));
        let mut hdr = NetHdr48::default();
        receive_bytes(&b, &mut wire, &mut hdr);
        assert_eq!(hdr.sec.sec_status, hdr::SEC_OK);
        assert!(hdr.has(hdr::F_DATA_VALID), "segment {i}");
        let pad_len = usize::from(wire[wire.len() - 18]);
        data.extend_from_slice(&wire[70..wire.len() - 18 - pad_len]);
    }
    assert_eq!(data, before[70..]);
    assert_eq!(counter(&a, "ipsec_tx_gso"), 2);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 2 * 43);
    assert_eq!(counter(&b, "ipsec_rx_csum_valid"), 43);
    assert_eq!(
        counter(&b, "ipsec_rx_bytes") * 2,
        counter(&a, "ipsec_tx_bytes")
    );
}

#[test]
fn the_high_half_is_carried() {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    for (ipsec, obj_type, id) in [(&a, OBJ_OUTB_SA, 1), (&b, OBJ_INB_SA, 2)] {
        let mut esn = object(obj_type);
        esn.base.options = u64::from(cap::OPT_ESN).into();
        if obj_type == OBJ_INB_SA {
            esn.base.replay_win_sz = 64.into();
            esn.tail.tail_flags = (esn.tail.tail_flags.get() | wire::TAIL_SEQ_VALID).into();
            esn.tail.seq = 0x4_ffff_0000.into();
        }
        assert_eq!(create(ipsec, obj_type, id, &esn), DONE);
    }
    let (mut hdr, frame) = big(u32::MAX - 1, 8000, 1000);
    hdr.sec.seq_half = 4.into();
    let mut out = Frames::default();
    assert_eq!(
        a.transmit(&hdr, &mut frame.into(), LONGEST, &mut out),
        Ok(())
    );
    let halves: Vec<u32> = out
        .drain()
        .map(Vec::from)
        .map(|mut wire| {
            let mut hdr = NetHdr48::default();
            receive_bytes(&b, &mut wire, &mut hdr);
            assert_eq!(hdr.sec.sec_status, hdr::SEC_OK);
            hdr.sec.seq_half.get()
        })
        .collect();
    assert_eq!(halves, [4, 4, 5, 5, 5, 5, 5, 5]);
}

#[test]
fn what_cannot_be_segmented_is_dropped_whole() {
    let (a, _) = pair();
    let drop_of = |change: fn(&mut NetHdr48, &mut Vec<u8>)| {
        let (mut hdr, mut frame) = big(100, 5000, 1400);
        change(&mut hdr, &mut frame);
        let mut out = Frames::default();
        out.push(vec![]);
        let result = a.transmit(&hdr, &mut frame.into(), LONGEST, &mut out);
        assert_eq!(out.len(), 1, "nothing of it");
        result.unwrap_err()
    };
    assert_eq!(
        drop_of(|hdr, _| hdr.net.gso_type = 0x81),
        TxDrop::Unsupported
    );
    assert_eq!(drop_of(|hdr, _| hdr.net.gso_type = 4), TxDrop::Format);
    assert_eq!(
        drop_of(|hdr, _| hdr.net.gso_size = 0.into()),
        TxDrop::Format
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.net.gso_size = 1500.into()),
        TxDrop::Long
    );
    assert_eq!(drop_of(|hdr, _| hdr.net.flags &= !1), TxDrop::Format);
    assert_eq!(
        drop_of(|hdr, _| hdr.net.csum_offset = 6.into()),
        TxDrop::Format
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.net.csum_start = 54.into()),
        TxDrop::Format
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.sec.trailer_len = 18.into()),
        TxDrop::Format
    );
    assert_eq!(drop_of(|hdr, _| hdr.sec.next_header = 4), TxDrop::Format);
    assert_eq!(
        drop_of(|hdr, _| hdr.sec.esp_offset = 42.into()),
        TxDrop::Format
    );
    assert_eq!(
        drop_of(|hdr, _| hdr.sec.generation = 1.into()),
        TxDrop::Stale
    );
    assert_eq!(drop_of(|_, frame| frame.truncate(60)), TxDrop::Format);
    assert_eq!(
        drop_of(|_, frame| frame[38..42].fill(0xff)),
        TxDrop::Sequence
    );
    assert_eq!(counter(&a, "ipsec_tx_drop_sequence"), 1);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 0);
}

#[test]
fn packets_in_udp_are_never_segmented() {
    let a = ready(Backend::default());
    let mut nat = object(OBJ_OUTB_SA);
    nat.base.options = u64::from(cap::OPT_UDP_ENCAP).into();
    nat.tail.encap_mode = wire::ENCAP_UDP;
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &nat), DONE);
    let (hdr, frame) = big(100, 5000, 1400);
    let mut out = Frames::default();
    let result = a.transmit(&hdr, &mut frame.into(), LONGEST, &mut out);
    assert_eq!((result, out.len()), (Err(TxDrop::Format), 0));
}
