// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which SA the NIC asks the driver to delete.

use super::super::room::PATIENCE;
use super::*;
use std::time::{Duration, Instant};

/// Nothing is asked for.
const NONE: [u32; 0] = [];

/// A sender with outbound SAs 0 to `count` - 1 and a receiver with the inbound ones.
struct Nics {
    a: Engine,
    b: Engine,
    seq: u32,
    /// How often [`Nics::wait`] was called.
    waits: u32,
}

fn with_spi(obj_type: u16, id: u32) -> SaObject {
    let mut object = object(obj_type);
    object.base.spi = (SPI + id).into();
    object
}

impl Nics {
    fn new(count: u32, mark: Option<u32>) -> Self {
        let (a, b) = (ready(Backend::default()), ready(Backend::default()));
        b.delete_above(mark);
        let nics = Self {
            a,
            b,
            seq: 0,
            waits: 0,
        };
        (0..count).for_each(|id| nics.add(id));
        nics
    }

    fn add(&self, id: u32) {
        for (ipsec, obj_type) in [(&self.a, OBJ_OUTB_SA), (&self.b, OBJ_INB_SA)] {
            let object = with_spi(obj_type, id);
            assert_eq!(create(ipsec, obj_type, id, &object), DONE);
        }
    }

    fn remove(&self, id: u32) {
        assert_eq!(destroy(&self.a, OBJ_OUTB_SA, id), DONE);
        assert_eq!(destroy(&self.b, OBJ_INB_SA, id), DONE);
    }

    /// A packet under SA `id` as it is on the wire.
    fn packet(&mut self, id: u32) -> Vec<u8> {
        self.seq += 1;
        let (hdr, mut wire) = frame(id, self.seq, b"text");
        wire[34..38].copy_from_slice(&(SPI + id).to_be_bytes());
        send(&self.a, &hdr, &mut wire).unwrap();
        wire
    }

    /// Receives a packet under each of `ids`, and tells those that were asked for.
    fn asked(&mut self, ids: &[u32]) -> Vec<u32> {
        let mut asked = Vec::new();
        for &id in ids {
            let (mut hdr, mut wire) = (NetHdr48::default(), self.packet(id));
            receive_bytes(&self.b, &mut wire, &mut hdr);
            assert_eq!(hdr.sec.sec_status, hdr::SEC_OK);
            assert_eq!(hdr.out.resource_id.get(), id);
            if hdr.sec.ndis_flags != 0 {
                assert_eq!(hdr.sec.ndis_flags, hdr::NDIS_SA_DELETE_REQ);
                asked.push(id);
            }
        }
        asked
    }

    /// The time goes on until the NIC waits no longer for the SA that it has chosen.
    fn wait(&mut self) {
        self.waits += 1;
        let later = Instant::now() + (PATIENCE + Duration::from_secs(1)) * self.waits;
        self.b.room.choose(&self.b.read_tables(), later);
    }
}

#[test]
fn nothing_is_asked_for_up_to_the_mark() {
    for mark in [None, Some(3), Some(4), Some(u32::MAX)] {
        let mut nics = Nics::new(3, mark);
        assert_eq!(nics.asked(&[2, 1, 0, 0, 1, 2]), NONE, "{mark:?}");
        assert_eq!(counter(&nics.b, "ipsec_delete_requests"), 0);
    }
}

#[test]
fn the_least_recently_used_sa_is_asked_for_once() {
    let mut nics = Nics::new(4, None);
    assert_eq!(nics.asked(&[2, 0, 3, 1]), NONE);
    nics.b.delete_above(Some(3));
    // The others were used later.
    assert_eq!(nics.asked(&[1, 3, 0, 2, 2, 0, 1, 3]), [2]);
    assert_eq!(counter(&nics.b, "ipsec_delete_requests"), 1);
    assert_eq!(counter(&nics.b, "ipsec_faults"), 0);
    // It works until the answer comes, which makes room.
    nics.remove(2);
    assert_eq!(nics.asked(&[0, 1, 3]), NONE);
    nics.add(2);
    assert_eq!(nics.asked(&[2, 1, 0]), [0]);
}

#[test]
fn as_many_are_asked_for_as_there_are_too_many() {
    let mut nics = Nics::new(5, Some(3));
    // A new SA counts as used, in the order of creation.
    assert_eq!(nics.asked(&[4, 3, 2, 1, 0, 1, 0, 4]), [0, 4]);
    // Another SA can be deleted instead; what was asked for stays asked for.
    nics.remove(1);
    assert_eq!(nics.asked(&[3, 2, 4, 0]), NONE);
    nics.remove(0);
    nics.add(0);
    nics.add(1);
    assert_eq!(nics.asked(&[0, 1, 2, 3, 2]), [3]);
}

#[test]
fn a_silent_sa_does_not_keep_the_others() {
    let mut nics = Nics::new(3, Some(2));
    assert_eq!(nics.asked(&[1, 2, 1]), NONE, "0 is waited for");
    nics.wait();
    assert_eq!(nics.asked(&[1, 2]), [2]);
    // Again from the first, when all others were waited for.
    nics.add(3);
    assert_eq!(nics.asked(&[1, 3]), NONE);
    (0..3).for_each(|_| nics.wait());
    assert_eq!(nics.asked(&[1, 3, 0]), [0]);
}

#[test]
fn forged_packets_are_no_use_of_an_sa() {
    let mut nics = Nics::new(2, None);
    assert_eq!(nics.asked(&[0, 1]), NONE);
    let mut forged = nics.packet(0);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(received(&nics.b, &mut forged), Some(hdr::SEC_AUTH));
    nics.b.delete_above(Some(1));
    assert_eq!(nics.asked(&[1, 0]), [0]);
}

#[test]
fn a_batch_is_one_moment() {
    let mut nics = Nics::new(3, Some(2));
    let mut batch: Vec<_> = [2, 0, 0, 1]
        .map(|id| Inbound::from(Frame::from(nics.packet(id))))
        .into();
    nics.b.receive_all(&mut batch);
    let flags: Vec<_> = batch.iter().map(|one| one.hdr.sec.ndis_flags).collect();
    assert_eq!(flags, [0, hdr::NDIS_SA_DELETE_REQ, 0, 0]);
    nics.b.delete_above(Some(1));
    // Of those that were used at the same time the first one.
    assert_eq!(nics.asked(&[2, 1]), [1]);
}

#[test]
fn another_address_is_no_use_and_a_reset_forgets() {
    let mut nics = Nics::new(2, Some(1));
    let modified = with_spi(OBJ_INB_SA, 0);
    let command = Command::ObjModify {
        obj_type: OBJ_INB_SA,
        id: 0,
        object: modified.as_bytes(),
    };
    assert_eq!(status(&nics.b, command), DONE);
    assert_eq!(nics.asked(&[1, 0, 1, 0]), [0]);
    nics.b.reset();
    set_up(&nics.b);
    for id in [1, 0] {
        let object = with_spi(OBJ_INB_SA, id);
        assert_eq!(create(&nics.b, OBJ_INB_SA, id, &object), DONE);
    }
    assert_eq!(nics.asked(&[0, 1, 0]), [1]);
}

#[test]
fn outbound_sas_are_never_asked_for() {
    let ipsec = ready(Backend::default());
    ipsec.delete_above(Some(1));
    for id in 0..8 {
        assert_eq!(
            create(&ipsec, OBJ_OUTB_SA, id, &with_spi(OBJ_OUTB_SA, id)),
            DONE
        );
    }
    assert_eq!(
        create(&ipsec, OBJ_INB_SA, 0, &with_spi(OBJ_INB_SA, 0)),
        DONE
    );
    for seq in 1..4 {
        let (hdr, mut wire) = frame(0, seq, b"text");
        send(&ipsec, &hdr, &mut wire).unwrap();
        let mut hdr = NetHdr48::default();
        receive_bytes(&ipsec, &mut wire, &mut hdr);
        assert_eq!((hdr.sec.sec_status, hdr.sec.ndis_flags), (hdr::SEC_OK, 0));
    }
}
