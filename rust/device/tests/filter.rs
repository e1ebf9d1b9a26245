// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The flow filter between wire and queues: V84, V97, V98, V100 and V168 of the checklist.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::convert::Infallible;

use espnic_device::testing::filter::{self as build, Part};
use espnic_device::testing::{self, ESP};
use espnic_device::virtio::common::reg;
use espnic_wire::admin::{self, Command, Reply};
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::filter::selector::Kind;
use espnic_wire::filter::{Action, RuleHdr, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa;
use support::driver::{self, Driver, CTRL};
use support::{config, packets, pump, sas, Rig};

/// Control queue of a driver that has negotiated two pairs.
const CONTROL: u16 = 4;

fn done(driver: &mut Driver, queue: u16, command: Command<'_>) -> Vec<u8> {
    let request = sas::framed(&testing::bytes(command));
    let reply = driver.request(queue, &request, 1025);
    assert_eq!(reply[0], ctrl::OK);
    let reply = Reply::parse(&reply[1..]).unwrap();
    assert_eq!((reply.status, reply.qualifier), (admin::OK, admin::Q_OK));
    reply.result.to_vec()
}

/// Takes the capabilities of IPsec and of the filter, and makes group 0.
fn set_up(driver: &mut Driver, queue: u16) {
    let mut execute = |command: Command<'_>| Ok::<_, Infallible>(done(driver, queue, command));
    assert_eq!(testing::set_up(&mut execute), Ok(()));
    assert_eq!(build::set_up(&mut execute), Ok(()));
    let object = build::group(1);
    let create = Command::ObjCreate {
        obj_type: OBJ_GROUP,
        id: 0,
        object: &object,
    };
    done(driver, queue, create);
}

/// Makes a rule, and a classifier of its own.
fn rule(driver: &mut Driver, queue: u16, id: u32, parts: &[Part], hdr: RuleHdr) {
    let objects = [
        (OBJ_CLASSIFIER, build::classifier(parts)),
        (OBJ_RULE, build::rule(hdr, parts)),
    ];
    for (obj_type, object) in &objects {
        let create = Command::ObjCreate {
            obj_type: *obj_type,
            id,
            object,
        };
        done(driver, queue, create);
    }
}

fn hdr(id: u32, action: Action) -> RuleHdr {
    build::rule_hdr(0, id, 100 - id as u8, action as u8)
}

fn to_queue(id: u32, queue: u16) -> RuleHdr {
    RuleHdr {
        vq_index: queue.into(),
        ..hdr(id, Action::Queue)
    }
}

/// A sender, and a receiver with a filter, both with one pair.
fn rig(features: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    for driver in [&mut a, &mut b] {
        driver.start(features);
    }
    set_up(&mut b, CTRL);
    (a, b)
}

/// A sender, and a receiver with a filter and two pairs in use.
fn two_pairs() -> (Driver, Driver) {
    let mut rig = Rig::default();
    let two = espnic_device::net::NetConfig {
        pairs: 2,
        ..config(2)
    };
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(two));
    a.start(driver::plain());
    b.start_queues(driver::ipsec() | mask(feature::MQ), 5);
    set_up(&mut b, CONTROL);
    set_pairs(&mut b, 2);
    (a, b)
}

fn set_pairs(driver: &mut Driver, pairs: u8) {
    let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, pairs, 0];
    assert_eq!(driver.request(CONTROL, &request, 1), [ctrl::OK]);
}

fn counters<const N: usize>(driver: &Driver, names: [&str; N]) -> [u64; N] {
    names.map(|name| driver.counter(name))
}

/// V100. The destination port of [`packets::udp`] is 53.
#[test]
fn a_rule_drops_what_it_is_about() {
    let (mut a, mut b) = rig(driver::ipsec());
    rule(
        &mut b,
        CTRL,
        0,
        &build::udp(false, 53),
        hdr(0, Action::Drop),
    );
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::udp(10));
    assert!(b.receive().is_none());
    let mut other = packets::udp(10);
    other[37] = 54;
    a.send(&NetHdr48::default(), &other);
    assert_eq!(b.receive().unwrap().1, other);
    assert_eq!(counters(&b, ["filter_drop", "rx_frames"]), [1, 1]);
    done(
        &mut b,
        CTRL,
        Command::ObjDestroy {
            obj_type: OBJ_RULE,
            id: 0,
        },
    );
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::udp(10));
    assert_eq!(b.receive().unwrap().1, packets::udp(10));
    assert_eq!(b.counter("filter_drop"), 1);
}

/// V100: what is dropped before does not come to the filter.
#[test]
fn frames_that_are_too_long_do_not_come_to_the_filter() {
    let mut rig = Rig::default();
    let long = espnic_device::net::NetConfig {
        mtu: 9000,
        ..config(1)
    };
    let (mut a, mut b) = (rig.nic(long), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::ipsec());
    set_up(&mut b, CTRL);
    rule(
        &mut b,
        CTRL,
        0,
        &build::udp(false, 53),
        hdr(0, Action::Drop),
    );
    a.send(&NetHdr48::default(), &packets::udp(2000));
    pump(b.nic());
    assert_eq!(counters(&b, ["rx_drop_long", "filter_drop"]), [1, 0]);
}

/// V98: the rule decides, not the hash; and only about its own packets.
#[test]
fn a_rule_directs_to_a_queue() {
    let (mut a, mut b) = two_pairs();
    rule(&mut b, CONTROL, 0, &build::udp(false, 53), to_queue(0, 0));
    rule(&mut b, CONTROL, 1, &build::udp(false, 54), to_queue(1, 2));
    for source in 0..16 {
        for (port, queue) in [(53, 0), (54, 2)] {
            let mut frame = packets::udp(10);
            (frame[35], frame[37]) = (source, port);
            b.post_rx_on(queue, 200);
            a.send(&NetHdr48::default(), &frame);
            assert_eq!(b.receive_on(queue).unwrap().1, frame);
        }
    }
    assert_eq!(counters(&b, ["filter_queue", "filter_drop_queue"]), [32, 0]);
}

/// V97.
#[test]
fn what_is_directed_to_a_queue_in_reset_is_dropped() {
    let (mut a, mut b) = two_pairs();
    rule(&mut b, CONTROL, 0, &build::udp(false, 53), to_queue(0, 2));
    b.select(2);
    b.write(reg::QUEUE_RESET, 1, 2);
    b.post_rx_on(0, 200);
    a.send(&NetHdr48::default(), &packets::udp(10));
    assert!(b.receive_on(0).is_none());
    assert_eq!(counters(&b, ["filter_queue", "filter_drop_queue"]), [0, 1]);
    // What no rule directs goes to another one.
    for source in 0..4 {
        let mut frame = packets::udp(10);
        (frame[35], frame[37]) = (source, 54);
        b.post_rx_on(0, 200);
        a.send(&NetHdr48::default(), &frame);
        assert_eq!(b.receive_on(0).unwrap().1, frame);
    }
    b.enable(2);
    b.post_rx_on(2, 200);
    a.send(&NetHdr48::default(), &packets::udp(10));
    assert_eq!(b.receive_on(2).unwrap().1, packets::udp(10));
}

/// V97: nor does what waited before the reset come afterwards. What no rule has sent there still arrives.
#[test]
fn what_waits_for_a_queue_that_is_reset_is_dropped() {
    let (mut a, mut b) = two_pairs();
    rule(&mut b, CONTROL, 0, &build::udp(false, 53), to_queue(0, 2));
    let others: Vec<_> = (0..8)
        .map(|source| {
            let mut frame = packets::udp(10);
            (frame[35], frame[37]) = (source, 54);
            frame
        })
        .collect();
    for frame in others.iter().chain([&packets::udp(10)]) {
        a.send(&NetHdr48::default(), frame);
    }
    pump(b.nic());
    assert_eq!(counters(&b, ["filter_queue", "filter_drop_queue"]), [1, 0]);
    b.select(2);
    b.write(reg::QUEUE_RESET, 1, 2);
    assert_eq!(counters(&b, ["filter_queue", "filter_drop_queue"]), [1, 1]);
    b.enable(2);
    b.post_rx_on(2, 200);
    assert!(b.receive_on(2).is_none());
    for _ in &others {
        b.post_rx_on(0, 200);
        let (_, frame) = b.receive_on(0).unwrap();
        assert!(others.contains(&frame));
    }
}

/// Nor does it go to another one when the number of pairs changes while it waits.
#[test]
fn what_waits_for_a_queue_stays_there_or_is_dropped() {
    let (mut a, mut b) = two_pairs();
    rule(&mut b, CONTROL, 0, &build::udp(false, 53), to_queue(0, 2));
    let mut other = packets::udp(10);
    other[37] = 54;
    for frame in [&packets::udp(10), &other] {
        a.send(&NetHdr48::default(), frame);
    }
    pump(b.nic());
    set_pairs(&mut b, 2);
    assert_eq!(b.counter("filter_drop_queue"), 0);
    set_pairs(&mut b, 1);
    assert_eq!(b.counter("filter_drop_queue"), 1);
    b.post_rx_on(0, 200);
    assert_eq!(b.receive_on(0).unwrap().1, other);
    // Pair 1 is not in use.
    a.send(&NetHdr48::default(), &packets::udp(10));
    pump(b.nic());
    assert_eq!(b.counter("filter_drop_queue"), 2);
}

/// Makes SAs with which `a` sends and `b` receives.
fn protect(a: &mut Driver, b: &mut Driver) {
    sas::set_up(a, CTRL);
    sas::create(a, sa::OBJ_OUTB_SA, 3);
    sas::create(b, sa::OBJ_INB_SA, 4);
}

fn meta(bytes: &[u8]) -> Vec<Part> {
    let [eth, _] = build::ip(false, 50);
    vec![eth, Part::new(Kind::XMeta).with(0, bytes)]
}

/// V84: one more pass, and not a third.
#[test]
fn what_was_decrypted_comes_through_the_filter_once_more() {
    let (mut a, mut b) = rig(driver::ipsec());
    protect(&mut a, &mut b);
    rule(
        &mut b,
        CTRL,
        0,
        &build::any_esp(false),
        hdr(0, Action::IpsecAgain),
    );
    let (header, frame) = sas::esp(3, &sas::clear_payload());
    b.post_rx(1600);
    a.send(&header, &frame);
    // Crypto-only ESP stays ESP, so it meets its rule again.
    let (seen, opened) = b.receive().unwrap();
    assert!(seen.has(hdr::F_SECURITY) && !seen.has(hdr::F_SECURITY_ERR));
    assert_eq!(opened[ESP + 16..ESP + 20], frame[ESP + 16..ESP + 20]);
    assert_eq!(counters(&b, ["filter_ipsec", "filter_again"]), [1, 1]);
    assert_eq!(b.counter("ipsec_rx_packets"), 1);
}

/// V84, V168: the second pass can tell what was decrypted, and drop it.
#[test]
fn meta_is_known_in_the_second_pass() {
    let (mut a, mut b) = rig(driver::ipsec());
    protect(&mut a, &mut b);
    rule(
        &mut b,
        CTRL,
        2,
        &build::any_esp(false),
        hdr(2, Action::IpsecAgain),
    );
    let (header, frame) = sas::esp(3, &sas::clear_payload());
    // Of another SA, of this one. Both rules are above that of ESP.
    for (id, last, dropped) in [(1, 5, 0), (0, 4, 1)] {
        let parts = meta(&[1, 0, 2, 4, 0, 0, 0, last]);
        rule(&mut b, CTRL, id, &parts, hdr(id, Action::Drop));
        if dropped == 0 {
            b.post_rx(1600);
        }
        a.send(&header, &frame);
        assert_eq!(b.receive().is_none(), dropped == 1);
        assert_eq!(b.counter("filter_drop"), dropped);
    }
    assert_eq!(b.counter("filter_again"), 2);
}

/// What fails, or has no SA, is nothing new.
#[test]
fn only_what_was_decrypted_comes_again() {
    let (mut a, mut b) = rig(driver::ipsec());
    protect(&mut a, &mut b);
    rule(
        &mut b,
        CTRL,
        0,
        &build::any_esp(false),
        hdr(0, Action::IpsecAgain),
    );
    let forged = packets::esp(testing::SPI, 1);
    let unknown = packets::esp(testing::SPI + 1, 1);
    for frame in [&forged, &unknown] {
        b.post_rx(1600);
        a.send(&NetHdr48::default(), frame);
        assert_eq!(b.receive().unwrap().1, *frame);
    }
    assert_eq!(counters(&b, ["filter_ipsec", "filter_again"]), [2, 0]);
}

/// An SA can go while rules send packets to it or name it: then there is nothing to decrypt, and the next SA
/// of its SPI is another one.
#[test]
fn rules_outlive_the_sas_they_are_about() {
    let (mut a, mut b) = rig(driver::ipsec());
    protect(&mut a, &mut b);
    let esp = build::any_esp(false);
    rule(&mut b, CTRL, 2, &esp, hdr(2, Action::IpsecAgain));
    // What was decrypted under SA 4 is dropped.
    let parts = meta(&[1, 0, 2, 4, 0, 0, 0, 4]);
    rule(&mut b, CTRL, 0, &parts, hdr(0, Action::Drop));
    let (header, frame) = sas::esp(3, &sas::clear_payload());
    a.send(&header, &frame);
    assert!(b.receive().is_none());
    let gone = Command::ObjDestroy {
        obj_type: sa::OBJ_INB_SA,
        id: 4,
    };
    done(&mut b, CTRL, gone);
    b.post_rx(1600);
    a.send(&header, &frame);
    let (seen, as_it_came) = b.receive().unwrap();
    assert_eq!(seen.net.flags, 0);
    assert_ne!(as_it_came[ESP + 16..ESP + 20], frame[ESP + 16..ESP + 20]);
    sas::create(&mut b, sa::OBJ_INB_SA, 5);
    b.post_rx(1600);
    a.send(&header, &frame);
    let (seen, opened) = b.receive().unwrap();
    assert!(seen.has(hdr::F_SECURITY) && !seen.has(hdr::F_SECURITY_ERR));
    assert_eq!(opened[ESP + 16..ESP + 20], frame[ESP + 16..ESP + 20]);
    let seen = [
        "filter_ipsec",
        "filter_again",
        "filter_drop",
        "ipsec_rx_no_sa",
    ];
    assert_eq!(counters(&b, seen), [3, 2, 1, 1]);
}

#[test]
fn a_reset_takes_the_rules_away() {
    let (mut a, mut b) = rig(driver::ipsec());
    rule(
        &mut b,
        CTRL,
        0,
        &build::udp(false, 53),
        hdr(0, Action::Drop),
    );
    b.start(driver::ipsec());
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::udp(10));
    assert_eq!(b.receive().unwrap().1, packets::udp(10));
    // Without the extension there is no IPsec, and rules do not name it.
    b.start(driver::plain() | mask(feature::ADMIN_VQ));
    let list = admin::OPS_ALL.to_le_bytes();
    for command in [Command::ListUse(&list), Command::DeviceCapGet(0x0802)] {
        let (status, qualifier, result) =
            sas::execute(&mut b, driver::ADMIN, &testing::bytes(command));
        assert_eq!((status, qualifier), (admin::OK, admin::Q_OK));
        assert!(result.is_empty() || result[..10] == [2, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
    let none = ["filter_drop", "filter_queue", "filter_drop_queue"];
    assert_eq!(counters(&b, none), [0, 0, 0]);
}
