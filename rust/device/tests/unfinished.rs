// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checksums and segments that a NIC leaves to the one that receives the frame (GUEST_CSUM, GUEST_TSO4,
//! GUEST_TSO6, CTRL_GUEST_OFFLOADS).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::File;
use std::sync::Arc;

use espnic_device::net::{csum, NetConfig};
use espnic_device::ports::capture::{Capture, Limits};
use espnic_device::ports::switch::Switch;
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use pcap_file::pcapng::{Block, PcapNgReader};
use support::driver::{self, Driver, CTRL, QUEUE_SIZE};
use support::{config, packets, Rig};
use vmm_sys_util::tempdir::TempDir;

const SIZE: usize = 1000;
const SEGMENTS: u64 = 11;
const DATA: usize = 10 * SIZE + 1;

fn sender() -> u128 {
    driver::plain() | driver::tso()
}

fn receiver() -> u128 {
    driver::plain() | driver::large_receive()
}

fn pair(features: u128) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(sender());
    b.start(features);
    (a, b)
}

fn post(driver: &mut Driver, count: u16, len: u32) {
    (0..count).for_each(|_| driver.post_rx(len));
}

/// A TCP packet that stands for [`SEGMENTS`] ones, and its request.
fn large(v6: bool) -> (NetHdr48, Vec<u8>) {
    (packets::gso(v6, SIZE), packets::tcp_partial(v6, 1000, DATA))
}

/// A UDP packet whose checksum is to be completed, and its request.
fn partial(len: usize) -> (NetHdr48, Vec<u8>) {
    (packets::udp_request(), packets::udp_partial(len))
}

/// All that has arrived.
fn all(driver: &mut Driver) -> Vec<(NetHdr48, Vec<u8>)> {
    std::iter::from_fn(|| driver.receive()).collect()
}

#[track_caller]
fn are_segments(received: &[(NetHdr48, Vec<u8>)], frame: &[u8]) {
    assert_eq!(received.len() as u64, SEGMENTS);
    let head = frame.len() - DATA;
    for (hdr, segment) in received {
        assert_eq!((hdr.net.gso_type, hdr.has(hdr::F_NEEDS_CSUM)), (0, false));
        assert!(csum::validated(&segment.clone().into()));
    }
    let data: Vec<_> = received.iter().flat_map(|(_, s)| &s[head..]).collect();
    assert!(data.into_iter().eq(&frame[head..]));
}

#[test]
fn a_large_packet_arrives_as_it_was_sent() {
    for (v6, tagged) in [(false, false), (true, false), (false, true)] {
        let (mut a, mut b) = pair(receiver());
        let (mut request, mut frame) = large(v6);
        if tagged {
            frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
            request.net.csum_start = 38.into();
        }
        post(&mut b, 10, 1600);
        a.send(&request, &frame);
        let (hdr, received) = b.receive().unwrap();
        assert_eq!(received, frame);
        let head = frame.len() - DATA;
        assert_eq!(hdr.net.flags, hdr::F_NEEDS_CSUM);
        assert_eq!(hdr.net.gso_type, request.net.gso_type);
        assert_eq!(hdr.net.gso_size.get() as usize, SIZE);
        assert_eq!(hdr.net.hdr_len.get() as usize, head);
        assert_eq!(hdr.net.csum_start, request.net.csum_start);
        assert_eq!(hdr.net.csum_offset.get(), 16);
        let buffers = (frame.len() + 12).div_ceil(1600);
        assert_eq!(hdr.net.num_buffers.get() as usize, buffers);
        assert!(b.receive().is_none());
        // A wire counts what it would carry, a guest what it sends and gets.
        let bytes = (DATA + SEGMENTS as usize * head) as u64;
        assert_eq!(a.counter("tx_segments"), SEGMENTS);
        for (nic, name) in [(&a, "tx"), (&b, "rx")] {
            assert_eq!(nic.counter(&format!("{name}_frames")), 1);
            assert_eq!(nic.counter(&format!("{name}_bytes")), frame.len() as u64);
            assert_eq!(nic.counter(&format!("port.{name}_frames")), SEGMENTS);
            assert_eq!(nic.counter(&format!("port.{name}_bytes")), bytes);
        }
        assert_eq!((b.counter("rx_gso"), b.counter("rx_csum_partial")), (1, 1));
        assert_eq!(b.counter("rx_csum_valid"), 0);
    }
}

/// Whatever segments were asked for: only its checksum is left to do.
#[test]
fn what_fits_one_packet_is_not_large() {
    let (mut a, mut b) = pair(receiver());
    for (len, large) in [(0, false), (SIZE, false), (SIZE + 1, true)] {
        let frame = packets::tcp_partial(false, 1, len);
        b.post_rx(1600);
        a.send(&packets::gso(false, SIZE), &frame);
        let (hdr, received) = b.receive().unwrap();
        assert_eq!((hdr.net.flags, received), (hdr::F_NEEDS_CSUM, frame));
        assert_eq!(hdr.net.gso_type != hdr::GSO_NONE, large, "{len}");
    }
    assert_eq!(
        (a.counter("tx_segments"), b.counter("port.rx_frames")),
        (4, 4)
    );
}

#[test]
fn a_driver_gets_segments_of_what_it_has_not_negotiated() {
    let csum = mask(feature::GUEST_CSUM);
    let (v4, v6) = (mask(feature::GUEST_TSO4), mask(feature::GUEST_TSO6));
    for (features, is_v6) in [
        (driver::plain(), false),
        (driver::plain(), true),
        (driver::plain() | v6, false),
        (driver::plain() | v4, true),
        (driver::plain() & !csum, false),
    ] {
        let (mut a, mut b) = pair(features);
        let (request, frame) = large(is_v6);
        post(&mut b, 12, 1600);
        a.send(&request, &frame);
        let received = all(&mut b);
        are_segments(&received, &frame);
        let valid = if features & csum != 0 { SEGMENTS } else { 0 };
        assert_eq!(b.counter("rx_csum_valid"), valid);
        assert_eq!((b.counter("rx_gso"), b.counter("rx_csum_partial")), (0, 0));
        assert_eq!(b.counter("rx_frames"), SEGMENTS);
    }
}

#[test]
fn a_checksum_is_left_to_who_takes_that() {
    let (mut a, mut b) = pair(driver::plain());
    post(&mut b, 2, 1600);
    let (request, frame) = partial(333);
    a.send(&request, &frame);
    let (hdr, received) = b.receive().unwrap();
    assert_eq!((hdr.net.flags, received), (hdr::F_NEEDS_CSUM, frame));
    assert_eq!(hdr.net.csum_start.get(), packets::UDP_START);
    assert_eq!(hdr.net.csum_offset.get(), packets::UDP_FIELD);
    assert_eq!((b.counter("rx_csum_partial"), b.counter("rx_gso")), (1, 0));
    // What is complete is still looked at.
    a.send(&NetHdr48::default(), &packets::udp(333));
    assert_eq!(b.receive().unwrap().0.net.flags, hdr::F_DATA_VALID);

    let (mut a, mut b) = pair(driver::plain() & !mask(feature::GUEST_CSUM));
    post(&mut b, 1, 1600);
    let (request, frame) = partial(333);
    a.send(&request, &frame);
    let (hdr, received) = b.receive().unwrap();
    assert_eq!((hdr.net.flags, received), (0, packets::udp(333)));
}

/// Those of other protocols, of what follows the packet, of fragments and of ESP in UDP: whoever receives
/// them may have to look at them.
#[test]
fn other_checksums_are_completed_by_the_sender() {
    let (mut a, mut b) = pair(receiver());
    let spoil: [fn(&mut NetHdr48, &mut Vec<u8>); 5] = [
        |_, frame| frame[23] = 132,
        |_, frame| frame.extend([0; 6]),
        |_, frame| frame[20] = 0x20,
        |_, frame| frame[34..36].copy_from_slice(&4500u16.to_be_bytes()),
        |hdr, _| hdr.net.csum_offset = 8.into(),
    ];
    for (number, spoil) in spoil.iter().enumerate() {
        let (mut request, mut frame) = partial(64);
        spoil(&mut request, &mut frame);
        b.post_rx(1600);
        a.send(&request, &frame);
        let (hdr, received) = b.receive().unwrap();
        assert!(!hdr.has(hdr::F_NEEDS_CSUM), "{number}");
        assert_ne!(received, frame, "{number}");
    }
    assert_eq!(b.counter("rx_csum_partial"), 0);
}

fn set_offloads(driver: &mut Driver, features: u128) -> u8 {
    let mut request = vec![ctrl::CLASS_GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET];
    request.extend((features as u64).to_le_bytes());
    driver.request(CTRL, &request, 1)[0]
}

#[test]
fn a_driver_switches_what_it_receives() {
    let (mut a, mut b) = pair(receiver());
    let all_on = driver::large_receive() | mask(feature::GUEST_CSUM);
    let all_on = all_on & !mask(feature::CTRL_GUEST_OFFLOADS);
    for (offloads, whole) in [
        (mask(feature::GUEST_CSUM), false),
        (all_on, true),
        (mask(feature::GUEST_CSUM) | mask(feature::GUEST_TSO6), false),
        // Segmentation alone has no meaning.
        (mask(feature::GUEST_TSO4), false),
        (0, false),
    ] {
        assert_eq!(set_offloads(&mut b, offloads), ctrl::OK);
        post(&mut b, 16, 1600);
        let (request, frame) = large(false);
        a.send(&request, &frame);
        let received = all(&mut b);
        match whole {
            true => assert_eq!(received[0].1, frame),
            false => are_segments(&received, &frame),
        }
        if offloads & mask(feature::GUEST_CSUM) == 0 {
            assert_eq!(received[0].0.net.flags, 0);
        }
        b.reset();
        a.reset();
        a.start(sender());
        // All is on again.
        b.start(receiver());
        post(&mut b, 10, 1600);
        a.send(&request, &frame);
        assert_eq!(all(&mut b).len(), 1);
        b.reset();
        b.start(receiver());
    }
}

#[test]
fn wrong_switches_are_refused() {
    let (mut a, mut b) = pair(receiver());
    for offloads in [
        mask(feature::GUEST_CSUM) | mask(feature::CSUM),
        mask(feature::GUEST_CSUM) | mask(9),
        1 << 63,
    ] {
        assert_eq!(set_offloads(&mut b, offloads), ctrl::ERR);
    }
    let short = [ctrl::CLASS_GUEST_OFFLOADS, 0, 2, 0, 0, 0, 0, 0, 0];
    assert_eq!(b.request(CTRL, &short, 1), [ctrl::ERR]);
    let command = [&[ctrl::CLASS_GUEST_OFFLOADS, 1][..], &[0; 8]].concat();
    assert_eq!(b.request(CTRL, &command, 1), [ctrl::ERR]);
    assert_eq!(b.counter("ctrl_refused"), 5);
    // Nothing has changed.
    post(&mut b, 10, 1600);
    let (request, frame) = large(false);
    a.send(&request, &frame);
    assert_eq!(all(&mut b).len(), 1);
    // A feature that is offered but not negotiated; and no switches at all.
    for features in [
        receiver() & !mask(feature::GUEST_TSO4),
        receiver() & !mask(feature::CTRL_GUEST_OFFLOADS),
    ] {
        b.reset();
        b.start(features);
        assert_eq!(set_offloads(&mut b, mask(feature::GUEST_TSO4)), ctrl::ERR);
    }
}

#[test]
fn what_waits_when_the_driver_switches_is_cut() {
    let (mut a, mut b) = pair(receiver());
    let (request, frame) = large(false);
    a.send(&request, &frame);
    assert!(b.receive().is_none());
    assert_eq!(set_offloads(&mut b, mask(feature::GUEST_CSUM)), ctrl::OK);
    post(&mut b, 12, 1600);
    b.notify(driver::RX);
    are_segments(&all(&mut b), &frame);
}

#[test]
fn the_largest_packet_arrives() {
    let (mut a, mut b) = pair(receiver());
    let frame = packets::tcp_partial(false, 1, 65_495);
    post(&mut b, 15, 4500);
    a.send(&packets::gso(false, 1460), &frame);
    let (hdr, received) = b.receive().unwrap();
    assert_eq!((received, hdr.net.num_buffers.get()), (frame, 15));
    assert_eq!(b.counter("port.rx_frames"), 45);
}

/// If even all buffers of the ring are too few for the packet, its segments may fit.
#[test]
fn a_packet_for_which_no_ring_has_room_is_cut() {
    let (mut a, mut b) = pair(receiver());
    post(&mut b, QUEUE_SIZE, 600);
    let (request, frame) = large(false);
    a.send(&request, &frame);
    let mut received = all(&mut b);
    assert_eq!(received.len(), 8);
    assert_eq!(received[0].0.net.num_buffers.get(), 2);
    post(&mut b, 6, 600);
    b.notify(driver::RX);
    received.extend(all(&mut b));
    are_segments(&received, &frame);
    assert_eq!(b.counter("rx_drop_no_room"), 0);
}

#[test]
fn without_mergeable_buffers_one_has_to_hold_the_packet() {
    let (mut a, mut b) = pair(receiver() & !mask(feature::MRG_RXBUF));
    post(&mut b, 1, 20_000);
    post(&mut b, 11, 1600);
    let (request, frame) = large(false);
    a.send(&request, &frame);
    a.send(&request, &frame);
    let (hdr, received) = b.receive().unwrap();
    assert_eq!((hdr.net.num_buffers.get(), received), (1, frame.clone()));
    are_segments(&all(&mut b), &frame);
}

/// Large and small ones, whatever becomes of them.
#[test]
fn packets_stay_in_their_order() {
    for features in [receiver(), driver::plain()] {
        let (mut a, mut b) = pair(features);
        for port in 1..4 {
            let frame = packets::tcp_partial(false, port, 1000);
            a.send(&packets::gso(false, 400), &frame);
            a.send(&NetHdr48::default(), &packets::udp(port.into()));
        }
        let mut data = Vec::new();
        for _ in 0..12 {
            // They come piece by piece.
            post(&mut b, 1, 1600);
            b.notify(driver::RX);
            for (_, frame) in all(&mut b) {
                match frame[23] {
                    6 => data.push((u16::from(frame[35]), frame.len() - 54)),
                    _ => data.push((0, frame.len() - 42)),
                }
            }
        }
        let sent: Vec<(u16, usize)> = match features == receiver() {
            true => (1..4).flat_map(|n| [(n, 1000), (0, n.into())]).collect(),
            false => (1..4)
                .flat_map(|n| [(n, 400), (n, 400), (n, 200), (0, n.into())])
                .collect(),
        };
        assert_eq!(data, sent);
    }
}

#[test]
fn segments_beyond_the_receivers_mtu_are_dropped() {
    let mut rig = Rig::default();
    let mut a = rig.nic(config(1));
    let mut b = rig.nic(NetConfig {
        mtu: 1000,
        ..config(2)
    });
    a.start(sender());
    b.start(receiver());
    post(&mut b, 10, 1600);
    let (request, frame) = large(false);
    a.send(&request, &frame);
    assert!(b.receive().is_none());
    assert_eq!(b.counter("rx_drop_long"), SEGMENTS);
    a.send(&packets::gso(false, 960), &frame);
    assert_eq!(b.receive().unwrap().1, frame);
}

/// What is cut into very many pieces costs the sender's time, not the receiver's.
#[test]
fn tiny_segments_are_cut_by_the_sender() {
    let (mut a, mut b) = pair(receiver());
    post(&mut b, QUEUE_SIZE, 1600);
    a.send(
        &packets::gso(false, 10),
        &packets::tcp_partial(false, 1, 1281),
    );
    let received = all(&mut b);
    assert_eq!(received.len(), usize::from(QUEUE_SIZE));
    assert_eq!(received[0].1.len(), 64);
    assert_eq!((a.counter("tx_segments"), b.counter("rx_gso")), (129, 0));
}

/// Every end of a wire, and of a switch, gets what it takes.
#[test]
fn ends_of_all_kinds_share_a_wire() {
    let switch = Arc::new(Switch::default());
    for through_switch in [false, true] {
        let mut rig = Rig::default();
        let mut nics: Vec<_> = (1..5)
            .map(|last| match through_switch {
                false => rig.nic(config(last)),
                true => rig.build(config(last), |backlog| {
                    Box::new(switch.connect(backlog, [2, 0, 0, 0, 0, last]))
                }),
            })
            .collect();
        let features = [
            sender(),
            receiver(),
            driver::plain(),
            driver::plain() & !mask(feature::GUEST_CSUM),
        ];
        for (nic, features) in nics.iter_mut().zip(features) {
            nic.start(features);
            post(nic, 12, 1600);
        }
        let (request, mut frame) = large(false);
        // To all.
        frame[..6].fill(0xff);
        nics[0].send(&request, &frame);
        assert_eq!(all(&mut nics[1])[0].1, frame);
        are_segments(&all(&mut nics[2]), &frame);
        are_segments(&all(&mut nics[3]), &frame);
    }
}

#[test]
fn the_capture_shows_what_a_wire_would_carry() {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("wire.pcapng");
    let capture = Arc::new(Capture::create(&path, &["n0", "n1"], Limits::default()).unwrap());
    let mut rig = Rig::default();
    rig.capture = Some(capture.clone());
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(sender());
    b.start(receiver());
    post(&mut b, 10, 1600);
    let (request, frame) = large(false);
    a.send(&request, &frame);
    assert_eq!(b.receive().unwrap().1, frame);
    let (request, udp) = partial(100);
    a.send(&request, &udp);
    capture.flush().unwrap();
    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            seen.push((NetHdr48::default(), packet.data.to_vec()));
        }
    }
    assert_eq!(seen.pop().unwrap().1, packets::udp(100));
    are_segments(&seen, &frame);
}
