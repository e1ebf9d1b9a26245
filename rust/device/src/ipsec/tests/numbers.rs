// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Extended sequence numbers (RFC 4303 section 2.2.1 and appendix A).

use super::*;
use proptest::prelude::*;

const WRAP: u64 = 1 << 32;

fn esn(obj_type: u16, window: u32, seq: Option<u64>) -> SaObject {
    let mut object = object(obj_type);
    object.base.options = u64::from(cap::OPT_ESN).into();
    if obj_type == OBJ_INB_SA {
        object.base.replay_win_sz = window.into();
    }
    if let Some(seq) = seq {
        object.tail.tail_flags = (object.tail.tail_flags.get() | wire::TAIL_SEQ_VALID).into();
        object.tail.seq = seq.into();
    }
    object
}

fn sender() -> Engine {
    let a = ready(Backend::default());
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, &esn(OBJ_OUTB_SA, 0, None)), DONE);
    a
}

fn receiver(window: u32, top: u64) -> Engine {
    let b = ready(Backend::default());
    let object = esn(OBJ_INB_SA, window, Some(top));
    assert_eq!(create(&b, OBJ_INB_SA, 2, &object), DONE);
    b
}

fn packet(a: &Engine, seq: u64) -> Vec<u8> {
    let (mut hdr, mut wire) = frame(1, seq as u32, b"numbered");
    hdr.sec.seq_half = ((seq >> 32) as u32).into();
    send(a, &hdr, &mut wire).unwrap();
    wire
}

/// Status, and the high half that was used.
fn receive(b: &Engine, mut wire: Vec<u8>) -> (u8, u32) {
    let mut hdr = NetHdr48::default();
    receive_bytes(b, &mut wire, &mut hdr);
    assert!(hdr.has(F_SECURITY | F_X_SEC));
    (hdr.sec.sec_status, hdr.sec.seq_half.get())
}

#[test]
fn the_high_half_is_authenticated() {
    let (a, b) = (sender(), receiver(32, 0));
    assert_eq!(receive(&b, packet(&a, 1)), (hdr::SEC_OK, 0));
    let other = packet(&a, WRAP + 1);
    assert_eq!(receive(&b, other), (hdr::SEC_AUTH, 0));
}

#[test]
fn both_halves_are_used_around_the_wrap() {
    let (a, b) = (sender(), receiver(32, WRAP - 3));
    for seq in [WRAP - 2, WRAP - 1, WRAP, WRAP + 1, WRAP - 1, WRAP + 20] {
        let hi = (seq >> 32) as u32;
        assert_eq!(receive(&b, packet(&a, seq)), (hdr::SEC_OK, hi), "{seq:#x}");
    }
    // Out of the window the number counts as one of the next round, as in the stack.
    assert_eq!(receive(&b, packet(&a, WRAP - 12)).0, hdr::SEC_AUTH);
    assert_eq!(receive(&b, packet(&a, WRAP - 11)).0, hdr::SEC_OK);
}

#[test]
fn only_authentic_packets_advance() {
    let (a, b) = (sender(), receiver(32, 5));
    let mut forged = packet(&a, WRAP - 1);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(receive(&b, forged).0, hdr::SEC_AUTH);
    assert_eq!(receive(&b, packet(&a, 6)), (hdr::SEC_OK, 0));
}

#[test]
fn modify_moves_the_base_or_keeps_it() {
    let (a, b) = (sender(), receiver(64, 7 * WRAP - 10));
    let modify = |object: &SaObject| {
        let modify = Command::ObjModify {
            obj_type: OBJ_INB_SA,
            id: 2,
            object: object.as_bytes(),
        };
        status(&b, modify)
    };
    assert_eq!(receive(&b, packet(&a, 7 * WRAP + 9)), (hdr::SEC_OK, 7));
    assert_eq!(modify(&esn(OBJ_INB_SA, 64, None)), DONE);
    assert_eq!(receive(&b, packet(&a, 7 * WRAP + 10)), (hdr::SEC_OK, 7));
    assert_eq!(modify(&esn(OBJ_INB_SA, 64, Some(9 * WRAP + 100))), DONE);
    assert_eq!(receive(&b, packet(&a, 9 * WRAP + 101)), (hdr::SEC_OK, 9));
    assert_eq!(modify(&esn(OBJ_INB_SA, 65, None)), INVALID_FIELD);
    assert_eq!(modify(&object(OBJ_INB_SA)), INVALID_FIELD);
}

#[test]
fn windows_have_limits() {
    let ipsec = ready(Backend::default());
    for window in [0, 4097, u32::MAX] {
        let object = esn(OBJ_INB_SA, window, None);
        assert_eq!(create(&ipsec, OBJ_INB_SA, 1, &object), INVALID_FIELD);
    }
    for (id, window) in [(1, 1), (2, 4096)] {
        assert_eq!(
            create(&ipsec, OBJ_INB_SA, id, &esn(OBJ_INB_SA, window, None)),
            DONE
        );
    }
    let mut outbound = esn(OBJ_OUTB_SA, 0, None);
    outbound.base.replay_win_sz = 32.into();
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 1, &outbound), INVALID_FIELD);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model knows every packet's true number; the NIC has to find it as long as a packet is not
    /// older than the window.
    #[test]
    fn numbers_are_found_under_loss_and_reordering(
        round in 1u64..5, before in 0u64..3000, window in 32u32..=4096,
        steps in prop::collection::vec((1u64..600, 0u64..6000, any::<bool>()), 1..40)
    ) {
        let start = round * WRAP - before;
        let (a, b) = (sender(), receiver(window, start));
        let mut top = start;
        for (ahead, late, forged) in steps {
            let newest = top + ahead;
            if forged {
                // Must change nothing.
                let mut wire = packet(&a, newest + 50_000);
                wire[60] ^= 4;
                prop_assert_eq!(receive(&b, wire).0, hdr::SEC_AUTH);
            }
            let old = newest.saturating_sub(late);
            prop_assert_eq!(receive(&b, packet(&a, newest)), (hdr::SEC_OK, (newest >> 32) as u32));
            top = newest;
            let in_window = late < u64::from(window);
            let crosses = (old >> 32) != ((old + WRAP - u64::from(window)) >> 32);
            if in_window {
                prop_assert_eq!(receive(&b, packet(&a, old)), (hdr::SEC_OK, (old >> 32) as u32), "{}", crosses);
            }
        }
    }
}

/// In a batch, the first packets of which are not verified when the last one is looked at.
#[test]
fn a_batch_goes_around_the_wrap() {
    let (a, b) = (sender(), receiver(32, WRAP - 10));
    let mut batch: Vec<_> = (WRAP - 9..WRAP + 11)
        .map(|seq| Inbound::from(Frame::from(packet(&a, seq))))
        .collect();
    b.receive_all(&mut batch);
    for (inbound, seq) in batch.iter().zip(WRAP - 9..) {
        let got = (inbound.hdr.sec.sec_status, inbound.hdr.sec.seq_half.get());
        assert_eq!(got, (hdr::SEC_OK, (seq >> 32) as u32), "{seq:#x}");
    }
    assert_eq!(counter(&b, "ipsec_rx_packets"), 20);
}
