// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Received packets of one batch, which are decrypted before the first of them is looked at.

use super::*;
use crate::filter::Verdict;

/// The destination's last byte is this; the ICV does not cover it.
fn to(last: u8, wire: &[u8]) -> Inbound {
    let mut wire = wire.to_vec();
    wire[33] = last;
    testing::correct(&mut wire);
    Inbound::from(Frame::from(wire))
}

/// The inbound SA by which a packet was opened; `None` if it was left alone.
fn opened_by(inbound: &Inbound) -> Option<u32> {
    let hdr = &inbound.hdr;
    let opened = hdr.has(F_SECURITY) && hdr.sec.sec_status == hdr::SEC_OK;
    opened.then(|| hdr.out.resource_id.get())
}

/// Adds SAs with other SPIs, so many that they are loaded ahead.
fn add_others(receiver: &Engine) {
    for id in 20..40 {
        let mut other = object(OBJ_INB_SA);
        other.base.spi = SPI.wrapping_add(id).into();
        assert_eq!(create(receiver, OBJ_INB_SA, id, &other), DONE);
    }
}

/// A wrong ICV and a pad length that cannot be disturb no other packet, and what is refused
/// stays as it came.
#[test]
fn refused_packets_are_as_they_came_and_disturb_no_other() {
    for &backend in Backend::ALL {
        let (a, b) = pair(backend, backend);
        let lens = [0, 20, 62, 500, 1400];
        for bad in 0..40u32 {
            let (mut clear, mut batch, mut sent) = (Vec::new(), Vec::new(), Vec::new());
            for n in 0..40 {
                let len = lens[(n + bad) as usize % lens.len()];
                let (hdr, mut wire) = frame(1, n + 1, &vec![n as u8; len]);
                clear.push(wire.clone());
                // No pad length is wrong in a packet that is longer than it.
                let fits = wire.len() < 300;
                if n == bad && bad % 3 == 1 && fits {
                    a.faults.corrupt_padding(1);
                }
                send(&a, &hdr, &mut wire).unwrap();
                if n == bad && bad % 3 == 0 {
                    *wire.last_mut().unwrap() ^= 1;
                }
                sent.push(wire.clone());
                batch.push(Inbound::from(Frame::from(wire)));
            }
            b.receive_all(&mut batch);
            for (n, inbound) in (0..).zip(&batch) {
                let (clear, sent) = (&clear[n as usize], &sent[n as usize]);
                let text = 50..clear.len() - 16;
                let refused = n == bad && (bad % 3 == 0 || bad % 3 == 1 && sent.len() < 300);
                if refused {
                    assert_eq!(&inbound.frame[..], &sent[..], "{n} {bad}");
                    assert!(inbound.hdr.has(F_SECURITY_ERR));
                } else {
                    assert_eq!(opened_by(inbound), Some(2), "{n} {bad}");
                    assert_eq!(inbound.frame[text.clone()], clear[text], "{n} {bad}");
                }
            }
        }
    }
}

#[test]
fn the_sa_of_the_packet_before_takes_its_own_packets_only() {
    let (a, b) = default_pair();
    let key = |mut object: SaObject| {
        object.base.cipher_key.data[0] ^= 1;
        object
    };
    assert_eq!(create(&a, OBJ_OUTB_SA, 3, &key(object(OBJ_OUTB_SA))), DONE);
    let mut elsewhere = key(object(OBJ_INB_SA));
    elsewhere.tail.dst[3] = 99;
    assert_eq!(create(&b, OBJ_INB_SA, 5, &elsewhere), DONE);
    let [wire, other] = [1, 3].map(|id| {
        let (hdr, mut wire) = frame(id, 1, b"one of many");
        send(&a, &hdr, &mut wire).unwrap();
        wire
    });
    let sas = [
        (2, Some(2)),
        (2, Some(2)),
        (99, Some(5)),
        (99, Some(5)),
        (50, None),
        (2, Some(2)),
        (50, None),
        (99, Some(5)),
        (2, Some(2)),
    ];
    let packet = |&(last, sa): &(u8, Option<u32>)| match sa {
        Some(5) => to(last, &other),
        _ => to(last, &wire),
    };
    // Another SPI, and the same in UDP.
    let mut unknown = wire.clone();
    unknown[37] ^= 1;
    let mut udp = wire.clone();
    udp.splice(34..34, [0x11, 0x94, 0x11, 0x94, 0, 0, 0, 0]);
    let len = (udp.len() - 34) as u16;
    udp[38..40].copy_from_slice(&len.to_be_bytes());
    udp[16..18].copy_from_slice(&(len + 20).to_be_bytes());
    udp[23] = 17;
    let mut expected: Vec<_> = sas.iter().map(|&(_, sa)| sa).collect();
    expected.extend([None, None, Some(2)]);
    for add in [|_: &Engine| (), add_others] {
        add(&b);
        let mut batch: Vec<_> = sas.iter().map(packet).collect();
        batch.extend([&unknown, &udp, &wire].map(|wire| to(2, wire)));
        b.receive_all(&mut batch);
        let opened: Vec<_> = batch.iter().map(opened_by).collect();
        assert_eq!(opened, expected);
        // What has no SA is left alone, and not refused.
        let refused = |inbound: &&Inbound| inbound.hdr.has(F_SECURITY_ERR);
        assert_eq!(batch.iter().find(refused).map(|inbound| &inbound.hdr), None);
    }
}

/// An older SA of the standard with the same address takes those packets that a rule sends to IPsec.
#[test]
fn the_sa_of_the_packet_before_does_not_take_what_a_rule_sends_to_another() {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)), DONE);
    let mut standard = object(OBJ_INB_SA);
    let flags = standard.tail.tail_flags.get() & !(wire::TAIL_CRYPTO_ONLY | wire::TAIL_DELIVER_ERR);
    standard.tail.tail_flags = flags.into();
    standard.base.mode = cap::MODE_ESP_TUNNEL;
    standard.base.cipher_key.data[0] ^= 1;
    assert_eq!(create(&b, OBJ_INB_SA, 4, &standard), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &object(OBJ_INB_SA)), DONE);
    let (hdr, mut bytes) = frame(1, 1, b"one of many");
    send(&a, &hdr, &mut bytes).unwrap();
    let by = [Verdict::Pass, Verdict::Ipsec, Verdict::Pass];
    for add in [|_: &Engine| (), add_others] {
        add(&b);
        let mut batch: Vec<_> = by
            .iter()
            .map(|&verdict| Inbound::new(Frame::from(bytes.clone()), verdict))
            .collect();
        b.receive_all(&mut batch);
        let opened: Vec<_> = batch.iter().map(opened_by).collect();
        assert_eq!(opened, [Some(2), None, Some(2)]);
    }
    // It has another key.
    assert_eq!(counter(&b, "ipsec_rx_auth_fail"), 2);
    assert_eq!(counter(&b, "ipsec_rx_packets"), 4);
}
