// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames between two NICs on a wire (rules V26 to V68 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::File;
use std::sync::Arc;

use espnic_device::net::NetConfig;
use espnic_device::ports::capture::{Capture, Limits};
use espnic_device::worker::Workers;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use pcap_file::pcapng::{Block, PcapNgReader};
use support::driver::{self, Driver, Notice, RX, TX, WRITE};
use support::{config, packets, pump, Rig, MAP_BORDER};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::tempdir::TempDir;

fn pair(sender: u128, receiver: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(sender);
    b.start(receiver);
    (a, b)
}

fn plain_hdr() -> NetHdr48 {
    NetHdr48::default()
}

#[test]
fn frames_cross_with_every_header_length() {
    for features in [
        driver::plain(),
        driver::plain() | mask(feature::OUT_NET_HEADER),
        driver::plain() | mask(feature::IPSEC),
        driver::ipsec(),
    ] {
        let (mut a, mut b) = pair(features, features);
        for len in [0, 18, 1472] {
            b.post_rx(1600);
            a.send(&plain_hdr(), &packets::udp(len));
            let (hdr, frame) = b.receive().unwrap();
            assert_eq!(frame, packets::udp(len));
            assert_eq!(hdr.net.num_buffers.get(), 1);
            assert_eq!(hdr.net.gso_type, hdr::GSO_NONE);
        }
        a.post_rx(1600);
        b.send(&plain_hdr(), &packets::udp(7));
        assert_eq!(a.receive().unwrap().1, packets::udp(7));
        assert_eq!((b.counter("rx_frames"), b.counter("tx_frames")), (3, 1));
        assert_eq!(
            (b.counter("port.rx_frames"), b.counter("port.tx_frames")),
            (3, 1)
        );
        assert_eq!(a.counter("tx_bytes"), b.counter("rx_bytes"));
    }
}

#[test]
fn vlan_frames_pass() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    let mut frame = packets::udp(1472);
    frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
    b.post_rx(1600);
    a.send(&plain_hdr(), &frame);
    assert_eq!(b.receive().unwrap().1, frame);
}

#[test]
fn a_large_frame_fills_several_buffers() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    for len in [60u32, 100, 500] {
        for _ in 0..10 {
            b.post_rx(len);
        }
        let frame = packets::udp(450);
        let need = (frame.len() as u32 + 12).div_ceil(len);
        a.send(&plain_hdr(), &frame);
        let (hdr, received) = b.receive().unwrap();
        assert_eq!(received, frame);
        assert_eq!(u32::from(hdr.net.num_buffers.get()), need);
        b.reset();
        b.start(driver::plain());
    }
}

#[test]
fn without_mergeable_buffers_a_frame_must_fit_one() {
    let features = driver::plain() & !mask(feature::MRG_RXBUF);
    let (mut a, mut b) = pair(features, features);
    b.post_rx(400);
    b.post_rx(1600);
    a.send(&plain_hdr(), &packets::udp(400));
    assert!(b.receive().is_none());
    assert_eq!(b.counter("rx_drop_no_room"), 1);
    a.send(&plain_hdr(), &packets::udp(100));
    let (hdr, frame) = b.receive().unwrap();
    assert_eq!((hdr.net.num_buffers.get(), frame), (1, packets::udp(100)));
}

#[test]
fn a_frame_waits_for_buffers_and_the_driver_is_asked_for_them() {
    for features in [driver::plain(), driver::plain() & !mask(feature::EVENT_IDX)] {
        let (mut a, mut b) = pair(features, features);
        // The event lies behind the buffers that were seen but do not suffice.
        let wanted = match features & mask(feature::EVENT_IDX) {
            0 => Notice::All,
            _ => Notice::At(2),
        };
        b.post_rx(200);
        b.post_rx(200);
        for len in [500, 20] {
            a.send(&plain_hdr(), &packets::udp(len));
        }
        assert!(b.receive().is_none());
        assert_eq!(b.wanted_kicks(RX), wanted);
        b.post_rx(200);
        b.post_rx(200);
        b.notify(RX);
        assert_eq!(b.receive().unwrap().1, packets::udp(500));
        assert_eq!(b.receive().unwrap().1, packets::udp(20));
        if wanted == Notice::All {
            assert_eq!(b.wanted_kicks(RX), Notice::None);
        }
    }
}

#[test]
fn a_frame_that_no_ring_can_hold_is_dropped() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    for _ in 0..driver::QUEUE_SIZE {
        b.post_rx(12);
    }
    a.send(&plain_hdr(), &packets::udp(1000));
    assert!(b.receive().is_none());
    assert_eq!(b.counter("rx_drop_no_room"), 1);
    assert_eq!(b.counter("needs_reset"), 0);
}

#[test]
fn without_buffers_the_backlog_overflows_and_counts() {
    let (mut a, b) = pair(driver::plain(), driver::plain());
    for _ in 0..4500 {
        a.send(&plain_hdr(), &packets::udp(1));
        a.reset();
        a.start(driver::plain());
    }
    pump(b.nic());
    let (taken, dropped) = (
        b.counter("port.rx_frames"),
        b.counter("port.rx_drop_overflow"),
    );
    assert_eq!(taken + dropped, 4500);
    assert!(dropped > 0);
}

#[test]
fn frames_for_a_driver_that_is_not_ready_are_dropped() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    a.send(&plain_hdr(), &packets::udp(1));
    pump(b.nic());
    assert_eq!(b.counter("rx_drop_not_ready"), 1);
    b.start(driver::plain());
    b.post_rx(1600);
    assert!(b.receive().is_none());
}

#[test]
fn checksums_are_validated() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    b.post_rx(1600);
    b.post_rx(1600);
    a.send(&plain_hdr(), &packets::udp(333));
    let (received, frame) = b.receive().unwrap();
    assert_eq!(frame, packets::udp(333));
    assert_eq!(received.net.flags, hdr::F_DATA_VALID);
    let mut wrong = packets::udp(333);
    wrong[100] ^= 1;
    a.send(&plain_hdr(), &wrong);
    let (received, frame) = b.receive().unwrap();
    assert_eq!((received.net.flags, frame), (0, wrong));
    assert_eq!(b.counter("rx_csum_valid"), 1);
}

#[test]
fn without_guest_csum_flags_are_zero() {
    let receiver = driver::plain() & !mask(feature::GUEST_CSUM);
    let (mut a, mut b) = pair(driver::plain(), receiver);
    b.post_rx(1600);
    a.send(&plain_hdr(), &packets::udp(5));
    assert_eq!(b.receive().unwrap().0.net.flags, 0);
}

#[test]
fn checksum_requests_outside_the_frame_are_dropped() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    b.post_rx(1600);
    let len = packets::udp(10).len() as u16;
    for (start, offset) in [
        (len + 1, 0),
        (len, 0),
        (len - 1, 0),
        (0, len - 1),
        (0xffff, 0xffff),
    ] {
        let mut hdr = packets::udp_request();
        hdr.net.csum_start = start.into();
        hdr.net.csum_offset = offset.into();
        a.send(&hdr, &packets::udp(10));
    }
    assert!(b.receive().is_none());
    assert_eq!(a.counter("tx_drop_csum"), 5);
}

#[test]
fn frames_of_wrong_length_are_dropped() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    b.post_rx(4000);
    a.send(&plain_hdr(), &[0; 13]);
    assert_eq!(a.counter("tx_drop_short"), 1);
    a.send(&plain_hdr(), &[0; 1519]);
    assert_eq!(a.counter("tx_drop_long"), 1);
    let (at, data) = (a.buffer(5), [0; 5]);
    a.put(at, &data);
    a.chain(TX, &[(at, 5, 0)]);
    a.kick(TX);
    assert_eq!(a.counter("tx_drop_short"), 2);
    assert!(b.receive().is_none());
    assert_eq!((a.counter("needs_reset"), a.counter("tx_frames")), (0, 0));
}

#[test]
fn a_frame_beyond_the_receivers_mtu_is_not_delivered() {
    let mut rig = Rig::default();
    let mut a = rig.nic(NetConfig {
        mtu: 9000,
        ..config(1)
    });
    let mut b = rig.nic(config(2));
    a.start(driver::plain());
    b.start(driver::plain());
    b.post_rx(10_000);
    a.send(&plain_hdr(), &packets::udp(5000));
    assert!(b.receive().is_none());
    assert_eq!(b.counter("rx_drop_long"), 1);
}

#[test]
fn buffers_may_cross_two_maps() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    let frame = packets::udp(900);
    b.post_rx_at(MAP_BORDER - 500, 1600);
    let mut data = vec![0; 12];
    data.extend(&frame);
    a.put(MAP_BORDER - 33, &data);
    a.chain(TX, &[(MAP_BORDER - 33, data.len() as u32, 0)]);
    a.kick(TX);
    assert_eq!(b.receive().unwrap().1, frame);
}

#[test]
fn header_and_data_may_be_split_anywhere() {
    let (mut a, mut b) = pair(driver::ipsec(), driver::plain());
    let frame = packets::udp(100);
    let mut data = vec![0; 48];
    data.extend(&frame);
    for split in [1, 47, 48, 49, 60] {
        b.post_rx(1600);
        let at = a.buffer(data.len() as u32);
        a.put(at, &data);
        let rest = data.len() as u32 - split;
        a.chain(TX, &[(at, split, 0), (at + u64::from(split), rest, 0)]);
        a.kick(TX);
        assert_eq!(b.receive().unwrap().1, frame);
    }
}

#[test]
fn the_ring_wraps_many_times() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    let (tx, rx) = (a.buffer(200), b.buffer(400));
    let frame = packets::udp(40);
    a.put(tx + 12, &frame);
    for round in 0..70_000u32 {
        b.post_rx_at(rx, 400);
        let len = frame.len() as u32 + 12;
        let head = a.chain(TX, &[(tx, len, 0)]);
        pump(a.nic());
        assert_eq!(a.next_used(TX), Some((head, 0)), "round {round}");
        pump(b.nic());
        assert_eq!(
            b.next_used(RX).map(|(_, len)| len),
            Some(len),
            "round {round}"
        );
    }
}

#[test]
fn event_idx_suppresses_interrupts_until_asked() {
    let (mut a, _b) = pair(driver::plain(), driver::plain());
    let send = |a: &mut Driver| {
        let data = a.buffer(100);
        a.chain(TX, &[(data, 100, 0)]);
        a.kick(TX);
        a.events(TX + 1)
    };
    // The event is 0 at first: the first used entry interrupts, the following do not.
    assert_eq!(send(&mut a), 1);
    assert_eq!(send(&mut a), 0);
    a.want_interrupts(TX, &Notice::At(4));
    assert_eq!(
        [send(&mut a), send(&mut a), send(&mut a), send(&mut a)],
        [0, 0, 1, 0]
    );
    // A batch that crosses the event interrupts once.
    a.want_interrupts(TX, &Notice::At(8));
    for _ in 0..6 {
        let data = a.buffer(100);
        a.chain(TX, &[(data, 100, 0)]);
    }
    a.kick(TX);
    assert_eq!((a.used_idx(TX), a.events(TX + 1)), (12, 1));
    // The device tells where it stands.
    assert_eq!(a.wanted_kicks(TX), Notice::At(12));
}

#[test]
fn without_event_idx_the_flags_count() {
    let features = driver::plain() & !mask(feature::EVENT_IDX);
    let (mut a, _b) = pair(features, features);
    for (wanted, expected) in [(Notice::All, 1), (Notice::None, 0), (Notice::All, 1)] {
        a.want_interrupts(TX, &wanted);
        let data = a.buffer(100);
        a.chain(TX, &[(data, 100, 0)]);
        a.kick(TX);
        assert_eq!(a.events(TX + 1), expected);
        assert_eq!(a.wanted_kicks(TX), Notice::All);
    }
}

#[test]
fn memory_that_goes_away_ends_in_needs_reset() {
    let (mut a, mut b) = pair(driver::plain(), driver::plain());
    b.post_rx_at(MAP_BORDER + 0x1000, 1600);
    b.function
        .dma_unmap(MAP_BORDER, support::MEM_END - MAP_BORDER);
    let before = b.get(MAP_BORDER + 0x1000, 100);
    a.send(&plain_hdr(), &packets::udp(10));
    pump(b.nic());
    // It might come back.
    assert_eq!(b.counter("chain_address"), 0);
    std::thread::sleep(std::time::Duration::from_millis(400));
    pump(b.nic());
    assert_eq!(b.counter("chain_address"), 1);
    assert_ne!(
        b.status() & espnic_device::virtio::status::DEVICE_NEEDS_RESET,
        0
    );
    assert_eq!(b.get(MAP_BORDER + 0x1000, 100), before);
    // With all memory gone the ring itself is out of reach.
    a.function.dma_unmap_all();
    std::thread::sleep(std::time::Duration::from_millis(400));
    pump(a.nic());
    assert_eq!(a.counter("ring_invalid"), 1);
}

#[test]
fn security_without_sa_is_never_sent() {
    let (mut a, mut b) = pair(driver::ipsec(), driver::ipsec());
    b.post_rx(1600);
    let mut hdr = plain_hdr();
    hdr.net.flags = hdr::F_SECURITY;
    a.send(&hdr, &packets::udp(10));
    hdr.net.flags |= hdr::F_X_SEC;
    hdr.sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    a.send(&hdr, &packets::udp(10));
    assert!(b.receive().is_none());
    assert_eq!(
        (a.counter("tx_drop_ipsec"), a.counter("port.tx_frames")),
        (2, 0)
    );
}

#[test]
fn the_capture_shows_each_frame_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("wire.pcapng");
    let capture = Arc::new(Capture::create(&path, &["n0", "n1"], Limits::default()).unwrap());
    let mut rig = Rig::default();
    rig.capture = Some(capture.clone());
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain());
    b.start(driver::plain());
    a.send(&plain_hdr(), &packets::udp(1));
    b.send(&plain_hdr(), &packets::udp(2));
    a.send(&plain_hdr(), &[0; 13]);
    capture.flush().unwrap();
    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            seen.push((packet.interface_id, packet.data.to_vec()));
        }
    }
    assert_eq!(seen, [(0, packets::udp(1)), (1, packets::udp(2))]);
}

#[test]
fn a_worker_thread_moves_frames_by_itself() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    let _workers = [
        Workers::spawn(a.nic()).unwrap(),
        Workers::spawn(b.nic()).unwrap(),
    ];
    a.start(driver::plain());
    b.start(driver::plain());
    let wait = |what: &dyn Fn() -> bool| {
        for _ in 0..5000 {
            if what() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("nothing happens");
    };
    for round in 1..=50u16 {
        let rx = b.buffer(400);
        b.chain(RX, &[(rx, 400, WRITE)]);
        b.notify(RX);
        let tx = a.buffer(200);
        a.put(tx + 12, &packets::udp(40));
        a.chain(TX, &[(tx, 12 + 82, 0)]);
        a.notify(TX);
        wait(&|| b.used_idx(RX) == round && a.used_idx(TX) == round);
        assert!(b.next_used(RX).is_some() && a.next_used(TX).is_some());
        let mut frame = vec![0; 82];
        b.memory
            .view
            .read_slice(&mut frame, GuestAddress(rx + 12))
            .unwrap();
        assert_eq!(frame, packets::udp(40));
    }
}
