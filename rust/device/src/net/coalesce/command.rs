// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The commands that set how long interrupts are held back.

use espnic_wire::ctrl::{self, Coalescing, QueueCoalescing, QueueIndex};
use espnic_wire::feature;
use zerocopy::FromBytes;

use super::Limits;

/// Settings that a batch of commands reads and changes.
pub struct Draft {
    settings: Settings,
    changed: bool,
    /// The receive and transmit queues that run, one bit each.
    running: u32,
}

impl Draft {
    /// Of these, for the queues that `running` has the bits of.
    pub fn new(settings: Settings, running: u32) -> Self {
        Self {
            settings,
            changed: false,
            running,
        }
    }

    /// What has become of them, and whether they have changed.
    pub fn finish(self) -> (Settings, bool) {
        (self.settings, self.changed)
    }

    /// See [`Settings::change`].
    pub fn change(&mut self, command: u8, data: &[u8], has: impl Fn(u32) -> bool) -> Option<()> {
        let running = self.running;
        let changed = self
            .settings
            .change(command, data, has, |index| is_in(running, index));
        self.changed |= changed.is_some();
        changed
    }

    /// See [`Settings::get`].
    pub fn get(&self, data: &[u8]) -> Option<Coalescing> {
        self.settings.get(data, |index| is_in(self.running, index))
    }
}

/// Whether the bit of a queue is in the set.
fn is_in(set: u32, index: u16) -> bool {
    let bits = set.checked_shr(index.into());
    bits.is_some_and(|bits| bits & 1 != 0)
}

/// What is set for all queues of a kind, and for each.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    rx: Limits,
    tx: Limits,
    /// By index of the virtqueue.
    each: Vec<Limits>,
}

impl Settings {
    /// For so many queue pairs; nothing is set.
    pub fn new(pairs: u16) -> Self {
        Self {
            each: vec![Limits::default(); 2 * usize::from(pairs)],
            ..Self::default()
        }
    }

    /// What is set for this receive or transmit queue.
    pub fn of(&self, index: u16) -> Limits {
        let limits = self.each.get(usize::from(index));
        limits.copied().unwrap_or_default()
    }

    /// Sets for a queue again what is set for all of its kind.
    pub fn restore(&mut self, index: u16) {
        let limits = match index % 2 {
            0 => self.rx,
            _ => self.tx,
        };
        self.set(index, limits);
    }

    fn set(&mut self, index: u16, limits: Limits) {
        if let Some(each) = self.each.get_mut(usize::from(index)) {
            *each = limits;
        }
    }

    fn set_all(&mut self, transmit: bool, limits: Limits) {
        match transmit {
            true => self.tx = limits,
            false => self.rx = limits,
        }
        for index in (u16::from(transmit)..self.each.len() as u16).step_by(2) {
            self.set(index, limits);
        }
    }

    /// Carries out a command of the class with these first bytes of its data that sets something; `None`, and nothing
    /// changes, if it is refused: the feature was not negotiated, there is too little data, or the queue is none of
    /// those that `runs` says yes to.
    pub fn change(
        &mut self,
        command: u8,
        data: &[u8],
        has: impl Fn(u32) -> bool,
        runs: impl Fn(u16) -> bool,
    ) -> Option<()> {
        match command {
            ctrl::NOTF_COAL_TX_SET | ctrl::NOTF_COAL_RX_SET if has(feature::NOTF_COAL) => {
                let (limits, _) = Coalescing::read_from_prefix(data).ok()?;
                self.set_all(command == ctrl::NOTF_COAL_TX_SET, limits.into());
            }
            ctrl::NOTF_COAL_VQ_SET if has(feature::VQ_NOTF_COAL) => {
                let (set, _) = QueueCoalescing::read_from_prefix(data).ok()?;
                let index = running(set.queue, runs)?;
                self.set(index, set.coalescing.into());
            }
            _ => return None,
        }
        Some(())
    }

    /// What is set for the queue that is named in these first bytes of a command's data; `None` as in
    /// [`Self::change`].
    pub fn get(&self, data: &[u8], runs: impl Fn(u16) -> bool) -> Option<Coalescing> {
        let (queue, _) = QueueIndex::read_from_prefix(data).ok()?;
        let index = running(queue, runs)?;
        Some(self.of(index).into())
    }
}

fn running(queue: QueueIndex, runs: impl Fn(u16) -> bool) -> Option<u16> {
    Some(queue.vq_index.get()).filter(|&index| runs(index))
}
