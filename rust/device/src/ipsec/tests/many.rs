// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables that grow and shrink.

use super::*;
use crate::testing::GENERATION;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MOST: u32 = 1 << 20;

/// A NIC with so many SAs of each direction.
fn with_room(limit: u32) -> Engine {
    let ipsec = Engine::new(IpsecConfig {
        inb_sa_limit: limit,
        outb_sa_limit: limit,
        ..IpsecConfig::default()
    });
    set_up(&ipsec);
    ipsec
}

/// An SA with a key and an SPI of its own.
fn own(obj_type: u16, id: u32) -> SaObject {
    let mut object = object(obj_type);
    object.base.spi = SPI.wrapping_add(id).into();
    object.base.cipher_key.data[..4].copy_from_slice(&id.to_be_bytes());
    object
}

/// Whether a packet goes from the outbound SA `id` of `ipsec` to the inbound one.
fn passes(ipsec: &Engine, id: u32) -> bool {
    let (hdr, mut wire) = frame(id, 1, b"one of many");
    wire[testing::ESP..testing::ESP + 4].copy_from_slice(&SPI.wrapping_add(id).to_be_bytes());
    if let Err(drop) = send(ipsec, &hdr, &mut wire) {
        assert_eq!(drop, TxDrop::NoSa);
        return false;
    }
    let mut hdr = NetHdr48::default();
    receive_bytes(ipsec, &mut wire, &mut hdr);
    let sec = &hdr.sec;
    let right = sec.sec_status == hdr::SEC_OK && sec.generation.get() == GENERATION;
    hdr.has(F_SECURITY) && right && hdr.out.resource_id.get() == id
}

#[test]
fn ids_are_below_the_limit() {
    let ipsec = with_room(MOST);
    let ids = [0, 255, 256, 65_535, 70_000, MOST - 257, MOST - 1];
    for obj_type in TYPES {
        for id in ids {
            assert_eq!(create(&ipsec, obj_type, id, &own(obj_type, id)), DONE);
        }
        for id in [MOST, MOST + 1, u32::MAX] {
            let refused = create(&ipsec, obj_type, id, &own(obj_type, 1));
            assert_ne!(refused, DONE, "{id}");
        }
    }
    assert!(ids.iter().all(|&id| passes(&ipsec, id)));
    assert!([1, 254, 257, MOST - 2, MOST, u32::MAX]
        .iter()
        .all(|&id| !passes(&ipsec, id)));
    for obj_type in TYPES {
        for id in ids {
            assert_eq!(destroy(&ipsec, obj_type, id), DONE);
            assert_ne!(destroy(&ipsec, obj_type, id), DONE);
        }
    }
    assert!(!ids.iter().any(|&id| passes(&ipsec, id)));
    let left = ["ipsec_sa_in", "ipsec_sa_out"].map(|name| counter(&ipsec, name));
    assert_eq!(left, [0, 0]);
}

/// Packets of all lengths in one batch, of SAs at random, of which one has been destroyed.
#[test]
fn batches_of_many_sas_go_through() {
    const SAS: u32 = 70;
    let ipsec = with_room(SAS);
    for id in 0..SAS {
        for obj_type in TYPES {
            assert_eq!(create(&ipsec, obj_type, id, &own(obj_type, id)), DONE);
        }
    }
    assert_eq!(destroy(&ipsec, OBJ_INB_SA, 7), DONE);
    let packet = |n: u32| {
        let (id, len) = (n * 31 % SAS, [8, 40, 300, 1400][(n / 16) as usize % 4]);
        let (hdr, mut bytes) = frame(id, n + 1, &vec![n as u8; len]);
        bytes[testing::ESP..testing::ESP + 4].copy_from_slice(&SPI.wrapping_add(id).to_be_bytes());
        (hdr, Frame::from(bytes))
    };
    let clear: Vec<_> = (0..200).map(packet).collect();
    let mut batch: Vec<_> = (0..200).map(packet).collect();
    let mut out = Frames::default();
    assert_eq!(ipsec.transmit_all(&mut batch, LONGEST, &mut out), 0);
    let mut batch: Vec<_> = out.drain().map(Inbound::from).collect();
    assert_eq!(batch.len(), 200);
    ipsec.receive_all(&mut batch);
    for (inbound, (hdr, frame)) in batch.iter().zip(&clear) {
        let id = hdr.out.resource_id.get();
        let opened = inbound.hdr.has(F_SECURITY) && inbound.hdr.sec.sec_status == hdr::SEC_OK;
        assert_eq!(opened, id != 7);
        let text = testing::ESP + 16..frame.len() - testing::ICV;
        assert_eq!(inbound.frame[text.clone()] == frame[text], opened);
        assert!(!opened || inbound.hdr.out.resource_id.get() == id);
    }
}

#[test]
fn a_reset_forgets_all_of_them() {
    let ipsec = with_room(3000);
    for id in 0..3000 {
        assert_eq!(create(&ipsec, OBJ_INB_SA, id, &own(OBJ_INB_SA, id)), DONE);
    }
    assert_eq!(counter(&ipsec, "ipsec_sa_in"), 3000);
    ipsec.reset();
    assert_eq!(counter(&ipsec, "ipsec_sa_in"), 0);
    set_up(&ipsec);
    assert_eq!(
        create(&ipsec, OBJ_INB_SA, 2999, &own(OBJ_INB_SA, 2999)),
        DONE
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Against a map, with ids in several parts of the tables, which become empty and full again.
    #[test]
    fn tables_have_what_a_map_has(
        steps in proptest::collection::vec((any::<bool>(), 0..4u32, 0..3u32, 0..2usize), 0..120)
    ) {
        let ipsec = with_room(2000);
        let mut map = BTreeMap::new();
        for (add, part, place, direction) in steps {
            let (id, obj_type) = (part * 256 + place * 100, TYPES[direction]);
            let expected = if add {
                map.insert((obj_type, id), ()).is_none()
            } else {
                map.remove(&(obj_type, id)).is_some()
            };
            let done = match add {
                true => create(&ipsec, obj_type, id, &own(obj_type, id)),
                false => destroy(&ipsec, obj_type, id),
            };
            prop_assert_eq!(done == DONE, expected);
            let both = TYPES.iter().all(|&obj_type| map.contains_key(&(obj_type, id)));
            prop_assert_eq!(passes(&ipsec, id), both);
        }
        let [inb, outb] = ["ipsec_sa_in", "ipsec_sa_out"].map(|name| counter(&ipsec, name));
        prop_assert_eq!(inb + outb, map.len() as u64);
    }
}
