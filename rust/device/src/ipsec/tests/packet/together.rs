// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets that are encrypted or decrypted together must come out as if each had been alone.

use super::segments::big;
use super::state::read;
use super::*;
use crate::ipsec::tests::ciphers::Algorithms;
use espnic_wire::event::MASK_ALL;
use espnic_wire::state::{OBJ_INB_STATE, OBJ_OUTB_STATE};
use proptest::prelude::*;

/// More than are ever worked on together, and more than are looked at together.
const MANY: usize = 100;

/// Everything with AES-CBC, and others in between.
fn algorithms() -> Vec<Algorithms> {
    let all = Algorithms::all().into_iter().enumerate();
    all.filter(|(n, one)| one.is_cbc() || n % 5 == 0)
        .map(|(_, one)| one)
        .collect()
}

/// The SA `id`, one with ESN if that is even, which begins behind `seq`.
fn object(obj_type: u16, id: u32, seq: u64) -> SaObject {
    let all = algorithms();
    let mut object = all[id as usize].object(obj_type, false);
    object.base.spi = (SPI + id).into();
    object.base.cipher_key.data[0] ^= id as u8;
    object = convert(object, PATHS[id as usize % PATHS.len()]);
    if obj_type == OBJ_INB_SA {
        object.base.replay_win_sz = 32.into();
        object.tail.event_mask = MASK_ALL.into();
    }
    if id % 2 == 0 {
        object = with_esn(object);
    }
    behind(object, seq)
}

/// An engine with all these SAs, changed by `change`.
fn engine(obj_type: u16, seq: u64, change: impl Fn(u32, &mut SaObject)) -> Engine {
    let engine = with_libraries(Libraries::default());
    set_up(&engine);
    for id in 0..algorithms().len() as u32 {
        let mut object = object(obj_type, id, seq);
        change(id, &mut object);
        assert_eq!(create(&engine, obj_type, id, &object), DONE);
    }
    engine
}

/// A plain frame for the SA `id`, with `len` bytes of data.
fn plain(id: u32, len: usize) -> (NetHdr48, Vec<u8>) {
    let path = PATHS[id as usize % PATHS.len()];
    let (mut hdr, frame, _) = udp(path.inner()[0], &vec![id as u8; len]);
    hdr.out.resource_id = id.into();
    (hdr, frame)
}

fn receive_all(b: &Engine, wires: &[Vec<u8>]) -> Vec<(NetHdr48, Vec<u8>)> {
    let inbound = |wire: &Vec<u8>| Inbound::new(wire.clone().into(), Verdict::Ipsec);
    let mut batch: Vec<_> = wires.iter().map(inbound).collect();
    b.receive_all(&mut batch);
    let parts = |inbound: Inbound| (inbound.hdr, inbound.frame.into());
    batch.into_iter().map(parts).collect()
}

/// All that an engine has counted, and its events.
fn account(engine: &Engine, state_type: u16) -> impl PartialEq + std::fmt::Debug {
    let stats = serde_json::to_value(engine.stats()).unwrap();
    let ids = 0..algorithms().len() as u32;
    let states: Vec<_> = ids.map(|id| read(engine, state_type, id)).collect();
    let mut events: Vec<_> = std::iter::from_fn(|| engine.events.pop())
        .map(|event| event.as_bytes().to_vec())
        .collect();
    // Those of several SAs may come in another order.
    events.sort();
    (stats, format!("{states:?}"), events)
}

/// What may happen to a packet on its way.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It comes.
    Fresh,
    /// It comes as the one so many before it.
    Again(usize),
    /// Its last byte, or that of the padding, is wrong.
    Forged,
    /// It lacks its last byte, and the IP header knows.
    Short,
    /// Its number is so far ahead that the high half may be another one.
    Ahead,
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        6 => Just(Way::Fresh),
        2 => (0usize..40).prop_map(Way::Again),
        1 => Just(Way::Forged),
        1 => Just(Way::Short),
        1 => Just(Way::Ahead),
    ]
}

fn shorten(wire: &mut Vec<u8>) {
    wire.pop();
    if wire[14] >> 4 == 4 {
        wire[17] = wire[17].wrapping_sub(1);
        testing::correct(wire);
    } else {
        wire[19] = wire[19].wrapping_sub(1);
    }
}

/// What comes from the wire, for SAs that are chosen by `ids`.
fn wires(plan: &[(u32, Way)]) -> Vec<Vec<u8>> {
    let unchanged = |_, _: &mut SaObject| ();
    let near = engine(OBJ_OUTB_SA, 0, unchanged);
    let far = engine(OBJ_OUTB_SA, 0x8000_0010, unchanged);
    let mut wires: Vec<Vec<u8>> = Vec::new();
    for &(id, way) in plan {
        let (hdr, frame) = plain(id % algorithms().len() as u32, 30 + wires.len());
        let sender = match way {
            Way::Ahead => &far,
            _ => &near,
        };
        let mut wire = one(sender, &hdr, &frame);
        match way {
            Way::Fresh | Way::Ahead => (),
            Way::Again(before) => {
                let before = wires.len().checked_sub(before + 1);
                wire = before.map_or(wire, |before| wires[before].clone());
            }
            Way::Forged => *wire.last_mut().unwrap() ^= 1,
            Way::Short => shorten(&mut wire),
        }
        wires.push(wire);
    }
    wires
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Windows, limits, high halves and counters are those of one packet after the other.
    #[test]
    fn received_together_as_one_by_one(
        plan in prop::collection::vec((0u32..4, way()), 1..MANY),
        spread in prop::sample::select(vec![1, 3, 7]),
        limit in 1u64..40,
        faults in 0u32..8,
    ) {
        let plan: Vec<_> = plan.into_iter().map(|(id, way)| (id * spread, way)).collect();
        let limited = |id: u32, object: &mut SaObject| if id % 3 == 0 {
            add_option(object, cap::OPT_SA_LIFETIME);
            object.base.packets_hard_limit = limit.into();
            object.base.bytes_soft_limit = (limit * 50).into();
        };
        let [together, alone] = [(); 2].map(|()| engine(OBJ_INB_SA, 0, limited));
        let wires = wires(&plan);
        for engine in [&together, &alone] {
            engine.faults.leave_unsupported(faults);
        }
        let got = receive_all(&together, &wires);
        let expected: Vec<_> = wires.iter().map(|wire| by_rule(&alone, wire)).collect();
        prop_assert_eq!(got, expected);
        let accounts = [&together, &alone].map(|engine| account(engine, OBJ_INB_STATE));
        prop_assert_eq!(&accounts[0], &accounts[1]);
    }
}

/// What fails is delivered as it came, if the SA wants it so, also what was decrypted with others.
#[test]
fn what_comes_twice_in_a_batch_stays_as_it_came() {
    let delivers = |_, object: &mut SaObject| set_flags(object, wire_flags(), 0);
    let b = engine(OBJ_INB_SA, 0, delivers);
    let ids = 0..algorithms().len() as u32;
    let plan: Vec<_> = ids
        .flat_map(|id| [(id, Way::Fresh), (id, Way::Again(0)), (id, Way::Forged)])
        .collect();
    let wires = wires(&plan);
    let got = receive_all(&b, &wires);
    let status = |(hdr, _): &(NetHdr48, Vec<u8>)| hdr.sec.sec_status;
    for (wires, got) in wires.chunks(3).zip(got.chunks(3)) {
        let statuses: Vec<_> = got.iter().map(status).collect();
        assert_eq!(statuses, [hdr::SEC_OK, hdr::SEC_REPLAY, hdr::SEC_AUTH]);
        assert_eq!((&got[1].1, &got[2].1), (&wires[1], &wires[2]));
    }
}

fn wire_flags() -> u16 {
    super::super::wire::TAIL_DELIVER_ERR
}

/// A batch of frames for the SAs of `ids`, sent together.
fn send_all(a: &Engine, frames: &[(NetHdr48, Vec<u8>)]) -> (Vec<Vec<u8>>, usize) {
    let mut batch: Vec<_> = frames
        .iter()
        .map(|(hdr, frame)| (*hdr, Frame::from(frame.clone())))
        .collect();
    let mut out = Frames::default();
    let dropped = a.transmit_all(&mut batch, LONGEST, &mut out);
    (out.drain().map(Vec::from).collect(), dropped)
}

/// IVs are drawn anew for each packet, so what goes out is compared by what comes in.
#[test]
fn sent_together_as_one_by_one() {
    for (spread, limit) in [(1, 0), (1, 7), (7, 3), (5, 40)] {
        let limited = |id: u32, object: &mut SaObject| {
            object.tail.event_mask = MASK_ALL.into();
            if limit != 0 && id % 2 == 0 {
                add_option(object, cap::OPT_SA_LIFETIME);
                object.base.packets_hard_limit = limit.into();
            }
        };
        let [together, alone] = [(); 2].map(|()| engine(OBJ_OUTB_SA, 0, limited));
        let count = algorithms().len() as u32;
        let mut frames: Vec<_> = (0..MANY as u32)
            .map(|n| plain(n / 9 * spread % count, 8 + n as usize * 13))
            .collect();
        let (mut large, frame) = big(false, 5000, 900);
        large.out.resource_id = 0.into();
        frames.insert(50, (large, frame));
        let (wires, dropped) = send_all(&together, &frames);
        let sent = frames
            .iter()
            .map(|(hdr, frame)| transmit(&alone, hdr, frame));
        let results: Vec<_> = sent.collect();
        assert_eq!(dropped, results.iter().filter(|sent| sent.is_err()).count());
        let expected: Vec<_> = results.into_iter().flatten().flatten().collect();
        // The outer headers, SPI and number.
        let heads = |wires: &[Vec<u8>]| -> Vec<_> {
            let head = |wire: &Vec<u8>| (wire.len(), wire[..42].to_vec());
            wires.iter().map(head).collect()
        };
        assert_eq!(heads(&wires), heads(&expected));
        let [one, other] = [(); 2].map(|()| engine(OBJ_INB_SA, 0, |_, _| ()));
        let got = receive_all(&one, &wires);
        assert!(got.iter().all(|(hdr, _)| hdr.has(F_SECURITY)));
        assert_eq!(got, receive_all(&other, &expected));
        let accounts = [&together, &alone].map(|engine| account(engine, OBJ_OUTB_STATE));
        assert_eq!(&accounts[0], &accounts[1]);
    }
}

/// Over IPv6 the checksum of UDP is over what is encrypted.
#[test]
fn checksums_of_ciphertext_are_right() {
    for path in [
        Path::Tunnel { v6: true },
        Path::Tunnel { v6: false },
        Path::Transport { v6: true },
    ] {
        let cbc = algorithms().into_iter().find(Algorithms::is_cbc).unwrap();
        let [outbound, inbound] =
            TYPES.map(|obj_type| in_udp(convert(cbc.object(obj_type, false), path)));
        let (a, b) = (
            with_libraries(Libraries::default()),
            with_libraries(Libraries::default()),
        );
        [&a, &b].map(set_up);
        assert_eq!(create(&a, OBJ_OUTB_SA, 1, &outbound), DONE);
        assert_eq!(create(&b, OBJ_INB_SA, 2, &inbound), DONE);
        let frames: Vec<_> = (0..20)
            .map(|n| udp(path.inner()[0], &[n; 99]))
            .map(|(hdr, frame, _)| (hdr, frame))
            .collect();
        let (wires, dropped) = send_all(&a, &frames);
        assert_eq!((wires.len(), dropped), (20, 0));
        for wire in &wires {
            let udp = if path.v6() { 54 } else { 34 };
            let field = [wire[udp + 6], wire[udp + 7]];
            let mut whole = wire.clone();
            let addresses = wire[22..54].to_vec();
            let len = wire.len() - udp;
            if path.v6() {
                let sum = espnic_esp::checksum::Sum::of(&addresses)
                    .plus(17)
                    .plus(len as u32);
                whole[udp + 6..udp + 8].copy_from_slice(&sum.folded().to_be_bytes());
                assert!(complete(&mut whole, udp, 6, wire.len()));
                assert_eq!(field, [whole[udp + 6], whole[udp + 7]], "{path:?}");
            } else {
                assert_eq!(field, [0; 2]);
            }
        }
        let got = receive_all(&b, &wires);
        assert!(got.iter().all(|(hdr, _)| hdr.has(hdr::F_DATA_VALID)));
    }
}
