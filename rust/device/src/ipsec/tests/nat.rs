// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ESP in UDP (RFC 3948).

use super::*;

const PORTS: [u16; 2] = [4500, 4501];

fn encapsulated(obj_type: u16) -> SaObject {
    let mut object = object(obj_type);
    object.base.options = u64::from(cap::OPT_UDP_ENCAP).into();
    object.tail.encap_mode = wire::ENCAP_UDP;
    object.base.udp_sport = PORTS[0].into();
    object.base.udp_dport = PORTS[1].into();
    object
}

/// A frame as the driver hands it over, and its header.
fn udp_frame(seq: u32, payload: &[u8]) -> (NetHdr48, Vec<u8>) {
    let (mut hdr, plain) = frame(1, seq, payload);
    let esp = &plain[34..];
    let len = 8 + esp.len() as u16;
    let mut frame = plain[..34].to_vec();
    frame[16..18].copy_from_slice(&(20 + len).to_be_bytes());
    frame[23] = 17;
    testing::correct(&mut frame);
    frame.extend([PORTS[0], PORTS[1], len, 0].map(u16::to_be_bytes).concat());
    frame.extend(esp);
    hdr.sec.esp_offset = 42.into();
    (hdr, frame)
}

fn pair() -> (Engine, Engine) {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &encapsulated(OBJ_OUTB_SA)), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &encapsulated(OBJ_INB_SA)), DONE);
    (a, b)
}

#[test]
fn packets_in_udp_are_encrypted_and_decrypted() {
    let (a, b) = pair();
    let (hdr, clear) = udp_frame(1, b"through a NAT");
    let mut sent = clear.clone();
    assert_eq!(send(&a, &hdr, &mut sent), Ok(()));
    assert_eq!(sent[..50], clear[..50], "IP, UDP and ESP headers stay");
    // A NAT has changed source address, source port and the UDP checksum.
    sent[29] = 99;
    testing::correct(&mut sent);
    sent[34..36].copy_from_slice(&61000u16.to_be_bytes());
    sent[40..42].fill(0x5a);
    let mut hdr = NetHdr48::default();
    receive_bytes(&b, &mut sent, &mut hdr);
    assert_eq!(
        (hdr.sec.sec_status, hdr.sec.esp_offset.get()),
        (hdr::SEC_OK, 42)
    );
    assert_eq!(sent[58..71], *b"through a NAT");
}

/// The checksum covers the ciphertext, so a check after decryption would drop the packet.
#[test]
fn the_udp_checksum_goes_with_the_ciphertext() {
    let (a, b) = pair();
    let (hdr, mut sent) = udp_frame(1, b"payload");
    send(&a, &hdr, &mut sent).unwrap();
    sent[40..42].fill(0x5a);
    let mut forged = sent.clone();
    *forged.last_mut().unwrap() ^= 1;
    let before = forged.clone();
    assert_eq!(received(&b, &mut forged), Some(hdr::SEC_AUTH));
    assert_eq!(forged, before, "a packet that fails stays as it came");
    let head = sent[..40].to_vec();
    assert_eq!(received(&b, &mut sent), Some(hdr::SEC_OK));
    assert_eq!((&sent[..40], &sent[40..42]), (&head[..], &[0, 0][..]));
}

#[test]
fn what_is_not_esp_in_udp_is_left_alone() {
    let (a, b) = pair();
    let (hdr, mut sent) = udp_frame(1, b"payload");
    send(&a, &hdr, &mut sent).unwrap();
    let left_alone = |change: fn(&mut Vec<u8>)| {
        let mut frame = sent.clone();
        change(&mut frame);
        let before = frame.clone();
        assert_eq!(received(&b, &mut frame), None);
        assert_eq!(frame, before);
    };
    // IKE: the non-ESP marker. A keepalive. Another destination port. Another protocol.
    left_alone(|frame| frame[42..46].fill(0));
    left_alone(|frame| {
        frame.truncate(42);
        frame.push(0xff);
        frame[16..18].copy_from_slice(&29u16.to_be_bytes());
        frame[38..40].copy_from_slice(&9u16.to_be_bytes());
        testing::correct(frame);
    });
    left_alone(|frame| frame[37] ^= 1);
    left_alone(|frame| {
        frame[23] = 6;
        testing::correct(frame);
    });
    assert_eq!(counter(&b, "ipsec_rx_no_sa"), 0);
    assert_eq!(received(&b, &mut sent), Some(hdr::SEC_OK));
}

#[test]
fn encapsulation_has_to_be_that_of_the_sa() {
    let (a, b) = pair();
    let (hdr, mut bare) = frame(1, 1, b"payload");
    assert_eq!(send(&a, &hdr, &mut bare), Err(TxDrop::Format));
    assert_eq!(received(&b, &mut bare), None);
    for at in [35, 37, 39] {
        let (hdr, mut frame) = udp_frame(1, b"payload");
        frame[at] ^= 1;
        assert_eq!(send(&a, &hdr, &mut frame), Err(TxDrop::Format), "{at}");
    }
    // An SA without encapsulation does not take packets in UDP.
    let plain = ready(Backend::default());
    assert_eq!(create(&plain, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)), DONE);
    assert_eq!(create(&plain, OBJ_INB_SA, 1, &object(OBJ_INB_SA)), DONE);
    let (hdr, mut frame) = udp_frame(1, b"payload");
    assert_eq!(send(&plain, &hdr, &mut frame), Err(TxDrop::Format));
    assert_eq!(received(&plain, &mut frame), None);
}

#[test]
fn ports_may_go_unchecked_and_change() {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    for (ipsec, obj_type) in [(&a, OBJ_OUTB_SA), (&b, OBJ_INB_SA)] {
        let mut any = encapsulated(obj_type);
        any.tail.tail_flags = (any.tail.tail_flags.get() | wire::TAIL_NO_UDP_PORT_CHECK).into();
        assert_eq!(create(ipsec, obj_type, 1, &any), DONE);
    }
    let (hdr, mut frame) = udp_frame(1, b"payload");
    frame[34..38].fill(7);
    assert_eq!(send(&a, &hdr, &mut frame), Ok(()));
    assert_eq!(received(&b, &mut frame), Some(hdr::SEC_OK));

    let (a, b) = pair();
    let mut moved = encapsulated(OBJ_INB_SA);
    moved.base.udp_dport = 4600.into();
    let modify = Command::ObjModify {
        obj_type: OBJ_INB_SA,
        id: 2,
        object: moved.as_bytes(),
    };
    assert_eq!(status(&b, modify), DONE);
    let (hdr, mut frame) = udp_frame(1, b"payload");
    send(&a, &hdr, &mut frame).unwrap();
    assert_eq!(received(&b, &mut frame.clone()), None);
    frame[36..38].copy_from_slice(&4600u16.to_be_bytes());
    assert_eq!(received(&b, &mut frame), Some(hdr::SEC_OK));
}

#[test]
fn half_an_encapsulation_is_refused() {
    let ipsec = ready(Backend::default());
    let changes: [fn(&mut SaObject); 4] = [
        |object| object.base.options = 0.into(),
        |object| object.tail.encap_mode = wire::ENCAP_NONE,
        |object| object.tail.encap_mode = 2,
        |object| object.tail.family = 6,
    ];
    for obj_type in TYPES {
        for change in changes {
            let mut object = encapsulated(obj_type);
            change(&mut object);
            assert_eq!(create(&ipsec, obj_type, 1, &object), INVALID_FIELD);
        }
    }
}
