// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules about SAs and protected packets that the NIC breaks on purpose: it does each time what was asked
//! for, and no longer.

#![allow(clippy::unwrap_used)]

mod support;

use espnic_device::testing::{self, filter as build};
use espnic_wire::admin::{self, Command};
use espnic_wire::cap;
use espnic_wire::filter::OBJ_GROUP;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa;
use support::driver::{self, Driver, CTRL};
use support::misbehaviour::{clear, made, misbehave, pair};
use support::{packets, sas};
use zerocopy::IntoBytes;

fn create(driver: &mut Driver, id: u32) -> (u16, u16) {
    let obj_type = sa::OBJ_OUTB_SA;
    let object = testing::object(obj_type);
    let object = object.as_bytes();
    let command = testing::bytes(Command::ObjCreate {
        obj_type,
        id,
        object,
    });
    let (status, qualifier, _) = sas::execute(driver, CTRL, &command);
    (status, qualifier)
}

const NO_SPACE: (u16, u16) = (admin::ENOSPC, admin::Q_NORESOURCE);
const DONE: (u16, u16) = (admin::OK, admin::Q_OK);

#[test]
fn limits_of_sas_are_huge() {
    let (mut a, _b) = pair(driver::ipsec());
    misbehave(&a, "sa limits 1");
    // The driver takes what it is offered.
    sas::set_up(&mut a, CTRL);
    assert_eq!(made(&a, "sa limits"), 1);
    // The NIC does not believe itself.
    for id in [u32::MAX - 1, 4096] {
        assert_eq!(create(&mut a, id), NO_SPACE);
    }
    assert_eq!(create(&mut a, 4095), DONE);
    let get = Command::DeviceCapGet(cap::IPSEC_RESOURCE);
    assert_eq!(sas::done(&mut a, CTRL, get)[..4], [0xff; 4]);
    a.start(driver::ipsec());
    sas::set_up(&mut a, CTRL);
    let get = Command::DeviceCapGet(cap::IPSEC_RESOURCE);
    let limits = sas::done(&mut a, CTRL, get);
    assert_eq!(limits[..4], 4096u32.to_le_bytes());
}

#[test]
fn sas_are_refused_after_a_reset() {
    let (mut a, _b) = pair(driver::ipsec());
    sas::set_up(&mut a, CTRL);
    misbehave(&a, "sa refuse-create 2");
    assert_eq!(create(&mut a, 1), DONE);
    a.start(driver::ipsec());
    sas::set_up(&mut a, CTRL);
    let results: Vec<_> = (0..3).map(|id| create(&mut a, id)).collect();
    assert_eq!(results, [NO_SPACE, NO_SPACE, DONE]);
    assert_eq!(made(&a, "sa refuse-create"), 2);
    misbehave(&a, "sa refuse-create 9");
    a.start(driver::ipsec());
    clear(&a);
    sas::set_up(&mut a, CTRL);
    assert_eq!(create(&mut a, 1), DONE);
}

#[test]
fn objects_of_the_filter_are_refused() {
    let (mut a, _b) = pair(driver::ipsec());
    sas::set_up(&mut a, CTRL);
    let mut execute = |command: Command<'_>| {
        let (status, _, result) = sas::execute(&mut a, CTRL, &testing::bytes(command));
        assert_eq!(status, admin::OK);
        Ok::<_, std::convert::Infallible>(result)
    };
    assert_eq!(build::set_up(&mut execute), Ok(()));
    misbehave(&a, "filter refuse-create 1");
    let object = build::group(1);
    let mut group = || {
        let (obj_type, id) = (OBJ_GROUP, 0);
        let command = testing::bytes(Command::ObjCreate {
            obj_type,
            id,
            object: &object,
        });
        let (status, qualifier, _) = sas::execute(&mut a, CTRL, &command);
        (status, qualifier)
    };
    assert_eq!([group(), group()], [NO_SPACE, DONE]);
    assert_eq!(made(&a, "filter refuse-create"), 1);
}

#[test]
fn sas_are_not_destroyed() {
    let (mut a, _b) = pair(driver::ipsec());
    sas::set_up(&mut a, CTRL);
    assert_eq!(create(&mut a, 1), DONE);
    misbehave(&a, "sa refuse-destroy 1");
    let command = testing::bytes(Command::ObjDestroy {
        obj_type: sa::OBJ_OUTB_SA,
        id: 1,
    });
    let (refused, ..) = sas::execute(&mut a, CTRL, &command);
    assert_ne!(refused, DONE.0);
    assert_ne!(create(&mut a, 1), DONE);
    assert_eq!(made(&a, "sa refuse-destroy"), 1);
    let (done, ..) = sas::execute(&mut a, CTRL, &command);
    assert_eq!((done, create(&mut a, 1)), (DONE.0, DONE));
}

/// What `b` gets of a packet under an SA with id 4, while it misbehaves like this.
fn record(a: &mut Driver, b: &mut Driver, words: &str) -> (NetHdr48, Vec<u8>) {
    if !words.is_empty() {
        misbehave(b, &format!("record {words} 1"));
    }
    b.post_rx(1600);
    let (hdr, frame) = sas::esp(3, &sas::clear_payload());
    a.send(&hdr, &frame);
    b.receive().unwrap()
}

type Change = fn(&mut NetHdr48, &mut Vec<u8>);

#[test]
fn records_are_wrong() {
    let (mut a, mut b) = pair(driver::ipsec());
    for driver in [&mut a, &mut b] {
        sas::set_up(driver, CTRL);
    }
    sas::create(&mut a, sa::OBJ_OUTB_SA, 3);
    sas::create(&mut b, sa::OBJ_INB_SA, 4);
    let (hdr, frame) = record(&mut a, &mut b, "");
    assert_eq!(hdr.sec.sec_status, hdr::SEC_OK);
    let cases: [(&str, Change); 6] = [
        ("sa-id", |hdr, _| hdr.out.resource_id = 5.into()),
        ("generation", |hdr, _| hdr.sec.generation = 6.into()),
        ("spi", |_, frame| frame[34 + 3] ^= 1),
        ("address", |_, frame| {
            frame[33] ^= 1;
            testing::correct(frame);
        }),
        ("offset-outside", |hdr, _| hdr.sec.esp_offset = 65535.into()),
        ("offset-inside", |hdr, _| hdr.sec.esp_offset = 38.into()),
    ];
    for (words, change) in cases {
        let (mut wanted, mut content) = (hdr, frame.clone());
        change(&mut wanted, &mut content);
        let (seen, got) = record(&mut a, &mut b, words);
        assert_eq!((seen, got), (wanted, content), "{words}");
        assert_eq!(record(&mut a, &mut b, ""), (hdr, frame.clone()));
        assert_eq!(made(&b, &format!("record {words}")), 1);
    }
    // Packets that fail, or have no SA, do not count.
    misbehave(&b, "record sa-id 1");
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::esp(7, 1));
    b.receive().unwrap();
    assert_eq!(made(&b, "record sa-id"), 1);
    clear(&b);
    assert_eq!(record(&mut a, &mut b, ""), (hdr, frame));
}
