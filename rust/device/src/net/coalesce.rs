// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts of receive and transmit queues that are held back until there is more to tell, or for a time
//! (VIRTIO 1.4 section 5.1.6.5, "Notifications Coalescing").
//!
//! Used buffers are visible to the driver at once; only the interrupt for them waits. It comes with the last of so
//! many packets, or so long after the first one that has none. It comes earlier if half of the ring is used, or if
//! packets wait for buffers: a driver that sleeps until then would let the queue run dry.

mod command;

#[cfg(test)]
mod tests;

pub use command::{Draft, Settings};

use std::time::{Duration, Instant};

use espnic_wire::ctrl;

/// How long the interrupts of a queue may be held back. The default is: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    packets: u32,
    micros: u32,
}

impl From<ctrl::Coalescing> for Limits {
    fn from(wire: ctrl::Coalescing) -> Self {
        Self {
            packets: wire.max_packets.get(),
            micros: wire.max_usecs.get(),
        }
    }
}

impl From<Limits> for ctrl::Coalescing {
    fn from(limits: Limits) -> Self {
        Self {
            max_packets: limits.packets.into(),
            max_usecs: limits.micros.into(),
        }
    }
}

impl Limits {
    /// Whether any interrupt is held back. If either number is 0, none is.
    fn hold(&self) -> bool {
        self.packets > 1 && self.micros > 0
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.micros.into())
    }
}

/// What is held back of a queue.
#[derive(Debug, Default)]
pub struct Moderator {
    limits: Limits,
    /// Packets, and places in the ring, that have had no interrupt.
    packets: u32,
    places: u32,
    /// When the first of them became visible; `None` if there are none.
    since: Option<Instant>,
}

impl Moderator {
    /// Notes packets that have become visible, in so many places of a ring of `size`; whether the interrupt is due.
    /// Without limits no clock is read.
    #[inline]
    pub fn note(
        &mut self,
        packets: usize,
        places: u16,
        size: u16,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        if places == 0 {
            return false;
        }
        if !self.limits.hold() {
            return true;
        }
        let now = now();
        self.since.get_or_insert(now);
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        self.packets = self.packets.saturating_add(packets);
        self.places = self.places.saturating_add(places.into());
        2 * self.places >= u32::from(size) || self.is_due(now)
    }

    /// When the interrupt that is held back is due at the latest; `None` if none is.
    pub fn due(&self) -> Option<Instant> {
        self.since?.checked_add(self.limits.time())
    }

    /// Whether an interrupt is held back that is due at this time.
    pub fn is_due(&self, now: Instant) -> bool {
        let over = self.due().is_some_and(|due| due <= now);
        self.since.is_some() && (over || !self.limits.hold() || self.packets >= self.limits.packets)
    }

    /// Nothing is held back any more.
    pub fn settle(&mut self) {
        *self = Self {
            limits: self.limits,
            ..Self::default()
        };
    }

    /// Whether anything is held back.
    pub fn holds(&self) -> bool {
        self.since.is_some()
    }

    /// Changes the limits. What is held back still counts from its first packet.
    pub fn set(&mut self, limits: Limits) {
        self.limits = limits;
    }
}
