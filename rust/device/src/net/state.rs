// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The state of the network device between two steps of its workers.
//!
//! The device has a lock that the data plane takes for reading, and the control side for writing
//! ([`crate::priority_lock`]). Under it a worker takes what belongs to its queue pair. The order of locks is:
//! device, lane, queue, inbox or port. A thread has one lane and one inbox at a time.

use super::coalesce;
use super::inbox::Inbox;
use super::lane::Lane;
use super::late::Late;
use super::offer::NetConfig;
use super::receive_filter::ReceiveFilter;
use super::rss::Rss;
use super::unanswered::Unanswered;
use crate::ports::RxBacklog;
use crate::virtio::chain::Chain;
use crate::virtio::queue::MAX_QUEUE_SIZE;
use crate::virtio::Virtio;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::HdrLen;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Working state of the data plane.
pub struct NetState {
    /// Queue pairs that the driver uses: 1 after a reset. Also read without the lock.
    active_pairs: Arc<AtomicU16>,
    /// The driver's last choice of what it can receive: a set of features, of which those count that are
    /// negotiated.
    guest_offloads: u128,
    /// The frames that the driver wants, if it has negotiated to choose them.
    pub receive_filter: ReceiveFilter,
    /// How long interrupts are held back.
    pub coalescing: coalesce::Settings,
    /// How received frames are hashed and spread.
    pub rss: Rss,
    /// The state of each queue pair.
    lanes: Vec<Mutex<Lane>>,
    /// Frames for each queue pair that others have received.
    inboxes: Vec<Inbox>,
    /// Scratch space for commands.
    pub chain: Chain,
    /// Commands whose answers are late on purpose.
    pub unanswered: Vec<Unanswered>,
    /// Interrupts that go on after a reset on purpose.
    pub late: Option<Late>,
}

impl NetState {
    /// The state of a NIC with `pairs` queue pairs after a reset; the number of those in use is kept in
    /// `active_pairs`, too.
    pub fn new(pairs: u16, active_pairs: Arc<AtomicU16>) -> Self {
        active_pairs.store(1, Ordering::Relaxed);
        Self {
            active_pairs,
            guest_offloads: u128::MAX,
            receive_filter: ReceiveFilter::default(),
            coalescing: coalesce::Settings::new(pairs),
            rss: Rss::default(),
            lanes: (0..pairs).map(|_| Mutex::new(Lane::new(pairs))).collect(),
            inboxes: (0..pairs).map(|_| Inbox::default()).collect(),
            chain: Chain::default(),
            unanswered: Vec::new(),
            late: None,
        }
    }

    /// Queue pairs that the driver uses.
    pub fn active_pairs(&self) -> u16 {
        self.active_pairs.load(Ordering::Relaxed)
    }

    /// Changes the number of queue pairs in use. Chains that are already in the transmit queues of the
    /// other pairs are still sent, but no more: a driver that refills such a queue cannot occupy the device.
    pub fn set_active_pairs(&mut self, active: u16) {
        let before = self.active_pairs.swap(active, Ordering::Relaxed);
        let range = usize::from(active)..usize::from(before).max(active.into());
        let unused = self.lanes.get_mut(range).unwrap_or_default();
        for lane in unused {
            exclusive(lane).leftover = MAX_QUEUE_SIZE.into();
        }
    }

    /// What the driver can receive, of that which is negotiated: a set of features.
    pub fn guest_offloads(&self) -> u128 {
        self.guest_offloads
    }

    /// Changes that.
    pub fn set_guest_offloads(&mut self, offloads: u128) {
        self.guest_offloads = offloads;
    }

    /// The state of a queue pair, for its worker. No thread has two of them at a time.
    pub fn lane(&self, pair: u16) -> Option<MutexGuard<'_, Lane>> {
        let lane = self.lanes.get(usize::from(pair))?;
        Some(lane.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The inbox of a queue pair.
    pub fn inbox(&self, pair: u16) -> Option<&Inbox> {
        self.inboxes.get(usize::from(pair))
    }

    /// The states of all queue pairs, and their inboxes.
    pub fn all_lanes(&mut self) -> impl Iterator<Item = (&mut Lane, &Inbox)> {
        self.lanes.iter_mut().map(exclusive).zip(&self.inboxes)
    }

    /// Drops all frames that wait for the driver, those in `backlog` included; returns how many.
    pub fn discard(&mut self, backlog: &RxBacklog) -> usize {
        let mut count = 0;
        for (part, (lane, inbox)) in (0..).zip(self.all_lanes()) {
            backlog.take(part, usize::MAX, &mut lane.arrived, &mut lane.done);
            count += lane.discard() + inbox.discard();
        }
        count
    }

    /// Resets the state, with the device.
    pub fn reset(&mut self) {
        self.active_pairs.store(1, Ordering::Relaxed);
        self.guest_offloads = u128::MAX;
        self.receive_filter = ReceiveFilter::default();
        self.rss = Rss::default();
        self.coalescing = coalesce::Settings::new(self.lanes.len() as u16);
        self.all_lanes().for_each(|(lane, _)| {
            lane.leftover = 0;
            (lane.rx_moderator, lane.tx_moderator) = Default::default();
        });
    }

    /// Makes the state new after a failure, except for the parts that others hold.
    pub fn renew(&mut self) {
        *self = Self::new(self.lanes.len() as u16, self.active_pairs.clone());
    }

    /// Number of frames that are on their way.
    pub fn frames(&mut self) -> usize {
        self.all_lanes()
            .map(|(lane, inbox)| lane.frames() + inbox.waiting())
            .sum()
    }
}

/// What is in a lock that nobody can have.
fn exclusive(lane: &mut Mutex<Lane>) -> &mut Lane {
    lane.get_mut().unwrap_or_else(PoisonError::into_inner)
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

    /// When an interrupt of this pair is due that is held back. A device that does not run, or lacks memory, sends
    /// none.
    pub fn interrupt_due(&self, pair: u16) -> Option<Instant> {
        let sends = self.virtio.running() && self.virtio.rings_present();
        let lane = self.net.lane(pair).filter(|_| sends)?;
        lane.interrupt_due()
    }

    /// Whether the driver can receive what this feature stands for: it was negotiated and not switched off
    /// since.
    pub fn receives(&self, feature: u32) -> bool {
        self.virtio.has(feature) && self.net.guest_offloads & mask(feature) != 0
    }

    /// Length of the packet header.
    pub fn hdr_len(&self) -> HdrLen {
        HdrLen::of(self.virtio.negotiated())
    }

    /// Whether the driver knows more than one queue pair.
    pub fn has_pairs(&self) -> bool {
        self.virtio.has(feature::MQ) || self.virtio.has(feature::RSS)
    }

    /// Queue pairs in front of the control queue: there may be only one, whatever the device has.
    pub fn pairs(&self, config: &NetConfig) -> u16 {
        match self.has_pairs() {
            true => config.pairs,
            false => 1,
        }
    }
}
