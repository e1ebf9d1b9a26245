// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where packets of SAs of the standard end: the MTU, limits, an SA that is gone; and big frames, which become
//! many (V85, V86 and V166 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::testing;
use espnic_wire::admin::Command;
use espnic_wire::cap;
use espnic_wire::event::{Event, Kind};
use espnic_wire::filter::Action;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{SaObject, OBJ_INB_SA, OBJ_OUTB_SA};
use support::driver::{self, Driver, CTRL, EVENT, RX, TX, WRITE};
use support::{config, packets, pump, sas, Rig};
use zerocopy::IntoBytes;

fn create(driver: &mut Driver, obj_type: u16, id: u32, object: &SaObject) {
    let create = Command::ObjCreate {
        obj_type,
        id,
        object: object.as_bytes(),
    };
    sas::done(driver, CTRL, create);
}

/// A sender with outbound SA 3 and a receiver with inbound SA 4.
fn connect(outbound: &SaObject, inbound: &SaObject) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    for driver in [&mut a, &mut b] {
        driver.start_with(driver::ipsec() | driver::tso(), [RX, TX, CTRL, EVENT]);
        sas::set_up(driver, CTRL);
    }
    create(&mut a, OBJ_OUTB_SA, 3, outbound);
    create(&mut b, OBJ_INB_SA, 4, inbound);
    (a, b)
}

fn pair() -> (Driver, Driver) {
    connect(&sas::tunnel(OBJ_OUTB_SA), &sas::tunnel(OBJ_INB_SA))
}

/// The header of a plain frame for SA 3, whose checksum is left to the NIC.
fn plain(offset: u16) -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC | hdr::F_NEEDS_CSUM;
    hdr.net.csum_start = packets::UDP_START.into();
    hdr.net.csum_offset = offset.into();
    hdr.out.resource_id = 3.into();
    hdr.out.resource_type = OBJ_OUTB_SA.into();
    hdr.sec.generation = testing::GENERATION.into();
    hdr
}

fn send(a: &mut Driver, len: usize) {
    a.send(&plain(packets::UDP_FIELD), &packets::udp_partial(len));
}

#[test]
fn what_would_be_too_long_with_esp_is_dropped() {
    let (mut a, mut b) = pair();
    sas::make_rules(&mut b, CTRL, Action::Ipsec);
    for (len, fits) in [(1400, true), (1460, false)] {
        b.post_rx(1600);
        send(&mut a, len);
        assert_eq!(b.receive().is_some(), fits);
    }
    let counters = ["ipsec_tx_drop_long", "tx_drop_ipsec", "port.tx_frames"];
    assert_eq!(counters.map(|name| a.counter(name)), [1, 1, 1]);
}

#[test]
fn big_frames_go_through_a_tunnel() {
    let (mut a, mut b) = pair();
    sas::make_rules(&mut b, CTRL, Action::IpsecAgain);
    for _ in 0..5 {
        b.post_rx(1600);
    }
    let clear = packets::tcp_partial(false, 1000, 5000);
    let mut header = plain(16);
    header.net.gso_type = hdr::GSO_TCPV4;
    header.net.gso_size = 1000.into();
    a.send(&header, &clear);
    let mut data = Vec::new();
    for _ in 0..5 {
        let (hdr, frame) = b.receive().unwrap();
        assert!(hdr.has(hdr::F_SECURITY | hdr::F_DATA_VALID));
        data.extend_from_slice(&frame[54..]);
    }
    assert_eq!(data, clear[54..]);
    assert_eq!(b.counter("filter_again"), 5);
}

/// What IPsec drops takes no buffer, and the limit is reported (V85, V166).
#[test]
fn what_is_beyond_a_limit_does_not_arrive() {
    let mut inbound = sas::tunnel(OBJ_INB_SA);
    inbound.base.options = u64::from(cap::OPT_SA_LIFETIME).into();
    inbound.base.packets_hard_limit = 2.into();
    inbound.tail.event_mask = Kind::HardLimit.mask().into();
    let (mut a, mut b) = connect(&sas::tunnel(OBJ_OUTB_SA), &inbound);
    sas::make_rules(&mut b, CTRL, Action::Ipsec);
    let at = b.buffer(32);
    b.chain(EVENT, &[(at, 32, WRITE)]);
    b.kick(EVENT);
    for passes in [true, true, false, false] {
        if passes {
            b.post_rx(1600);
        }
        send(&mut a, 100);
        assert_eq!(b.receive().is_some(), passes);
    }
    assert_eq!(
        (b.counter("ipsec_rx_limit"), b.counter("ipsec_rx_dropped")),
        (2, 2)
    );
    assert_eq!(b.counter("rx_drop_no_buffers"), 0);
    pump(b.nic());
    assert!(b.next_used(EVENT).is_some());
    let event = Event::read(&b.get(at, Event::LEN)).unwrap();
    assert_eq!(Kind::of(event.kind.get()), Some(Kind::HardLimit));
    assert_eq!((event.res_type.get(), event.id.get()), (OBJ_INB_SA, 4));
    assert_eq!((event.packets.get(), event.seq.get()), (2, 2));
}

/// V86: in no form.
#[test]
fn without_the_sa_nothing_goes_out() {
    let (mut a, mut b) = pair();
    let destroy = Command::ObjDestroy {
        obj_type: OBJ_OUTB_SA,
        id: 3,
    };
    sas::done(&mut a, CTRL, destroy);
    b.post_rx(1600);
    send(&mut a, 100);
    assert!(b.receive().is_none());
    assert_eq!(
        (a.counter("tx_drop_ipsec"), a.counter("port.tx_frames")),
        (1, 0)
    );
    a.reset();
    a.start(driver::ipsec());
    send(&mut a, 100);
    assert!(b.receive().is_none());
    assert_eq!(
        (a.counter("tx_drop_ipsec"), a.counter("port.tx_frames")),
        (2, 0)
    );
}
