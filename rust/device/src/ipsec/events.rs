// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Events of SAs that wait for the driver.
//!
//! The driver may give no buffers, so few events wait. Others are lost, and the driver gets one event that says
//! so, before all that wait: it then looks at the state of its SAs, and what it gets afterwards is nothing new.

use crate::stats::counters;
use espnic_wire::event::{Event, Kind};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most events that wait.
const MOST: usize = 256;

/// The events of one NIC, the oldest first.
#[derive(Default)]
pub struct Events {
    /// There may be one. Read for every batch of packets, so without the lock.
    waiting: AtomicBool,
    list: Mutex<List>,
    stats: EventStats,
}

#[derive(Default)]
struct List {
    events: VecDeque<Event>,
    /// There were more.
    lost: bool,
}

counters! {
    /// The statistics of events. Names are stable: tests and people read them.
    pub struct EventStats {
        /// Events, the lost ones included.
        events: "ipsec_events",
        /// Events that were lost because too many waited.
        lost: "ipsec_events_lost",
    }
}

impl Events {
    /// Lets an event wait for the driver. May be called for a packet: it neither waits long nor allocates
    /// once it is warm. Whether the SA reports such events the caller has checked
    /// ([`Kind::is_in`]).
    pub fn push(&self, event: Event) {
        let mut list = self.lock();
        self.stats.events.inc();
        if list.events.len() < MOST {
            list.events.push_back(event);
        } else {
            list.lost = true;
            self.stats.lost.inc();
        }
        self.waiting.store(true, Ordering::Release);
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        !self.waiting.load(Ordering::Acquire)
    }

    /// Takes the next one.
    pub fn pop(&self) -> Option<Event> {
        let mut list = self.lock();
        let event = match std::mem::take(&mut list.lost) {
            true => Some(Event {
                kind: (Kind::Lost as u16).into(),
                ..Event::default()
            }),
            false => list.events.pop_front(),
        };
        let waiting = list.lost || !list.events.is_empty();
        self.waiting.store(waiting, Ordering::Release);
        event
    }

    /// Forgets all, in a reset of the virtio device. Counters stay.
    pub fn clear(&self) {
        let mut list = self.lock();
        list.events.clear();
        list.lost = false;
        self.waiting.store(false, Ordering::Release);
    }

    /// The present statistics.
    pub fn stats(&self) -> &EventStats {
        &self.stats
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u32) -> Event {
        Event {
            kind: (Kind::SoftLimit as u16).into(),
            id: id.into(),
            ..Event::default()
        }
    }

    #[test]
    fn events_come_in_their_order() {
        let events = Events::default();
        assert!(events.is_empty() && events.pop().is_none());
        events.push(event(1));
        events.push(event(2));
        assert!(!events.is_empty());
        assert_eq!(events.pop(), Some(event(1)));
        events.push(event(3));
        assert_eq!(events.pop(), Some(event(2)));
        assert_eq!(events.pop(), Some(event(3)));
        assert!(events.is_empty() && events.pop().is_none());
    }

    /// V166.
    #[test]
    fn lost_events_are_reported_once() {
        let events = Events::default();
        for id in 0..300 {
            events.push(event(id));
        }
        let counts = [&events.stats.events, &events.stats.lost].map(|counter| counter.get());
        assert_eq!(counts, [300, 44]);
        let lost = events.pop().unwrap();
        assert_eq!((lost.kind.get(), lost.id.get()), (Kind::Lost as u16, 0));
        assert_eq!(events.pop(), Some(event(0)));
        events.push(event(300));
        let rest: Vec<_> = std::iter::from_fn(|| events.pop()).collect();
        assert_eq!((rest.len(), rest.last()), (256, Some(&event(300))));
        // And again.
        for id in 0..257 {
            events.push(event(id));
        }
        assert_eq!(events.pop(), Some(lost));
        events.clear();
        assert!(events.is_empty() && events.pop().is_none());
    }
}
