// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A batch of packets: the tables are locked and the counters written once for all of them.

use super::counters::{Counters, Tally};
use super::faults::Faults;
use super::frames::Frames;
use super::table::Tables;
use super::{rx, tx, TxDrop};
use espnic_esp::packet;
use espnic_wire::hdr::NetHdr48;
use std::sync::RwLockReadGuard;

/// So many packets ahead of its turn, the memory of a packet's SA is loaded. Less does not hide the
/// latency of memory, more does not fit the first-level cache.
const NEAR: usize = 4;
/// So many packets ahead, the table that says where that memory is.
const FAR: usize = 8;

/// Frames with their headers.
type Batch = [(NetHdr48, Vec<u8>)];

/// While it lives no SA can be created or destroyed.
pub(super) struct Session<'a> {
    tables: RwLockReadGuard<'a, Tables>,
    counters: &'a Counters,
    faults: &'a Faults,
    tally: Tally,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        tables: RwLockReadGuard<'a, Tables>,
        counters: &'a Counters,
        faults: &'a Faults,
    ) -> Self {
        Self {
            tables,
            counters,
            faults,
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
        let result = tx::protect(&self.tables, hdr, frame, longest, out);
        match result {
            Ok(()) => {
                let sent = out.iter_mut().skip(before);
                self.faults.spoil(&self.tables, hdr, sent);
                let sent = out.iter().skip(before);
                self.tally.transmitted(hdr, sent.map(|frame| frame.len()));
            }
            Err(drop) => self.counters.dropped(drop),
        }
        result
    }

    /// See [`super::Ipsec::transmit_all`].
    pub(super) fn transmit_all(
        &mut self,
        batch: &mut Batch,
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        let mut dropped = 0;
        let (mut near, mut far) = (Ahead::new(NEAR), Ahead::new(FAR));
        let id_of = |(hdr, _): &(NetHdr48, Vec<u8>)| hdr.out.resource_id.get();
        for index in 0..batch.len() {
            if let Some(id) = far.next(batch, index, id_of) {
                self.tables.prefetch_outbound_slot(id);
            }
            if let Some(id) = near.next(batch, index, id_of) {
                self.tables.prefetch_outbound(id);
            }
            if let Some((hdr, frame)) = batch.get_mut(index) {
                dropped += usize::from(self.transmit(hdr, frame, longest, out).is_err());
            }
        }
        dropped
    }

    /// See [`super::Ipsec::receive`].
    pub(super) fn receive(&mut self, frame: &mut [u8], hdr: &mut NetHdr48) {
        rx::process(&self.tables, self.counters, &mut self.tally, frame, hdr);
        self.faults.mark(hdr);
    }

    /// See [`super::Ipsec::receive_all`].
    pub(super) fn receive_all(&mut self, batch: &mut Batch) {
        let (mut near, mut far) = (Ahead::new(NEAR), Ahead::new(FAR));
        let spi_of = |(_, frame): &(NetHdr48, Vec<u8>)| packet::peek_spi(frame);
        for index in 0..batch.len() {
            if let Some(spi) = far.next(batch, index, spi_of) {
                self.tables.prefetch_inbound_slot(spi);
            }
            if let Some(spi) = near.next(batch, index, spi_of) {
                self.tables.prefetch_inbound(spi);
            }
            if let Some((hdr, frame)) = batch.get_mut(index) {
                self.receive(frame, hdr);
            }
        }
    }
}

/// Looks ahead in a batch for SAs.
struct Ahead {
    distance: usize,
    last: Option<u32>,
}

impl Ahead {
    fn new(distance: usize) -> Self {
        Self {
            distance,
            last: None,
        }
    }

    /// What names the SA of the packet ahead of `index`, unless it is that of the packet before.
    #[inline]
    fn next(
        &mut self,
        batch: &Batch,
        index: usize,
        name: impl FnOnce(&(NetHdr48, Vec<u8>)) -> u32,
    ) -> Option<u32> {
        let name = name(batch.get(index + self.distance)?);
        (self.last.replace(name) != Some(name)).then_some(name)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.counters.add(&self.tally);
    }
}
