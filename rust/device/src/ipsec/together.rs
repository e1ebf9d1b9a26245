// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Received packets that wait to be decrypted together; see [`crate::crypto::joint`].

use super::rx::Inbound;
use crate::crypto::joint::{self, Job, Jobs, MOST};
use crate::frame::Frame;
use espnic_esp::engine::CipherError;

/// A packet that waits.
pub(super) trait Begun: Copy {
    /// What has to be done with others to the packet in `frame`; `None` if nothing.
    fn job<'a>(&'a self, frame: &'a mut Frame) -> Option<Job<'a>>;
}

/// Packets that wait, in their order.
pub(super) struct Together<B> {
    /// Each with its index in the chunk.
    packets: [Option<(usize, B)>; MOST],
    count: usize,
}

impl<B: Begun> Together<B> {
    pub(super) const EMPTY: Self = Self {
        packets: [const { None }; MOST],
        count: 0,
    };

    /// The number of packets for which there is room.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        MOST - self.count
    }

    /// Whether none waits.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the packet with this index, which is higher than those of the others. There must be room.
    #[inline(never)]
    pub(super) fn add(&mut self, index: usize, begun: &B) {
        if let Some(free) = self.packets.get_mut(self.count) {
            *free = Some((index, *begun));
            self.count += 1;
        }
    }

    /// Decrypts the packets, which are in `chunk`, and calls `end` for each of them. No packet waits any more.
    /// One without a job has the result [`CipherError::Unsupported`].
    #[inline(never)]
    pub(super) fn finish(
        &mut self,
        chunk: &mut [Inbound],
        mut end: impl FnMut(&B, &mut Inbound, Result<(), CipherError>),
    ) {
        let packets = std::mem::replace(self, Self::EMPTY).packets;
        let results = open(&packets, chunk);
        for ((index, begun), result) in packets.iter().flatten().zip(results) {
            if let Some(inbound) = chunk.get_mut(*index) {
                end(begun, inbound, result);
            }
        }
    }
}

/// Decrypts the packets.
fn open<B: Begun>(
    packets: &[Option<(usize, B)>; MOST],
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
