// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets of one SA from several threads, and batches whose packets get their numbers at once.

use super::*;
use crate::ipsec::Turns;
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Packets of outbound SA 1.
fn batch(count: u8) -> Vec<(NetHdr48, Frame)> {
    let packet = |n| {
        let (hdr, frame, _) = udp(false, &[n; 99]);
        (hdr, Frame::from(frame))
    };
    (0..count).map(packet).collect()
}

fn number(wire: &[u8]) -> u32 {
    u32::from_be_bytes(wire[38..42].try_into().unwrap())
}

/// What was encrypted of a batch, and when it may go.
#[derive(Default)]
struct Encrypted {
    out: Frames,
    turns: Turns,
}

fn encrypt(a: &Engine, count: u8) -> Encrypted {
    let mut done = Encrypted::default();
    let (out, turns) = (&mut done.out, &mut done.turns);
    let dropped = a.transmit_all_in_turn(&mut batch(count), LONGEST, out, turns);
    assert_eq!((dropped, done.out.len()), (0, count.into()));
    done
}

/// Nobody waits to encrypt; who does it later sends later.
#[test]
fn packets_of_one_sa_are_encrypted_beside_each_other() {
    let (a, b) = pair(OVER_V4);
    let [mut first, mut second] = [3, 2].map(|count| encrypt(&a, count));
    let (wire, sent) = channel();
    let send = |mut done: Encrypted, wire: &Sender<Vec<u8>>| {
        done.turns.send(&mut done.out, |frames| {
            let mut frames = frames.drain().map(Vec::from);
            frames.try_for_each(|frame| wire.send(frame)).unwrap();
        });
    };
    assert!(first.out.iter_mut().all(|frame| number(frame) <= 3));
    assert!(second.out.iter_mut().all(|frame| number(frame) > 3));
    thread::scope(|scope| {
        let wire = &wire;
        scope.spawn(move || send(second, wire));
        let early = sent.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        send(first, wire);
    });
    let wires: Vec<_> = sent.try_iter().collect();
    let numbers: Vec<_> = wires.iter().map(|wire| number(wire)).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert!(wires.iter().all(|wire| passes(&b, wire)));
}

/// What cannot be sent takes no number of those that are taken at once.
#[test]
fn a_batch_has_no_gaps() {
    let mut outbound = sa(OBJ_OUTB_SA, OVER_V4);
    add_option(&mut outbound, cap::OPT_SA_LIFETIME);
    outbound.base.packets_hard_limit = 5.into();
    let (a, b) = connect(&outbound, &sa(OBJ_INB_SA, OVER_V4));
    let mut packets = batch(9);
    // No packet, a checksum behind its end, and a checksum in its header.
    packets[1].1 = vec![0; 60].into();
    packets[3].0.net.csum_offset = 1000.into();
    packets[4].0.net.csum_start = 20.into();
    let mut out = Frames::default();
    assert_eq!(a.transmit_all(&mut packets, LONGEST, &mut out), 4);
    let numbers: Vec<_> = out.iter().map(|frame| number(frame)).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert!(out.iter().all(|frame| passes(&b, frame)));
    let counters = ["format", "limit"].map(|why| counter(&a, &format!("ipsec_tx_drop_{why}")));
    assert_eq!(counters, [3, 1]);
    assert_eq!(counter(&a, "ipsec_tx_packets"), 5);
}

/// Only packets that may be fragmented take identifications.
#[test]
fn a_batch_counts_identifications() {
    let mut outbound = sa(OBJ_OUTB_SA, OVER_V4);
    add_option(&mut outbound, cap::OPT_COPY_DF);
    let (a, _) = connect(&outbound, &sa(OBJ_INB_SA, OVER_V4));
    let may_be_fragmented = [true, false, true, true, false];
    let mut packets = batch(5);
    for ((_, frame), may) in packets.iter_mut().zip(may_be_fragmented) {
        let mut bytes = frame.to_vec();
        bytes[IP + 6] = if may { 0 } else { 0x40 };
        testing::correct(&mut bytes);
        *frame = bytes.into();
    }
    let mut out = Frames::default();
    assert_eq!(a.transmit_all(&mut packets, LONGEST, &mut out), 0);
    let id = |frame: &Frame| u16::from_be_bytes([frame[IP + 4], frame[IP + 5]]);
    let ids: Vec<_> = out.iter().map(id).collect();
    let next = |n: u16| ids[0].wrapping_add(n);
    assert_eq!(ids, [next(0), 0, next(1), next(2), 0]);
}
