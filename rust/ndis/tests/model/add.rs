// SPDX-License-Identifier: GPL-2.0 OR MIT

//! ADD_SA and ADD_SA_EX: lists, partial success, NULL handles, rollback, capacity.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::{direct, Backend, Capabilities, Lookup, Salt};
use espnic_ndis::model::{Convention, Direct, IcvUnit, RemoveError, State};
use espnic_ndis::sa::{AddSa, AddSaEx, AddSaFixed, Operation};
use espnic_ndis::{Handle, Oid, Ptr, Status, Version, U16, U32, U64};
use std::mem::offset_of;
use zerocopy::IntoBytes as _;

/// Overwrites bytes of a buffer.
fn poke(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    buffer[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn each_element_of_a_list_is_a_bundle_of_its_own() {
    rules(&[44, 46, 48, 73, 74]);
    let table = Table::new(8);
    let sas = [[gcm(0x100)], [gcm(0x101)], [gcm(0x102)]];
    let bundles = [outbound(&sas[0]), inbound(&sas[1]), outbound(&sas[2])];
    let (mut buffer, offsets) = add_sa(&bundles);
    let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
    assert_eq!(completion.status, Status::SUCCESS);
    assert_eq!(completion.done as usize, buffer.len());
    let handles: Vec<Handle> = handles(&buffer, &offsets).into_iter().flatten().collect();
    assert_eq!(handles.len(), 3);
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(handles.iter().filter(|other| *other == handle).count(), 1);
        let shape = table.by_handle(*handle).unwrap();
        assert_eq!(shape.spi(Operation::ESP).unwrap().get(), 0x100 + n as u32);
        assert_eq!(shape.inbound, n == 1);
    }
}

#[test]
fn a_list_succeeds_with_one_element_and_the_others_carry_null() {
    rules(&[45, 46]);
    let table = Table::new(8);
    let good = [gcm(0x100)];
    // SPI 0, an ICV length that AES-GCM does not have: each fails on its own.
    let (zero, mut icv) = ([gcm(0)], [gcm(0x102)]);
    icv[0].encryption = Some(algorithm(Encryption::AES_GCM_128, 0, 20, 13));
    let (mut buffer, offsets) = add_sa(&[outbound(&zero), outbound(&good), outbound(&icv)]);
    let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
    assert_eq!(completion.status, Status::SUCCESS);
    let handles = handles(&buffer, &offsets);
    assert!(handles[0].is_none() && handles[2].is_none());
    assert!(table.by_handle(handles[1].unwrap()).is_some());
    assert_eq!(table.offloaded(), 1);
}

#[test]
fn a_list_without_a_good_element_fails_like_its_first() {
    rules(&[45, 46, 47]);
    let table = Table::new(8);
    let none = Capabilities {
        encryption: Encryption::AES_CBC_128,
        ..EVERYTHING
    };
    let invalid = [esp(0, Encryption::AES_CBC_128, Authentication::SHA_1)];
    let unsupported = [gcm(0x100)];
    for (bundles, status) in [
        (
            [outbound(&unsupported), outbound(&invalid)],
            Status::NOT_SUPPORTED,
        ),
        (
            [outbound(&invalid), outbound(&unsupported)],
            Status::INVALID_DATA,
        ),
    ] {
        let (mut buffer, offsets) = add_sa(&bundles);
        let completion = send(&snapshot(none), &table, Oid::ADD_SA, &mut buffer);
        assert_eq!(completion.status, status);
        assert_eq!(handles(&buffer, &offsets), [None, None]);
    }
    assert_eq!(table.offloaded(), 0);
}

#[test]
fn a_failing_request_takes_out_what_it_had_installed() {
    rules(&[47, 41, 76]);
    for status in [Status::REQUEST_ABORTED, Status::NOT_ACCEPTED] {
        let table = Table::new(8);
        let before = add(&table, &outbound(&[gcm(0x50)]), Default::default());
        table.refuse(3, status);
        let sas = [[gcm(0x100)], [gcm(0x101)], [gcm(0x102)], [gcm(0x103)]];
        let bundles: Vec<_> = sas.iter().map(|sa| outbound(sa)).collect();
        let (mut buffer, offsets) = add_sa(&bundles);
        let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
        assert_eq!(completion.status, status);
        assert_eq!(handles(&buffer, &offsets), [None; 4]);
        // The two that were in are out again; what was there before stays.
        assert_eq!(table.removed().len(), 2);
        assert_eq!(table.offloaded(), 1);
        assert!(table.by_handle(before).is_some());
        for handle in table.removed() {
            assert!(table.by_handle(handle).is_none());
        }
    }
}

#[test]
fn what_cannot_be_taken_out_again_keeps_its_handle() {
    rules(&[45, 46, 47]);
    let table = Table::new(8);
    table.refuse(2, Status::REQUEST_ABORTED);
    table.refuse_removal(Some(RemoveError::Aborted));
    let sas = [[gcm(0x100)], [gcm(0x101)], [gcm(0x102)], [gcm(0x103)]];
    let bundles: Vec<_> = sas.iter().map(|sa| outbound(sa)).collect();
    let (mut buffer, offsets) = add_sa(&bundles);
    // A failed request would say that nothing is offloaded, and had no handles.
    let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
    assert_eq!(completion.status, Status::SUCCESS);
    let handles = handles(&buffer, &offsets);
    assert_eq!(handles[2..], [None, None]);
    assert_eq!(table.offloaded(), 2);
    table.refuse_removal(None);
    let mut deletes = delete_sa(&handles[..2]);
    let done = send(&snapshot(EVERYTHING), &table, Oid::DELETE_SA, &mut deletes);
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.offloaded(), 0);
    // What goes with the adapter needs no handle any more.
    let table = Table::new(8);
    table.refuse(2, Status::NOT_ACCEPTED);
    table.refuse_removal(Some(RemoveError::Leaving));
    let (mut buffer, offsets) = add_sa(&bundles);
    let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
    assert_eq!(completion.status, Status::NOT_ACCEPTED);
    assert_eq!(crate::fixture::handles(&buffer, &offsets), [None; 4]);
}

#[test]
fn a_list_that_cannot_be_followed_installs_nothing() {
    rules(&[37, 38, 44, 47]);
    let sas = [[gcm(0x100)], [gcm(0x101)]];
    let (good, offsets) = add_sa(&[outbound(&sas[0]), outbound(&sas[1])]);
    let next = offset_of!(AddSaFixed, next);
    let second = offsets[1];
    let mut lists = Vec::new();
    // Next to itself, backwards, not aligned, outside, and far outside.
    for link in [second, 8, second + 4, good.len(), usize::MAX] {
        let mut list = good.clone();
        poke(&mut list, second + next, U64::new(link as u64).as_bytes());
        lists.push((list, Status::INVALID_DATA));
    }
    // Type, revision, Size of the second header.
    for (at, byte) in [(0, 0x81), (1, 2), (2, 0xa8)] {
        let mut list = good.clone();
        poke(&mut list, second + at, &[byte]);
        lists.push((list, Status::INVALID_DATA));
    }
    lists.push((good[..second + 0xa8].to_vec(), Status::INVALID_LENGTH));
    lists.push((Vec::new(), Status::INVALID_LENGTH));
    for (mut list, status) in lists {
        let table = Table::new(8);
        let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut list);
        assert_eq!(completion.status, status);
        assert_eq!(completion.done, 0);
        if status == Status::INVALID_LENGTH {
            assert!(completion.needed as usize > list.len());
        }
        assert_eq!(table.offloaded(), 0);
        assert!(table.removed().is_empty());
        if !list.is_empty() {
            assert_eq!(handles(&list, &offsets[..1]), [None]);
            // The element that ended the walk has no handle left either, as far as it is there.
            let at = second + offset_of!(AddSaFixed, offload_handle);
            assert_eq!(list[at..at + 8], [0; 8]);
        }
    }
}

#[test]
fn the_size_in_the_header_may_be_larger_but_not_smaller() {
    rules(&[37]);
    for (size, status) in [
        (0xa8, Status::INVALID_DATA),
        (AddSa::SIZE_1, Status::SUCCESS),
        (0xb0, Status::SUCCESS),
    ] {
        let (mut buffer, _) = add_sa(&[outbound(&[gcm(0x100)])]);
        poke(&mut buffer, 2, U16::new(size).as_bytes());
        let completion = send(
            &snapshot(EVERYTHING),
            &Table::new(8),
            Oid::ADD_SA,
            &mut buffer,
        );
        assert_eq!(completion.status, status);
    }
}

#[test]
fn elements_beyond_the_capacity_fail() {
    rules(&[49, 45, 46]);
    let few = Capabilities {
        capacity: 2,
        ..EVERYTHING
    };
    // Once by the model's count, once by the table's own, which has the last word.
    for (config, table) in [(few, Table::new(8)), (EVERYTHING, Table::new(2))] {
        let sas = [[gcm(0x100)], [gcm(0x101)], [gcm(0x102)]];
        let (mut buffer, offsets) =
            add_sa(&[outbound(&sas[0]), outbound(&sas[1]), outbound(&sas[2])]);
        let completion = send(&snapshot(config), &table, Oid::ADD_SA, &mut buffer);
        assert_eq!(completion.status, Status::SUCCESS);
        let handles = handles(&buffer, &offsets);
        assert!(handles[0].is_some() && handles[1].is_some() && handles[2].is_none());
        // None fits any more: the request fails.
        let refused = try_add(&snapshot(config), &table, &outbound(&sas[2]));
        assert_eq!(refused.unwrap_err().status, Status::RESOURCES);
        assert_eq!(table.offloaded(), 2);
    }
}

#[test]
fn a_pair_of_ah_and_esp_takes_one_unit_and_one_handle() {
    rules(&[50, 75]);
    let one = Capabilities {
        capacity: 1,
        ..EVERYTHING
    };
    let table = Table::new(1);
    let pair = [gcm(0x100), ah(0x200, Authentication::SHA_1)];
    let handle = try_add(&snapshot(one), &table, &outbound(&pair)).unwrap();
    let shape = table.by_handle(handle).unwrap();
    assert!(shape.esp.is_some() && shape.ah.is_some());
    assert_eq!(table.offloaded(), 1);
    let single = try_add(&snapshot(one), &table, &outbound(&[gcm(0x101)]));
    assert_eq!(single.unwrap_err().status, Status::RESOURCES);
    table.remove(handle).unwrap();
    assert!(try_add(&snapshot(one), &table, &outbound(&[gcm(0x101)])).is_ok());
}

#[test]
fn an_algorithm_that_was_disabled_meanwhile_is_refused() {
    rules(&[52]);
    let table = Table::new(8);
    let mut adapter = adapter(EVERYTHING);
    let sa = [gcm(0x100)];
    assert!(try_add(&adapter.snapshot(), &table, &outbound(&sa)).is_ok());
    let mut less = hardware(EVERYTHING);
    less.ipsec.encryption = Encryption::AES_GCM_256;
    adapter.hardware_changed(less);
    let refused = try_add(&adapter.snapshot(), &table, &outbound(&sa)).unwrap_err();
    assert_eq!(refused.status, Status::NOT_SUPPORTED);
    assert_eq!(table.offloaded(), 1);
}

#[test]
fn ex_describes_one_bundle() {
    rules(&[67, 68, 72]);
    let table = Table::new(1);
    let now = snapshot(EVERYTHING);
    let mut bad = add_sa_ex(&outbound(&[gcm(0)]));
    assert_eq!(
        send(&now, &table, Oid::ADD_SA_EX, &mut bad).status,
        Status::INVALID_DATA
    );
    assert_eq!(AddSaEx::handle(&bad).unwrap(), None);
    let mut good = add_sa_ex(&outbound(&[gcm(0x100)]));
    let completion = send(&now, &table, Oid::ADD_SA_EX, &mut good);
    assert_eq!(completion.status, Status::SUCCESS);
    let handle = AddSaEx::handle(&good).unwrap().unwrap();
    assert_eq!(table.entry(handle).unwrap().keys[0], KEY[..20]);
    // The same reasons to refuse as for ADD_SA: capacity, form, configuration.
    let mut full = add_sa_ex(&outbound(&[gcm(0x101)]));
    assert_eq!(
        send(&now, &table, Oid::ADD_SA_EX, &mut full).status,
        Status::RESOURCES
    );
    assert_eq!(AddSaEx::handle(&full).unwrap(), None);
    let config = Capabilities {
        encryption: Encryption::AES_CBC_128,
        ..EVERYTHING
    };
    let mut other = add_sa_ex(&outbound(&[gcm(0x101)]));
    let refused = send(
        &snapshot(config),
        &Table::new(8),
        Oid::ADD_SA_EX,
        &mut other,
    );
    assert_eq!(refused.status, Status::NOT_SUPPORTED);
}

#[test]
fn ex_leaves_no_handle_whatever_refuses_it() {
    rules(&[68, 40]);
    let mut gone = snapshot(EVERYTHING);
    gone.state = State::Removed;
    let mut old = snapshot(EVERYTHING);
    old.version = Version::V6_20;
    for (at, status) in [(gone, Status::NOT_ACCEPTED), (old, Status::NOT_SUPPORTED)] {
        let mut buffer = add_sa_ex(&outbound(&[gcm(0x100)]));
        assert_eq!(
            send(&at, &Table::new(8), Oid::ADD_SA_EX, &mut buffer).status,
            status
        );
        assert_eq!(AddSaEx::handle(&buffer).unwrap(), None);
    }
}

#[test]
fn ex_finds_its_keys_by_offset() {
    rules(&[69]);
    let key_offset = offset_of!(AddSaEx, key_offset);
    let moved = |offset: usize| {
        let mut buffer = add_sa_ex(&outbound(&[gcm(0x100)]));
        let keys = buffer.split_off(size_of::<AddSaEx>());
        buffer.resize(0x120, 0);
        buffer.extend(&keys);
        poke(&mut buffer, key_offset, U32::new(offset as u32).as_bytes());
        buffer
    };
    let table = Table::new(8);
    let mut good = moved(0x120);
    let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA_EX, &mut good);
    assert_eq!(completion.status, Status::SUCCESS);
    let handle = AddSaEx::handle(&good).unwrap().unwrap();
    assert_eq!(table.entry(handle).unwrap().keys[0], KEY[..20]);
    // Inside of the structure, past the end, and so that the sum overflows 32 bits.
    for (offset, status) in [
        (0xa8, Status::INVALID_DATA),
        (0x124, Status::INVALID_LENGTH),
        (u32::MAX as usize, Status::INVALID_LENGTH),
    ] {
        let mut bad = moved(offset);
        let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA_EX, &mut bad);
        assert_eq!(completion.status, status);
        assert_eq!(AddSaEx::handle(&bad).unwrap(), None);
    }
}

#[test]
fn reserved_members_of_ex_have_no_influence() {
    rules(&[70]);
    let table = Table::new(8);
    let mut shapes = Vec::new();
    for fill in [0u8, 0xff] {
        let mut buffer = add_sa_ex(&outbound(&[gcm(0x100)]));
        let at = offset_of!(AddSaEx, source_switch_port_id);
        poke(&mut buffer, at, &[fill; 6]);
        let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA_EX, &mut buffer);
        assert_eq!(completion.status, Status::SUCCESS);
        let handle = AddSaEx::handle(&buffer).unwrap().unwrap();
        shapes.push(table.by_handle(handle).unwrap());
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[test]
fn which_form_of_addition_a_version_takes() {
    rules(&[71, 39]);
    for (version, list, single) in [
        (Version::V6_0, Status::NOT_SUPPORTED, Status::NOT_SUPPORTED),
        (Version::V6_1, Status::SUCCESS, Status::NOT_SUPPORTED),
        (Version::V6_20, Status::SUCCESS, Status::NOT_SUPPORTED),
        (Version::V6_30, Status::SUCCESS, Status::SUCCESS),
        (Version::V6_50, Status::SUCCESS, Status::SUCCESS),
        (Version::V6_70, Status::SUCCESS, Status::SUCCESS),
        (Version::V6_83, Status::SUCCESS, Status::SUCCESS),
    ] {
        let table = Table::new(2);
        let mut at = snapshot(EVERYTHING);
        at.version = version;
        let (mut buffer, _) = add_sa(&[outbound(&[gcm(0x100)])]);
        assert_eq!(send(&at, &table, Oid::ADD_SA, &mut buffer).status, list);
        let mut buffer = add_sa_ex(&outbound(&[gcm(0x100)]));
        assert_eq!(
            send(&at, &table, Oid::ADD_SA_EX, &mut buffer).status,
            single
        );
    }
}

#[test]
fn what_the_documentation_leaves_open_can_be_chosen() {
    rules(&[58]);
    let now = snapshot(EVERYTHING);
    let add = |length: usize, info: u32, salt: Salt, icv_unit: IcvUnit| {
        let table = Table::new(8);
        let mut sa = gcm(0x100);
        sa.encryption = Some(algorithm(Encryption::AES_GCM_128, 0, 20, info));
        let (mut buffer, offsets) = add_sa(&[outbound(&[sa])]);
        let key_length = offset_of!(AddSaFixed, sec_assoc) + 0x1c + 4;
        poke(&mut buffer, key_length, U32::new(length as u32).as_bytes());
        let request = Direct {
            convention: Convention {
                salt,
                icv_unit,
                ..Convention::default()
            },
            ..set(Oid::ADD_SA)
        };
        let completion = direct::request(&now, &table, &request, &mut buffer);
        let handle = handles(&buffer, &offsets)[0];
        let entry = handle.map(|handle| table.entry(handle).unwrap());
        (
            completion.status,
            entry.map(|entry| (entry.keys[0].len(), entry.shape.esp.unwrap().icv)),
        )
    };
    let good = (Status::SUCCESS, Some((20, 12)));
    let bad = (Status::INVALID_DATA, None);
    assert_eq!(add(20, 12, Salt::InKeyLength, IcvUnit::Bytes), good);
    assert_eq!(add(16, 12, Salt::BehindKey, IcvUnit::Bytes), good);
    assert_eq!(add(20, 96, Salt::InKeyLength, IcvUnit::Bits), good);
    assert_eq!(add(16, 12, Salt::InKeyLength, IcvUnit::Bytes), bad);
    assert_eq!(add(20, 12, Salt::BehindKey, IcvUnit::Bytes), bad);
    assert_eq!(add(20, 96, Salt::InKeyLength, IcvUnit::Bytes), bad);
    assert_eq!(add(20, 12, Salt::InKeyLength, IcvUnit::Bits), bad);
}

#[test]
fn null_ends_the_list() {
    rules(&[44]);
    let table = Table::new(8);
    let sas = [[gcm(0x100)], [gcm(0x101)]];
    let (mut buffer, offsets) = add_sa(&[outbound(&sas[0]), outbound(&sas[1])]);
    poke(
        &mut buffer,
        offset_of!(AddSaFixed, next),
        Ptr::NULL.as_bytes(),
    );
    let completion = send(&snapshot(EVERYTHING), &table, Oid::ADD_SA, &mut buffer);
    assert_eq!(completion.status, Status::SUCCESS);
    assert_eq!(table.offloaded(), 1);
    // What lies behind the end is not touched.
    assert_eq!(handles(&buffer, &offsets)[1], Handle::new(0xdead_beef));
}
