// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets: from the wire to the driver.

use super::counters::{Counters, Tally};
use super::crypto::{self, rx::Begun};
use super::events::Events;
use super::faults::Faults;
use super::opening::{Opening, Places};
use super::packet::joint;
use super::packet::rx::{Found, Told};
use super::packet::sa::Packet;
use super::rx::Inbound;
use super::sa::{Mode, Sa};
use super::table::Tables;
use super::together::Together;
use espnic_esp::aead::TAG_LEN;
use espnic_esp::packet::{self as esp, Esp};

/// What the packets of a batch need. See [`super::Ipsec::receive`].
pub(super) struct Receiver<'a, 'b> {
    pub(super) tables: &'a Tables,
    pub(super) counters: &'b Counters,
    pub(super) tally: &'b mut Tally,
    pub(super) faults: &'b Faults,
    pub(super) events: &'b Events,
    /// The time of [`super::room::Room`].
    pub(super) now: u64,
    /// The SA of the packet before, if it compares all that SAs can.
    pub(super) last: Option<&'a Sa>,
    /// Packets of SAs of the standard that wait for others.
    pub(super) waiting: Together<joint::Begun<'a>>,
}

impl<'a> Receiver<'a, '_> {
    /// Finds a packet, which has this index in the chunk, and its SA; `first` is the oldest SA with its SPI, if that is
    /// known. One of a crypto-only SA is decrypted, and what is left to do is written to `begun`; all others are done,
    /// or wait. `computed` must be kept for [`Begun::end`].
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        index: usize,
        first: Option<&'a Sa>,
        inbound: &mut Inbound,
        begun: &mut Option<Begun<'a>>,
        computed: &mut [u8; TAG_LEN],
    ) {
        let (frame, layers) = inbound.frame.parts();
        let by_rule = inbound.by_rule();
        let Some(esp) = esp::find(frame, layers) else {
            if by_rule {
                self.in_udp6(index, inbound);
            }
            return;
        };
        let Some(sa) = self.find(first, &esp, frame, by_rule) else {
            // Anything can be in UDP.
            if esp.udp.is_none() {
                self.counters.rx_no_sa.inc();
            }
            return;
        };
        if !esp.header_is_right(frame) {
            return self.damaged(sa, inbound);
        }
        match &sa.mode {
            Mode::Crypto(numbers) => {
                let (counters, faults) = (self.counters, self.faults);
                crypto::rx::begin(
                    counters, faults, sa, numbers, &esp, inbound, begun, computed,
                );
            }
            Mode::Packet(mode) => {
                // Field by field, so that it is not in memory for others.
                let Esp {
                    offset,
                    end,
                    spi,
                    seq,
                    udp,
                    v6,
                } = esp;
                let esp = Esp {
                    offset,
                    end,
                    spi,
                    seq,
                    udp,
                    v6,
                };
                self.packet(sa, mode, &esp, index, inbound);
            }
        }
    }

    /// The SA of a packet; see [`Tables::inbound`]. Before it is searched for, `first` is looked at, and that of the
    /// packet before.
    #[inline(always)]
    fn find(
        &mut self,
        first: Option<&'a Sa>,
        esp: &Esp,
        frame: &[u8],
        by_rule: bool,
    ) -> Option<&'a Sa> {
        let takes = |sa: &&Sa| sa.spi == esp.spi && sa.takes(esp, frame, by_rule);
        // The search would begin with it.
        if let Some(sa) = first.filter(takes).filter(|sa| sa.compares_all()) {
            self.last = first;
            return Some(sa);
        }
        // No older SA takes this packet and compares all: it would compare the same, so it would have taken the packet
        // before, too. Only SAs of the standard might not, which take no packet without a rule.
        if let Some(sa) = self.last.filter(|_| !by_rule).filter(takes) {
            return Some(sa);
        }
        let sa = self.tables.inbound(esp, frame, by_rule)?;
        self.last = sa.compares_all().then_some(sa);
        Some(sa)
    }

    /// Ends with the first packet of `opening`, which is in `chunk`, or lets it wait in `together`. `false` if there is
    /// none.
    #[inline(always)]
    pub(super) fn end(
        &mut self,
        opening: &mut Opening,
        places: &Places<Begun<'a>>,
        chunk: &mut [Inbound],
        together: &mut Together<Begun<'a>>,
    ) -> bool {
        let Some((index, place)) = opening.take(places) else {
            return false;
        };
        match (&place.begun, chunk.get_mut(index)) {
            (Some(begun), _) if begun.waits() => {
                together.add(index, begun);
                if together.room() == 0 {
                    self.finish(together, chunk);
                }
            }
            (Some(begun), Some(inbound)) => {
                begun.end(
                    self.counters,
                    self.tally,
                    inbound,
                    &place.computed,
                    self.now,
                );
            }
            _ => (),
        }
        true
    }

    /// Ends with the packets of `chunk` that wait in `together`.
    pub(super) fn finish(&mut self, together: &mut Together<Begun<'_>>, chunk: &mut [Inbound]) {
        let (counters, tally, now) = (self.counters, &mut *self.tally, self.now);
        together.finish(chunk, |begun, inbound, result| match result {
            Ok(()) => begun.end(counters, tally, inbound, &[0; TAG_LEN], now),
            Err(error) => begun.refuse(counters, inbound, error.into()),
        });
    }

    /// Ends with the packets of `chunk` that wait in `waiting`.
    #[cold]
    pub(super) fn finish_waiting(&mut self, chunk: &mut [Inbound]) {
        let mut told = Told {
            counters: self.counters,
            tally: self.tally,
            events: self.events,
            now: self.now,
        };
        self.waiting.finish(chunk, |begun, inbound, result| {
            begun.end(&mut told, inbound, result);
        });
    }

    /// A packet whose outer IPv4 header is not what was sent. The ICV does not cover it, and whoever takes ESP
    /// out gives the header a right checksum. Crypto-only it stays ESP, which the stack drops.
    #[cold]
    fn damaged(&mut self, sa: &Sa, inbound: &mut Inbound) {
        self.counters.rx_header_fail.inc();
        if matches!(sa.mode, Mode::Packet(_)) {
            self.counters.rx_dropped.inc();
            inbound.frame.truncate(0);
        }
    }

    /// ESP in UDP in IPv6, which only SAs of the standard have, and which only a rule of the flow filter sends
    /// to IPsec.
    #[cold]
    fn in_udp6(&mut self, index: usize, inbound: &mut Inbound) {
        let Some(esp) = esp::find_in_udp6(&inbound.frame, inbound.frame.layers()) else {
            return;
        };
        let sa = self.tables.inbound(&esp, &inbound.frame, true);
        if let Some((sa, Mode::Packet(mode))) = sa.map(|sa| (sa, &sa.mode)) {
            self.packet(sa, mode, &esp, index, inbound);
        }
    }

    /// A packet of an SA of the standard.
    #[inline(never)]
    fn packet(
        &mut self,
        sa: &'a Sa,
        mode: &'a Packet,
        esp: &Esp,
        index: usize,
        inbound: &mut Inbound,
    ) {
        let Some(found) = Found::new(sa, mode, *esp) else {
            return;
        };
        let unsupported = self.faults.is_unsupported();
        if sa.cipher.opens_joint() {
            let begun = joint::Begun::new(found, unsupported);
            return self.waiting.add(index, &begun);
        }
        let mut told = Told {
            counters: self.counters,
            tally: self.tally,
            events: self.events,
            now: self.now,
        };
        found.process(&mut told, inbound, unsupported);
    }
}
