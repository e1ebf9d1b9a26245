// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DELETE_SA.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::model::{Backend, Capabilities, Lookup, Mode, RemoveError, State};
use espnic_ndis::oob::{handle_word, SendHeader};
use espnic_ndis::sa::{build, DeleteSa, Operation, Spi};
use espnic_ndis::{Handle, Oid, Status, U64};
use std::mem::offset_of;
use zerocopy::IntoBytes as _;

fn three(table: &Table) -> [Handle; 3] {
    [0x100, 0x101, 0x102].map(|spi| add(table, &outbound(&[gcm(spi)]), Mode::ByPacket))
}

fn delete(table: &Table, handles: &[Option<Handle>]) -> Status {
    let mut buffer = delete_sa(handles);
    send(&snapshot(EVERYTHING), table, Oid::DELETE_SA, &mut buffer).status
}

#[test]
fn every_named_bundle_is_removed() {
    rules(&[81]);
    let table = Table::new(8);
    let [a, b, c] = three(&table);
    assert_eq!(delete(&table, &[Some(c), Some(a)]), Status::SUCCESS);
    assert_eq!(table.removed(), [c, a]);
    assert!(table.by_handle(b).is_some());
    assert_eq!(table.offloaded(), 1);
    // What a removed bundle took is free again.
    let tight = Table::new(1);
    let first = add(&tight, &outbound(&[gcm(0x100)]), Mode::ByPacket);
    assert_eq!(delete(&tight, &[Some(first)]), Status::SUCCESS);
    add(&tight, &outbound(&[gcm(0x100)]), Mode::ByPacket);
}

#[test]
fn a_deleted_handle_is_dead() {
    rules(&[76, 74]);
    let table = Table::new(8);
    let [a, ..] = three(&table);
    assert_eq!(delete(&table, &[Some(a)]), Status::SUCCESS);
    assert!(table.by_handle(a).is_none());
    let mut update = build::update_sa(Some(a), Operation::ESP, Spi::new(0x100), 1);
    let done = send(
        &snapshot(EVERYTHING),
        &table,
        Oid::UPDATE_SA,
        update.as_mut_bytes(),
    );
    assert_eq!(done.status, Status::INVALID_PARAMETER);
    let slots = espnic_ndis::model::SendSlots {
        ipsec: handle_word(Some(a)),
        header: SendHeader::default().word().unwrap(),
        ..Default::default()
    };
    let verdict = espnic_ndis::model::send::check(true, &EVERYTHING, &slots, &[], &table);
    assert_eq!(verdict, espnic_ndis::model::Verdict::Fail(Status::FAILURE));
    // Deleting it once more, an unknown handle and NULL: nothing to do, and so success.
    for nothing in [Some(a), Handle::new(0x7777), None] {
        assert_eq!(delete(&table, &[nothing]), Status::SUCCESS);
    }
    assert_eq!(table.offloaded(), 2);
    // No later bundle gets the handle again.
    for _ in 0..4 {
        assert_ne!(add(&table, &outbound(&[gcm(0x200)]), Mode::ByPacket), a);
    }
}

#[test]
fn the_statuses_are_success_not_accepted_and_aborted() {
    rules(&[82, 84, 42]);
    let table = Table::new(8);
    let [a, b, _] = three(&table);
    for (error, status) in [
        (RemoveError::Leaving, Status::NOT_ACCEPTED),
        (RemoveError::Aborted, Status::REQUEST_ABORTED),
        (RemoveError::Unknown, Status::SUCCESS),
    ] {
        table.refuse_removal(Some(error));
        assert_eq!(delete(&table, &[Some(a), Some(b)]), status);
    }
    table.refuse_removal(None);
    for state in [State::Resetting, State::Removed, State::LowPower] {
        let mut at = snapshot(EVERYTHING);
        at.state = state;
        let mut buffer = delete_sa(&[Some(a)]);
        let done = send(&at, &table, Oid::DELETE_SA, &mut buffer);
        assert_eq!(done.status, Status::NOT_ACCEPTED);
    }
    assert!(table.by_handle(a).is_some());
    let mut paused = snapshot(EVERYTHING);
    paused.state = State::Paused;
    let mut buffer = delete_sa(&[Some(a)]);
    let done = send(&paused, &table, Oid::DELETE_SA, &mut buffer);
    assert_eq!(done.status, Status::SUCCESS);
}

#[test]
fn sas_outlive_the_capabilities_and_can_be_deleted() {
    rules(&[82, 81]);
    let table = Table::new(8);
    let [a, b, c] = three(&table);
    let mut adapter = adapter(EVERYTHING);
    adapter.hardware_changed(hardware(Capabilities::NONE));
    let refused = try_add(&adapter.snapshot(), &table, &outbound(&[gcm(0x200)]));
    assert_eq!(refused.unwrap_err().status, Status::NOT_SUPPORTED);
    for handles in [vec![Some(b)], vec![Some(a), Some(c)]] {
        let mut buffer = delete_sa(&handles);
        let done = send(&adapter.snapshot(), &table, Oid::DELETE_SA, &mut buffer);
        assert_eq!(done.status, Status::SUCCESS);
    }
    assert_eq!(table.offloaded(), 0);
}

#[test]
fn next_leads_over_a_gap_and_null_ends_the_list() {
    rules(&[81]);
    let next = |n: usize| n * size_of::<DeleteSa>() + offset_of!(DeleteSa, next);
    let table = Table::new(8);
    let [a, b, c] = three(&table);
    let mut over = delete_sa(&[Some(a), Some(b), Some(c)]);
    over[next(0)..][..8].copy_from_slice(U64::new(0x30).as_bytes());
    let done = send(&snapshot(EVERYTHING), &table, Oid::DELETE_SA, &mut over);
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.removed(), [a, c]);
    assert!(table.by_handle(b).is_some());
    // A good element behind the end of the list is not looked at.
    let table = Table::new(8);
    let [a, b, c] = three(&table);
    let mut ends = delete_sa(&[Some(a), Some(b), Some(c)]);
    ends[next(1)..][..8].copy_from_slice(U64::new(0).as_bytes());
    let done = send(&snapshot(EVERYTHING), &table, Oid::DELETE_SA, &mut ends);
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.removed(), [a, b]);
    assert!(table.by_handle(c).is_some());
}

#[test]
fn what_could_not_be_deleted_receives_nothing_any_more() {
    rules(&[85]);
    use crate::frame::{esp_of, ipv4, receive, udp, TCP, UDP};
    use espnic_ndis::model::{Check, Report, Work};
    use espnic_ndis::sa::UdpEsp;
    let table = Table::new(8);
    let associations = [gcm(0x100)];
    let bundle = build::Bundle {
        udp_esp: UdpEsp::TRANSPORT,
        ..inbound(&associations)
    };
    let handle = add(&table, &bundle, Mode::Transport);
    let packet = || {
        let esp = esp_of(&table, handle, &[7; 40], TCP);
        ipv4(UDP, &udp(4500, &esp))
    };
    let good = Work::Single {
        mode: Mode::Transport,
        check: Check::Good,
    };
    assert_eq!(receive(&table, packet()).work, good);
    table.refuse_removal(Some(RemoveError::Aborted));
    assert_eq!(delete(&table, &[Some(handle)]), Status::REQUEST_ABORTED);
    assert_eq!(receive(&table, packet()), Report::NONE);
    table.refuse_removal(None);
    assert_eq!(delete(&table, &[Some(handle)]), Status::SUCCESS);
    assert_eq!(table.offloaded(), 0);
}

#[test]
fn a_list_that_cannot_be_followed_removes_nothing() {
    rules(&[37, 38, 81]);
    let table = Table::new(8);
    let [a, b, _] = three(&table);
    let good = delete_sa(&[Some(a), Some(b)]);
    let next = size_of::<DeleteSa>() + offset_of!(DeleteSa, next);
    let mut lists = Vec::new();
    for link in [0x18u64, 8, 0x1c, 0x30, u64::MAX] {
        let mut list = good.clone();
        list[next..next + 8].copy_from_slice(U64::new(link).as_bytes());
        lists.push((list, Status::INVALID_DATA));
    }
    let mut header = good.clone();
    header[0x18] = 0x96;
    lists.push((header, Status::INVALID_DATA));
    lists.push((good[..0x2c].to_vec(), Status::INVALID_LENGTH));
    lists.push((vec![], Status::INVALID_LENGTH));
    for (mut list, status) in lists {
        let done = send(&snapshot(EVERYTHING), &table, Oid::DELETE_SA, &mut list);
        assert_eq!(done.status, status);
        assert_eq!(done.needed > 0, status == Status::INVALID_LENGTH);
        assert_eq!(table.offloaded(), 3);
    }
}
