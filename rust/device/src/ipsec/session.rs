// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A batch of packets: the tables are locked and the counters written once for all of them.

use super::counters::{Counters, Tally};
use super::drop::TxDrop;
use super::faults::Faults;
use super::frames::Frames;
use super::room::Room;
use super::table::{Slots, Tables};
use super::{record, rx, tx, Ipsec};
use crate::misbehave::Misbehaviour;
use espnic_esp::packet;
use espnic_wire::hdr::NetHdr48;
use std::sync::RwLockReadGuard;

/// The number of packets of a batch whose SAs are looked up before the first one is processed.
const CHUNK: usize = 64;
/// The number of packets by which the memory of an SA is loaded ahead. Less does not hide the latency
/// of memory, more does not fit the first-level cache.
const NEAR: usize = 3;

/// Frames with their headers.
type Batch = [(NetHdr48, Vec<u8>)];

/// While it lives no SA can be created or destroyed.
pub(super) struct Session<'a> {
    tables: RwLockReadGuard<'a, Tables>,
    counters: &'a Counters,
    faults: &'a Faults,
    room: &'a Room,
    misbehaviour: &'a Misbehaviour,
    tally: Tally,
}

impl<'a> Session<'a> {
    pub(super) fn new(ipsec: &'a Ipsec) -> Self {
        Self {
            tables: ipsec.read_tables(),
            counters: &ipsec.counters,
            faults: &ipsec.faults,
            room: &ipsec.room,
            misbehaviour: &ipsec.misbehaviour,
            tally: Tally::default(),
        }
    }

    /// See [`super::Ipsec::transmit`].
    pub(super) fn transmit(
        &mut self,
        hdr: &NetHdr48,
        frame: &mut Vec<u8>,
        longest: usize,
        out: &mut Frames,
    ) -> Result<(), TxDrop> {
        let before = out.len();
        match tx::protect(&self.tables, hdr, frame, longest, out) {
            Ok(sent) => {
                self.tally.transmitted(hdr, sent);
                if self.faults.spoil_padding() {
                    let sent = out.iter_mut().skip(before);
                    self.faults.spoil(&self.tables, hdr, sent);
                }
                Ok(())
            }
            Err(drop) => {
                log::trace!("a frame for an SA is dropped: {drop}");
                self.counters.dropped(drop);
                Err(drop)
            }
        }
    }

    /// See [`super::Ipsec::transmit_all`].
    pub(super) fn transmit_all(
        &mut self,
        batch: &mut Batch,
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        let mut dropped = 0;
        for chunk in batch.chunks_mut(CHUNK) {
            let ahead = Ahead::outbound(&self.tables, chunk);
            for (index, (hdr, frame)) in chunk.iter_mut().enumerate() {
                ahead.prefetch(&self.tables.outb, index);
                dropped += usize::from(self.transmit(hdr, frame, longest, out).is_err());
            }
        }
        dropped
    }

    /// See [`super::Ipsec::receive`].
    pub(super) fn receive(&mut self, frame: &mut [u8], hdr: &mut NetHdr48) {
        let now = self.room.begin(&self.tables);
        self.receive_at(now, frame, hdr);
    }

    #[inline]
    fn receive_at(&mut self, now: u64, frame: &mut [u8], hdr: &mut NetHdr48) {
        let counters = self.counters;
        rx::process(&self.tables, counters, &mut self.tally, frame, hdr, now);
        self.room.mark(&self.tables, hdr);
        self.faults.mark(hdr);
        if self.misbehaviour.active() {
            record::distort(self.misbehaviour, frame, hdr);
        }
    }

    /// See [`super::Ipsec::receive_all`].
    pub(super) fn receive_all(&mut self, batch: &mut Batch) {
        let now = self.room.begin(&self.tables);
        for chunk in batch.chunks_mut(CHUNK) {
            let ahead = Ahead::inbound(&self.tables, chunk);
            for (index, (hdr, frame)) in chunk.iter_mut().enumerate() {
                ahead.prefetch(&self.tables.inb, index);
                self.receive_at(now, frame, hdr);
            }
        }
    }
}

/// The prefetch window: the SAs that a chunk will probably need. Their places in the tables are loaded
/// all at once, so that no packet waits for them. Their keys, which are much larger, are loaded shortly
/// before they are needed.
struct Ahead {
    /// [`NOTHING`] where the SA is that of the packet before, or unknown.
    ids: [u32; CHUNK],
    /// The end of the part with ids. It saves time, because most chunks have one SA.
    end: usize,
}

/// No SA has this id.
const NOTHING: u32 = u32::MAX;

impl Ahead {
    #[inline]
    fn outbound(tables: &Tables, chunk: &Batch) -> Self {
        let ahead = Self::new(chunk, |(hdr, _)| hdr.out.resource_id.get());
        ahead.load(&tables.outb);
        ahead
    }

    #[inline]
    fn inbound(tables: &Tables, chunk: &Batch) -> Self {
        let mut ahead = Self::new(chunk, |(_, frame)| packet::peek_spi(frame));
        for spi in ahead.ids() {
            tables.by_spi.prefetch(spi);
        }
        for name in ahead.ids.iter_mut().take(ahead.end) {
            *name = tables.by_spi.ids(*name).next().unwrap_or(NOTHING);
        }
        ahead.load(&tables.inb);
        ahead
    }

    /// Finds the SAs of a chunk. `name` gives the id of a packet's SA, or an SPI from which it follows.
    #[inline]
    fn new(chunk: &Batch, name: impl Fn(&(NetHdr48, Vec<u8>)) -> u32) -> Self {
        let (mut ids, mut end, mut last) = ([NOTHING; CHUNK], 0, NOTHING);
        for (index, (id, packet)) in ids.iter_mut().zip(chunk).enumerate() {
            let name = name(packet);
            if name != last {
                (*id, last) = (name, name);
                end = index + 1;
            }
        }
        Self { ids, end }
    }

    fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let known = self.ids.iter().take(self.end).copied();
        known.filter(|&id| id != NOTHING)
    }

    /// Loads the places of all SAs, and what the first packets need.
    #[inline]
    fn load(&self, slots: &Slots) {
        self.ids().for_each(|id| slots.prefetch_place(id));
        for id in self.ids.iter().take(NEAR.min(self.end)) {
            slots.prefetch(*id);
        }
    }

    /// Loads what is needed soon. Call it before the packet with this index.
    #[inline]
    fn prefetch(&self, slots: &Slots, index: usize) {
        let index = index + NEAR;
        if index < self.end {
            if let Some(&id) = self.ids.get(index) {
                slots.prefetch(id);
            }
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.counters.add(&self.tally);
    }
}
