// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which frames a driver wants, by Ethernet address and VLAN (rules V68 to V73 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::mac::MacAddress;
use espnic_device::net::receive_filter::MAX_ADDRESSES;
use espnic_wire::ctrl::{self, ERR, OK};
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use support::driver::{self, Driver, CTRL, RX};
use support::{config, packets, Rig};

const OWN: MacAddress = [2, 0, 0, 0, 0, 2];
const OTHER: MacAddress = [2, 0, 0, 0, 0, 3];
const GROUP: MacAddress = [0x33, 0x33, 0, 0, 0, 1];
const BROADCAST: MacAddress = [0xff; 6];
const ALL: [MacAddress; 4] = [OWN, OTHER, GROUP, BROADCAST];

fn addresses() -> u128 {
    mask(feature::CTRL_RX)
}

fn vlans() -> u128 {
    mask(feature::CTRL_VLAN)
}

/// A sender, and a receiver that has negotiated `features`, too.
fn pair(features: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::plain() | features);
    (a, b)
}

fn to(address: MacAddress) -> Vec<u8> {
    let mut frame = packets::udp(40);
    frame[..6].copy_from_slice(&address);
    frame
}

/// `frame` with a tag.
fn tagged(mut frame: Vec<u8>, tag: u16) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    frame.splice(12..12, [0x81, 0, high, low]);
    frame
}

/// Whether the receiver gets the frame.
fn passes(a: &mut Driver, b: &mut Driver, frame: &[u8]) -> bool {
    if b.waiting_buffers(RX) == 0 {
        b.post_rx(200);
    }
    a.send(&NetHdr48::default(), frame);
    match b.receive() {
        Some((_, got)) => {
            assert_eq!(got, frame);
            true
        }
        None => false,
    }
}

/// Those of [`ALL`] for which the receiver gets frames.
fn received(a: &mut Driver, b: &mut Driver) -> Vec<MacAddress> {
    let all = ALL.into_iter();
    all.filter(|&address| passes(a, b, &to(address))).collect()
}

fn command(driver: &mut Driver, request: &[u8]) -> u8 {
    driver.request(CTRL, request, 1)[0]
}

fn set_mode(driver: &mut Driver, mode: u8, on: u8) -> u8 {
    command(driver, &[ctrl::CLASS_RX, mode, on])
}

fn change_vlan(driver: &mut Driver, change: u8, vlan: u16) -> u8 {
    let [low, high] = vlan.to_le_bytes();
    command(driver, &[ctrl::CLASS_VLAN, change, low, high])
}

/// The command with both tables.
fn tables(unicast: &[MacAddress], multicast: &[MacAddress]) -> Vec<u8> {
    let mut request = vec![ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET];
    for table in [unicast, multicast] {
        request.extend((table.len() as u32).to_le_bytes());
        request.extend(table.as_flattened());
    }
    request
}

#[test]
fn without_the_feature_every_address_is_received() {
    let (mut a, mut b) = pair(vlans());
    assert_eq!(received(&mut a, &mut b), ALL);
    assert_eq!(set_mode(&mut b, ctrl::RX_NOUNI, 1), ERR);
    assert_eq!(command(&mut b, &tables(&[], &[])), ERR);
    assert_eq!(received(&mut a, &mut b), ALL);
    assert_eq!(b.counter("rx_drop_address"), 0);
}

#[test]
fn with_it_only_what_is_for_the_nic() {
    let (mut a, mut b) = pair(addresses());
    assert_eq!(received(&mut a, &mut b), [OWN, BROADCAST]);
    assert_eq!(b.counter("rx_drop_address"), 2);
    // The buffers are still there for what is wanted.
    assert_eq!(b.counter("rx_frames"), 2);
}

#[test]
fn modes_take_effect_and_end() {
    let (mut a, mut b) = pair(driver::receive_filters());
    for (mode, expected) in [
        (ctrl::RX_PROMISC, &ALL[..]),
        (ctrl::RX_ALLMULTI, &[OWN, GROUP, BROADCAST]),
        (ctrl::RX_ALLUNI, &[OWN, OTHER, BROADCAST]),
        (ctrl::RX_NOUNI, &[BROADCAST]),
        (ctrl::RX_NOBCAST, &[OWN]),
    ] {
        assert_eq!(set_mode(&mut b, mode, 1), OK);
        assert_eq!(received(&mut a, &mut b), expected, "{mode}");
        assert_eq!(set_mode(&mut b, mode, 0), OK);
        assert_eq!(received(&mut a, &mut b), [OWN, BROADCAST], "{mode}");
    }
}

/// "Even if one of the other modes is on."
#[test]
fn promiscuous_is_stronger_than_all_else() {
    let (mut a, mut b) = pair(driver::receive_filters());
    for mode in [ctrl::RX_NOMULTI, ctrl::RX_NOUNI, ctrl::RX_NOBCAST] {
        assert_eq!(set_mode(&mut b, mode, 1), OK);
    }
    assert_eq!(received(&mut a, &mut b), [[0; 6]; 0]);
    assert_eq!(set_mode(&mut b, ctrl::RX_PROMISC, 1), OK);
    assert_eq!(received(&mut a, &mut b), ALL);
    assert!(passes(&mut a, &mut b, &tagged(to(OTHER), 7)));
    assert_eq!(b.counter("rx_drop_vlan"), 0);
}

#[test]
fn the_tables_name_more_addresses() {
    let (mut a, mut b) = pair(addresses());
    assert_eq!(command(&mut b, &tables(&[OTHER], &[])), OK);
    assert_eq!(received(&mut a, &mut b), [OWN, OTHER, BROADCAST]);
    // New tables replace the old ones.
    assert_eq!(command(&mut b, &tables(&[], &[GROUP])), OK);
    assert_eq!(received(&mut a, &mut b), [OWN, GROUP, BROADCAST]);
    let mut longer = tables(&[OTHER], &[GROUP]);
    longer.push(9);
    assert_eq!(command(&mut b, &longer), OK);
    assert_eq!(received(&mut a, &mut b), ALL);
}

/// Then everything of that kind comes.
#[test]
fn a_table_may_be_too_long() {
    let (mut a, mut b) = pair(addresses());
    let many = |first: u8, count: usize| -> Vec<MacAddress> {
        (0..count as u16)
            .map(|n| [first, 9, 9, 9, (n >> 8) as u8, n as u8])
            .collect()
    };
    let full = tables(&many(2, MAX_ADDRESSES), &many(1, MAX_ADDRESSES));
    assert_eq!(command(&mut b, &full), OK);
    assert_eq!(received(&mut a, &mut b), [OWN, BROADCAST]);
    assert!(passes(&mut a, &mut b, &to([2, 9, 9, 9, 0, 127])));
    assert!(passes(&mut a, &mut b, &to([1, 9, 9, 9, 0, 127])));
    let unicast = tables(&many(2, MAX_ADDRESSES + 1), &many(1, 1));
    assert_eq!(command(&mut b, &unicast), OK);
    assert_eq!(received(&mut a, &mut b), [OWN, OTHER, BROADCAST]);
    let multicast = tables(&many(2, 1), &many(1, 1000));
    assert_eq!(command(&mut b, &multicast), OK);
    assert_eq!(received(&mut a, &mut b), [OWN, GROUP, BROADCAST]);
}

#[test]
fn bad_tables_change_nothing() {
    let (mut a, mut b) = pair(addresses());
    assert_eq!(command(&mut b, &tables(&[OTHER], &[])), OK);
    let good = tables(&[OWN], &[GROUP]);
    let mut bad: Vec<_> = (2..good.len()).map(|len| good[..len].to_vec()).collect();
    for (at, byte) in [(2, 2), (5, 0xff), (12, 2), (15, 0xff)] {
        let mut request = good.clone();
        request[at] = byte;
        bad.push(request);
    }
    for request in &bad {
        assert_eq!(command(&mut b, request), ERR, "{request:?}");
    }
    assert_eq!(b.counter("ctrl_refused"), bad.len() as u64);
    assert_eq!(received(&mut a, &mut b), [OWN, OTHER, BROADCAST]);
}

#[test]
fn bad_modes_are_refused() {
    let (mut a, mut b) = pair(addresses());
    // Those of the other feature.
    for mode in [ctrl::RX_ALLUNI, ctrl::RX_NOMULTI, ctrl::RX_NOBCAST, 6, 255] {
        assert_eq!(set_mode(&mut b, mode, 1), ERR, "{mode}");
    }
    assert_eq!(set_mode(&mut b, ctrl::RX_PROMISC, 2), ERR);
    assert_eq!(command(&mut b, &[ctrl::CLASS_RX, ctrl::RX_PROMISC]), ERR);
    assert_eq!(command(&mut b, &[ctrl::CLASS_MAC, 9, 0, 0, 0, 0]), ERR);
    assert_eq!(received(&mut a, &mut b), [OWN, BROADCAST]);
}

#[test]
fn vlans_are_chosen() {
    let (mut a, mut b) = pair(vlans());
    let mut passing = |b: &mut Driver| -> Vec<u16> {
        let tags = [0, 7, 0xe007, 8, 0x8000];
        let tags = tags.into_iter();
        tags.filter(|&tag| passes(&mut a, b, &tagged(to(OTHER), tag)))
            .collect()
    };
    // A tag without a VLAN has a priority only.
    assert_eq!(passing(&mut b), [0, 0x8000]);
    assert_eq!(b.counter("rx_drop_vlan"), 3);
    assert_eq!(change_vlan(&mut b, ctrl::VLAN_ADD, 7), OK);
    assert_eq!(passing(&mut b), [0, 7, 0xe007, 0x8000]);
    assert_eq!(change_vlan(&mut b, ctrl::VLAN_ADD, 8), OK);
    assert_eq!(change_vlan(&mut b, ctrl::VLAN_DEL, 7), OK);
    assert_eq!(passing(&mut b), [0, 8, 0x8000]);
    for (change, vlan) in [(ctrl::VLAN_ADD, 4096), (ctrl::VLAN_DEL, 0xfff8), (2, 8)] {
        assert_eq!(change_vlan(&mut b, change, vlan), ERR);
    }
    let short = [ctrl::CLASS_VLAN, ctrl::VLAN_DEL, 8];
    assert_eq!(command(&mut b, &short), ERR);
    assert_eq!(passing(&mut b), [0, 8, 0x8000]);
    assert_eq!(b.counter("rx_drop_address"), 0);
}

#[test]
fn without_the_feature_every_vlan_is_received() {
    let (mut a, mut b) = pair(addresses());
    assert!(passes(&mut a, &mut b, &tagged(to(OWN), 7)));
    assert_eq!(change_vlan(&mut b, ctrl::VLAN_DEL, 7), ERR);
    assert!(passes(&mut a, &mut b, &tagged(to(OWN), 7)));
}

/// The address comes first.
#[test]
fn a_tagged_frame_must_be_for_the_nic_too() {
    let (mut a, mut b) = pair(addresses() | vlans());
    assert_eq!(change_vlan(&mut b, ctrl::VLAN_ADD, 7), OK);
    assert!(passes(&mut a, &mut b, &tagged(to(OWN), 7)));
    assert!(!passes(&mut a, &mut b, &tagged(to(OTHER), 7)));
    assert!(!passes(&mut a, &mut b, &tagged(to(OTHER), 8)));
    assert!(!passes(&mut a, &mut b, &tagged(to(OWN), 8)));
    assert_eq!(b.counter("rx_drop_address"), 2);
    assert_eq!(b.counter("rx_drop_vlan"), 1);
}

#[test]
fn a_reset_forgets_what_was_chosen() {
    let (mut a, mut b) = pair(addresses() | vlans());
    assert_eq!(set_mode(&mut b, ctrl::RX_ALLMULTI, 1), OK);
    assert_eq!(command(&mut b, &tables(&[OTHER], &[])), OK);
    assert_eq!(change_vlan(&mut b, ctrl::VLAN_ADD, 7), OK);
    assert_eq!(received(&mut a, &mut b), ALL);
    b.start(driver::plain() | addresses() | vlans());
    assert_eq!(received(&mut a, &mut b), [OWN, BROADCAST]);
    assert!(!passes(&mut a, &mut b, &tagged(to(OWN), 7)));
    b.start(driver::plain());
    assert_eq!(received(&mut a, &mut b), ALL);
}

/// Settings of a batch stay when the next one comes.
#[test]
fn other_commands_leave_the_filter_as_it_is() {
    let (mut a, mut b) = pair(addresses());
    assert_eq!(command(&mut b, &tables(&[OTHER], &[])), OK);
    assert_eq!(command(&mut b, &[9, 9]), ERR);
    assert_eq!(received(&mut a, &mut b), [OWN, OTHER, BROADCAST]);
}
