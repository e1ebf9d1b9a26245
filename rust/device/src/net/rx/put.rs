// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames into the driver's receive buffers, with the headers that go in front of them.

use espnic_wire::feature;
use espnic_wire::hdr::{self, HdrLen, NetHdr48};

use super::super::state::Device;
use super::super::{csum, used};
use crate::frame::{Frame, Unfinished};
use crate::misbehave::{Deed, Queue};
use crate::nic::Nic;
use crate::stats::VirtioStats;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::{Places, VirtQueue};

/// A `gso_type` that the standard does not have.
const UNKNOWN_GSO: u8 = 0x77;

/// The rules of the negotiated features.
pub(super) struct Rules {
    hdr_len: HdrLen,
    mergeable: bool,
    csum: bool,
    tso4: bool,
    tso6: bool,
}

/// The result of a delivery.
pub(super) enum Delivery {
    /// It is in the guest's buffers.
    Done {
        /// The driver is told that its checksum is right.
        valid: bool,
    },
    /// There are too few buffers; it waits.
    NoBuffer,
    /// Not even all buffers that the queue can hold have room for it.
    NoRoom,
}

impl Rules {
    pub(super) fn of(device: &Device) -> Self {
        Self {
            hdr_len: device.hdr_len(),
            mergeable: device.virtio.has(feature::MRG_RXBUF),
            csum: device.receives(feature::GUEST_CSUM),
            tso4: device.receives(feature::GUEST_TSO4),
            tso6: device.receives(feature::GUEST_TSO6),
        }
    }

    /// Whether the driver receives a frame of which so much is left to do.
    pub(super) fn allow(&self, left: &Unfinished) -> bool {
        self.csum
            && left.cut.is_none_or(|cut| match cut.family {
                4 => self.tso4,
                _ => self.tso6,
            })
    }
}

/// Puts one frame into the queue. `whole`: those before it in the batch have had a buffer each, so this one is tried so
/// first.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn put(
    nic: &Nic,
    chains: &mut Vec<Chain>,
    queue: &mut VirtQueue,
    places: &Places<'_>,
    rules: &Rules,
    hdr: &NetHdr48,
    frame: &Frame,
    whole: &mut bool,
) -> Result<Delivery, RingError> {
    let left = frame.unfinished();
    let valid = left.is_none() && rules.csum && !hdr.has(hdr::F_SECURITY) && csum::validated(frame);
    let mut changed;
    let mut hdr = hdr;
    if valid || left.is_some() {
        changed = *hdr;
        if let Some(left) = left {
            pass_on(left, &mut changed);
        }
        if valid {
            changed.net.flags |= hdr::F_DATA_VALID;
        }
        hdr = &changed;
    }
    if *whole && put_whole(queue, places, rules, hdr, frame)? {
        return Ok(Delivery::Done { valid });
    }
    *whole = false;
    let put = put_apart(nic, chains, queue, places, rules, *hdr, frame)?;
    Ok(put.unwrap_or(Delivery::Done { valid }))
}

/// Puts a frame into a single buffer, with a header that says so. `false`, and nothing is done, if the next chain is
/// none that has room for it.
#[inline(always)]
fn put_whole(
    queue: &mut VirtQueue,
    places: &Places<'_>,
    rules: &Rules,
    hdr: &NetHdr48,
    frame: &[u8],
) -> Result<bool, RingError> {
    let Some((head, room)) = queue.pop_writable(places) else {
        return Ok(false);
    };
    let hdr = hdr.prefix(rules.hdr_len);
    if room.write_packet(hdr, frame).is_none() {
        queue.unpop(head.slots);
        return Ok(false);
    }
    queue.push_at(places, head, (hdr.len() + frame.len()) as u32)?;
    Ok(true)
}

/// Puts a frame into as many chains as it needs. `None`: it is there.
#[inline(never)]
fn put_apart(
    nic: &Nic,
    chains: &mut Vec<Chain>,
    queue: &mut VirtQueue,
    places: &Places<'_>,
    rules: &Rules,
    mut hdr: NetHdr48,
    frame: &Frame,
) -> Result<Option<Delivery>, RingError> {
    let need = (rules.hdr_len.bytes() + frame.len()) as u64;
    let count = match gather(chains, queue, places, rules, need)? {
        Gathered::Chains(count) => count,
        Gathered::TooFew => return Ok(Some(Delivery::NoBuffer)),
        Gathered::NoRoom => return Ok(Some(Delivery::NoRoom)),
    };
    hdr.net.num_buffers = (count as u16).into();
    if nic.misbehaviour.active() {
        spoil(nic, &mut hdr);
    }
    let hdr = hdr.prefix(rules.hdr_len);
    fill(nic, chains, queue, places, hdr, frame, count)?;
    Ok(None)
}

/// Applies the misbehaviours of the header that are due.
#[inline(never)]
fn spoil(nic: &Nic, hdr: &mut NetHdr48) {
    if nic.misbehaviour.takes(Deed::NumBuffers) {
        hdr.net.num_buffers = u16::MAX.into();
    }
    if nic.misbehaviour.takes(Deed::GsoType) {
        hdr.net.flags |= hdr::F_NEEDS_CSUM;
        hdr.net.gso_type = UNKNOWN_GSO;
    }
    if nic.misbehaviour.takes(Deed::GsoSize) {
        hdr.net.flags |= hdr::F_NEEDS_CSUM;
        hdr.net.gso_type = hdr::GSO_TCPV4;
        hdr.net.gso_size = 0.into();
    }
    if nic.misbehaviour.takes(Deed::CsumStart) {
        hdr.net.flags |= hdr::F_NEEDS_CSUM;
        hdr.net.csum_start = u16::MAX.into();
    }
}

/// Tells the driver what is left to do (5.1.6.4).
fn pass_on(left: &Unfinished, hdr: &mut NetHdr48) {
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.csum_start = left.start.into();
    hdr.net.csum_offset = left.offset.into();
    if let Some(cut) = left.cut {
        hdr.net.gso_type = match cut.family {
            4 => hdr::GSO_TCPV4,
            _ => hdr::GSO_TCPV6,
        };
        hdr.net.gso_size = cut.size.into();
        hdr.net.hdr_len = cut.head.into();
    }
}

/// What the driver is told of the checksums and segments of a batch.
#[derive(Default)]
pub(super) struct Told {
    valid: u64,
    partial: u64,
    gso: u64,
}

impl Told {
    /// Notes a frame with a right checksum, or with this left to do.
    #[inline(always)]
    pub(super) fn note(&mut self, valid: bool, left: Option<&Unfinished>) {
        self.valid += u64::from(valid);
        if let Some(left) = left {
            self.partial += 1;
            self.gso += u64::from(left.cut.is_some());
        }
    }

    /// Counts it.
    pub(super) fn count(&self, stats: &VirtioStats) {
        let counts = [
            (&stats.rx_csum_valid, self.valid),
            (&stats.rx_csum_partial, self.partial),
            (&stats.rx_gso, self.gso),
        ];
        for (counter, count) in counts {
            if count > 0 {
                counter.add(count);
            }
        }
    }
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
    places: &Places<'_>,
    rules: &Rules,
    need: u64,
) -> Result<Gathered, RingError> {
    let (mut room, mut count, mut slots) = (0, 0, 0);
    while room < need {
        if count > 0 && (!rules.mergeable || count >= usize::from(queue.size())) {
            queue.unpop(slots);
            return Ok(Gathered::NoRoom);
        }
        if chains.len() <= count {
            chains.push(Chain::default());
        }
        let Some(chain) = chains.get_mut(count) else {
            return Ok(Gathered::TooFew);
        };
        let popped = queue.pop_at(places, chain);
        if popped.is_err() {
            // The memory may come back, and the frame needs all chains.
            queue.unpop(slots);
        }
        if !popped? {
            // Asks for notifications after all chains that were seen, because the driver would not
            // send any for the missing ones otherwise.
            if queue.enable_kicks(places.mem())? {
                continue;
            }
            queue.unpop(slots);
            return Ok(Gathered::TooFew);
        }
        if chain.readable_len() > 0 {
            return Err(RingError::Direction);
        }
        if chain.writable_len() < rules.hdr_len.bytes() as u64 {
            return Err(RingError::Size);
        }
        room += chain.writable_len();
        slots += chain.head().slots;
        count += 1;
    }
    Ok(Gathered::Chains(count))
}

/// Writes header and frame across the first `count` chains and marks them used.
fn fill(
    nic: &Nic,
    chains: &[Chain],
    queue: &mut VirtQueue,
    places: &Places<'_>,
    hdr: &[u8],
    mut frame: &[u8],
    count: usize,
) -> Result<(), RingError> {
    let mem = places.mem();
    for (index, chain) in chains.iter().take(count).enumerate() {
        let skip = if index == 0 { hdr.len() } else { 0 };
        if index == 0 {
            chain.write(mem, 0, hdr)?;
        }
        let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX) - skip;
        let (part, rest) = frame.split_at(room.min(frame.len()));
        chain.write(mem, skip as u64, part)?;
        let len = (skip + part.len()) as u32;
        used::give_back(nic, Queue::Rx, queue, places, chain, len)?;
        frame = rest;
    }
    Ok(())
}
