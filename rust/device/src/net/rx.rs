// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reception: from the wire to the guest's queue.
//!
//! Frames wait in the inbox until the driver gives buffers; when the inbox is full, it drops and counts
//! them. With several active queue pairs frames wait for each queue separately, so that a queue without
//! buffers does not stop the others.

use espnic_wire::feature;
use espnic_wire::hdr::{self, HdrLen, NetHdr48};

use super::pending::Pending;
use super::state::{Device, NetState};
use super::{csum, frame, steer, used, BATCH};
use crate::memory::GuestMap;
use crate::misbehave::{Deed, Queue};
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::VirtQueue;
use crate::virtio::Virtio;

/// The rules of the negotiated features.
struct Rules {
    hdr_len: HdrLen,
    mergeable: bool,
    csum: bool,
}

/// The result of a delivery.
enum Delivery {
    /// It is in the guest's buffers, or was dropped and counted.
    Done,
    /// There are too few buffers; it waits.
    NoBuffer,
}

impl Rules {
    fn of(device: &Device) -> Self {
        Self {
            hdr_len: device.hdr_len(),
            mergeable: device.virtio.has(feature::MRG_RXBUF),
            csum: device.virtio.has(feature::GUEST_CSUM),
        }
    }
}

/// Takes a batch out of the inbox, drops frames that are too long for the driver, does IPsec and
/// spreads the frames over the active queue pairs. `false` if there were none.
pub fn arrive(nic: &Nic, device: &mut Device) -> bool {
    let ipsec = device.virtio.has(feature::IPSEC);
    let active = device.net.active_pairs();
    let Device { virtio, net } = device;
    let waiting = net.pending.iter().any(|pending| !pending.is_empty());
    // With one queue, frames without a buffer stay in the inbox.
    let count = if active == 1 && waiting { 0 } else { BATCH };
    nic.inbox.take(count, &mut net.arrived, &mut net.done);
    let some = !net.arrived.is_empty();
    nic.port.received(&mut net.arrived);
    for frame in net.arrived.drain() {
        if frame.len() > frame::longest(&frame, nic.config.mtu) {
            nic.stats.rx_drop_long.inc();
            net.done.push(frame);
        } else {
            net.received.push((NetHdr48::default(), frame));
        }
    }
    if ipsec {
        nic.ipsec.receive_all(&mut net.received);
    }
    for (hdr, frame) in net.received.drain(..) {
        let pending = choose(virtio, active, &frame)
            .and_then(|pair| net.pending.get_mut(usize::from(pair)))
            .filter(|pending| pending.has_room());
        match pending {
            Some(pending) => pending.push((hdr, frame)),
            None => {
                nic.stats.rx_drop_no_buffers.inc();
                net.done.push(frame);
            }
        }
    }
    some
}

/// The pair for `frame`: the one of the `active` pairs that its hash names, or the next one with a
/// running receive queue (V51). `None` if no queue runs.
fn choose(virtio: &mut Virtio, active: u16, frame: &[u8]) -> Option<u16> {
    let first = match active {
        1 => 0,
        _ => (steer::hash(frame) % u64::from(active)) as u16,
    };
    (first..active)
        .chain(0..first)
        .find(|pair| virtio.queue(2 * pair).is_some())
}

/// Steers the waiting frames again, because the number of active pairs has changed.
pub fn steer_again(device: &mut Device) {
    let Device { virtio, net } = device;
    let active = net.active_pairs();
    let waiting: Vec<_> = net.pending.iter_mut().flat_map(Pending::drain).collect();
    for received in waiting {
        let pair = choose(virtio, active, &received.1).unwrap_or(0);
        if let Some(pending) = net.pending.get_mut(usize::from(pair)) {
            pending.push(received);
        }
    }
}

/// Delivers the frames that wait for the queue of `pair`. `false` if none could be delivered.
pub fn deliver(nic: &Nic, device: &mut Device, pair: u16) -> Result<bool, RingError> {
    let rules = Rules::of(device);
    let mem = device.virtio.memory();
    let Device { virtio, net } = device;
    let Some((queue, vector)) = virtio.queue(2 * pair) else {
        return Ok(false);
    };
    let NetState {
        pending,
        chains,
        done,
        ..
    } = net;
    let Some(pending) = pending.get_mut(usize::from(pair)) else {
        return Ok(false);
    };
    queue.disable_kicks(&mem)?;
    let mut count = 0;
    while let Some((hdr, frame)) = pending.first() {
        match put(nic, chains, queue, &mem, &rules, *hdr, frame)? {
            Delivery::Done => count += 1,
            Delivery::NoBuffer => break,
        }
        done.extend(pending.pop().map(|(_, frame)| frame));
    }
    if queue.publish(&mem)? {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0)
}

/// Puts one frame into the queue.
fn put(
    nic: &Nic,
    chains: &mut Vec<Chain>,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    rules: &Rules,
    mut hdr: NetHdr48,
    frame: &[u8],
) -> Result<Delivery, RingError> {
    let need = (rules.hdr_len.bytes() + frame.len()) as u64;
    let count = match gather(chains, queue, mem, rules, need)? {
        Gathered::Chains(count) => count,
        Gathered::TooFew => return Ok(Delivery::NoBuffer),
        Gathered::NoRoom => {
            nic.stats.rx_drop_no_room.inc();
            return Ok(Delivery::Done);
        }
    };
    if rules.csum && !hdr.has(hdr::F_SECURITY) && csum::validated(frame) {
        nic.stats.rx_csum_valid.inc();
        hdr.net.flags |= hdr::F_DATA_VALID;
    }
    let buffers = match nic.misbehaviour.takes(Deed::NumBuffers) {
        true => u16::MAX,
        false => count as u16,
    };
    hdr.net.num_buffers = buffers.into();
    fill(
        nic,
        chains,
        queue,
        mem,
        hdr.prefix(rules.hdr_len),
        frame,
        count,
    )?;
    nic.stats.rx_frames.inc();
    nic.stats.rx_bytes.add(frame.len() as u64);
    Ok(Delivery::Done)
}

enum Gathered {
    /// This number of chains has room for the frame.
    Chains(usize),
    /// The driver has not given enough buffers; none was taken, and the driver will notify.
    TooFew,
    /// Not even all buffers that the queue can hold have room.
    NoRoom,
}

/// Takes chains until they hold `need` bytes.
fn gather(
    chains: &mut Vec<Chain>,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    rules: &Rules,
    need: u64,
) -> Result<Gathered, RingError> {
    let (mut room, mut count) = (0, 0);
    while room < need {
        if count > 0 && (!rules.mergeable || count >= usize::from(queue.size())) {
            queue.unpop(count as u16);
            return Ok(Gathered::NoRoom);
        }
        if chains.len() <= count {
            chains.push(Chain::default());
        }
        let Some(chain) = chains.get_mut(count) else {
            return Ok(Gathered::TooFew);
        };
        let popped = queue.pop(mem, chain);
        if popped.is_err() {
            // The memory may come back, and the frame needs all chains.
            queue.unpop(count as u16);
        }
        if !popped? {
            // Asks for notifications after all chains that were seen, because the driver would not
            // send any for the missing ones otherwise.
            if queue.enable_kicks(mem)? {
                continue;
            }
            queue.unpop(count as u16);
            return Ok(Gathered::TooFew);
        }
        if chain.readable_len() > 0 {
            return Err(RingError::Direction);
        }
        if chain.writable_len() < rules.hdr_len.bytes() as u64 {
            return Err(RingError::Size);
        }
        room += chain.writable_len();
        count += 1;
    }
    Ok(Gathered::Chains(count))
}

/// Writes header and frame across the first `count` chains and marks them used.
fn fill(
    nic: &Nic,
    chains: &[Chain],
    queue: &mut VirtQueue,
    mem: &GuestMap,
    hdr: &[u8],
    mut frame: &[u8],
    count: usize,
) -> Result<(), RingError> {
    for (index, chain) in chains.iter().take(count).enumerate() {
        let skip = if index == 0 { hdr.len() } else { 0 };
        if index == 0 {
            chain.write(mem, 0, hdr)?;
        }
        let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX) - skip;
        let (part, rest) = frame.split_at(room.min(frame.len()));
        chain.write(mem, skip as u64, part)?;
        let len = (skip + part.len()) as u32;
        used::give_back(nic, Queue::Rx, queue, mem, chain, len)?;
        frame = rest;
    }
    Ok(())
}
