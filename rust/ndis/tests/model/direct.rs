// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How direct requests arrive and which are refused before they are looked at.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::model::{direct, Backend, Capabilities, Direct, Mode, State};
use espnic_ndis::oid::RequestType;
use espnic_ndis::sa::{build, Operation, Spi};
use espnic_ndis::{Handle, Oid, Status, Version};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

const SA_OIDS: [Oid; 4] = [Oid::ADD_SA, Oid::ADD_SA_EX, Oid::UPDATE_SA, Oid::DELETE_SA];

/// A good buffer for each of the four.
fn buffer(oid: Oid, handle: Handle) -> Vec<u8> {
    match oid {
        Oid::ADD_SA => add_sa(&[outbound(&[gcm(0x100)])]).0,
        Oid::ADD_SA_EX => add_sa_ex(&outbound(&[gcm(0x100)])),
        Oid::DELETE_SA => delete_sa(&[Some(handle)]),
        _ => {
            let update = build::update_sa(Some(handle), Operation::ESP, Spi::new(0x50), 1);
            update.as_bytes().to_vec()
        }
    }
}

/// A table with an ESN SA, and its handle.
fn table() -> (Table, Handle) {
    let table = Table::new(8);
    let mut sa = gcm(0x50);
    sa.esn = Some(0);
    let handle = add(&table, &outbound(&[sa]), Mode::ByPacket);
    (table, handle)
}

#[test]
fn the_sa_oids_are_sets_on_the_direct_path() {
    rules(&[29, 30]);
    for oid in SA_OIDS {
        let (table, handle) = table();
        let mut buffer = buffer(oid, handle);
        for request_type in [
            RequestType::QUERY_INFORMATION,
            RequestType::QUERY_STATISTICS,
            RequestType::METHOD,
        ] {
            let request = Direct {
                request_type,
                ..set(oid)
            };
            let done = direct::request(&snapshot(EVERYTHING), &table, &request, &mut buffer);
            assert_eq!(done.status, Status::NOT_SUPPORTED);
        }
        // The normal path does not know them.
        let mut adapter = adapter(EVERYTHING);
        let effects = adapter.set(oid, &buffer);
        assert_eq!(effects.completion.status, Status::NOT_SUPPORTED);
        assert_eq!(
            adapter.query(oid, &mut buffer).status,
            Status::NOT_SUPPORTED
        );
        assert_eq!(table.offloaded(), 1);
        let done = send(&snapshot(EVERYTHING), &table, oid, &mut buffer);
        assert_eq!(done.status, Status::SUCCESS);
    }
}

#[test]
fn unknown_and_unsupported_oids_differ() {
    rules(&[39]);
    let (table, handle) = table();
    for oid in [Oid(0), Oid(0xfc03_0206), Oid(0xffff_ffff)] {
        let done = send(&snapshot(EVERYTHING), &table, oid, &mut []);
        assert_eq!(done.status, Status::INVALID_OID);
    }
    for &oid in Oid::ALL.iter().filter(|oid| !SA_OIDS.contains(oid)) {
        let done = send(&snapshot(EVERYTHING), &table, oid, &mut [0; 256]);
        assert_eq!(done.status, Status::NOT_SUPPORTED);
    }
    // An adapter without IPsec offload knows the OIDs but supports none.
    for oid in SA_OIDS {
        let at = snapshot(Capabilities::NONE);
        let done = send(&at, &Table::new(8), oid, &mut buffer(oid, handle));
        assert_eq!(done.status, Status::NOT_SUPPORTED);
    }
}

#[test]
fn a_removed_adapter_accepts_nothing() {
    rules(&[40]);
    let (table, handle) = table();
    let mut adapter = adapter(EVERYTHING);
    adapter.set_state(State::Removed);
    // There is no way back.
    adapter.set_state(State::Running);
    adapter.restart();
    assert_eq!(adapter.state(), State::Removed);
    let everything = SA_OIDS.iter().chain(Oid::ALL).copied();
    for oid in everything.chain([Oid(0)]) {
        let done = send(&adapter.snapshot(), &table, oid, &mut buffer(oid, handle));
        assert_eq!(done.status, Status::NOT_ACCEPTED);
        assert_eq!(
            adapter.query(oid, &mut [0; 256]).status,
            Status::NOT_ACCEPTED
        );
        assert_eq!(
            adapter.set(oid, &[0; 256]).completion.status,
            Status::NOT_ACCEPTED
        );
    }
    assert_eq!(table.offloaded(), 1);
}

#[test]
fn a_wrong_length_says_which_one_is_needed() {
    rules(&[38]);
    let (table, handle) = table();
    for oid in SA_OIDS {
        let whole = buffer(oid, handle);
        let mut needed = 0;
        let mut good = 0;
        for length in 0..whole.len() {
            let mut short = whole[..length].to_vec();
            let done = send(&snapshot(EVERYTHING), &table, oid, &mut short);
            if done.status == Status::INVALID_LENGTH {
                assert!(done.needed as usize > length && done.needed as usize <= whole.len());
                // It never asks for less when it got more.
                assert!(done.needed >= needed);
                needed = done.needed;
            } else {
                assert_eq!(done.status, Status::SUCCESS);
                assert!(length >= needed as usize);
                good += 1;
            }
        }
        // Only tail padding may be missing.
        assert!(good <= 8, "{oid}");
    }
}

#[test]
fn no_request_asks_for_an_indication_or_stays_pending() {
    rules(&[32, 42, 84]);
    // Whatever the state, version and OID, the answer is there when the function returns.
    for state in [
        State::Running,
        State::Paused,
        State::Resetting,
        State::LowPower,
        State::Removed,
    ] {
        for version in [Version::V6_0, Version::V6_1, Version::V6_30, Version::V6_83] {
            for oid in SA_OIDS {
                let (table, handle) = table();
                let mut at = snapshot(EVERYTHING);
                at.state = state;
                at.version = version;
                let done = send(&at, &table, oid, &mut buffer(oid, handle));
                assert_ne!(done.status, Status::PENDING);
                assert_ne!(done.status, Status::INDICATION_REQUIRED);
                let running = matches!(state, State::Running | State::Paused);
                assert!(running || !done.status.is_success());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is in a buffer, the answer is one of the documented ones and nothing is lost: what
    /// is in the table has a handle in the buffer, and only then is the request a success.
    #[test]
    fn rubbish_has_a_documented_status(
        which in 0usize..4,
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let oid = SA_OIDS[which];
        let (table, handle) = table();
        let mut buffer = match oid {
            Oid::ADD_SA => {
                let sas = [[gcm(0x100)], [gcm(0x101)], [gcm(0x102)]];
                let bundles: Vec<_> = sas.iter().map(|sa| outbound(sa)).collect();
                add_sa(&bundles).0
            }
            _ => buffer(oid, handle),
        };
        for (at, byte) in changes {
            let at = at.index(buffer.len());
            buffer[at] = byte;
        }
        if cut.index(4) == 0 {
            buffer.truncate(cut.index(buffer.len()));
        }
        let before = table.offloaded();
        let done = send(&snapshot(EVERYTHING), &table, oid, &mut buffer);
        let documented = [
            Status::SUCCESS, Status::INVALID_DATA, Status::INVALID_LENGTH, Status::NOT_SUPPORTED,
            Status::INVALID_PARAMETER, Status::RESOURCES,
        ];
        prop_assert!(documented.contains(&done.status), "{}", done.status);
        let after = table.offloaded();
        match oid {
            Oid::ADD_SA | Oid::ADD_SA_EX => {
                prop_assert_eq!(after > before, done.status == Status::SUCCESS);
            }
            Oid::DELETE_SA => prop_assert!(after <= before),
            _ => prop_assert_eq!(after, before),
        }
    }
}

#[test]
fn contents_out_of_bounds_are_the_miniports_to_find() {
    rules(&[37]);
    let (table, handle) = table();
    for oid in SA_OIDS {
        // Object type, revision, and a Size that the revision cannot have.
        for (at, byte) in [(0, 0x00), (1, 0x00), (1, 0x02), (2, 0x10)] {
            let mut bad = buffer(oid, handle);
            bad[at] = byte;
            let done = send(&snapshot(EVERYTHING), &table, oid, &mut bad);
            assert_eq!(done.status, Status::INVALID_DATA, "{oid} {at}");
        }
    }
    assert_eq!(table.offloaded(), 1);
}
