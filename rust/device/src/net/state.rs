// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The state of the network device between two steps of its worker.

use super::late::Late;
use super::offer::NetConfig;
use super::pending::Pending;
use super::unanswered::Unanswered;
use crate::filter::Verdict;
use crate::frame::Frame;
use crate::frames::Frames;
use crate::ipsec::Inbound;
use crate::ports::{RxBacklog, Totals};
use crate::virtio::chain::Chain;
use crate::virtio::queue::MAX_QUEUE_SIZE;
use crate::virtio::Virtio;
use espnic_wire::feature;
use espnic_wire::hdr::{HdrLen, NetHdr48};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Working state of the data plane.
pub struct NetState {
    /// Queue pairs that the driver uses: 1 after a reset. Also read without the lock.
    active_pairs: Arc<AtomicU16>,
    /// For each pair that is no longer in use: the chains given before that may still be sent.
    leftover: Vec<usize>,
    /// Frames that wait for receive buffers, by queue pair.
    pub pending: Vec<Pending>,
    /// Frames that came out of the backlog.
    pub arrived: Frames,
    /// Frames on their way through IPsec to a queue.
    pub received: Vec<Inbound>,
    /// What the flow filter says to each of them.
    pub verdicts: Vec<Verdict>,
    /// Buffers of frames that were delivered.
    pub done: Vec<Vec<u8>>,
    /// Scratch space, kept so that nothing is allocated per packet.
    pub chains: Vec<Chain>,
    /// Frames that wait to go through IPsec together.
    pub tx_batch: Vec<(NetHdr48, Frame)>,
    /// Frames on their way to the port.
    pub wire: Frames,
    /// Frames of the present batch that were accepted; counted at its end.
    pub sent: Totals,
    /// A frame that is to be segmented.
    pub large: Vec<u8>,
    /// Commands whose answers are late on purpose.
    pub unanswered: Vec<Unanswered>,
    /// Interrupts that go on after a reset on purpose.
    pub late: Option<Late>,
}

impl NetState {
    /// The state of a NIC with `pairs` queue pairs after a reset.
    pub fn new(pairs: u16) -> Self {
        Self {
            active_pairs: Arc::new(AtomicU16::new(1)),
            leftover: vec![0; pairs.into()],
            pending: (0..pairs).map(|_| Pending::default()).collect(),
            arrived: Frames::default(),
            received: Vec::new(),
            verdicts: Vec::new(),
            done: Vec::new(),
            chains: Vec::new(),
            tx_batch: Vec::new(),
            wire: Frames::default(),
            sent: Totals::default(),
            large: Vec::new(),
            unanswered: Vec::new(),
            late: None,
        }
    }

    /// Queue pairs that the driver uses.
    pub fn active_pairs(&self) -> u16 {
        self.active_pairs.load(Ordering::Relaxed)
    }

    /// The number of [`Self::active_pairs`] for reading without the lock. It follows [`Self::reset`], too.
    pub fn active_pairs_cell(&self) -> Arc<AtomicU16> {
        self.active_pairs.clone()
    }

    /// Changes the number of queue pairs in use. Chains that are already in the transmit queues of the
    /// other pairs are still sent, but no more: a driver that refills such a queue cannot occupy the device.
    pub fn set_active_pairs(&mut self, active: u16) {
        let before = self.active_pairs.swap(active, Ordering::Relaxed);
        for pair in active..before {
            if let Some(leftover) = self.leftover.get_mut(usize::from(pair)) {
                *leftover = MAX_QUEUE_SIZE.into();
            }
        }
    }

    /// The number of chains that are still taken from a transmit queue that is no longer active.
    pub fn leftover(&self, pair: u16) -> usize {
        self.leftover.get(usize::from(pair)).copied().unwrap_or(0)
    }

    /// Sets that number.
    pub fn set_leftover(&mut self, pair: u16, left: usize) {
        if let Some(leftover) = self.leftover.get_mut(usize::from(pair)) {
            *leftover = left;
        }
    }

    /// Drops all frames that wait for the driver, those in `backlog` included; returns how many.
    pub fn discard(&mut self, backlog: &RxBacklog) -> usize {
        backlog.take(usize::MAX, &mut self.arrived, &mut self.done);
        let waiting: usize = self.pending.iter().map(Pending::len).sum();
        let count = waiting + self.arrived.len();
        self.arrived.truncate(0);
        self.pending.iter_mut().for_each(Pending::clear);
        count
    }

    /// Resets the state, with the device.
    pub fn reset(&mut self) {
        self.active_pairs.store(1, Ordering::Relaxed);
        self.leftover.fill(0);
    }

    /// Makes the state new after a failure, except for the parts that others hold.
    pub fn renew(&mut self) {
        let active_pairs = self.active_pairs.clone();
        *self = Self::new(self.leftover.len() as u16);
        self.active_pairs = active_pairs;
        self.reset();
    }

    /// Number of frames that are on their way.
    pub fn frames(&self) -> usize {
        let pending: usize = self.pending.iter().map(Pending::len).sum();
        pending + self.arrived.len() + self.received.len() + self.tx_batch.len() + self.wire.len()
    }
}

/// Virtio device and network device together, behind the lock.
pub struct Device {
    /// The virtio device.
    pub virtio: Virtio,
    /// The network device.
    pub net: NetState,
}

impl Device {
    /// The time of the next late answer or interrupt. A device that does not run, or waits for memory, gives
    /// no answers.
    pub fn next_due(&self) -> Option<Instant> {
        let answers = self.net.unanswered.iter().map(|answer| answer.due);
        let answers =
            answers.filter(|_| self.virtio.running() && self.virtio.waits_until().is_none());
        answers.chain(self.net.late.iter().map(Late::due)).min()
    }

    /// Length of the packet header.
    pub fn hdr_len(&self) -> HdrLen {
        HdrLen::of(self.virtio.negotiated())
    }

    /// Queue pairs in front of the control queue: without `MQ` there is only one, whatever the device
    /// has.
    pub fn pairs(&self, config: &NetConfig) -> u16 {
        match self.virtio.has(feature::MQ) {
            true => config.pairs,
            false => 1,
        }
    }
}
