// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Removal and reset of the NIC.

use crate::fixture::*;
use crate::frame::{esp_of, framed, ipv4, Nic, ESP, TCP};
use crate::rules;
use crate::table::Table;
use espnic_ndis::encapsulation::{Set, IEEE_802_3};
use espnic_ndis::model::flow::receive;
use espnic_ndis::model::leave::{begin_reset, end_reset, remove};
use espnic_ndis::model::pending::{Kind, Pending, Slot};
use espnic_ndis::model::send::check;
use espnic_ndis::model::{Adapter, Backend, Lookup, Mode, Report, SendSlots, State, Verdict};
use espnic_ndis::oob::{handle_word, SendHeader};
use espnic_ndis::{Handle, Oid, Status};

/// An adapter with two SAs.
fn two() -> (Adapter, Table, [Handle; 2]) {
    let table = Table::new(8);
    let handles = [
        add(&table, &inbound(&[gcm(0x100)]), Mode::Transport),
        add(&table, &outbound(&[gcm(0x200)]), Mode::Transport),
    ];
    (adapter(EVERYTHING), table, handles)
}

/// A packet of an outbound SA with its words.
fn to_send(table: &Table, handle: Handle) -> (Vec<u8>, SendSlots) {
    let shape = table.by_handle(handle).unwrap().esp.unwrap();
    let header = SendHeader {
        next_header: TCP,
        pad_length: 2,
        ah_offset: 0,
        esp_offset: 20,
    };
    let slots = SendSlots {
        ipsec: handle_word(Some(handle)),
        header: header.word().unwrap(),
        ..SendSlots::default()
    };
    (ipv4(ESP, &framed(&shape, &[7; 40], TCP)), slots)
}

#[test]
fn a_nic_that_leaves_removes_its_sas_by_itself() {
    rules(&[89, 90, 40]);
    let (mut adapter, table, handles) = two();
    let before = adapter.snapshot();
    let mut slots = [Slot::default(); 4];
    let mut pending = Pending::new(&mut slots);
    remove(&mut adapter, &table, &mut pending, |_| ());
    // Nobody asked, and nobody sent a DELETE_SA.
    assert_eq!(table.offloaded(), 0);
    assert!(table.removed().is_empty());
    assert!(handles
        .iter()
        .all(|handle| table.by_handle(*handle).is_none()));
    assert_eq!(adapter.state(), State::Removed);
    let refused = try_add(&adapter.snapshot(), &table, &outbound(&[gcm(0x300)]));
    assert_eq!(refused.unwrap_err().status, Status::NOT_ACCEPTED);
    // An addition that had been admitted before brings nothing back.
    let late = try_add(&before, &table, &outbound(&[gcm(0x300)]));
    assert_eq!(late.unwrap_err().status, Status::NOT_ACCEPTED);
    assert_eq!(table.offloaded(), 0);
    let mut buffer = delete_sa(&[Some(handles[0])]);
    let done = send(&adapter.snapshot(), &table, Oid::DELETE_SA, &mut buffer);
    assert_eq!(done.status, Status::NOT_ACCEPTED);
}

#[test]
fn a_reset_aborts_requests_and_drops_the_sas() {
    rules(&[41, 40]);
    let (mut adapter, table, handles) = two();
    let before = adapter.snapshot();
    let (packet, words) = to_send(&table, handles[1]);
    let sent = || check(true, &EVERYTHING, &words, &packet, &table);
    let fails = Verdict::Fail(Status::FAILURE);
    assert_ne!(sent(), fails);
    let mut slots = [Slot::default(); 4];
    let mut pending = Pending::new(&mut slots);
    pending.accept(5, Kind::Add).unwrap();
    let mut done = Vec::new();
    begin_reset(&mut adapter, &table, &mut pending, |one| done.push(one));
    assert_eq!(done.len(), 1);
    assert_eq!(
        (done[0].request_id, done[0].status),
        (5, Status::REQUEST_ABORTED)
    );
    assert_eq!(table.offloaded(), 0);
    assert_eq!(sent(), fails);
    let mut buffer = delete_sa(&[Some(handles[1])]);
    let during = send(&adapter.snapshot(), &table, Oid::DELETE_SA, &mut buffer);
    assert_eq!(during.status, Status::NOT_ACCEPTED);
    // An addition that had been admitted before is cut short as well, and so not refused.
    let late = try_add(&before, &table, &outbound(&[gcm(0x300)]));
    assert_eq!(late.unwrap_err().status, Status::REQUEST_ABORTED);
    assert_eq!(table.offloaded(), 0);
    end_reset(&mut adapter, &table);
    // The old handles stay dead; new SAs can be added.
    assert!(table.by_handle(handles[1]).is_none());
    let new = try_add(&adapter.snapshot(), &table, &outbound(&[gcm(0x200)])).unwrap();
    assert!(!handles.contains(&new));
    assert_eq!(sent(), fails);
}

#[test]
fn sas_stay_over_a_pause() {
    rules(&[65]);
    let (mut adapter, table, handles) = two();
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    // The packets bring a handle or an SPI, and no keys.
    let works = |adapter: &Adapter| {
        let mut arrives = ipv4(ESP, &esp_of(&table, handles[0], &[7; 40], TCP));
        let (leaves, slots) = to_send(&table, handles[1]);
        let (on, config) = (adapter.processing(), adapter.processed());
        let sent = check(on, &adapter.snapshot().config, &slots, &leaves, &table);
        assert!(matches!(sent, Verdict::Crypto(job) if job.handle == handles[1]));
        let received = receive(on, &config, &mut arrives, &table, &Nic(&table));
        assert_ne!(received, Report::NONE);
    };
    works(&adapter);
    adapter.set_state(State::Paused);
    let mut nothing = delete_sa(&[None]);
    let during = send(&adapter.snapshot(), &table, Oid::DELETE_SA, &mut nothing);
    assert_eq!(during.status, Status::SUCCESS);
    adapter.set_state(State::Running);
    works(&adapter);
}
