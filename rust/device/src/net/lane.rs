// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the worker of a queue pair has to itself.

use super::coalesce::Moderator;
use super::pending::Pending;
use crate::frame::Frame;
use crate::frames::Frames;
use crate::ipsec::{Inbound, Turns};
use crate::ports::Totals;
use crate::virtio::chain::Chain;
use espnic_wire::hdr::NetHdr48;
use std::time::Instant;

/// Working state of one queue pair.
#[derive(Default)]
pub struct Lane {
    /// If the pair is no longer in use: the chains given before that may still be sent.
    pub leftover: usize,
    /// Frames that wait for receive buffers.
    pub pending: Pending,
    /// Frames that came out of the backlog.
    pub arrived: Frames,
    /// Frames on their way through IPsec to a queue.
    pub received: Vec<Inbound>,
    /// Frames for the queues of other pairs.
    pub strays: Vec<(u16, Inbound)>,
    /// Frames that were delivered, for the sake of their buffers.
    pub done: Vec<Frame>,
    /// Frames that their senders have not finished, while they become what the driver can receive.
    pub finished: Frames,
    /// Buffers that stay for the segments of the next one of them: as many as the last one had.
    pub segments: usize,
    /// Interrupts of the receive queue that are held back.
    pub rx_moderator: Moderator,
    /// Those of the transmit queue.
    pub tx_moderator: Moderator,
    /// Scratch space, kept so that nothing is allocated per packet.
    pub chains: Vec<Chain>,
    /// Frames that wait to go through IPsec together.
    pub tx_batch: Vec<(NetHdr48, Frame)>,
    /// Their bytes.
    pub tx_bytes: usize,
    /// Frames on their way to the port.
    pub wire: Frames,
    /// Frames of the present batch that were accepted; counted at its end.
    pub sent: Totals,
    /// When the frames in [`Self::wire`] may go. Empty between two batches.
    pub turns: Turns,
}

impl Lane {
    /// Of one of `pairs` queue pairs.
    pub fn new(pairs: u16) -> Self {
        Self {
            turns: match pairs {
                1 => Turns::of_one(),
                _ => Turns::default(),
            },
            ..Self::default()
        }
    }

    /// Number of frames that are on their way.
    pub fn frames(&self) -> usize {
        let received = self.pending.len() + self.arrived.len() + self.received.len();
        received + self.strays.len() + self.tx_batch.len() + self.wire.len()
    }

    /// When the first interrupt is due that is held back; `None` if none is.
    pub fn interrupt_due(&self) -> Option<Instant> {
        let dues = [self.rx_moderator.due(), self.tx_moderator.due()];
        dues.into_iter().flatten().min()
    }

    /// Drops all frames that wait for the driver; returns how many.
    pub fn discard(&mut self) -> usize {
        let count = self.pending.len() + self.arrived.len();
        self.arrived.truncate(0);
        self.pending.clear();
        count
    }
}
