// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A batch of packets: the tables are locked and the counters written once for all of them.

use super::account::{self, Account};
use super::ahead::{self, Ahead, CHUNK};
use super::counters::{Counters, Tally};
use super::drop::TxDrop;
use super::events::Events;
use super::faults::Faults;
use super::opening::{Opening, Places};
use super::receiver::Receiver;
use super::record;
use super::room::Room;
use super::rx::Inbound;
use super::sent::Sent;
use super::table::Tables;
use super::together::Together;
use super::turn::Turns;
use super::tx::{self, GROUP};
use super::waiting::{Outgoing, Waiting};
use crate::frame::Frame;
use crate::frames::Frames;
use crate::misbehave::Misbehaviour;
use espnic_esp::packet;
use espnic_wire::hdr::NetHdr48;
use std::sync::RwLockReadGuard;

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
    pub(super) waiting: Waiting,
    pub(super) turns: &'a mut Turns,
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
        self.transmit_one(hdr, frame, longest, out)?;
        match self.finish(out) {
            0 => Ok(()),
            _ => Err(TxDrop::Unsupported),
        }
    }

    /// Encrypts the packets that wait; returns how many frames are gone because they could not be.
    #[inline(always)]
    fn finish(&mut self, out: &mut Frames) -> usize {
        match self.waiting.finish(&self.tables.outb, out, self.turns) {
            None => 0,
            Some(failed) => self.failed(&failed),
        }
    }

    #[cold]
    fn failed(&mut self, failed: &Sent) -> usize {
        self.tally.failed(failed);
        let frames = failed.frames;
        self.counters.dropped(TxDrop::Unsupported, frames.into());
        frames as usize
    }

    /// [`Self::transmit`], after which packets may wait.
    // Always: it is short for crypto-only packets.
    #[inline(always)]
    fn transmit_one(
        &mut self,
        hdr: &NetHdr48,
        frame: &mut Frame,
        longest: usize,
        out: &mut Frames,
    ) -> Result<(), TxDrop> {
        let before = out.len();
        let (tables, counters, events) = (&self.tables, self.counters, self.events);
        let mut outgoing = Outgoing {
            slots: &tables.outb,
            longest,
            out,
            turns: self.turns,
            waiting: &mut self.waiting,
        };
        match tx::protect(tables, counters, events, hdr, frame, &mut outgoing) {
            Ok(sent) => {
                self.tally.transmitted(hdr, sent);
                if self.faults.spoil_padding() {
                    self.finish(out);
                    let sent = out.iter_mut().skip(before);
                    self.faults.spoil(&self.tables, hdr, sent);
                }
                Ok(())
            }
            Err(drop) => {
                account::dropped(counters, drop);
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
        // It makes something of each packet before the next one.
        let alone = self.faults.spoil_padding();
        for chunk in batch.chunks_mut(CHUNK) {
            // A text is hardly longer than its frame.
            let id = |(hdr, frame): &(NetHdr48, Frame)| (hdr.out.resource_id.get(), frame.len());
            let mut ahead = Ahead::new(&self.tables, chunk, id);
            let crypto_only = chunk.iter().all(|(hdr, _)| tx::is_crypto_packet(hdr));
            dropped += match crypto_only && !alone {
                true => self.transmit_crypto_only(chunk, &mut ahead, longest, out),
                false => self.transmit_mixed(chunk, &mut ahead, alone, longest, out),
            };
            dropped += self.finish(out);
        }
        dropped
    }

    /// [`Self::transmit_one`] for a chunk of packets of crypto-only SAs; returns how many were dropped.
    // Always: it is the short way.
    #[inline(always)]
    fn transmit_crypto_only(
        &mut self,
        chunk: &mut Batch,
        ahead: &mut Ahead<ahead::Outbound>,
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        if ahead.is_empty() {
            return self.transmit_groups(chunk, |_, _| (), longest, out);
        }
        self.transmit_many(chunk, ahead, longest, out)
    }

    /// The same, if there is something to be loaded ahead. Apart, because even to ask for each packet takes time.
    #[inline(never)]
    fn transmit_many(
        &mut self,
        chunk: &mut Batch,
        ahead: &mut Ahead<ahead::Outbound>,
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        let step = |tables: &Tables, index| ahead.step(tables, index);
        self.transmit_groups(chunk, step, longest, out)
    }

    /// The same. `step` is called with the index of each packet before it is encrypted.
    #[inline(always)]
    fn transmit_groups(
        &mut self,
        chunk: &mut Batch,
        mut step: impl FnMut(&Tables, usize),
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        let (tables, mut outgoing, mut account) = self.parts(longest, out);
        for (first, group) in (0..).step_by(GROUP).zip(chunk.chunks_mut(GROUP)) {
            let step = |index| step(tables, first + index);
            tx::protect_group(tables, group, &mut outgoing, &mut account, step);
        }
        account.drops
    }

    /// The same for any chunk. `alone`: no packets are worked on together.
    #[inline(never)]
    fn transmit_mixed(
        &mut self,
        chunk: &mut Batch,
        ahead: &mut Ahead<ahead::Outbound>,
        alone: bool,
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        let (mut dropped, mut index) = (0, 0);
        while let Some(rest @ [_, ..]) = chunk.get_mut(index..) {
            let count = if alone { 0 } else { tx::run(rest) };
            let next = index + count.max(1);
            (index..next).for_each(|index| ahead.step(&self.tables, index));
            index = next;
            if let (1.., Some(run)) = (count, rest.get_mut(..count)) {
                let events = self.events;
                let (tables, mut outgoing, mut account) = self.parts(longest, out);
                tx::protect_run(tables, events, run, &mut outgoing, &mut account);
                dropped += account.drops;
            } else if let [(hdr, frame), ..] = rest {
                dropped += usize::from(self.transmit_one(hdr, frame, longest, out).is_err());
            }
        }
        dropped
    }

    /// What functions for several packets need.
    #[inline(always)]
    fn parts<'b>(
        &'b mut self,
        longest: usize,
        out: &'b mut Frames,
    ) -> (&'b Tables, Outgoing<'b>, Account<'b>) {
        let tables = &self.tables;
        let outgoing = Outgoing {
            slots: &tables.outb,
            longest,
            out,
            turns: self.turns,
            waiting: &mut self.waiting,
        };
        let account = Account {
            counters: self.counters,
            tally: &mut self.tally,
            drops: 0,
        };
        (tables, outgoing, account)
    }

    /// See [`super::Ipsec::receive`].
    pub(super) fn receive(&mut self, inbound: &mut Inbound) {
        self.receive_all(std::slice::from_mut(inbound));
    }

    /// See [`super::Ipsec::receive_all`].
    pub(super) fn receive_all(&mut self, batch: &mut [Inbound]) {
        let now = self.room.begin(&self.tables);
        for chunk in batch.chunks_mut(CHUNK) {
            self.receive_chunk(now, chunk);
        }
    }

    fn receive_chunk(&mut self, now: u64, chunk: &mut [Inbound]) {
        let tables: &Tables = &self.tables;
        // Asked for all packets at once: what is set from now on is for the next ones.
        let touch =
            self.room.is_asking() || self.faults.are_marking() || self.misbehaviour.active();
        let spi = |Inbound { frame, .. }: &Inbound| {
            let len = frame.len().saturating_sub(packet::LEAST_BESIDE_TEXT);
            (packet::peek_spi(frame, frame.layers()), len)
        };
        let mut ahead = Ahead::<ahead::Inbound>::new(tables, chunk, spi);
        let mut receiver = Receiver {
            tables,
            counters: self.counters,
            tally: &mut self.tally,
            faults: self.faults,
            events: self.events,
            now,
            last: None,
            waiting: Together::EMPTY,
        };
        let mut together = Together::EMPTY;
        let (mut opening, mut places) = (Opening::default(), Places::EMPTY);
        for index in 0..chunk.len() {
            while !opening.has_room() {
                receiver.end(&mut opening, &places, chunk, &mut together);
            }
            let Some(inbound) = chunk.get_mut(index) else {
                break;
            };
            let first = ahead.step_to(tables, index);
            opening.add(&mut places, |begun, computed| {
                receiver.begin(index, first, inbound, begun, computed);
            });
            if receiver.waiting.room() == 0 {
                receiver.finish_waiting(chunk);
            }
        }
        while receiver.end(&mut opening, &places, chunk, &mut together) {}
        if !together.is_empty() {
            receiver.finish(&mut together, chunk);
        }
        if !receiver.waiting.is_empty() {
            receiver.finish_waiting(chunk);
        }
        if touch {
            for inbound in chunk {
                touch_up(self.room, self.faults, self.misbehaviour, tables, inbound);
            }
        }
    }
}

/// Adds to a received packet what the NIC asks the driver for, and what is wrong with it on purpose.
#[cold]
fn touch_up(
    room: &Room,
    faults: &Faults,
    misbehaviour: &Misbehaviour,
    tables: &Tables,
    inbound: &mut Inbound,
) {
    let Inbound { hdr, frame, .. } = inbound;
    room.mark(tables, hdr);
    faults.mark(hdr);
    if misbehaviour.active() {
        record::distort(misbehaviour, frame, hdr);
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.counters.add(&self.tally);
    }
}
