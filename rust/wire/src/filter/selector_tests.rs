// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Lists of selectors: what is taken, and each way in which one can be wrong.

use super::*;
use proptest::prelude::*;

pub(crate) fn full(kind: Kind, partial: bool) -> Selector {
    Selector::new(kind, partial, &vec![0xff; kind.len()]).unwrap()
}

/// A list of selectors that select everything.
pub(crate) fn list(kinds: &[Kind]) -> Selectors {
    kinds.iter().fold(Selectors::EMPTY, |list, &kind| {
        list.with(full(kind, false)).unwrap()
    })
}

pub(crate) fn bytes(list: &Selectors) -> Vec<u8> {
    let mut buf = [0xee; 300];
    let len = list.write(&mut buf).unwrap();
    buf[..len].to_vec()
}

/// A capability that has everything, with partial masks or without.
fn capability(partial: bool) -> Selectors {
    Kind::ALL.into_iter().fold(Selectors::EMPTY, |list, kind| {
        list.with(full(kind, partial)).unwrap()
    })
}

fn classifier(list: &Selectors, partial: bool) -> Result<Selectors, Refusal> {
    Selectors::parse_classifier(&bytes(list), &capability(partial), 4)
}

#[test]
fn kinds_have_the_lengths_of_their_headers() {
    let lens = Kind::ALL.map(|kind| (kind as u8, kind.len()));
    let expected = [
        (1, 14),
        (2, 20),
        (3, 40),
        (4, 20),
        (5, 8),
        (6, 8),
        (0xf0, 8),
    ];
    assert_eq!(lens, expected);
    for kind in Kind::ALL {
        let bits: usize = kind.fields().iter().copied().map(usize::from).sum();
        assert_eq!(bits, 8 * kind.len(), "{kind:?}");
        assert_eq!(Kind::of(kind as u8), Some(kind));
        assert_eq!(Selector::new(kind, false, &[0; 7]), None);
    }
    assert_eq!([0, 7, 0xef, 0xff].map(Kind::of), [None; 4]);
}

#[test]
fn a_list_is_packed() {
    let list = Selectors::EMPTY
        .with(Selector::new(Kind::Eth, true, &[3; 14]).unwrap())
        .and_then(|list| list.with(Selector::new(Kind::Udp, false, &[5; 8]).unwrap()))
        .unwrap();
    let bytes = bytes(&list);
    assert_eq!(bytes.len(), 8 + 8 + 14 + 8 + 8);
    assert_eq!(bytes[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[8..16], [1, 1, 0, 0, 14, 0, 0, 0]);
    assert_eq!(bytes[16..30], [3; 14]);
    assert_eq!(bytes[30..38], [5, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(Selectors::parse_capability(&bytes), Ok(list));
    assert_eq!(Selectors::known(&bytes), Ok(list));
    assert_eq!(list.key_len(), 22);
    assert!(list.get(Kind::Eth).unwrap().is_partial());
    assert_eq!(list.get(Kind::Udp).unwrap().mask(), [5; 8]);
    assert_eq!(list.get(Kind::Tcp), None);
    for len in 0..bytes.len() {
        assert_eq!(list.write(&mut vec![0; len]), Err(Error::NoSpace));
    }
}

#[test]
fn a_full_list_takes_no_more() {
    assert_eq!(capability(false).iter().count(), MAX_SELECTORS);
    assert_eq!(capability(false).with(full(Kind::Eth, false)), None);
    let mut data = bytes(&capability(false));
    data[0] = 8;
    data.extend([1, 0, 0, 0, 14, 0, 0, 0]);
    assert_eq!(Selectors::parse_capability(&data), Err(Refusal::FIELD));
}

#[test]
fn a_capability_is_in_ascending_order() {
    use Kind::*;
    assert!(Selectors::parse_capability(&bytes(&capability(true))).is_ok());
    assert_eq!(Selectors::parse_capability(&[]), Ok(Selectors::EMPTY));
    for kinds in [&[Eth, Eth][..], &[Ipv4, Eth], &[Eth, XMeta, Esp]] {
        let data = bytes(&list(kinds));
        assert_eq!(Selectors::parse_capability(&data), Err(Refusal::FIELD));
    }
}

#[test]
fn unknown_selectors_are_refused_by_the_device_and_skipped_by_the_driver() {
    let mut data = bytes(&list(&[Kind::Eth, Kind::Ipv4]));
    // Number, then length.
    for (at, value) in [(8, 9), (12, 13)] {
        let mut data = data.clone();
        data[at] = value;
        assert_eq!(Selectors::parse_capability(&data), Err(Refusal::FIELD));
    }
    data[8] = 9;
    assert_eq!(Selectors::known(&data), Ok(list(&[Kind::Ipv4])));
    for len in 9..data.len() {
        assert_eq!(Selectors::known(&data[..len]), Err(Error::Truncated));
    }
}

#[test]
fn a_short_list_reads_as_if_zeroes_followed() {
    let data = bytes(&list(&[Kind::Eth]));
    let parsed = Selectors::parse_capability(&data[..20]).unwrap();
    let mask = parsed.get(Kind::Eth).unwrap().mask();
    assert_eq!((&mask[..4], &mask[4..]), (&[0xff; 4][..], &[0; 10][..]));
    // A selector of kind 0.
    let mut data = data;
    data[0] = 2;
    assert_eq!(Selectors::parse_capability(&data), Err(Refusal::FIELD));
}

#[test]
fn classifiers_follow_the_order_of_headers() {
    use Kind::*;
    let good: [&[Kind]; 9] = [
        &[Eth],
        &[Eth, Ipv4],
        &[Eth, Ipv6],
        &[Eth, Ipv4, Tcp],
        &[Eth, Ipv6, Udp],
        &[Eth, Ipv4, Esp],
        &[Eth, XMeta],
        &[Eth, XMeta, Ipv4],
        &[Eth, XMeta, Ipv6, Tcp],
    ];
    for kinds in good {
        assert_eq!(
            classifier(&list(kinds), false),
            Ok(list(kinds)),
            "{kinds:?}"
        );
    }
    let bad: [&[Kind]; 11] = [
        &[],
        &[Ipv4],
        &[XMeta],
        &[Eth, Eth],
        &[Eth, Udp],
        &[Eth, XMeta, Esp],
        &[Eth, Ipv4, Ipv6],
        &[Eth, Ipv4, XMeta],
        &[Eth, Tcp, Ipv4],
        &[Eth, Ipv4, Tcp, Udp],
        &[Eth, XMeta, XMeta, Ipv4],
    ];
    for kinds in bad {
        assert_eq!(
            classifier(&list(kinds), true),
            Err(Refusal::FIELD),
            "{kinds:?}"
        );
    }
    assert_eq!(
        Selectors::parse_classifier(&[], &capability(true), 4),
        Err(Refusal::FIELD)
    );
}

#[test]
fn a_classifier_has_no_more_selectors_than_the_limit() {
    let data = bytes(&list(&[Kind::Eth, Kind::Ipv4, Kind::Tcp]));
    let all = capability(false);
    assert!(Selectors::parse_classifier(&data, &all, 3).is_ok());
    assert_eq!(
        Selectors::parse_classifier(&data, &all, 2),
        Err(Refusal::FIELD)
    );
}

#[test]
fn a_classifier_has_only_what_the_capability_has() {
    let data = bytes(&list(&[Kind::Eth, Kind::Ipv4]));
    let without = list(&[Kind::Eth, Kind::Ipv6]);
    assert_eq!(
        Selectors::parse_classifier(&data, &without, 4),
        Err(Refusal::FIELD)
    );
    // All but one bit of the source address.
    let mut mask = [0xff; 20];
    mask[15] = 0xfe;
    let less = list(&[Kind::Eth])
        .with(Selector::new(Kind::Ipv4, true, &mask).unwrap())
        .unwrap();
    assert_eq!(
        Selectors::parse_classifier(&data, &less, 4),
        Err(Refusal::FIELD)
    );
    // What the capability has of a field is the whole field.
    let least = less.iter().copied().map(|one| Selector {
        partial: false,
        ..one
    });
    let least = least.fold(Selectors::EMPTY, |list, one| list.with(one).unwrap());
    let data = bytes(&least);
    assert_eq!(Selectors::parse_classifier(&data, &least, 4), Ok(least));
}

/// A classifier of Ethernet and IPv4 with one bit less in byte `at` of the IPv4 mask.
fn with_hole(at: usize, bit: u8) -> Selectors {
    let mut mask = [0xff; 20];
    mask[at] &= !bit;
    list(&[Kind::Eth])
        .with(Selector::new(Kind::Ipv4, false, &mask).unwrap())
        .unwrap()
}

#[test]
fn parts_of_a_field_need_the_flag_of_the_capability() {
    // Destination, time to live, the flags, type of service.
    for (at, bit) in [(19, 1), (8, 0x80), (6, 0x40), (1, 0x04)] {
        assert_eq!(classifier(&with_hole(at, bit), false), Err(Refusal::FIELD));
        assert!(classifier(&with_hole(at, bit), true).is_ok());
    }
    // Whole fields: version, protocol.
    for (at, bits) in [(0, 0xf0), (9, 0xff), (1, 0x03)] {
        assert!(classifier(&with_hole(at, bits), false).is_ok(), "{at}");
    }
    // Each control bit of TCP is a field.
    let mut mask = [0; 20];
    mask[13] = 0x02;
    let tcp = Selector::new(Kind::Tcp, false, &mask).unwrap();
    let syn = list(&[Kind::Eth, Kind::Ipv4]).with(tcp).unwrap();
    assert!(classifier(&syn, false).is_ok());
}

#[test]
fn what_names_the_next_header_is_selected_as_a_whole() {
    for (kinds, place, at) in [
        (&[Kind::Eth, Kind::Ipv4][..], 0, 12),
        (&[Kind::Eth, Kind::XMeta, Kind::Ipv4], 0, 13),
        (&[Kind::Eth, Kind::Ipv4, Kind::Udp], 1, 9),
        (&[Kind::Eth, Kind::Ipv6, Kind::Esp], 1, 6),
    ] {
        let mut wrong = list(kinds);
        wrong.list[place].as_mut().unwrap().mask[at] = 0xfe;
        assert_eq!(classifier(&wrong, true), Err(Refusal::FIELD), "{kinds:?}");
        // The last selector may leave it out, and META is named by nothing.
        let alone = Selectors {
            list: core::array::from_fn(|i| wrong.list[i].filter(|_| i <= place)),
        };
        assert!(classifier(&alone, true).is_ok());
    }
    let mut meta = list(&[Kind::Eth, Kind::XMeta]);
    meta.list[0].as_mut().unwrap().mask[12..14].fill(0);
    assert!(classifier(&meta, true).is_ok());
}

#[test]
fn a_driver_takes_a_part_of_what_the_device_has() {
    let device = capability(false);
    assert!(list(&[Kind::Eth, Kind::Esp]).is_within(&device));
    assert!(Selectors::EMPTY.is_within(&device));
    assert!(with_hole(19, 1).is_within(&device));
    assert!(!device.is_within(&with_hole(19, 1)));
    assert!(!list(&[Kind::Ipv4]).is_within(&with_hole(19, 1)));
    assert!(!list(&[Kind::Tcp]).is_within(&list(&[Kind::Udp])));
    assert!(capability(false).is_within(&capability(true)));
    assert!(!capability(true).is_within(&capability(false)));
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(
        data in prop::collection::vec(any::<u8>(), 0..200), most: u8, kinds in prop::collection::vec(0usize..7, 0..8)
    ) {
        let _ = Selectors::known(&data);
        let mut framed = data.clone();
        framed.resize(8 + 48 * kinds.len(), 0);
        framed[0] = kinds.len() as u8;
        let mut at = 8;
        for kind in kinds.iter().map(|&kind| Kind::ALL[kind]) {
            framed[at] = kind as u8;
            framed[at + 4] = kind.len() as u8;
            at += 8 + kind.len();
        }
        for bytes in [&data, &framed] {
            if let Ok(list) = Selectors::parse_classifier(bytes, &capability(true), most) {
                prop_assert!(list.iter().count() <= usize::from(most));
                prop_assert!(list.key_len() <= super::super::MAX_KEYS);
                let mut buf = [0; 300];
                let len = list.write(&mut buf).unwrap();
                prop_assert_eq!(Selectors::parse_classifier(&buf[..len], &list, most), Ok(list));
            }
            if let Ok(list) = Selectors::parse_capability(bytes) {
                prop_assert!(list.is_within(&list));
                prop_assert_eq!(Selectors::known(bytes.get(..300).unwrap_or(bytes)).unwrap_or(list), list);
            }
        }
    }
}
