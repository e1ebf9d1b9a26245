// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Outbound packets that wait to be encrypted together; see [`crate::crypto::joint`].
//!
//! A packet that waits is in the clear, so it is kept here. Among the frames for the wire there is an empty
//! one in its place.

use super::sa::Sa;
use super::sent::Sent;
use super::table::Slots;
use super::turn::Turns;
use crate::crypto::joint::{self, Job, Jobs, MOST};
use crate::frame::Frame;
use crate::frames::Frames;

/// Where packets go.
pub(super) struct Outgoing<'a> {
    /// All SAs.
    pub(super) slots: &'a Slots,
    /// The most bytes of a frame on the wire.
    pub(super) longest: usize,
    pub(super) out: &'a mut Frames,
    /// When they may be sent.
    pub(super) turns: &'a mut Turns,
    pub(super) waiting: &'a mut Waiting,
}

impl Outgoing<'_> {
    /// Lets a packet wait that has its IV, and whose ESP header is at `offset`, behind all others.
    #[inline(never)]
    pub(super) fn wait(&mut self, sa: &Sa, offset: usize, esn_hi: u32, frame: Frame) {
        self.waiting
            .add(sa.id, offset, esn_hi, frame, self.slots, self.out);
    }

    /// Leaves the first `len` frames for the wire.
    pub(super) fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
        self.waiting.truncate(len);
    }
}

/// A packet whose IV is written.
struct Packet {
    frame: Frame,
    /// The id of its SA.
    sa: u32,
    /// That of the ESP header.
    offset: usize,
    esn_hi: u32,
    /// Its index among the frames for the wire.
    place: usize,
}

/// Packets that wait, in the order of their places.
#[derive(Default)]
pub(super) struct Waiting {
    packets: [Option<Packet>; MOST],
    count: usize,
    /// Those that could not be encrypted.
    failed: Sent,
}

impl Waiting {
    /// Takes a packet of the SA `sa`, which has its IV. `slots` have all SAs.
    fn add(
        &mut self,
        sa: u32,
        offset: usize,
        esn_hi: u32,
        frame: Frame,
        slots: &Slots,
        out: &mut Frames,
    ) {
        if self.count == MOST {
            self.encrypt(slots, out);
        }
        if let Some(free) = self.packets.get_mut(self.count) {
            *free = Some(Packet {
                frame,
                sa,
                offset,
                esn_hi,
                place: out.len(),
            });
            self.count += 1;
            out.push(Frame::default());
        }
    }

    /// Drops the packets whose places are not among the first `len`.
    fn truncate(&mut self, len: usize) {
        for packet in &mut self.packets {
            if packet.as_ref().is_some_and(|packet| packet.place >= len) {
                *packet = None;
                self.count -= 1;
            }
        }
    }

    /// Encrypts all packets, and puts them in their places. Returns those that could not be encrypted, now and
    /// before; they are gone.
    #[inline(always)]
    pub(super) fn finish(
        &mut self,
        slots: &Slots,
        out: &mut Frames,
        turns: &mut Turns,
    ) -> Option<Sent> {
        if self.count > 0 {
            self.encrypt(slots, out);
        }
        match self.failed.frames {
            0 => None,
            _ => self.clear_places(out, turns),
        }
    }

    #[cold]
    fn clear_places(&mut self, out: &mut Frames, turns: &mut Turns) -> Option<Sent> {
        turns.close_ranks(out);
        out.retain(|frame| !frame.is_empty());
        Some(std::mem::take(&mut self.failed))
    }

    #[inline(never)]
    fn encrypt(&mut self, slots: &Slots, out: &mut Frames) {
        let mut jobs: Jobs<'_> = [const { None }; MOST];
        for (job, packet) in jobs.iter_mut().zip(&mut self.packets) {
            *job = packet.as_mut().and_then(|packet| packet.job(slots));
        }
        joint::seal_all(&mut jobs);
        let sealed = jobs.map(|job| job.is_some_and(|job| job.result.is_ok()));
        for (packet, sealed) in self.packets.iter_mut().zip(sealed) {
            let Some(packet) = packet.take() else {
                continue;
            };
            match out.get_mut(packet.place).filter(|_| sealed) {
                Some(place) => *place = packet.frame,
                None => {
                    self.failed.frames += 1;
                    self.failed.bytes += packet.frame.len() as u32;
                }
            }
        }
        self.count = 0;
    }
}

impl Packet {
    fn job<'a>(&'a mut self, slots: &'a Slots) -> Option<Job<'a>> {
        let sa = slots.get(self.sa)?;
        Some(Job {
            cipher: sa.cipher.joint()?,
            esn_hi: sa.params.esn.then_some(self.esn_hi),
            esp: self.frame.behind_headers(self.offset)?,
            result: Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None of these packets has an SA, so none can be encrypted.
    #[test]
    fn what_cannot_be_encrypted_is_gone() {
        let (mut waiting, mut out, slots) =
            (Waiting::default(), Frames::default(), Slots::default());
        let add = |waiting: &mut Waiting, out: &mut Frames| {
            waiting.add(7, 34, 0, vec![1; 100].into(), &slots, out);
        };
        out.push(vec![2; 60]);
        for _ in 0..2 * MOST + 1 {
            add(&mut waiting, &mut out);
        }
        out.push(vec![3; 61]);
        assert!(out.iter().all(|frame| frame.len() != 100));
        let failed = waiting
            .finish(&slots, &mut out, &mut Turns::of_one())
            .unwrap();
        let expected = 2 * MOST as u32 + 1;
        assert_eq!((failed.frames, failed.bytes), (expected, 100 * expected));
        let left: Vec<_> = out.iter().map(|frame| frame.len()).collect();
        assert_eq!(left, [60, 61]);
        assert!(waiting
            .finish(&slots, &mut out, &mut Turns::of_one())
            .is_none());
    }

    #[test]
    fn packets_of_a_frame_that_is_refused_do_not_wait() {
        let (mut waiting, mut out, slots) =
            (Waiting::default(), Frames::default(), Slots::default());
        for _ in 0..5 {
            waiting.add(7, 34, 0, vec![1; 100].into(), &slots, &mut out);
        }
        out.truncate(2);
        waiting.truncate(2);
        let failed = waiting
            .finish(&slots, &mut out, &mut Turns::of_one())
            .unwrap();
        assert_eq!((failed.frames, out.len()), (2, 0));
        waiting.add(7, 34, 0, vec![1; 100].into(), &slots, &mut out);
        out.truncate(0);
        waiting.truncate(0);
        assert!(waiting
            .finish(&slots, &mut out, &mut Turns::of_one())
            .is_none());
    }
}
