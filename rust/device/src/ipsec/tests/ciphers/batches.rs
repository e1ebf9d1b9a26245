// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Batches of packets of several SAs and algorithms, some of which are worked on together.

use super::*;

/// With the libraries that the NIC chooses.
fn fastest() -> Engine {
    let engine = with_libraries(Libraries::default());
    set_up(&engine);
    engine
}

/// Sender and receiver with an SA for each of these algorithms; their SPIs differ.
fn pair(all: &[Algorithms]) -> (Engine, Engine) {
    let (a, b) = (fastest(), fastest());
    for (id, algorithms) in (0u32..).zip(all) {
        for (engine, obj_type) in [(&a, OBJ_OUTB_SA), (&b, OBJ_INB_SA)] {
            let mut object = algorithms.object(obj_type, id % 2 == 0);
            object.base.spi = (SPI + id).into();
            object.base.cipher_key.data[0] ^= id as u8;
            assert_eq!(create(engine, obj_type, id, &object), DONE);
        }
    }
    (a, b)
}

/// A packet of SA `id`; `seq` is in its payload, too.
fn packet(all: &[Algorithms], id: u32, seq: u32, len: usize) -> (NetHdr48, Vec<u8>, Vec<u8>) {
    let mut payload = seq.to_be_bytes().to_vec();
    payload.resize(len, id as u8);
    let (mut hdr, mut frame, _) = all[id as usize].frame(seq, &payload);
    hdr.out.resource_id = id.into();
    frame[34..38].copy_from_slice(&(SPI + id).to_be_bytes());
    (hdr, frame, payload)
}

fn receive_all(b: &Engine, wire: &[Vec<u8>]) -> Vec<Inbound> {
    let inbound = |frame: &Vec<u8>| Inbound::from(Frame::from(frame.clone()));
    let mut batch: Vec<_> = wire.iter().map(inbound).collect();
    b.receive_all(&mut batch);
    batch
}

/// Runs of equal SAs, alternating ones, and more packets than are ever worked on together. One in seven is
/// forged.
#[test]
fn order_and_errors_are_those_of_each_packet() {
    let all = Algorithms::all();
    for pattern in [|n| n / 9, |n| n, |n: usize| n * n % 5, |_| 16] {
        let (a, b) = pair(&all);
        let packets: Vec<_> = (0..100)
            .map(|n| packet(&all, (pattern(n) % all.len()) as u32, n as u32, 4 + n * 13))
            .collect();
        let mut batch: Vec<_> = packets
            .iter()
            .map(|(hdr, frame, _)| (*hdr, Frame::from(frame.clone())))
            .collect();
        let mut out = Frames::default();
        out.push(vec![9; 60]);
        assert_eq!(a.transmit_all(&mut batch, LONGEST, &mut out), 0);
        assert!(batch.iter().all(|(_, frame)| frame.is_empty()));
        let mut wire: Vec<_> = out.drain().map(Vec::from).collect();
        assert_eq!(wire.remove(0), [9; 60]);
        assert_eq!(wire.len(), packets.len());
        for (n, frame) in wire.iter_mut().enumerate() {
            assert_eq!(frame.len(), packets[n].1.len());
            assert_eq!(frame[34..42], packets[n].1[34..42]);
            if n % 7 == 3 {
                *frame.last_mut().unwrap() ^= 1;
            }
        }
        for (n, inbound) in receive_all(&b, &wire).iter().enumerate() {
            let (hdr, _, payload) = &packets[n];
            assert_eq!(inbound.hdr.out.resource_id, hdr.out.resource_id);
            if n % 7 == 3 {
                assert_eq!(inbound.hdr.sec.sec_status, hdr::SEC_AUTH);
                assert_eq!(*inbound.frame, wire[n][..]);
            } else {
                assert_eq!(inbound.hdr.net.flags, F_SECURITY | F_X_SEC);
                let found = inbound.frame.windows(payload.len());
                assert!(found.into_iter().any(|part| part == payload));
            }
        }
        let count = |name| (counter(&a, name), counter(&b, name));
        assert_eq!(count("ipsec_tx_packets"), (100, 0));
        assert_eq!(count("ipsec_rx_packets"), (0, 86));
        assert_eq!(count("ipsec_rx_auth_fail"), (0, 14));
    }
}

/// Segments wait together with other packets, and those of a frame that is refused are gone.
#[test]
fn segments_are_among_packets_that_wait() {
    let cbc: Vec<_> = Algorithms::all()
        .into_iter()
        .filter(Algorithms::is_cbc)
        .collect();
    let (a, b) = pair(&cbc);
    let mut tcp = vec![0; 12];
    tcp.extend([0x50, 0x18, 0, 0, 0, 0, 0, 0]);
    tcp.resize(20 + 5000, 0x3c);
    let gso = |size: u16| {
        let (mut hdr, mut frame, range) = cbc[0].frame(100, &tcp);
        hdr.out.resource_id = 0.into();
        frame.truncate(range.end);
        hdr.net.flags |= hdr::F_NEEDS_CSUM;
        hdr.net.gso_type = hdr::GSO_TCPV4;
        hdr.net.gso_size = size.into();
        hdr.net.csum_start = (range.start as u16).into();
        hdr.net.csum_offset = 16.into();
        hdr.sec.trailer_len = 0.into();
        hdr.sec.next_header = 6;
        (hdr, Frame::from(frame))
    };
    let one = |seq| {
        let (hdr, frame, _) = packet(&cbc, seq % 3, seq, 100);
        (hdr, Frame::from(frame))
    };
    // 20 segments; the second frame has segments that are too long.
    let mut batch = vec![one(1), gso(250), one(2), gso(4000), one(120)];
    let mut out = Frames::default();
    assert_eq!(a.transmit_all(&mut batch, LONGEST, &mut out), 1);
    let wire: Vec<_> = out.drain().map(Vec::from).collect();
    assert_eq!(wire.len(), 23);
    let ids: Vec<_> = receive_all(&b, &wire)
        .iter()
        .map(|inbound| {
            assert!(inbound.hdr.has(F_SECURITY) && !inbound.hdr.has(F_SECURITY_ERR));
            inbound.hdr.out.resource_id.get()
        })
        .collect();
    assert_eq!(
        (ids[0], &ids[1..21], &ids[21..]),
        (1, &[0; 20][..], &[2, 0][..])
    );
    assert_eq!(counter(&a, "ipsec_tx_packets"), 23);
    assert_eq!(counter(&a, "ipsec_tx_drop_long"), 1);
}

/// What a fault does to padding needs the encrypted packet.
#[test]
fn padding_of_packets_that_wait_can_be_spoiled() {
    let cbc: Vec<_> = Algorithms::all()
        .into_iter()
        .filter(Algorithms::is_cbc)
        .collect();
    let (a, b) = pair(&cbc);
    a.faults.corrupt_padding(2);
    let mut batch: Vec<_> = (0..20)
        .map(|seq| {
            let (hdr, frame, _) = packet(&cbc, 0, seq, 60);
            (hdr, Frame::from(frame))
        })
        .collect();
    let mut out = Frames::default();
    assert_eq!(a.transmit_all(&mut batch, LONGEST, &mut out), 0);
    let wire: Vec<_> = out.drain().map(Vec::from).collect();
    let status = |inbound: &Inbound| inbound.hdr.sec.sec_status;
    let got: Vec<_> = receive_all(&b, &wire).iter().map(status).collect();
    assert_eq!(got[..2], [hdr::SEC_FORMAT; 2]);
    assert_eq!(got[2..], [hdr::SEC_OK; 18]);
}
