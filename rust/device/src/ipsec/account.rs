// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How frames that are sent are counted.

use super::counters::{Counters, Tally};
use super::drop::TxDrop;
use super::sent::Sent;
use espnic_wire::hdr::NetHdr48;

/// What becomes of frames that are worked on together.
pub(super) struct Account<'a> {
    pub(super) counters: &'a Counters,
    pub(super) tally: &'a mut Tally,
    /// Frames that were dropped.
    pub(super) drops: usize,
}

impl Account<'_> {
    /// Notes what has become of a frame with this header. The order does not matter.
    #[inline(always)]
    pub(super) fn note(&mut self, hdr: &NetHdr48, sent: Result<Sent, TxDrop>) {
        match sent {
            Ok(sent) => self.tally.transmitted(hdr, sent),
            Err(drop) => {
                dropped(self.counters, drop);
                self.drops += 1;
            }
        }
    }
}

/// Counts a frame that is dropped.
#[cold]
pub(super) fn dropped(counters: &Counters, drop: TxDrop) {
    log::trace!("a frame for an SA is dropped: {drop}");
    counters.dropped(drop, 1);
}
