// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Removal, reset and low power of the NIC.

use crate::fixture::*;
use crate::frame::{esp_of, framed, ipv4, Nic, ESP, TCP};
use crate::rules;
use crate::table::Table;
use espnic_ndis::encapsulation::{Set, IEEE_802_3};
use espnic_ndis::model::flow::receive;
use espnic_ndis::model::leave::{begin_low_power, begin_reset, end_reset, remove};
use espnic_ndis::model::pending::{Done, Kind, Pending, Slot};
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
    let mut pending = Pending::new(&mut slots[..]);
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

/// What the two SAs of `two` do with a packet each: whether it is processed on receive, sent by the
/// NIC; one that is not sent fails.
fn works(adapter: &Adapter, table: &Table, arrives: &[u8], leaves: &(Vec<u8>, SendSlots)) -> bool {
    let (on, config) = (adapter.processing(), adapter.processed());
    let received = receive(on, &config, &mut arrives.to_vec(), table, &Nic(table));
    let sent = check(on, &adapter.snapshot().config, &leaves.1, &leaves.0, table);
    let is_sent = sent != Verdict::Fail(Status::FAILURE);
    assert_eq!(received != Report::NONE, is_sent);
    is_sent
}

/// Takes the adapter through a reset or low power, in which requests that were admitted before end
/// with `status`.
fn interrupted(
    begin: fn(&mut Adapter, &Table, &mut Pending<&mut [Slot]>, &mut Vec<Done>),
    status: Status,
) {
    let (mut adapter, table, handles) = two();
    adapter.set(Oid::ENCAPSULATION, &encapsulate(Set::ON, IEEE_802_3));
    let before = adapter.snapshot();
    let arrives = ipv4(ESP, &esp_of(&table, handles[0], &[7; 40], TCP));
    let leaves = to_send(&table, handles[1]);
    assert!(works(&adapter, &table, &arrives, &leaves));
    let mut slots = [Slot::default(); 4];
    let mut pending = Pending::new(&mut slots[..]);
    pending.accept(5, Kind::Add).unwrap();
    let mut done = Vec::new();
    begin(&mut adapter, &table, &mut pending, &mut done);
    assert_eq!(done.len(), 1);
    assert_eq!(
        (done[0].request_id, done[0].status),
        (5, Status::REQUEST_ABORTED)
    );
    assert!(!works(&adapter, &table, &arrives, &leaves));
    let mut buffer = delete_sa(&[Some(handles[1])]);
    let now = adapter.snapshot();
    let during = send(&now, &table, Oid::DELETE_SA, &mut buffer);
    assert_eq!(during.status, Status::NOT_ACCEPTED);
    // Requests that had been admitted before are cut short as well, and change nothing.
    let late = send(&before, &table, Oid::DELETE_SA, &mut buffer);
    assert_eq!(late.status, status);
    let late = try_add(&before, &table, &outbound(&[gcm(0x300)]));
    assert_eq!(late.unwrap_err().status, status);
    assert_eq!(table.offloaded(), 2);
    end_reset(&mut adapter, &table);
    // Without further requests the same handles name the same SAs, and offloads are on.
    assert!(works(&adapter, &table, &arrives, &leaves));
    let done = send(&adapter.snapshot(), &table, Oid::DELETE_SA, &mut buffer);
    assert_eq!((done.status, table.offloaded()), (Status::SUCCESS, 1));
}

#[test]
fn a_reset_aborts_requests_and_keeps_the_sas() {
    rules(&[41, 40, 144]);
    interrupted(
        |adapter, table, pending, done| {
            begin_reset(adapter, table, pending, |one| done.push(one));
        },
        Status::REQUEST_ABORTED,
    );
}

#[test]
fn low_power_keeps_the_sas() {
    rules(&[40, 144]);
    interrupted(
        |adapter, table, pending, done| {
            begin_low_power(adapter, table, pending, |one| done.push(one));
        },
        Status::NOT_ACCEPTED,
    );
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
