// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Received packets that wait to be decrypted together; see [`crate::crypto::joint`].

use super::super::counters::{Counters, Tally};
use super::super::rx::Inbound;
use super::rx::Begun;
use crate::crypto::joint::{self, Jobs, MOST};
use espnic_esp::aead::TAG_LEN;
use espnic_esp::engine::CipherError;

/// Packets that wait, in their order.
pub(in super::super) struct Together<'a> {
    /// Each with its index in the chunk.
    packets: [Option<(usize, Begun<'a>)>; MOST],
    count: usize,
}

impl<'a> Together<'a> {
    pub(in super::super) const EMPTY: Self = Self {
        packets: [const { None }; MOST],
        count: 0,
    };

    /// The number of packets for which there is room.
    #[inline(always)]
    pub(in super::super) fn room(&self) -> usize {
        MOST - self.count
    }

    /// Whether none waits.
    #[inline(always)]
    pub(in super::super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the packet with this index. There must be room.
    #[inline(never)]
    pub(in super::super) fn add(&mut self, index: usize, begun: &Begun<'a>) {
        if let Some(free) = self.packets.get_mut(self.count) {
            *free = Some((index, *begun));
            self.count += 1;
        }
    }

    /// Decrypts the packets, which are in `chunk`, and does the rest. `now` is the time of
    /// [`super::super::room::Room`].
    #[inline(never)]
    pub(in super::super) fn finish(
        &mut self,
        counters: &Counters,
        tally: &mut Tally,
        chunk: &mut [Inbound],
        now: u64,
    ) {
        let packets = std::mem::replace(self, Self::EMPTY).packets;
        let results = open(&packets, chunk);
        for ((index, begun), result) in packets.iter().flatten().zip(results) {
            let Some(inbound) = chunk.get_mut(*index) else {
                continue;
            };
            match result {
                Ok(()) => begun.end(counters, tally, inbound, &[0; TAG_LEN], now),
                Err(error) => begun.refuse(counters, inbound, error.into()),
            }
        }
    }
}

/// Decrypts the packets.
fn open(
    packets: &[Option<(usize, Begun<'_>)>; MOST],
    chunk: &mut [Inbound],
) -> [Result<(), CipherError>; MOST] {
    let mut jobs: Jobs<'_> = [const { None }; MOST];
    let (mut rest, mut next) = (chunk.iter_mut(), 0);
    for (job, (index, begun)) in jobs.iter_mut().zip(packets.iter().flatten()) {
        let inbound = index.checked_sub(next).and_then(|skip| rest.nth(skip));
        next = index + 1;
        *job = inbound.and_then(|inbound| begun.job(&mut inbound.frame));
    }
    joint::open_all(&mut jobs);
    jobs.map(|job| job.map_or(Err(CipherError::Unsupported), |job| job.result))
}
