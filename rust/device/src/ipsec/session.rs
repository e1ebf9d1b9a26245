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
const AHEAD: usize = 4;

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
        let (mut dropped, mut last) = (0, None);
        for index in 0..batch.len() {
            if let Some((hdr, _)) = batch.get(index + AHEAD) {
                let id = hdr.out.resource_id.get();
                if last.replace(id) != Some(id) {
                    self.tables.prefetch_outbound(id);
                }
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
        let mut last = None;
        for index in 0..batch.len() {
            if let Some((_, frame)) = batch.get(index + AHEAD) {
                let spi = packet::peek_spi(frame);
                if last.replace(spi) != Some(spi) {
                    self.tables.prefetch_inbound(spi);
                }
            }
            if let Some((hdr, frame)) = batch.get_mut(index) {
                self.receive(frame, hdr);
            }
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.counters.add(&self.tally);
    }
}
