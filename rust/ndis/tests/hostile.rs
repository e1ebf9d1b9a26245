// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buffers of an enemy: no panic, no view that leaves the buffer, no list without an end.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_ndis::encapsulation::OffloadEncapsulation;
use espnic_ndis::indication::StatusIndication;
use espnic_ndis::offload::Offload;
use espnic_ndis::parameters::OffloadParameters;
use espnic_ndis::request::OidRequest;
use espnic_ndis::sa::build::{self, AddSaList, DeleteSaList};
use espnic_ndis::sa::{AddSa, AddSaEx, BundleView, DeleteSa, UpdateSa};
use espnic_ndis::{Handle, Version};
use proptest::prelude::*;
use support::sas::{IN6, OUT};
use zerocopy::IntoBytes as _;

/// Whether `part` lies inside `whole`; an empty part may lie anywhere.
fn inside(whole: &[u8], part: &[u8]) -> bool {
    let (whole, part_range) = (whole.as_ptr_range(), part.as_ptr_range());
    part.is_empty() || (whole.start <= part_range.start && part_range.end <= whole.end)
}

fn bundle(buffer: &[u8], view: &BundleView<'_>) {
    assert!(inside(buffer, view.key_data()));
    assert!(inside(buffer, view.endpoints.as_bytes()));
    assert!(inside(buffer, view.sec_assoc.as_bytes()));
    let _ = (view.source(), view.destination(), view.udp_esp.to_string());
    for sa in view.associations().unwrap_or_default() {
        for algorithm in [&sa.authentication_algorithm, &sa.encryption_algorithm] {
            if let Ok(key) = view.key(algorithm) {
                assert!(inside(view.key_data(), key));
                assert_eq!(key.len(), algorithm.key_length.get() as usize);
            }
        }
    }
}

/// Follows an ADD_SA list, and then the DELETE_SA list that the same bytes may be.
fn lists(buffer: &mut [u8]) {
    let mut at = Some(0);
    let mut behind = 0;
    while let Some(offset) = at {
        assert!(offset >= behind && offset % 8 == 0);
        let Ok(element) = AddSa::parse(buffer, offset) else {
            break;
        };
        assert!(inside(buffer, element.fixed.as_bytes()));
        if let Ok(view) = element.bundle() {
            bundle(buffer, &view);
            let end = offset + 0xa8 + view.key_data().len();
            assert!(element.next().is_none_or(|next| next >= end));
        }
        behind = offset + 0xa8;
        at = element.next();
        let before = buffer.to_vec();
        AddSa::set_handle(buffer, offset, Handle::new(u64::MAX)).unwrap();
        let slot = offset + 0x38..offset + 0x40;
        assert!(buffer[..slot.start] == before[..slot.start]);
        assert!(buffer[slot.end..] == before[slot.end..]);
    }
    let mut at = Some(0);
    let mut behind = 0;
    while let Some(offset) = at {
        assert!(offset >= behind && offset % 8 == 0);
        let Ok(element) = DeleteSa::parse(buffer, offset) else {
            break;
        };
        behind = offset + 0x18;
        at = element.next;
    }
}

/// Every reader there is.
fn everything(buffer: &mut [u8]) {
    for at in [1, 7, 8, buffer.len(), usize::MAX - 8, usize::MAX] {
        let _ = (
            AddSa::parse(buffer, at).is_ok(),
            DeleteSa::parse(buffer, at),
        );
    }
    if let Ok(view) = AddSaEx::parse(buffer) {
        bundle(buffer, &view);
    }
    let _ = (AddSaEx::handle(buffer), UpdateSa::parse(buffer));
    if let Ok((_, contents)) = StatusIndication::parse(buffer) {
        assert!(inside(buffer, contents));
    }
    if let Ok(offload) = Offload::parse(buffer) {
        assert_eq!(offload.ipsec_v2().is_some(), buffer[1] >= 2);
    }
    let _ = OffloadEncapsulation::parse(buffer);
    let _ = (OffloadParameters::parse(buffer), OidRequest::parse(buffer));
    lists(buffer);
    let _ = AddSaEx::set_handle(buffer, Handle::new(1));
}

/// A good buffer of each kind.
fn seeds() -> Vec<Vec<u8>> {
    let cut = |mut buffer: Vec<u8>, len| {
        buffer.truncate(len);
        buffer
    };
    let mut add = vec![0; 2048];
    let mut list = AddSaList::new(&mut add);
    for bundle in [&OUT, &IN6, &OUT, &IN6] {
        list.push(bundle).unwrap();
    }
    let add_len = list.len();
    let mut delete = vec![0; 256];
    let mut list = DeleteSaList::new(&mut delete);
    for handle in 1..6 {
        list.push(Handle::new(handle)).unwrap();
    }
    let delete_len = list.len();
    let mut ex = vec![0; 512];
    let ex_len = build::add_sa_ex(&IN6, &mut ex).unwrap();
    let mut offload = vec![0; 256];
    let offload_len = Offload::default()
        .encode(Version::V6_83, &mut offload)
        .unwrap();
    let mut indication = vec![0; 512];
    let status = espnic_ndis::Status::TASK_OFFLOAD_CURRENT_CONFIG;
    let indication_len =
        StatusIndication::encode(status, &offload[..offload_len], &mut indication).unwrap();
    vec![
        cut(add, add_len),
        cut(delete, delete_len),
        cut(ex, ex_len),
        cut(offload, offload_len),
        cut(indication, indication_len),
        OffloadParameters::new(5).unwrap().as_bytes().to_vec(),
    ]
}

/// Numbers that parsers get wrong, and offsets of the seeds.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        (0..64u32).prop_map(|bit| 1 << bit),
        (0..64u32).prop_map(|bit| (1 << bit) - 1),
        0..0x500u64,
        (0..0xa0u64).prop_map(|n| n * 8),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_buffers(mut buffer in prop::collection::vec(any::<u8>(), 0..600)) {
        everything(&mut buffer);
    }

    #[test]
    fn random_buffers_with_a_good_header(
        mut buffer in prop::collection::vec(any::<u8>(), 4..600),
        kind in prop::sample::select(vec![0x80u8, 0x96, 0x98, 0xa7, 0xa8]),
        revision in 1..7u8,
    ) {
        buffer[..4].copy_from_slice(&[kind, revision, 0xff, 0]);
        everything(&mut buffer);
    }

    #[test]
    fn mutated_requests(
        seed in 0..6usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), number(), 1..=8usize), 1..6),
        keep in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut buffer = seeds().swap_remove(seed);
        for (at, value, width) in changes {
            // Whole fields, mostly: they stand at multiples of 4.
            let at = at.index(buffer.len());
            let at = if width >= 4 { at & !3 } else { at };
            for (to, from) in buffer[at..].iter_mut().zip(&value.to_le_bytes()[..width]) {
                *to = *from;
            }
        }
        if cut {
            buffer.truncate(keep.index(buffer.len()));
        }
        everything(&mut buffer);
    }
}

/// Every place of every good request gets each of some evil numbers.
#[test]
fn every_field_of_every_request() {
    let evil = [
        0u64,
        1,
        8,
        0xa8,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        u64::MAX - 7,
        u64::MAX,
    ];
    for seed in seeds() {
        for at in (0..seed.len()).step_by(4) {
            for value in evil {
                let mut buffer = seed.clone();
                for (to, from) in buffer[at..].iter_mut().zip(value.to_le_bytes()) {
                    *to = from;
                }
                everything(&mut buffer);
            }
        }
        for len in 0..seed.len() {
            everything(&mut seed[..len].to_vec());
        }
    }
}
