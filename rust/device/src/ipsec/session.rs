// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A batch of packets: the tables are locked and the counters written once for all of them.

use super::counters::{Counters, Tally};
use super::drop::TxDrop;
use super::events::Events;
use super::faults::Faults;
use super::room::Room;
use super::rx::Inbound;
use super::table::{Slots, Tables};
use super::{record, rx, tx};
use crate::frame::Frame;
use crate::frames::Frames;
use crate::misbehave::Misbehaviour;
use espnic_esp::packet;
use espnic_wire::hdr::NetHdr48;
use std::sync::RwLockReadGuard;

/// The number of packets of a batch whose SAs are looked up before the first one is processed.
const CHUNK: usize = 64;
/// The number of packets by which the memory of an SA is loaded ahead. Less does not hide the latency
/// of memory, more does not fit the first-level cache.
const NEAR: usize = 3;

/// Frames to be sent, with their headers.
type Batch = [(NetHdr48, Frame)];

/// While it lives no SA can be created or destroyed.
pub(super) struct Session<'a> {
    pub(super) tables: RwLockReadGuard<'a, Tables>,
    pub(super) counters: &'a Counters,
    pub(super) events: &'a Events,
    pub(super) faults: &'a Faults,
    pub(super) room: &'a Room,
    pub(super) misbehaviour: &'a Misbehaviour,
    pub(super) tally: Tally,
}

impl Session<'_> {
    /// See [`super::Ipsec::transmit`].
    pub(super) fn transmit(
        &mut self,
        hdr: &NetHdr48,
        frame: &mut Frame,
        longest: usize,
        out: &mut Frames,
    ) -> Result<(), TxDrop> {
        let before = out.len();
        let (counters, events) = (self.counters, self.events);
        match tx::protect(&self.tables, counters, events, hdr, frame, longest, out) {
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
                self.counters.dropped(drop, 1);
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
            let window = PrefetchWindow::outbound(&self.tables, chunk);
            for (index, (hdr, frame)) in chunk.iter_mut().enumerate() {
                window.prefetch(&self.tables.outb, index);
                dropped += usize::from(self.transmit(hdr, frame, longest, out).is_err());
            }
        }
        dropped
    }

    /// See [`super::Ipsec::receive`].
    pub(super) fn receive(&mut self, inbound: &mut Inbound) {
        let now = self.room.begin(&self.tables);
        self.receive_at(now, inbound);
    }

    #[inline]
    fn receive_at(&mut self, now: u64, inbound: &mut Inbound) {
        let (counters, tally) = (self.counters, &mut self.tally);
        let (faults, events) = (self.faults, self.events);
        rx::process(&self.tables, counters, tally, faults, events, inbound, now);
        let Inbound { hdr, frame, .. } = inbound;
        self.room.mark(&self.tables, hdr);
        self.faults.mark(hdr);
        if self.misbehaviour.active() {
            record::distort(self.misbehaviour, frame, hdr);
        }
    }

    /// See [`super::Ipsec::receive_all`].
    pub(super) fn receive_all(&mut self, batch: &mut [Inbound]) {
        let now = self.room.begin(&self.tables);
        for chunk in batch.chunks_mut(CHUNK) {
            let window = PrefetchWindow::inbound(&self.tables, chunk);
            for (index, inbound) in chunk.iter_mut().enumerate() {
                window.prefetch(&self.tables.inb, index);
                self.receive_at(now, inbound);
            }
        }
    }
}

/// The prefetch window: the SAs that a chunk will probably need. Their places in the tables are loaded
/// all at once, so that no packet waits for them. Their keys, which are much larger, are loaded shortly
/// before they are needed.
struct PrefetchWindow {
    /// [`NOTHING`] where the SA is that of the packet before, or unknown.
    ids: [u32; CHUNK],
    /// The end of the part with ids. It saves time, because most chunks have one SA.
    end: usize,
}

/// No SA has this id.
const NOTHING: u32 = u32::MAX;

impl PrefetchWindow {
    #[inline]
    fn outbound(tables: &Tables, chunk: &Batch) -> Self {
        let window = Self::new(chunk, |(hdr, _)| hdr.out.resource_id.get());
        window.load(&tables.outb);
        window
    }

    #[inline]
    fn inbound(tables: &Tables, chunk: &[Inbound]) -> Self {
        let spi = |Inbound { frame, .. }: &Inbound| packet::peek_spi(frame, frame.layers());
        let mut window = Self::new(chunk, spi);
        for spi in window.ids() {
            tables.by_spi.prefetch(spi);
        }
        for name in window.ids.iter_mut().take(window.end) {
            *name = tables.by_spi.ids(*name).next().unwrap_or(NOTHING);
        }
        window.load(&tables.inb);
        window
    }

    /// Finds the SAs of a chunk. `name` gives the id of a packet's SA, or an SPI from which it follows.
    #[inline]
    fn new<T>(chunk: &[T], name: impl Fn(&T) -> u32) -> Self {
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
