// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs of the standard from queue to queue: plain frames go in at one NIC and come out at another, and a
//! rule of the flow filter takes them through IPsec (V82, V83, V84 and V168 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::testing::filter::{self as build, Part};
use espnic_device::testing::{GENERATION, SPI};
use espnic_wire::admin::Command;
use espnic_wire::cap;
use espnic_wire::event::{self, Event};
use espnic_wire::filter::selector::Kind;
use espnic_wire::filter::{Action, OBJ_CLASSIFIER, OBJ_RULE};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use support::driver::{self, Driver, CTRL, EVENT, RX, TX, WRITE};
use support::{config, packets, pump, sas, Rig};
use zerocopy::IntoBytes;

fn create(driver: &mut Driver, obj_type: u16, id: u32, object: &[u8]) {
    let create = Command::ObjCreate {
        obj_type,
        id,
        object,
    };
    sas::done(driver, CTRL, create);
}

/// A sender with outbound SA 3, a receiver with inbound SA 4, and one that sees the wire.
fn rig() -> [Driver; 3] {
    let mut rig = Rig::default();
    let [mut a, mut b, mut spy] = [1, 2, 3].map(|last| rig.nic(config(last)));
    for driver in [&mut a, &mut b, &mut spy] {
        driver.start(driver::ipsec());
        sas::set_up(driver, CTRL);
    }
    create(&mut a, OBJ_OUTB_SA, 3, sas::tunnel(OBJ_OUTB_SA).as_bytes());
    create(&mut b, OBJ_INB_SA, 4, sas::tunnel(OBJ_INB_SA).as_bytes());
    [a, b, spy]
}

/// The header of a plain frame for outbound SA 3.
fn header() -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC;
    hdr.out.resource_id = 3.into();
    hdr.out.resource_type = OBJ_OUTB_SA.into();
    hdr.sec.generation = GENERATION.into();
    hdr
}

/// Sends a plain frame through the SA, and returns what is on the wire.
fn send(a: &mut Driver, spy: &mut Driver, frame: &[u8]) -> Vec<u8> {
    spy.post_rx(1600);
    a.send(&header(), frame);
    spy.receive().unwrap().1
}

#[test]
fn a_plain_frame_arrives_as_a_plain_frame() {
    let [mut a, mut b, mut spy] = rig();
    sas::make_rules(&mut b, CTRL, Action::Ipsec);
    b.post_rx(1600);
    let frame = packets::udp(64);
    let wire = send(&mut a, &mut spy, &frame);
    // IPv4 with ESP between the ends of the tunnel; the Ethernet addresses stay.
    assert_eq!(wire[..14], frame[..14]);
    assert_eq!(wire[23], 50);
    assert_eq!(wire[26..34], [192, 0, 2, 1, 192, 0, 2, 2]);
    assert_eq!(
        wire[34..42],
        [&SPI.to_be_bytes()[..], &[0, 0, 0, 1]].concat()
    );
    assert!(!wire.windows(16).any(|part| part == &frame[42..58]));
    let (seen, plain) = b.receive().unwrap();
    assert_eq!(plain, frame);
    assert_eq!(
        seen.net.flags,
        hdr::F_SECURITY | hdr::F_X_SEC | hdr::F_DATA_VALID
    );
    assert_eq!(
        (seen.out.resource_id.get(), seen.out.resource_type.get()),
        (4, OBJ_INB_SA)
    );
    assert_eq!(
        (
            seen.sec.sec_op,
            seen.sec.sec_status,
            seen.sec.generation.get()
        ),
        (hdr::SEC_OP_STANDARD, hdr::SEC_OK, GENERATION)
    );
    let counters = ["filter_ipsec", "filter_again", "ipsec_rx_packets"];
    assert_eq!(counters.map(|name| b.counter(name)), [1, 0, 1]);
}

/// And those that meet no rule are left alone.
#[test]
fn without_a_rule_esp_stays_as_it_is() {
    let [mut a, mut b, mut spy] = rig();
    let mut expect = |b: &mut Driver, plain: bool| {
        b.post_rx(1600);
        let frame = packets::udp(64);
        let wire = send(&mut a, &mut spy, &frame);
        let (seen, got) = b.receive().unwrap();
        assert_eq!(seen.has(hdr::F_SECURITY), plain);
        assert_eq!(got, if plain { frame } else { wire });
    };
    expect(&mut b, false);
    sas::make_rules(&mut b, CTRL, Action::Ipsec);
    expect(&mut b, true);
    // IPv4 has rule 0.
    let destroy = Command::ObjDestroy {
        obj_type: OBJ_RULE,
        id: 0,
    };
    sas::done(&mut b, CTRL, destroy);
    expect(&mut b, false);
}

/// What is forged, comes twice or has another destination is never delivered.
#[test]
fn what_fails_is_dropped_and_counted() {
    let [mut a, mut b, mut spy] = rig();
    sas::make_rules(&mut b, CTRL, Action::Ipsec);
    b.post_rx(1600);
    let wire = send(&mut a, &mut spy, &packets::udp(64));
    assert_eq!(b.receive().unwrap().1, packets::udp(64));
    let mut forged = wire.clone();
    forged[41] = 2;
    for frame in [&wire, &forged] {
        b.post_rx(1600);
        spy.send(&NetHdr48::default(), frame);
        assert!(b.receive().is_none());
    }
    let counters = ["ipsec_rx_replay", "ipsec_rx_auth_fail", "ipsec_rx_packets"];
    assert_eq!(counters.map(|name| b.counter(name)), [1, 1, 1]);
    let mut elsewhere = wire;
    elsewhere[33] = 3;
    spy.send(&NetHdr48::default(), &elsewhere);
    let (seen, got) = b.receive().unwrap();
    assert_eq!((seen.has(hdr::F_SECURITY), got), (false, elsewhere));
}

/// V84, V168: a rule for clear packets, and one that sends what is inside to a queue, with
/// IPSEC_RECIRCULATE.
#[test]
fn rules_look_at_what_was_inside() {
    let [mut a, mut b, mut spy] = rig();
    sas::make_rules(&mut b, CTRL, Action::IpsecAgain);
    let [eth, ip] = build::ip(false, 17);
    let clear = [eth, Part::new(Kind::XMeta).with(0, &[0]), ip];
    create(&mut b, OBJ_CLASSIFIER, 10, &build::classifier(&clear));
    let drop = build::rule_hdr(0, 10, 50, Action::Drop as u8);
    create(&mut b, OBJ_RULE, 10, &build::rule(drop, &clear));
    let frame = packets::udp(64);
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &frame);
    assert!(b.receive().is_none());
    send(&mut a, &mut spy, &frame);
    assert_eq!(b.receive().unwrap().1, frame);
    let counters = ["filter_drop", "filter_again", "ipsec_rx_packets"];
    assert_eq!(counters.map(|name| b.counter(name)), [1, 1, 1]);
    // What is inside, whatever the outer header says.
    let inside = build::udp(false, 53);
    create(&mut b, OBJ_CLASSIFIER, 11, &build::classifier(&inside));
    let drop = build::rule_hdr(0, 11, 51, Action::Drop as u8);
    create(&mut b, OBJ_RULE, 11, &build::rule(drop, &inside));
    send(&mut a, &mut spy, &frame);
    pump(b.nic());
    assert_eq!(counters.map(|name| b.counter(name)), [2, 2, 2]);
}

/// V85, V166: a limit is kept to the packet, and the driver is told by the event queue.
#[test]
fn a_limit_ends_the_sa_and_the_driver_is_told() {
    let [mut a, _b, mut spy] = rig();
    a.start_with(driver::ipsec(), [RX, TX, CTRL, EVENT]);
    sas::set_up(&mut a, CTRL);
    let mut limited = sas::tunnel(OBJ_OUTB_SA);
    limited.base.options = u64::from(cap::OPT_SA_LIFETIME).into();
    limited.base.packets_hard_limit = 2.into();
    limited.tail.event_mask = event::Kind::HardLimit.mask().into();
    create(&mut a, OBJ_OUTB_SA, 3, limited.as_bytes());
    let at = a.buffer(32);
    a.chain(EVENT, &[(at, 32, WRITE)]);
    spy.post_rx(1600);
    spy.post_rx(1600);
    for _ in 0..3 {
        a.send(&header(), &packets::udp(64));
    }
    assert_eq!(std::iter::from_fn(|| spy.receive()).count(), 2);
    assert_eq!(a.counter("tx_drop_ipsec"), 1);
    let (_, len) = a.next_used(EVENT).unwrap();
    let told = Event::read(&a.get(at, len as usize)).unwrap();
    assert_eq!(
        (told.kind.get(), told.res_type.get(), told.id.get()),
        (event::Kind::HardLimit as u16, OBJ_OUTB_SA, 3)
    );
    assert_eq!((told.packets.get(), told.seq.get()), (2, 2));
    assert!(a.next_used(EVENT).is_none());
}
