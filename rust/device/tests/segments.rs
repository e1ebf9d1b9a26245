// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Segmentation of plain TCP (HOST_TSO4, HOST_TSO6).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use espnic_device::frame::Frame;
use espnic_device::frames::Frames;
use espnic_device::net::csum;
use espnic_device::ports::{Port, Totals};
use espnic_device::worker::{process_step, Step};
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use proptest::prelude::*;
use support::driver::{self, Driver, TX};
use support::packets::{self, gso};
use support::{config, Rig};

const SIZE: usize = 1000;

fn tso() -> u128 {
    driver::plain() | driver::tso()
}

fn pair(features: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(features);
    b.start(driver::plain());
    (a, b)
}

#[test]
fn large_packets_become_packets_of_the_wire() {
    for (v6, tag) in [(false, false), (true, false), (false, true)] {
        let (mut a, mut b) = pair(tso());
        let mut frame = packets::tcp_partial(v6, 1000, 10 * SIZE + 1);
        let mut hdr = gso(v6, SIZE);
        if tag {
            frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
            hdr.net.csum_start = 38.into();
        }
        let head = frame.len() - (10 * SIZE + 1);
        for _ in 0..11 {
            b.post_rx(1600);
        }
        a.send(&hdr, &frame);
        let mut data = Vec::new();
        for index in 0..11 {
            let (hdr, segment) = b.receive().unwrap();
            let len = if index < 10 { SIZE } else { 1 };
            assert_eq!(segment.len(), head + len);
            assert_eq!(hdr.net.flags, hdr::F_DATA_VALID, "{index}");
            assert_eq!(hdr.net.gso_type, hdr::GSO_NONE);
            assert!(csum::validated(&segment.clone().into()));
            data.extend_from_slice(&segment[head..]);
        }
        assert!(b.receive().is_none());
        assert_eq!(data, frame[head..]);
        assert_eq!((a.counter("tx_frames"), a.counter("tx_segments")), (1, 11));
        assert_eq!(a.counter("port.tx_frames"), 11);
    }
}

/// A large TCP packet with these extension headers, and its request. The first one's number is `kind`.
fn extended(kind: u8, headers: &[u8]) -> (NetHdr48, Vec<u8>) {
    let mut frame = packets::tcp_partial(true, 1000, 3 * SIZE);
    let payload = u16::from_be_bytes([frame[18], frame[19]]) + headers.len() as u16;
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
    frame[20] = kind;
    frame.splice(54..54, headers.iter().copied());
    let mut hdr = gso(true, SIZE);
    hdr.net.csum_start = (54 + headers.len() as u16).into();
    (hdr, frame)
}

/// An extension header of `8 * (units + 1)` bytes in front of what `next` names.
fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![0; 8 * (usize::from(units) + 1)];
    header[..2].copy_from_slice(&[next, units]);
    header
}

#[test]
fn extension_headers_have_to_lead_to_tcp() {
    let (mut a, mut b) = pair(tso());
    let chain = [extension(43, 0), extension(60, 2), extension(6, 1)].concat();
    for (kind, headers) in [(0, &chain), (60, &extension(6, 0)), (43, &extension(6, 31))] {
        let (hdr, frame) = extended(kind, headers);
        (0..3).for_each(|_| b.post_rx(1600));
        a.send(&hdr, &frame);
        for index in 0..3 {
            let (_, segment) = b.receive().unwrap();
            assert_eq!(
                segment[20..54 + headers.len()],
                frame[20..54 + headers.len()]
            );
            let payload = u16::from_be_bytes([segment[18], segment[19]]);
            assert_eq!(usize::from(payload), segment.len() - 54, "{index}");
        }
    }
    let sent = a.counter("tx_segments");
    let with_udp = extension(17, 0);
    for (kind, headers) in [
        // UDP; UDP behind an extension; a fragment; ESP; one that ends elsewhere; too much.
        (17, &extension(6, 0)),
        (0, &with_udp),
        (44, &extension(6, 0)),
        (50, &extension(6, 0)),
        (0, &[extension(6, 1), vec![0; 8]].concat()),
        (0, &extension(6, 1)[..8].to_vec()),
        (0, &[extension(60, 31), extension(6, 0)].concat()),
    ] {
        let (hdr, frame) = extended(kind, headers);
        let before = a.counter("tx_drop_gso");
        a.send(&hdr, &frame);
        assert_eq!(a.counter("tx_drop_gso"), before + 1, "{kind} {headers:?}");
    }
    assert_eq!((a.counter("tx_segments"), sent), (9, 9));
}

#[test]
fn the_largest_packets_and_the_longest_segments_pass() {
    let (mut a, b) = pair(tso());
    a.send(&gso(false, 1460), &packets::tcp_partial(false, 1, 65_495));
    assert_eq!(
        (a.counter("tx_segments"), a.counter("tx_drop_gso")),
        (45, 0)
    );
    // One byte more than the MTU has room for.
    a.send(&gso(false, 1461), &packets::tcp_partial(false, 1, 3000));
    a.send(&gso(true, 1441), &packets::tcp_partial(true, 1, 3000));
    assert_eq!(
        (a.counter("tx_segments"), a.counter("tx_drop_gso")),
        (45, 2)
    );
    a.send(&gso(true, 1440), &packets::tcp_partial(true, 1, 3000));
    assert_eq!(a.counter("tx_segments"), 48);
    assert_eq!(b.counter("needs_reset"), 0);
}

#[test]
fn malformed_requests_are_dropped() {
    let (mut a, mut b) = pair(tso());
    b.post_rx(1600);
    let good = packets::tcp_partial(false, 1, 3000);
    let broken: [fn(&mut NetHdr48); 12] = [
        |hdr| hdr.net.flags = 0,
        |hdr| hdr.net.gso_size = 0.into(),
        |hdr| hdr.net.gso_size = 1.into(),
        |hdr| hdr.net.gso_size = 2900.into(),
        |hdr| hdr.net.gso_size = 0xffff.into(),
        |hdr| hdr.net.gso_type = hdr::GSO_TCPV6,
        |hdr| hdr.net.gso_type = 3,
        |hdr| hdr.net.gso_type = 5,
        |hdr| hdr.net.gso_type |= 0x80,
        |hdr| hdr.net.csum_start = 35.into(),
        |hdr| hdr.net.csum_start = 0xffff.into(),
        |hdr| hdr.net.csum_offset = 6.into(),
    ];
    for (number, spoil) in broken.iter().enumerate() {
        let mut hdr = gso(false, SIZE);
        spoil(&mut hdr);
        a.send(&hdr, &good);
        assert_eq!(a.counter("tx_drop_gso"), number as u64 + 1);
    }
    // Protocol, IHL, TCP header length beyond the frame, EtherType.
    for (at, value) in [(23, 17), (14, 0x46), (46, 0xf0), (12, 0x86)] {
        let mut frame = packets::tcp_partial(false, 1, 20);
        frame[at] = value;
        let before = a.counter("tx_drop_gso");
        a.send(&gso(false, SIZE), &frame);
        assert_eq!(a.counter("tx_drop_gso"), before + 1, "{at}");
    }
    a.send(&gso(false, SIZE), &vec![0; 65535 + 256]);
    assert_eq!(a.counter("tx_drop_long"), 1);
    // Long frames only with segmentation.
    a.send(&NetHdr48::default(), &good);
    assert_eq!(a.counter("tx_drop_long"), 2);
    assert!(b.receive().is_none());
    assert_eq!((a.counter("needs_reset"), a.counter("tx_frames")), (0, 0));
}

/// An MSS of 48 less 40 bytes of options is the least that Linux asks for.
#[test]
fn tiny_segments_are_refused() {
    let (mut a, b) = pair(tso());
    for size in [1, 7] {
        a.send(&gso(false, size), &packets::tcp_partial(false, 1, 100));
    }
    assert_eq!(a.counter("tx_drop_gso"), 2);
    assert_eq!(b.counter("port.rx_frames"), 0);
    a.send(&gso(false, 8), &packets::tcp_partial(false, 1, 100));
    assert_eq!(
        (a.counter("tx_segments"), a.counter("tx_drop_gso")),
        (13, 2)
    );
}

/// Notes the largest buffer that comes by.
struct Scale(Arc<AtomicUsize>);

impl Port for Scale {
    fn send(&self, frames: &mut Frames) -> Totals {
        let largest = frames.iter().map(Frame::capacity).max().unwrap_or(0);
        self.0.fetch_max(largest, Ordering::Relaxed);
        frames.truncate(0);
        Totals::default()
    }

    fn link_up(&self) -> bool {
        true
    }
}

#[test]
fn frames_too_long_to_be_sent_leave_no_large_buffers() {
    let largest = Arc::new(AtomicUsize::new(0));
    let port = largest.clone();
    let mut a = Rig::default().build(config(1), |_| Box::new(Scale(port)));
    a.start(driver::plain() | driver::tso());
    for _ in 0..3 {
        a.send(&NetHdr48::default(), &vec![0; 65_000]);
        a.send(&NetHdr48::default(), &packets::udp(18));
    }
    assert_eq!((a.counter("tx_drop_long"), a.counter("tx_frames")), (3, 3));
    let largest = largest.load(Ordering::Relaxed);
    assert!((60..2048).contains(&largest), "{largest}");
}

#[test]
fn segmentation_needs_its_feature() {
    for (features, v6) in [
        (driver::plain(), false),
        (driver::plain(), true),
        (driver::plain() | mask(feature::HOST_TSO6), false),
        (driver::plain() | mask(feature::HOST_TSO4), true),
    ] {
        let (mut a, b) = pair(features);
        a.send(&gso(v6, 500), &packets::tcp_partial(v6, 1, 1000));
        assert_eq!(a.counter("tx_drop_gso"), 1);
        assert_eq!(b.counter("port.rx_frames"), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_longer_than_the_mtu_is_sent(
        v6: bool,
        large: bool,
        len in 0usize..9000,
        hdr in prop_oneof![3 => Just(None), 1 => any::<[u8; 12]>().prop_map(Some)],
        size in 1usize..2000,
        damage in prop::collection::vec((0usize..80, any::<u8>()), 0..3),
    ) {
        let mut rig = Rig::default();
        let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
        a.start(tso());
        b.start(driver::plain() | if large { driver::large_receive() } else { 0 });
        let mut request = gso(v6, size);
        if let Some(bytes) = hdr {
            let random = NetHdr48::read(&bytes, a.hdr_len()).unwrap();
            request.net = random.net;
        }
        let mut frame = packets::tcp_partial(v6, 1, len);
        for (at, byte) in damage {
            if let Some(to) = frame.get_mut(at) {
                *to = byte;
            }
        }
        a.send(&request, &frame);
        prop_assert_eq!(a.counter("needs_reset"), 0);
        let (frames, bytes) = (a.counter("port.tx_frames"), a.counter("port.tx_bytes"));
        prop_assert!(bytes <= frames * 1522);
        for _ in 0..driver::QUEUE_SIZE {
            b.post_rx(1600);
        }
        while let Some((hdr, frame)) = b.receive() {
            let one = hdr.net.gso_type == hdr::GSO_NONE;
            prop_assert!(one || large);
            let longest = hdr.net.hdr_len.get() + hdr.net.gso_size.get();
            let longest = if one { frame.len() } else { longest.into() };
            prop_assert!(longest <= 1522);
        }
        prop_assert_eq!(b.counter("rx_drop_long"), 0);
    }
}

/// Others get the lock after a number of frames, not of chains.
#[test]
fn many_segments_are_a_turn_of_their_own() {
    let (mut a, _b) = pair(tso());
    let frame = packets::tcp_partial(false, 1, 4000);
    let hdr = gso(false, 10);
    let at = a.buffer(5000);
    let hdr = hdr.prefix(a.hdr_len());
    a.put(at, hdr);
    a.put(at + hdr.len() as u64, &frame);
    for _ in 0..16 {
        a.chain(TX, &[(at, (hdr.len() + frame.len()) as u32, 0)]);
    }
    let nic = a.nic().clone();
    let turn = || process_step(&nic, Step::Transmit(0));
    assert!(turn());
    assert_eq!(a.counter("tx_segments"), 2 * 400);
    (0..8).for_each(|_| assert!(a.counter("tx_segments") == 16 * 400 || turn()));
    assert_eq!(a.counter("tx_segments"), 16 * 400);
}
