// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reception: from the wire to the guest's queue.
//!
//! Frames wait in the inbox until the driver gives buffers; what the inbox cannot hold is dropped and
//! counted there.

use espnic_wire::feature;
use espnic_wire::hdr::{self, HdrLen, NetHdr48};

use super::{csum, Device, NetState, BATCH, L2_OVERHEAD};
use crate::memory::GuestMap;
use crate::nic::Nic;
use crate::virtio::queue::{RingError, VirtQueue};

/// What the driver agreed to.
struct Rules {
    hdr_len: HdrLen,
    mergeable: bool,
    csum: bool,
    ipsec: bool,
}

/// What became of a frame.
enum Delivery {
    /// It is in the guest's buffers, or was dropped and counted.
    Done,
    /// There are too few buffers; it waits.
    NoBuffer,
}

/// Throws away what waits, because the driver is not ready or resets the device.
pub fn discard(nic: &Nic, device: &mut Device) {
    nic.inbox.take(usize::MAX, &mut device.net.pending);
    nic.stats
        .rx_drop_not_ready
        .add(device.net.pending.len() as u64);
    device.net.pending.clear();
}

/// Delivers a batch. `false` if nothing could be delivered.
pub fn run(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    let rules = Rules {
        hdr_len: device.hdr_len(),
        mergeable: device.virtio.has(feature::MRG_RXBUF),
        csum: device.virtio.has(feature::GUEST_CSUM),
        ipsec: device.virtio.has(feature::IPSEC),
    };
    let mem = device.virtio.memory();
    let Device { virtio, net } = device;
    // Steering is for several pairs; one pair has nothing to choose from.
    let Some((queue, vector)) = virtio.queue(0) else {
        return Ok(false);
    };
    if net.pending.is_empty() {
        nic.inbox.take(BATCH, &mut net.pending);
        for frame in &mut net.pending {
            nic.port.received(frame);
        }
    }
    queue.disable_kicks(&mem)?;
    let mut count = 0;
    while let Some(frame) = net.pending.pop_front() {
        match deliver(nic, net, queue, &mem, &rules, &frame)? {
            Delivery::Done => count += 1,
            Delivery::NoBuffer => {
                net.pending.push_front(frame);
                break;
            }
        }
    }
    if queue.publish(&mem)? {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0)
}

fn deliver(
    nic: &Nic,
    net: &mut NetState,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    rules: &Rules,
    frame: &[u8],
) -> Result<Delivery, RingError> {
    if frame.len() > usize::from(nic.config.mtu) + L2_OVERHEAD {
        nic.stats.rx_drop_long.inc();
        return Ok(Delivery::Done);
    }
    let need = (rules.hdr_len.bytes() + frame.len()) as u64;
    let count = match gather(net, queue, mem, rules, need)? {
        Gathered::Chains(count) => count,
        Gathered::TooFew => return Ok(Delivery::NoBuffer),
        Gathered::NoRoom => {
            nic.stats.rx_drop_no_room.inc();
            return Ok(Delivery::Done);
        }
    };
    let mut frame = std::borrow::Cow::Borrowed(frame);
    let mut hdr = NetHdr48::default();
    if rules.ipsec {
        nic.ipsec.receive(frame.to_mut(), &mut hdr);
    }
    if rules.csum && !hdr.has(hdr::F_SECURITY) && csum::validated(&frame) {
        nic.stats.rx_csum_valid.inc();
        hdr.net.flags |= hdr::F_DATA_VALID;
    }
    hdr.net.num_buffers = (count as u16).into();
    fill(net, queue, mem, hdr.prefix(rules.hdr_len), &frame, count)?;
    nic.stats.rx_frames.inc();
    nic.stats.rx_bytes.add(frame.len() as u64);
    Ok(Delivery::Done)
}

enum Gathered {
    /// So many chains in `net.chains` have room for the frame.
    Chains(usize),
    /// The driver has not given enough; nothing was taken, and the driver will notify.
    TooFew,
    /// Not even all buffers that the queue can hold have room.
    NoRoom,
}

/// Takes chains until they hold `need` bytes.
fn gather(
    net: &mut NetState,
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
        if net.chains.len() <= count {
            net.chains.push(Default::default());
        }
        let Some(chain) = net.chains.get_mut(count) else {
            return Ok(Gathered::TooFew);
        };
        if !queue.pop(mem, chain)? {
            // Notifications are asked for behind everything that was seen, else the driver would
            // not send any for the buffers that are still missing.
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
    net: &NetState,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    hdr: &[u8],
    mut frame: &[u8],
    count: usize,
) -> Result<(), RingError> {
    for (index, chain) in net.chains.iter().take(count).enumerate() {
        let skip = if index == 0 { hdr.len() } else { 0 };
        if index == 0 {
            chain.write(mem, 0, hdr)?;
        }
        let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX) - skip;
        let (part, rest) = frame.split_at(room.min(frame.len()));
        chain.write(mem, skip as u64, part)?;
        queue.push_used(mem, chain.head(), (skip + part.len()) as u32)?;
        frame = rest;
    }
    Ok(())
}
