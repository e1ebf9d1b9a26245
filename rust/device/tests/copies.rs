// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Each byte of a frame is copied once from the sender's memory, and once to the receiver's.

#![allow(clippy::unwrap_used, clippy::panic)]
// Only builds with these count.
#![cfg(debug_assertions)]

mod support;

use espnic_device::memory::copied;
use espnic_wire::filter::Action;
use espnic_wire::hdr::NetHdr48;
use support::driver::{self, Driver, CTRL, RX, TX, WRITE};
use support::{config, packets, pump, sas, Rig};

const ROOM: u32 = 2048;

/// Sends frames, each in two buffers, and compares what is copied with what is in the buffers.
fn exchange(a: &mut Driver, b: &mut Driver, frames: &[(NetHdr48, Vec<u8>)], arrive: usize) {
    let mut given = 0;
    for (hdr, frame) in frames {
        let hdr = hdr.prefix(a.hdr_len()).to_vec();
        let (at, data) = (a.buffer(hdr.len() as u32), a.buffer(frame.len() as u32));
        a.put(at, &hdr);
        a.put(data, frame);
        let parts = [(at, hdr.len() as u32, 0), (data, frame.len() as u32, 0)];
        a.chain(TX, &parts);
        given += hdr.len() + frame.len();
    }
    for _ in 0..arrive {
        let buffer = b.buffer(ROOM);
        b.chain(RX, &[(buffer, ROOM, WRITE)]);
    }
    copied::take();
    pump(a.nic());
    assert_eq!(copied::take(), [given as u64, 0]);
    pump(b.nic());
    let [from, to] = copied::take();
    let used: Vec<_> = std::iter::from_fn(|| b.next_used(RX)).collect();
    assert_eq!(used.len(), arrive);
    let written: u32 = used.iter().map(|(_, len)| len).sum();
    assert_eq!([from, to], [0, written.into()]);
}

fn plain(frame: Vec<u8>) -> (NetHdr48, Vec<u8>) {
    (NetHdr48::default(), frame)
}

#[test]
fn plain_frames_are_copied_once() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::plain() | driver::tso());
    b.start(driver::plain());
    let partial = (packets::udp_request(), packets::udp_partial(900));
    let large = (
        packets::gso(false, 1400),
        packets::tcp_partial(false, 1, 4000),
    );
    let frames = [
        plain(packets::udp(60)),
        plain(packets::udp(1400)),
        partial,
        large,
    ];
    exchange(&mut a, &mut b, &frames, 6);
}

#[test]
fn esp_is_copied_once() {
    let (mut a, mut b) = sas::pair();
    sas::make_rules(&mut b, CTRL, Action::IpsecAgain);
    let frames = [
        sas::esp(3, &sas::clear_payload()),
        sas::esp_gso(3, 4000, 1400),
    ];
    exchange(&mut a, &mut b, &frames, 4);
    assert_eq!(b.counter("ipsec_rx_packets"), 4);
}
