// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SA requests: what is written stands at the documented offsets, and what is read was checked.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_ndis::sa::build::{self, AddSaList, DeleteSaList};
use espnic_ndis::sa::{
    AddSa, AddSaEx, Address, BundleView, DeleteSa, Operation, Spi, UdpEsp, UpdateSa,
};
use espnic_ndis::{Fault, Handle, Status};
use support::rules;
use support::sas::{AH, CBC, GCM, IN6, OUT};
use zerocopy::IntoBytes as _;

fn fault<T>(result: Result<T, Fault>) -> Fault {
    result.err().unwrap()
}

fn length(needed: usize) -> Fault {
    Fault::Length { needed }
}

/// A list of [`OUT`], [`IN6`] and [`OUT`], and the offsets of its elements.
fn list() -> (Vec<u8>, [usize; 3]) {
    let mut buffer = vec![0xee; 1024];
    let mut list = AddSaList::new(&mut buffer);
    assert!(list.is_empty());
    let at = [&OUT, &IN6, &OUT].map(|bundle| list.push(bundle).unwrap());
    let len = list.len();
    buffer.truncate(len);
    (buffer, at)
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    buffer[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn add_sa_stands_at_the_documented_offsets() {
    let (buffer, at) = list();
    // 0xa8 and 20 bytes of keys; 0xa8 and 16 + 32 + 20.
    assert_eq!(at, [0, 0xc0, 0xc0 + 0xf0]);
    assert_eq!(buffer.len(), 0xc0 + 0xf0 + 0xc0);

    let first = &buffer[..0xc0];
    assert_eq!(first[..8], [0x80, 1, 0xa9, 0, 0, 0, 0, 0]);
    assert_eq!(first[8..0x10], [0xc0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(first[0x10..0x18], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(first[0x18..0x20], [192, 0, 2, 1, 198, 51, 100, 2]);
    assert!(first[0x20..0x44].iter().all(|&byte| byte == 0));
    assert_eq!(first[0x44..0x50], [1, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4]);
    assert!(first[0x50..0x60].iter().all(|&byte| byte == 0));
    assert_eq!(
        first[0x60..0x70],
        [8, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0]
    );
    assert_eq!(first[0x70..0x74], [0x44, 0x33, 0x22, 0x11]);
    assert!(first[0x74..0xa4].iter().all(|&byte| byte == 0));
    assert_eq!(first[0xa4..0xa8], [20, 0, 0, 0]);
    assert_eq!(&first[0xa8..0xbc], b"0123456789abcdefSALT");
    assert_eq!(first[0xbc..], [0; 4]);

    let second = &buffer[0xc0..];
    assert_eq!(second[0x10..0x18], [2, 0, 0, 0, 0x11, 0, 0, 0]);
    assert_eq!(second[0x18..0x20], [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0]);
    assert_eq!(second[0x40], 2);
    // SecAssoc[1]: AH, its key behind the two of ESP.
    assert_eq!(second[0x74..0x80], [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(
        second[0x80..0x90],
        [2, 0, 0, 0, 20, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(second[0xa4], 68);
    let third = &buffer[0x1b0..];
    assert_eq!(third[8..0x10], [0; 8]);
}

fn check_in6(bundle: &BundleView<'_>) {
    assert!(bundle.is_inbound() && bundle.is_ipv6());
    let Address::V6(destination) = bundle.destination() else {
        panic!("not IPv6")
    };
    assert_eq!(destination[15], 2);
    assert!(matches!(bundle.source(), Address::V6(source) if source[15] == 1));
    assert_eq!(bundle.udp_esp, UdpEsp::TUNNEL);
    let associations = bundle.associations().unwrap();
    assert_eq!(
        associations
            .iter()
            .map(|sa| sa.operation())
            .collect::<Vec<_>>(),
        [Operation::ESP, Operation::AH]
    );
    assert_eq!(associations[0].spi, CBC.spi);
    assert_eq!(associations[1].spi, AH.spi);
    let esp = &associations[0];
    assert!(!esp.is_esn());
    assert!(bundle.key(&esp.encryption_algorithm).unwrap() == [0xc3; 16]);
    assert!(bundle.key(&esp.authentication_algorithm).unwrap() == [0x5a; 32]);
    let ah = &associations[1];
    assert!(ah.encryption_algorithm.is_zero());
    assert!(bundle.key(&ah.authentication_algorithm).unwrap() == [0x11; 20]);
    assert_eq!(bundle.key_data().len(), 68);
}

#[test]
fn a_list_is_followed_to_its_end() {
    let (mut buffer, offsets) = list();
    let mut at = Some(0);
    let mut seen = Vec::new();
    while let Some(offset) = at {
        let element = AddSa::parse(&buffer, offset).unwrap();
        assert_eq!(element.at(), offset);
        seen.push(offset);
        at = element.next();
    }
    assert_eq!(seen, offsets);
    check_in6(&AddSa::parse(&buffer, 0xc0).unwrap().bundle().unwrap());

    let bundle = AddSa::parse(&buffer, 0).unwrap().bundle().unwrap();
    assert!(!bundle.is_inbound() && !bundle.is_ipv6());
    assert_eq!(bundle.source(), Address::V4([192, 0, 2, 1]));
    assert_eq!(bundle.destination(), Address::V4([198, 51, 100, 2]));
    let [sa] = bundle.associations().unwrap() else {
        panic!("not one")
    };
    assert!(sa.is_esn());
    assert_eq!(sa.sequence_number_high_order.get(), 0x1122_3344);
    assert_eq!((sa.spi, sa.spi.get()), (GCM.spi, 0x0102_0304));
    assert!(bundle.key(&sa.encryption_algorithm).unwrap() == b"0123456789abcdefSALT");

    let before = buffer.clone();
    AddSa::set_handle(&mut buffer, 0xc0, Handle::new(0x77)).unwrap();
    assert_eq!(
        buffer[0xc0 + 0x38..0xc0 + 0x40],
        [0x77, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        AddSa::parse(&buffer, 0xc0)
            .unwrap()
            .fixed
            .offload_handle
            .handle(),
        Handle::new(0x77)
    );
    AddSa::set_handle(&mut buffer, 0xc0, None).unwrap();
    assert!(buffer == before);
    rules(&[53, 55, 59, 137]);
}

#[test]
fn zero_addresses_restrict_nothing() {
    assert!(Address::V4([0; 4]).is_unspecified() && Address::V6([0; 16]).is_unspecified());
    assert!(!Address::V4([0, 0, 0, 1]).is_unspecified());
}

#[test]
fn next_leads_forward_only() {
    let (good, _) = list();
    let end = u64::try_from(good.len()).unwrap();
    // Itself, into itself, out of step, the end, far away.
    for next in [
        8,
        0xa0,
        0xa7,
        0xa9,
        0xc4,
        end,
        end + 8,
        1 << 32,
        u64::MAX - 7,
        u64::MAX,
    ] {
        let mut buffer = good.clone();
        put(&mut buffer, 8, &next.to_le_bytes());
        assert_eq!(fault(AddSa::parse(&buffer, 0)), Fault::Link, "{next:#x}");
    }
    // The second back to the first.
    let mut buffer = good.clone();
    put(&mut buffer, 0xc0 + 8, &0u64.to_le_bytes());
    assert_eq!(AddSa::parse(&buffer, 0xc0).unwrap().next(), None);
    for next in [8u64, 0xb8, 0xc0, 0xc8] {
        put(&mut buffer, 0xc0 + 8, &next.to_le_bytes());
        assert_eq!(fault(AddSa::parse(&buffer, 0xc0)), Fault::Link);
    }
    // To where no element fits.
    put(&mut buffer, 8, &(end - 8).to_le_bytes());
    let next = AddSa::parse(&buffer, 0).unwrap().next().unwrap();
    assert_eq!(fault(AddSa::parse(&buffer, next)), length(next + 0xa9));
    // Into the keys of the element: that element is wrong, the list goes on.
    put(&mut buffer, 8, &0xa8u64.to_le_bytes());
    let element = AddSa::parse(&buffer, 0).unwrap();
    assert_eq!(element.next(), Some(0xa8));
    assert_eq!(fault(element.bundle()), Fault::Key);
}

#[test]
fn keys_stay_inside_the_key_buffer() {
    let (good, _) = list();
    let mut buffer = good.clone();
    for key_length in [25u32, 1024, u32::MAX] {
        put(&mut buffer, 0xa4, &key_length.to_le_bytes());
        let element = AddSa::parse(&buffer, 0).unwrap();
        let fault = fault(element.bundle());
        assert!(
            matches!(fault, Fault::Key | Fault::Length { .. }),
            "{fault:?}"
        );
    }
    let mut last = good[..0xbc].to_vec();
    put(&mut last, 8, &[0; 8]);
    assert!(AddSa::parse(&last, 0).unwrap().bundle().is_ok());
    last.pop();
    assert_eq!(
        fault(AddSa::parse(&last, 0).unwrap().bundle()),
        length(0xbc)
    );

    let ranges = [
        (1, 20),
        (20, 1),
        (0, 21),
        (u32::MAX, 1),
        (1, u32::MAX),
        (u32::MAX, u32::MAX),
    ];
    for (offset, len) in ranges {
        let mut buffer = good.clone();
        put(&mut buffer, 0x64, &u32::to_le_bytes(len));
        put(&mut buffer, 0x68, &u32::to_le_bytes(offset));
        let bundle = AddSa::parse(&buffer, 0).unwrap().bundle().unwrap();
        let sa = &bundle.associations().unwrap()[0];
        let key = bundle.key(&sa.encryption_algorithm);
        assert_eq!(fault(key), Fault::Key, "{offset} {len}");
    }
    rules(&[59]);
}

#[test]
fn only_one_or_two_associations_count() {
    let (mut buffer, _) = list();
    for count in [0u32, 3, 0x100, u32::MAX] {
        put(&mut buffer, 0x10, &count.to_le_bytes());
        let bundle = AddSa::parse(&buffer, 0).unwrap().bundle().unwrap();
        assert_eq!(bundle.num_ext_hdrs(), count);
        assert_eq!(bundle.associations().err(), Some(Fault::Count));
    }
    put(&mut buffer, 0x10, &2u32.to_le_bytes());
    let bundle = AddSa::parse(&buffer, 0).unwrap().bundle().unwrap();
    assert_eq!(bundle.associations().unwrap().len(), 2);
    rules(&[53]);
}

#[test]
fn headers_are_checked() {
    let (good, _) = list();
    let cases: [(usize, u8, Option<Fault>); 7] = [
        (0, 0x81, Some(Fault::Type)),
        (0, 0, Some(Fault::Type)),
        (1, 0, Some(Fault::Revision)),
        (1, 2, Some(Fault::Revision)),
        (2, 0xa8, Some(Fault::Size)),
        (2, 0xb0, None),
        (3, 0xff, None),
    ];
    for (at, byte, expected) in cases {
        let mut buffer = good.clone();
        buffer[at] = byte;
        assert_eq!(AddSa::parse(&buffer, 0).err(), expected);
    }
    for len in 0..0xa9 {
        assert_eq!(fault(AddSa::parse(&good[..len], 0)), length(0xa9));
    }
    assert_eq!(fault(AddSa::parse(&good, usize::MAX)), length(usize::MAX));
    assert!(AddSa::set_handle(&mut good.clone(), usize::MAX, None).is_err());
}

#[test]
fn faults_have_statuses() {
    assert_eq!(length(0xa9).status(), Status::INVALID_LENGTH);
    assert_eq!(length(0xa9).needed(), 0xa9);
    assert_eq!(length(usize::MAX).needed(), u32::MAX);
    let others = [
        Fault::Type,
        Fault::Revision,
        Fault::Size,
        Fault::Link,
        Fault::Count,
        Fault::Key,
    ];
    for fault in others {
        assert_eq!((fault.status(), fault.needed()), (Status::INVALID_DATA, 0));
    }
}

#[test]
fn add_sa_ex() {
    let mut buffer = vec![0xee; 0x200];
    let len = build::add_sa_ex(&IN6, &mut buffer).unwrap();
    assert_eq!(len, 0xb0 + 68);
    buffer.truncate(len);
    assert_eq!(buffer[..12], [0x80, 1, 0xaa, 0, 2, 0, 0, 0, 0x11, 0, 0, 0]);
    assert_eq!(buffer[0x0c..0x10], [0x20, 1, 0xd, 0xb8]);
    assert_eq!(buffer[0x1c..0x20], [0x20, 1, 0xd, 0xb8]);
    assert!(buffer[0x2c..0x38].iter().all(|&byte| byte == 0));
    assert_eq!(buffer[0x38..0x3c], [2, 0, 0, 0]);
    assert_eq!(buffer[0x6c..0x74], [0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(buffer[0x9c..0xa4], [68, 0, 0, 0, 0xb0, 0, 0, 0]);
    assert!(buffer[0xa4..0xb0].iter().all(|&byte| byte == 0));
    check_in6(&AddSaEx::parse(&buffer).unwrap());

    // SourceSwitchPortId and VlanId have no influence.
    put(&mut buffer, 0xa4, &[0xff; 6]);
    check_in6(&AddSaEx::parse(&buffer).unwrap());
    AddSaEx::set_handle(&mut buffer, Handle::new(0x99)).unwrap();
    assert_eq!(buffer[0x30..0x38], [0x99, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(AddSaEx::handle(&buffer), Ok(Handle::new(0x99)));
    AddSaEx::set_handle(&mut buffer, None).unwrap();
    assert_eq!(AddSaEx::handle(&buffer), Ok(None));

    // The keys may stand anywhere behind the members.
    put(&mut buffer, 0xa0, &0xb2u32.to_le_bytes());
    assert_eq!(fault(AddSaEx::parse(&buffer)), length(0xb2 + 68));
    buffer.extend([0, 0]);
    assert!(AddSaEx::parse(&buffer).is_ok());
    for offset in [0u32, 0x30, 0xa9] {
        put(&mut buffer, 0xa0, &offset.to_le_bytes());
        assert_eq!(fault(AddSaEx::parse(&buffer)), Fault::Key);
    }
    put(&mut buffer, 0xa0, &u32::MAX.to_le_bytes());
    assert!(matches!(
        fault(AddSaEx::parse(&buffer)),
        Fault::Length { .. }
    ));
    put(&mut buffer, 0x9c, &[0; 8]);
    assert!(AddSaEx::parse(&buffer).unwrap().key_data().is_empty());
    assert!(AddSaEx::parse(&buffer[..0xaa]).is_ok());
    assert_eq!(fault(AddSaEx::parse(&buffer[..0xa9])), length(0xaa));
    buffer[2] = 0xa9;
    assert_eq!(fault(AddSaEx::parse(&buffer)), Fault::Size);
    rules(&[69, 70]);
}

#[test]
fn update_sa() {
    let update = build::update_sa(
        Handle::new(0x42),
        Operation::ESP,
        Spi::new(0x0a0b_0c0d),
        0x0102_0304,
    );
    let bytes = update.as_bytes();
    assert_eq!(bytes[..8], [0x80, 1, 0x1c, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[8..0x14], [0x42, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(
        bytes[0x14..],
        [0x0a, 0x0b, 0x0c, 0x0d, 4, 3, 2, 1, 0, 0, 0, 0]
    );
    // Its tail padding may be missing, and does not count.
    let mut long = bytes.to_vec();
    long.extend([0xff; 16]);
    long[0x1c] = 0xff;
    for buffer in [&bytes[..0x1c], bytes, &long] {
        let read = UpdateSa::parse(buffer).unwrap();
        assert_eq!(read, update);
        assert_eq!(read.handle(), Handle::new(0x42));
        assert_eq!(
            (read.operation(), read.spi.get()),
            (Operation::ESP, 0x0a0b_0c0d)
        );
    }
    assert_eq!(fault(UpdateSa::parse(&bytes[..0x1b])), length(0x1c));
    rules(&[80]);
}

#[test]
fn delete_sa() {
    let mut buffer = [0xee; 0x48];
    let mut list = DeleteSaList::new(&mut buffer);
    assert_eq!(list.push(Handle::new(7)), Ok(0));
    assert_eq!(list.push(None), Ok(0x18));
    assert_eq!(list.push(Handle::new(9)), Ok(0x30));
    assert_eq!(list.push(Handle::new(1)), Err(length(0x60)));
    assert_eq!((list.len(), list.is_empty()), (0x48, false));
    assert_eq!(
        buffer[..0x18],
        [0x80, 1, 0x18, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]
    );
    let read = [0, 0x18, 0x30].map(|at| DeleteSa::parse(&buffer, at).unwrap());
    assert_eq!(
        read.map(|sa| sa.handle),
        [Handle::new(7), None, Handle::new(9)]
    );
    assert_eq!(read.map(|sa| sa.next), [Some(0x18), Some(0x30), None]);
    for next in [8u64, 0x10, 0x1c, 0x48, u64::MAX] {
        put(&mut buffer, 8, &next.to_le_bytes());
        assert_eq!(fault(DeleteSa::parse(&buffer, 0)), Fault::Link);
    }
}

#[test]
fn a_buffer_that_is_too_small_leaves_the_list_as_it_was() {
    let (whole, _) = list();
    for len in 0..whole.len() {
        let mut buffer = vec![0; len];
        let mut list = AddSaList::new(&mut buffer);
        let pushed = [&OUT, &IN6, &OUT]
            .iter()
            .take_while(|bundle| list.push(bundle).is_ok())
            .count();
        assert!(pushed < 3);
        let end = list.len();
        assert_eq!(end, [0, 0xc0, 0x1b0][pushed]);
        let mut at = (pushed > 0).then_some(0);
        let mut elements = 0;
        while let Some(offset) = at {
            at = AddSa::parse(&buffer, offset).unwrap().next();
            elements += 1;
        }
        assert_eq!(elements, pushed);
    }
    let three = build::Bundle {
        associations: &[GCM, AH, AH],
        ..OUT
    };
    let mut buffer = [0; 1024];
    assert_eq!(AddSaList::new(&mut buffer).push(&three), Err(Fault::Count));
}
