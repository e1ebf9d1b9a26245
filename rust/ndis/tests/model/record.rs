// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The out-of-band words of received packets: the whole matrix, versions 1 and 2.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::model::receive::asks_for_room;
use espnic_ndis::model::send::copy_info;
use espnic_ndis::model::{Check, Mode, Record, Report, SendSlots, Work};
use espnic_ndis::nbl::Slot;
use espnic_ndis::oob::{CryptoStatus, Receive, ReceiveHeader, ReceiveV1};

const CHECKS: [Check; 6] = [
    Check::Good,
    Check::AhFailed,
    Check::EspFailed,
    Check::Syntax,
    Check::Protocol,
    Check::Other,
];

/// Every kind of work.
fn works() -> Vec<Work> {
    let mut works = vec![Work::None];
    for check in CHECKS {
        for mode in [Mode::ByPacket, Mode::Transport, Mode::Tunnel] {
            works.push(Work::Single { mode, check });
        }
        works.push(Work::Nested {
            tunnel: check,
            transport: None,
        });
        works.extend(CHECKS.map(|transport| Work::Nested {
            tunnel: check,
            transport: Some(transport),
        }));
    }
    works
}

fn report(work: Work) -> Report {
    Report {
        work,
        ..Report::NONE
    }
}

/// CryptoDone, NextCryptoDone, CryptoStatus.
fn flags(work: Work) -> (u8, u8, u16) {
    let word = Receive::from_word(report(work).record().ipsec);
    (
        word.crypto_done.into(),
        word.next_crypto_done.into(),
        word.status.0,
    )
}

fn single(mode: Mode, check: Check) -> (u8, u8, u16) {
    flags(Work::Single { mode, check })
}

fn nested(tunnel: Check, transport: Option<Check>) -> (u8, u8, u16) {
    flags(Work::Nested { tunnel, transport })
}

#[test]
fn the_matrix_of_version_2() {
    rules(&[117, 118, 119, 120]);
    use Check::{AhFailed, EspFailed, Good, Other, Protocol, Syntax};
    assert_eq!(flags(Work::None), (0, 0, 0));
    for (mode, ah, esp) in [(Mode::Transport, 2, 3), (Mode::Tunnel, 4, 5)] {
        assert_eq!(single(mode, Good), (1, 0, 0));
        assert_eq!(single(mode, AhFailed), (1, 0, ah));
        assert_eq!(single(mode, EspFailed), (1, 0, esp));
        assert_eq!(single(mode, Syntax), (1, 0, 6));
        assert_eq!(single(mode, Protocol), (1, 0, 7));
        assert_eq!(single(mode, Other), (1, 0, 1));
    }
    assert_eq!(nested(Good, Some(Good)), (1, 1, 0));
    assert_eq!(nested(Good, None), (1, 0, 0));
    assert_eq!(nested(Good, Some(AhFailed)), (1, 1, 2));
    assert_eq!(nested(Good, Some(EspFailed)), (1, 1, 3));
    for transport in CHECKS.map(Some).into_iter().chain([None]) {
        assert_eq!(nested(AhFailed, transport), (1, 0, 4));
        assert_eq!(nested(EspFailed, transport), (1, 0, 5));
        assert_eq!(nested(Syntax, transport), (1, 0, 6));
        assert_eq!(nested(Protocol, transport), (1, 0, 7));
    }
}

#[test]
fn flags_and_status_never_contradict_each_other() {
    rules(&[117, 118, 119, 120, 121]);
    for work in works() {
        let (done, next, status) = flags(work);
        assert!(next <= done);
        assert!(CryptoStatus(status).name().is_some());
        assert!(done == 1 || status == CryptoStatus::SUCCESS.0);
        assert_eq!(done == 0, work == Work::None);
    }
}

#[test]
fn nothing_done_is_a_word_of_zeros() {
    rules(&[114, 119, 121]);
    assert_eq!(Report::NONE.record(), Record::default());
    // Also if somebody claims to know a trailer.
    let odd = Report {
        trailer: Some((6, 2)),
        ..Report::NONE
    };
    assert_eq!(odd.record(), Record::default());
    // Version 1 says CRYPTO_SUCCESS of a packet that was not decrypted, which is 0.
    let v1 = ReceiveV1::from_word(Report::NONE.record().v1);
    assert_eq!((v1.flags, v1.status), (0, CryptoStatus::SUCCESS));
}

#[test]
fn version_1_has_the_same_bits() {
    rules(&[121, 122]);
    for work in works() {
        for sa_delete_request in [false, true] {
            let record = Report {
                sa_delete_request,
                ..report(work)
            }
            .record();
            assert_eq!(record.v1, record.ipsec);
            let (v1, v2) = (
                ReceiveV1::from_word(record.v1),
                Receive::from_word(record.ipsec),
            );
            assert_eq!(v1.status, v2.status);
            assert_eq!(v1.flags & 1 != 0, v2.sa_delete_req);
            assert_eq!(v1.flags & 2 != 0, v2.crypto_done);
            assert_eq!(v1.flags & 4 != 0, v2.next_crypto_done);
            assert_eq!(v1.flags & !7, 0);
        }
    }
}

#[test]
fn a_delete_request_comes_with_any_other_word() {
    rules(&[86]);
    for work in works() {
        let plain = report(work).record();
        let asking = Report {
            sa_delete_request: true,
            ..report(work)
        }
        .record();
        assert_eq!(asking.ipsec, plain.ipsec | 1);
        assert_eq!(asking.header, plain.header);
    }
    assert!(!asks_for_room(6, 6) && asks_for_room(7, 6));
}

#[test]
fn the_trailer_counts_only_with_header_info_set() {
    rules(&[125]);
    for work in works() {
        let record = Report {
            trailer: Some((17, 9)),
            ..report(work)
        }
        .record();
        let (done, _, status) = flags(work);
        let header = ReceiveHeader::from_word(record.header);
        if done == 1 && status == 0 {
            assert_eq!(header.info(), Some((17, 9)));
            assert_eq!(record.header, 0x0001_0911);
        } else {
            // What was not opened has no trailer.
            assert_eq!(record.header, 0);
            assert_eq!(header.info(), None);
        }
    }
}

#[test]
fn a_clone_has_the_ipsec_words() {
    rules(&[128]);
    let from: Vec<u64> = (100..128).collect();
    let mut to = vec![0; 28];
    copy_info(&from, &mut to);
    for (slot, word) in to.iter().enumerate() {
        let ipsec = [Slot::IPSEC.0, Slot::IPSEC_TUNNEL.0, Slot::IPSEC_HEADER.0];
        let expected = if ipsec.contains(&slot) { from[slot] } else { 0 };
        assert_eq!(*word, expected);
    }
    let slots = SendSlots::of(&to);
    assert_eq!((slots.ipsec, slots.tunnel, slots.header), (101, 111, 112));
    assert_eq!(slots.large_send, 0);
    // NDIS 6.1 has 13 slots; a shorter array loses nothing that it has.
    let mut short = vec![0; 12];
    copy_info(&from, &mut short);
    assert_eq!((short[1], short[11]), (101, 111));
}

#[test]
fn both_sas_stay_until_the_delete_comes() {
    rules(&[88]);
    use crate::frame::{esp_of, ipv4, receive, ESP, TCP};
    use espnic_ndis::model::{send, transport, Backend, Lookup, Verdict};
    use espnic_ndis::oob::SendHeader;
    let table = Table::new(2);
    let arrived = add(&table, &inbound(&[gcm(0x100)]), Mode::Transport);
    let other = add(&table, &outbound(&[gcm(0x200)]), Mode::Transport);
    let asking = Report {
        sa_delete_request: asks_for_room(table.offloaded(), 1),
        ..receive(&table, ipv4(ESP, &esp_of(&table, arrived, &[7; 40], TCP)))
    };
    assert!(asking.sa_delete_request);
    // It has asked; receiving and sending go on with both.
    let works = || {
        let packet = ipv4(ESP, &esp_of(&table, arrived, &[7; 40], TCP));
        let good = receive(&table, packet).record().ipsec == 2;
        let shape = table.by_handle(other).and_then(|sa| sa.esp);
        let sent = shape.map(|shape| {
            let packet = ipv4(ESP, &crate::frame::framed(&shape, &[7; 40], TCP));
            let header = SendHeader {
                next_header: TCP,
                pad_length: 2,
                ah_offset: 0,
                esp_offset: 20,
            };
            let slots = SendSlots {
                ipsec: other.get(),
                header: header.word().unwrap(),
                ..SendSlots::default()
            };
            send::check(true, &EVERYTHING, &slots, &packet, &table)
        });
        (good, matches!(sent, Some(Verdict::Crypto(_))))
    };
    assert_eq!(works(), (true, true));
    assert_eq!(works(), (true, true));
    let slot = asking.record().ipsec;
    for handle in transport::answer(slot, arrived, Some(other)) {
        assert_eq!(table.offloaded(), if handle == arrived { 2 } else { 1 });
        let mut buffer = delete_sa(&[Some(handle)]);
        let done = crate::fixture::send(
            &snapshot(EVERYTHING),
            &table,
            espnic_ndis::Oid::DELETE_SA,
            &mut buffer,
        );
        assert!(done.status.is_success());
    }
    assert_eq!(table.removed(), [arrived, other]);
}
