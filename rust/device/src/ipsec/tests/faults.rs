// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults on purpose.

use super::*;
use crate::fault::request::Request;
use espnic_wire::admin::{ENOSPC, Q_NORESOURCE};
use espnic_wire::algorithm::Cipher;

fn pair() -> (Engine, Engine) {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &object(OBJ_INB_SA)), DONE);
    (a, b)
}

/// Status at the receiver of packets with payloads of these lengths.
fn exchange(a: &Engine, b: &Engine, lens: &[usize]) -> Vec<u8> {
    let status = |(seq, &len): (usize, &usize)| {
        let (hdr, mut wire) = frame(1, seq as u32 + 1, &vec![0x55; len]);
        send(a, &hdr, &mut wire).unwrap();
        received(b, &mut wire).unwrap()
    };
    lens.iter().enumerate().map(status).collect()
}

#[test]
fn wrong_padding_authenticates() {
    let (a, b) = pair();
    a.faults.corrupt_padding(2);
    assert_eq!(
        exchange(&a, &b, &[10, 1000, 254, 20]),
        [hdr::SEC_FORMAT, hdr::SEC_OK, hdr::SEC_OK, hdr::SEC_FORMAT]
    );
    assert_eq!(exchange(&a, &b, &[10]), [hdr::SEC_OK]);
    assert_eq!(counter(&a, "ipsec_faults"), 2);
    assert_eq!(counter(&b, "ipsec_rx_format_fail"), 2);
    // Each cipher can process every packet.
    assert_eq!(counter(&b, "ipsec_rx_unsupported"), 0);
    a.faults.corrupt_padding(5);
    a.faults.clear();
    assert_eq!(exchange(&a, &b, &[10]), [hdr::SEC_OK]);
}

#[test]
fn padding_is_broken_in_the_right_half_of_the_numbers() {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    let mut outb = object(OBJ_OUTB_SA);
    outb.base.options = u64::from(cap::OPT_ESN).into();
    let mut inb = object(OBJ_INB_SA);
    inb.base.options = u64::from(cap::OPT_ESN).into();
    inb.base.replay_win_sz = 64.into();
    inb.tail.tail_flags = (inb.tail.tail_flags.get() | wire::TAIL_SEQ_VALID).into();
    inb.tail.seq = 0x3_0000_0000.into();
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &outb), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &inb), DONE);
    a.faults.corrupt_padding(1);
    let (mut hdr, mut wire) = frame(1, 9, b"text");
    hdr.sec.seq_half = 3.into();
    send(&a, &hdr, &mut wire).unwrap();
    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_FORMAT));
}

#[test]
fn what_cannot_be_processed_stays_as_it_came() {
    let (a, b) = pair();
    b.faults.leave_unsupported(2);
    let (hdr, mut wire) = frame(1, 1, b"text");
    send(&a, &hdr, &mut wire).unwrap();
    let sent = wire.clone();
    // Packets that are not for an SA do not count.
    receive_bytes(&b, &mut [0; 60], &mut NetHdr48::default());
    for expected in [hdr::SEC_UNSUPPORTED, hdr::SEC_UNSUPPORTED, hdr::SEC_OK] {
        assert_eq!(received(&b, &mut wire), Some(expected));
        assert_eq!(wire == sent, expected != hdr::SEC_OK);
    }
    assert_eq!(counter(&b, "ipsec_rx_unsupported"), 2);
}

#[test]
fn deletion_is_asked_for() {
    let (a, b) = pair();
    b.faults.request_deletion(2);
    let mut flags = Vec::new();
    for seq in 1..=3 {
        let (hdr, mut wire) = frame(1, seq, b"text");
        send(&a, &hdr, &mut wire).unwrap();
        // Packets that are not for an SA do not count.
        receive_bytes(&b, &mut [0; 60], &mut NetHdr48::default());
        let mut hdr = NetHdr48::default();
        receive_bytes(&b, &mut wire, &mut hdr);
        flags.push(hdr.sec.ndis_flags);
    }
    let asked = hdr::NDIS_SA_DELETE_REQ;
    assert_eq!(flags, [asked, asked, 0]);
}

#[test]
fn the_table_is_full() {
    let full = (ENOSPC, Q_NORESOURCE);
    for obj_type in TYPES {
        let ipsec = ready(Backend::default());
        ipsec.faults.limit_sas(Some(2));
        for (id, expected) in [(1, DONE), (2, DONE), (3, full)] {
            assert_eq!(create(&ipsec, obj_type, id, &object(obj_type)), expected);
        }
        assert_eq!(destroy(&ipsec, obj_type, 1), DONE);
        assert_eq!(create(&ipsec, obj_type, 3, &object(obj_type)), DONE);
        ipsec.faults.limit_sas(Some(0));
        assert_eq!(create(&ipsec, obj_type, 4, &object(obj_type)), full);
        ipsec.faults.limit_sas(None);
        assert_eq!(create(&ipsec, obj_type, 4, &object(obj_type)), DONE);
    }
}

#[test]
fn an_algorithm_is_refused() {
    let ipsec = ready(Backend::default());
    let outb = object(OBJ_OUTB_SA);
    ipsec.faults.refuse(Some(Cipher::AesCbc));
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 1, &outb), DONE);
    ipsec.faults.refuse(Cipher::named("aes-gcm"));
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 2, &outb), INVALID_FIELD);
    assert_eq!(counter(&ipsec, "ipsec_faults"), 1);
    ipsec.faults.clear();
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 2, &outb), DONE);
    let error = Request::parse(&["refuse-algorithm", "rot13"]).unwrap_err();
    assert!(error.contains("aes-gmac"));
}
