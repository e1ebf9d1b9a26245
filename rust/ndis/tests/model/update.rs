// SPDX-License-Identifier: GPL-2.0 OR MIT

//! UPDATE_SA.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::Authentication;
use espnic_ndis::model::{Backend, Capabilities, Completion, Mode};
use espnic_ndis::sa::{build, Operation, Spi, UpdateSa};
use espnic_ndis::{Handle, Oid, Status};
use zerocopy::IntoBytes as _;

fn update(
    config: Capabilities,
    table: &Table,
    handle: Option<Handle>,
    operation: Operation,
    spi: u32,
    high: u32,
) -> Completion {
    let mut request = build::update_sa(handle, operation, Spi::new(spi), high);
    send(
        &snapshot(config),
        table,
        Oid::UPDATE_SA,
        request.as_mut_bytes(),
    )
}

/// A bundle with ESN in both parts, starting at 5 and 6.
fn pair(table: &Table) -> Handle {
    let (mut esp, mut ah) = (gcm(0x100), ah(0x200, Authentication::SHA_1));
    esp.esn = Some(5);
    ah.esn = Some(6);
    add(table, &inbound(&[esp, ah]), Mode::ByPacket)
}

#[test]
fn changes_the_upper_half_of_the_named_sa_and_nothing_else() {
    rules(&[77]);
    let table = Table::new(8);
    let (handle, other) = (pair(&table), pair(&table));
    let before = table.entry(handle).unwrap();
    let done = update(EVERYTHING, &table, Some(handle), Operation::ESP, 0x100, 9);
    assert_eq!(done.status, Status::SUCCESS);
    let after = table.entry(handle).unwrap();
    assert_eq!((after.high.esp, after.high.ah), (Some(9), Some(6)));
    assert_eq!(after.shape, before.shape);
    assert_eq!(after.keys, before.keys);
    assert_eq!(table.entry(other).unwrap().high.esp, Some(5));
    let done = update(
        EVERYTHING,
        &table,
        Some(handle),
        Operation::AH,
        0x200,
        u32::MAX,
    );
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.entry(handle).unwrap().high.ah, Some(u32::MAX));
}

#[test]
fn the_upper_half_never_goes_down() {
    rules(&[151]);
    let table = Table::new(8);
    let handle = pair(&table);
    for (operation, spi, now) in [(Operation::ESP, 0x100, 5), (Operation::AH, 0x200, 6)] {
        // The same number again is no error.
        for (high, status) in [
            (now, Status::SUCCESS),
            (now - 1, Status::INVALID_PARAMETER),
            (0, Status::INVALID_PARAMETER),
        ] {
            let done = update(EVERYTHING, &table, Some(handle), operation, spi, high);
            assert_eq!(done.status, status, "{high}");
        }
    }
    let high = table.entry(handle).unwrap().high;
    assert_eq!((high.esp, high.ah), (Some(5), Some(6)));
}

#[test]
fn an_sa_that_is_not_found_is_an_invalid_parameter() {
    rules(&[78, 74, 76]);
    let table = Table::new(8);
    let handle = pair(&table);
    let unknown = Handle::new(0x7777);
    for (handle, operation, spi) in [
        (None, Operation::ESP, 0x100),
        (unknown, Operation::ESP, 0x100),
        (Some(handle), Operation::ESP, 0x200),
        (Some(handle), Operation::AH, 0x100),
        (Some(handle), Operation::ESP, 0x101),
    ] {
        let done = update(EVERYTHING, &table, handle, operation, spi, 9);
        assert_eq!(done.status, Status::INVALID_PARAMETER);
    }
    let entry = table.entry(handle).unwrap();
    assert_eq!((entry.high.esp, entry.high.ah), (Some(5), Some(6)));
    table.remove(handle).unwrap();
    let dead = update(EVERYTHING, &table, Some(handle), Operation::ESP, 0x100, 9);
    assert_eq!(dead.status, Status::INVALID_PARAMETER);
}

#[test]
fn without_esn_it_is_an_invalid_parameter() {
    rules(&[79]);
    let table = Table::new(8);
    let plain = add(&table, &inbound(&[gcm(0x100)]), Mode::ByPacket);
    let done = update(EVERYTHING, &table, Some(plain), Operation::ESP, 0x100, 1);
    assert_eq!(done.status, Status::INVALID_PARAMETER);
    let esn = pair(&table);
    let no_esn = Capabilities {
        esn: false,
        ..EVERYTHING
    };
    let done = update(no_esn, &table, Some(esn), Operation::ESP, 0x100, 9);
    assert_eq!(done.status, Status::INVALID_PARAMETER);
    assert_eq!(table.entry(esn).unwrap().high.esp, Some(5));
}

#[test]
fn one_request_updates_one_sa() {
    rules(&[80, 37, 38]);
    let table = Table::new(8);
    let (one, other) = (pair(&table), pair(&table));
    let request = |handle| build::update_sa(Some(handle), Operation::ESP, Spi::new(0x100), 9);
    // A second structure behind the first is not looked at.
    let mut buffer = [request(one).as_bytes(), request(other).as_bytes()].concat();
    let done = send(&snapshot(EVERYTHING), &table, Oid::UPDATE_SA, &mut buffer);
    assert_eq!(done.status, Status::SUCCESS);
    assert_eq!(table.entry(one).unwrap().high.esp, Some(9));
    assert_eq!(table.entry(other).unwrap().high.esp, Some(5));
    // Its tail padding may be missing, but no more.
    let least = usize::from(UpdateSa::SIZE_1);
    for length in 0..=size_of::<UpdateSa>() {
        let mut buffer = request(one).as_bytes()[..length].to_vec();
        let done = send(&snapshot(EVERYTHING), &table, Oid::UPDATE_SA, &mut buffer);
        if length < least {
            assert_eq!(done.status, Status::INVALID_LENGTH);
            assert_eq!(done.needed as usize, least);
        } else {
            assert_eq!(done.status, Status::SUCCESS);
        }
    }
    for operation in [0, 3, u32::MAX] {
        let done = update(
            EVERYTHING,
            &table,
            Some(one),
            Operation(operation),
            0x100,
            10,
        );
        assert_eq!(done.status, Status::INVALID_DATA);
    }
}
