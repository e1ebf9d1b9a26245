// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Receive side scaling and hash reports (rules V171 to V176 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::mem::offset_of;

use espnic_device::net::{steer, NetConfig};
use espnic_device::pci;
use espnic_device::virtio::common::reg;
use espnic_wire::admin::Command;
use espnic_wire::config::NetConfig as Layout;
use espnic_wire::ctrl::{self, ERR, OK};
use espnic_wire::feature::{self, mask};
use espnic_wire::filter::Action;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::rss::{self, HashConfig, RssHead, RssTail, HASH_TYPES};
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use support::driver::{self, Driver, WRITE};
use support::{config, packets, pump, sas, Rig, MEM_END};
use zerocopy::IntoBytes;

const PAIRS: u16 = 4;
const CTRL: u16 = 2 * PAIRS;
const KEY: [u8; rss::KEY_MAX] = [0x5a; rss::KEY_MAX];

fn scaling() -> u128 {
    driver::plain() | mask(feature::MQ) | mask(feature::RSS)
}

fn reports() -> u128 {
    mask(feature::HASH_REPORT)
}

/// A sender, and a receiver with several pairs that has negotiated this.
fn pair(features: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let mut a = rig.nic(config(1));
    let mut b = rig.nic(NetConfig {
        pairs: PAIRS,
        ..config(2)
    });
    a.start(driver::plain());
    b.start_queues(features, CTRL + 1);
    (a, b)
}

fn rss_config(types: u32, table: &[u16], unclassified: u16, used: u16) -> Vec<u8> {
    let head = RssHead {
        hash_types: types.into(),
        table_mask: (table.len() as u16 - 1).into(),
        unclassified: unclassified.into(),
    };
    let tail = RssTail {
        max_tx_vq: used.into(),
        key_len: KEY.len() as u8,
    };
    let mut request = vec![ctrl::CLASS_MQ, ctrl::MQ_RSS_CONFIG];
    request.extend(head.as_bytes());
    request.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
    request.extend([tail.as_bytes(), &KEY].concat());
    request
}

fn hash_config(types: u32) -> Vec<u8> {
    let config = HashConfig {
        hash_types: types.into(),
        key_len: KEY.len() as u8,
        ..HashConfig::default()
    };
    let class = [ctrl::CLASS_MQ, ctrl::MQ_HASH_CONFIG];
    [&class[..], config.as_bytes(), &KEY].concat()
}

fn command(driver: &mut Driver, queue: u16, request: &[u8]) -> u8 {
    driver.request(queue, request, 1)[0]
}

fn flow(port: u16) -> Vec<u8> {
    packets::tcp_partial(false, port, 10)
}

/// The pair that the frame comes to, and its header. Every queue has one buffer.
fn receive(a: &mut Driver, b: &mut Driver, frame: &[u8]) -> (u16, NetHdr48) {
    for pair in 0..PAIRS {
        if b.waiting_buffers(2 * pair) == 0 {
            b.post_rx_on(2 * pair, 200);
        }
    }
    a.send(&NetHdr48::default(), frame);
    let got = (0..PAIRS).find_map(|pair| b.receive_on(2 * pair).map(|got| (pair, got)));
    let (pair, (hdr, got)) = got.unwrap();
    assert_eq!(got, frame);
    (pair, hdr)
}

#[test]
fn the_configuration_says_what_there_is() {
    let mut b = pair(scaling()).1;
    let mut field = |at, len| b.read(pci::DEVICE + at as u64, len);
    assert_eq!(field(offset_of!(Layout, rss_max_key_size), 1), 40);
    let table = offset_of!(Layout, rss_max_indirection_table_length);
    assert_eq!(field(table, 2), 128);
    let types = offset_of!(Layout, supported_hash_types);
    assert_eq!(field(types, 4), u64::from(HASH_TYPES));
    assert_eq!(field(offset_of!(Layout, supported_tunnel_types), 4), 0);
}

#[test]
fn the_table_chooses_the_queue() {
    let (mut a, mut b) = pair(scaling());
    for queue in 0..PAIRS {
        let request = rss_config(HASH_TYPES, &[queue; 8], 0, PAIRS);
        assert_eq!(command(&mut b, CTRL, &request), OK);
        for port in 1..4 {
            assert_eq!(receive(&mut a, &mut b, &flow(port)).0, queue);
        }
    }
    let table: Vec<u16> = (0..128).map(|entry| entry % PAIRS).collect();
    let request = rss_config(HASH_TYPES, &table, 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    let places: Vec<_> = (1..=24)
        .map(|port| receive(&mut a, &mut b, &flow(port)).0)
        .collect();
    assert_eq!(places.iter().collect::<HashSet<_>>().len(), 4);
    for (port, &place) in (1..=24).zip(&places) {
        assert_eq!(receive(&mut a, &mut b, &flow(port)).0, place);
    }
}

#[test]
fn what_has_no_hash_goes_to_its_own_queue() {
    let (mut a, mut b) = pair(scaling());
    let request = rss_config(rss::HASH_UDPV4, &[1, 1], 2, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    assert_eq!(receive(&mut a, &mut b, &flow(1)).0, 2);
    assert_eq!(receive(&mut a, &mut b, &packets::udp(40)).0, 1);
}

/// Without a table packets are spread as they always were.
#[test]
fn the_older_command_ends_it() {
    let (mut a, mut b) = pair(scaling());
    let own = |port| steer::place(&flow(port).into(), PAIRS);
    let port = (1..).find(|&port| own(port) != 1).unwrap();
    let request = rss_config(HASH_TYPES, &[1, 1], 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    assert_eq!(receive(&mut a, &mut b, &flow(port)).0, 1);
    let [low, high] = PAIRS.to_le_bytes();
    let pairs = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, low, high];
    assert_eq!(command(&mut b, CTRL, &pairs), OK);
    assert_eq!(receive(&mut a, &mut b, &flow(port)).0, own(port));
}

#[test]
fn the_table_says_how_many_pairs_are_in_use() {
    let mut b = pair(scaling()).1;
    for (table, unclassified, used, active) in [
        ([0, 0], 0, 1, 1),
        ([0, 0], 0, 2, 2),
        ([0, 2], 1, 1, 3),
        ([0, 1], 3, 1, 4),
    ] {
        let request = rss_config(HASH_TYPES, &table, unclassified, used);
        assert_eq!(command(&mut b, CTRL, &request), OK);
        assert_eq!(b.nic().active_pairs(), active);
    }
}

/// What waited for it, too.
#[test]
fn what_is_for_a_queue_in_reset_is_dropped() {
    let (mut a, mut b) = pair(scaling());
    let request = rss_config(HASH_TYPES, &[1, 1], 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    a.send(&NetHdr48::default(), &flow(1));
    pump(b.nic());
    assert_eq!(b.counter("rx_drop_queue"), 0);
    b.select(2);
    b.write(reg::QUEUE_RESET, 1, 2);
    assert_eq!(b.counter("rx_drop_queue"), 1);
    b.post_rx_on(4, 200);
    a.send(&NetHdr48::default(), &flow(1));
    assert!(b.receive_on(4).is_none());
    assert_eq!(b.counter("rx_drop_queue"), 2);
    // Others come.
    let request = rss_config(HASH_TYPES, &[2, 2], 1, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    a.send(&NetHdr48::default(), &flow(1));
    assert!(b.receive_on(4).is_some());
    a.send(&NetHdr48::default(), &[0xff; 60]);
    pump(b.nic());
    assert_eq!(b.counter("rx_drop_queue"), 3);
}

#[test]
fn what_is_for_a_queue_that_was_never_set_up_is_dropped() {
    let (mut a, mut b) = pair(scaling());
    b.start_with(scaling(), [0, 1, CTRL]);
    let request = rss_config(HASH_TYPES, &[3, 3], 0, 1);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    a.send(&NetHdr48::default(), &flow(1));
    pump(b.nic());
    assert_eq!(b.counter("rx_drop_queue"), 1);
}

#[test]
fn waiting_frames_follow_the_table() {
    let (mut a, mut b) = pair(scaling() | reports());
    for queue in [1, 3, 2] {
        let request = rss_config(HASH_TYPES, &[queue; 4], 0, PAIRS);
        assert_eq!(command(&mut b, CTRL, &request), OK);
        if queue == 1 {
            a.send(&NetHdr48::default(), &flow(1));
            pump(b.nic());
        }
    }
    b.post_rx_on(4, 200);
    let (hdr, frame) = b.receive_on(4).unwrap();
    assert_eq!(frame, flow(1));
    assert_eq!(hdr.out.hash_report.get(), rss::REPORT_TCPV4);
}

/// What was carried out stays, even if the next command of the batch cannot be read.
#[test]
fn commands_before_an_error_count() {
    let mut b = pair(scaling()).1;
    let requests = [
        rss_config(HASH_TYPES, &[3, 3], 0, PAIRS),
        vec![ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, 2, 0],
    ];
    for (request, active) in requests.iter().zip([PAIRS, 2]) {
        b.start_queues(scaling(), CTRL + 1);
        let (at, answer) = (b.buffer(request.len() as u32), b.buffer(1));
        b.put(at, request);
        b.chain(CTRL, &[(at, request.len() as u32, 0), (answer, 1, WRITE)]);
        b.chain(CTRL, &[(MEM_END, 4, 0), (answer, 1, WRITE)]);
        b.kick(CTRL);
        assert_eq!(b.get(answer, 1), [OK]);
        assert_eq!(b.nic().active_pairs(), active);
    }
}

#[test]
fn hashes_are_reported_in_every_header() {
    for (features, queues) in [
        (driver::plain() | reports(), 3),
        (
            driver::plain() | reports() | mask(feature::OUT_NET_HEADER),
            3,
        ),
        (driver::ipsec() | reports(), 4),
    ] {
        let mut rig = Rig::default();
        let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
        a.start(driver::plain());
        b.start_queues(features, queues);
        let mut report = |b: &mut Driver| {
            b.post_rx(200);
            a.send(&NetHdr48::default(), &flow(7));
            let (hdr, frame) = b.receive().unwrap();
            assert_eq!(frame, flow(7));
            (hdr.out.hash_report.get(), hdr.out.hash_value.get())
        };
        assert_eq!(report(&mut b), (rss::REPORT_NONE, 0));
        assert_eq!(command(&mut b, 2, &hash_config(HASH_TYPES)), OK);
        let (kind, value) = report(&mut b);
        assert_eq!(kind, rss::REPORT_TCPV4);
        assert_ne!(value, 0);
        assert_eq!(command(&mut b, 2, &hash_config(0)), OK);
        assert_eq!(report(&mut b), (rss::REPORT_NONE, 0));
    }
}

/// The type and the hash of what comes to the only queue.
fn reported(b: &mut Driver) -> (u16, u32) {
    let hdr = b.receive().unwrap().0;
    (hdr.out.hash_report.get(), hdr.out.hash_value.get())
}

#[test]
fn what_was_in_esp_is_hashed_as_it_is_delivered() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::ipsec());
    b.start(driver::ipsec() | reports());
    for (driver, kind, id) in [(&mut a, OBJ_OUTB_SA, 3), (&mut b, OBJ_INB_SA, 4)] {
        sas::set_up(driver, driver::CTRL);
        let object = sas::tunnel(kind);
        let create = Command::ObjCreate {
            obj_type: kind,
            id,
            object: object.as_bytes(),
        };
        sas::done(driver, driver::CTRL, create);
    }
    assert_eq!(command(&mut b, driver::CTRL, &hash_config(HASH_TYPES)), OK);
    let mut hdr = NetHdr48::default();
    let mut exchange = |b: &mut Driver, flags| {
        hdr.net.flags = flags;
        hdr.out.resource_id = if flags == 0 { 0 } else { 3 }.into();
        hdr.sec.generation = espnic_device::testing::GENERATION.into();
        b.post_rx(1600);
        a.send(&hdr, &packets::udp(64));
        reported(b)
    };
    let plain = exchange(&mut b, 0);
    assert_eq!(plain.0, rss::REPORT_UDPV4);
    // Not decrypted, it goes by the addresses of the tunnel.
    let outer = exchange(&mut b, hdr::F_SECURITY | hdr::F_X_SEC);
    assert_eq!(outer.0, rss::REPORT_IPV4);
    sas::make_rules(&mut b, driver::CTRL, Action::Ipsec);
    let inner = exchange(&mut b, hdr::F_SECURITY | hdr::F_X_SEC);
    assert_eq!(b.counter("ipsec_rx_packets"), 1);
    assert_eq!(inner, plain);
}

/// As the standard says of packets without TCP and UDP.
#[test]
fn esp_that_stays_is_hashed_by_its_addresses() {
    let (mut a, mut b) = sas::pair();
    b.start(driver::ipsec() | reports());
    sas::set_up(&mut b, driver::CTRL);
    sas::create(&mut b, OBJ_INB_SA, 4);
    assert_eq!(command(&mut b, driver::CTRL, &hash_config(HASH_TYPES)), OK);
    b.post_rx(1600);
    let (hdr, frame) = sas::esp(3, &sas::clear_payload());
    a.send(&hdr, &frame);
    let decrypted = reported(&mut b);
    assert_eq!(b.counter("ipsec_rx_packets"), 1);
    b.post_rx(1600);
    a.send(&NetHdr48::default(), &packets::esp(99, 1));
    assert_eq!(reported(&mut b), decrypted);
    assert_eq!(decrypted.0, rss::REPORT_IPV4);
}

/// All packets of an SA go to one queue under a table, too.
#[test]
fn an_sa_has_one_queue() {
    let (mut a, mut b) = pair(scaling());
    let table: Vec<u16> = (0..128).map(|entry| entry % PAIRS).collect();
    let request = rss_config(HASH_TYPES, &table, 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    let queue = receive(&mut a, &mut b, &packets::esp(1, 1)).0;
    for seq in 2..20 {
        assert_eq!(receive(&mut a, &mut b, &packets::esp(1, seq)).0, queue);
    }
}

#[test]
fn a_command_may_be_in_many_pieces() {
    let mut b = pair(scaling()).1;
    let request = rss_config(HASH_TYPES, &[1, 3], 0, PAIRS);
    let (at, answer) = (b.buffer(request.len() as u32), b.buffer(1));
    b.put(at, &request);
    let pieces = request.chunks(13).scan(at, |at, piece| {
        let part = (*at, piece.len() as u32, 0);
        *at += piece.len() as u64;
        Some(part)
    });
    let parts: Vec<_> = pieces.chain([(answer, 1, WRITE)]).collect();
    b.chain(CTRL, &parts);
    b.kick(CTRL);
    assert_eq!(b.get(answer, 1), [OK]);
    assert_eq!(b.nic().active_pairs(), PAIRS);
}

/// The hash that is reported is the one that chooses the queue.
#[test]
fn both_use_one_hash() {
    let (mut a, mut b) = pair(scaling() | reports());
    let request = rss_config(HASH_TYPES, &[3, 2, 1, 0], 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    for port in 1..16 {
        let (pair, hdr) = receive(&mut a, &mut b, &flow(port));
        assert_eq!(hdr.out.hash_report.get(), rss::REPORT_TCPV4);
        assert_eq!(u32::from(pair), 3 - hdr.out.hash_value.get() % 4);
    }
}

#[test]
fn commands_need_their_features() {
    let mut b = pair(driver::plain() | mask(feature::MQ)).1;
    let request = rss_config(HASH_TYPES, &[0, 0], 0, 1);
    assert_eq!(command(&mut b, CTRL, &request), ERR);
    assert_eq!(command(&mut b, CTRL, &hash_config(HASH_TYPES)), ERR);
    let mut b = pair(scaling()).1;
    assert_eq!(command(&mut b, CTRL, &hash_config(HASH_TYPES)), ERR);
    assert_eq!(command(&mut b, CTRL, &request), OK);
}

#[test]
fn bad_commands_change_nothing() {
    let (mut a, mut b) = pair(scaling() | reports());
    let good = rss_config(HASH_TYPES, &[1, 1], 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &good), OK);
    let mut bad: Vec<_> = (2..good.len()).map(|len| good[..len].to_vec()).collect();
    bad.extend([
        rss_config(HASH_TYPES, &[0, PAIRS], 0, PAIRS),
        rss_config(HASH_TYPES, &[0, 0x7fff], 0, PAIRS),
        rss_config(HASH_TYPES, &[0, 0], PAIRS, PAIRS),
        rss_config(HASH_TYPES, &[0, 0], 0, 0),
        rss_config(HASH_TYPES, &[0, 0], 0, PAIRS + 1),
        rss_config(HASH_TYPES, &[0; 3], 0, PAIRS),
        rss_config(HASH_TYPES, &[0; 256], 0, PAIRS),
        rss_config(u32::MAX, &[0, 0], 0, PAIRS),
        hash_config(u32::MAX),
        hash_config(HASH_TYPES)[..20].to_vec(),
    ]);
    for request in &bad {
        assert_eq!(command(&mut b, CTRL, request), ERR, "{request:?}");
    }
    assert_eq!(b.counter("ctrl_refused"), bad.len() as u64);
    assert_eq!(receive(&mut a, &mut b, &flow(1)).0, 1);
}

#[test]
fn a_reset_forgets_table_and_hash() {
    let (mut a, mut b) = pair(scaling() | reports());
    let request = rss_config(HASH_TYPES, &[1, 1], 0, PAIRS);
    assert_eq!(command(&mut b, CTRL, &request), OK);
    assert_eq!(receive(&mut a, &mut b, &flow(1)).0, 1);
    b.start_queues(scaling() | reports(), CTRL + 1);
    let (pair, hdr) = receive(&mut a, &mut b, &flow(1));
    assert_eq!((pair, hdr.out.hash_report.get()), (0, rss::REPORT_NONE));
}
