// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs of one SPI, and those that come after each other under one id.

use super::*;

#[test]
fn a_new_sa_under_the_id_does_not_take_packets_of_the_old_one() {
    let (a, b) = default_pair();
    assert_eq!(destroy(&a, OBJ_OUTB_SA, 1), DONE);
    let (hdr, mut old) = frame(1, 1, b"x");
    assert_eq!(send(&a, &hdr, &mut old), Err(TxDrop::NoSa));
    let mut next = object(OBJ_OUTB_SA);
    next.tail.generation = 8.into();
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &next), DONE);
    assert_eq!(send(&a, &hdr, &mut old), Err(TxDrop::Stale));
    let (mut hdr, mut wire) = frame(1, 1, b"x");
    hdr.sec.generation = 8.into();
    assert_eq!(send(&a, &hdr, &mut wire), Ok(()));
    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
}

#[test]
fn among_equal_keys_the_oldest_serves() {
    let (a, b) = default_pair();
    let mut younger = object(OBJ_INB_SA);
    younger.base.cipher_key.data[0] ^= 1;
    // A smaller id is not older.
    assert_eq!(create(&b, OBJ_INB_SA, 0, &younger), DONE);
    let mut elsewhere = object(OBJ_INB_SA);
    elsewhere.tail.dst[3] = 99;
    assert_eq!(create(&b, OBJ_INB_SA, 5, &elsewhere), DONE);
    let (hdr, mut wire) = frame(1, 1, b"x");
    send(&a, &hdr, &mut wire).unwrap();

    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_OK));
    assert_eq!(destroy(&b, OBJ_INB_SA, 2), DONE);
    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_AUTH));
    assert_eq!(create(&b, OBJ_INB_SA, 2, &object(OBJ_INB_SA)), DONE);
    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_AUTH));
    assert_eq!(destroy(&b, OBJ_INB_SA, 0), DONE);
    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_OK));
    assert_eq!(destroy(&b, OBJ_INB_SA, 2), DONE);
    assert_eq!(received(&b, &mut wire.clone()), None);
    assert_eq!(counter(&b, "ipsec_sa_in"), 1);
}

#[test]
fn a_modified_sa_keeps_its_age() {
    let (a, b) = default_pair();
    let mut younger = object(OBJ_INB_SA);
    younger.base.cipher_key.data[0] ^= 1;
    assert_eq!(create(&b, OBJ_INB_SA, 9, &younger), DONE);
    let (hdr, mut wire) = frame(1, 1, b"x");
    send(&a, &hdr, &mut wire).unwrap();
    let move_to = |id, object: &SaObject, last| {
        let mut moved = *object;
        moved.tail.dst[3] = last;
        let modify = Command::ObjModify {
            obj_type: OBJ_INB_SA,
            id,
            object: moved.as_bytes(),
        };
        assert_eq!(status(&b, modify), DONE);
    };
    // The younger one goes away and comes back, then the older one does.
    move_to(9, &younger, 50);
    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_OK));
    move_to(9, &younger, 2);
    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_OK));
    move_to(2, &object(OBJ_INB_SA), 50);
    assert_eq!(received(&b, &mut wire.clone()), Some(hdr::SEC_AUTH));
    move_to(2, &object(OBJ_INB_SA), 2);
    assert_eq!(received(&b, &mut wire), Some(hdr::SEC_OK));
}
