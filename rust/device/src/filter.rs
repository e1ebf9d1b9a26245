// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The flow filter (VIRTIO 1.4 section 5.1.6.5): rules that drop received packets, send them to a queue,
//! or take them through IPsec.
//!
//! Groups, classifiers and rules are objects of administration commands ([`crate::admin`]). Packets do not
//! see them, but a [`Matcher`] that is built from them when the first packets after a change come.
//!
//! The guest chooses the rules, so what a packet costs has a bound: one look into a hash table for each
//! pair of a group and a classifier that have a rule together. There are at most [`MAX_TABLES`] pairs, and
//! the number of rules has no influence. A packet that comes through the filter again after IPsec costs
//! twice that. Without rules a batch of packets costs one load from memory.

mod agreed;
mod commands;
mod counters;
mod headers;
mod matcher;
mod objects;
mod steps;

pub use agreed::Terms;
pub use counters::Stats;
pub use matcher::{Matcher, Verdict, MAX_TABLES};

use crate::misbehave::Misbehaviour;
use agreed::Agreed;
use objects::Store;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The flow filter of one NIC.
pub struct Filter {
    /// Before the driver has negotiated anything.
    terms: Terms,
    state: Mutex<State>,
    /// There are rules.
    in_use: AtomicBool,
    stats: Stats,
    misbehaviour: Arc<Misbehaviour>,
}

/// What commands change.
struct State {
    terms: Terms,
    agreed: Agreed,
    store: Store,
    /// `None` after a change.
    matcher: Option<Arc<Matcher>>,
}

impl State {
    fn new(terms: Terms) -> Self {
        Self {
            terms,
            agreed: Agreed::default(),
            store: Store::default(),
            matcher: None,
        }
    }
}

impl Filter {
    /// A filter without rules, of a NIC that offers `terms`.
    pub fn new(terms: Terms, misbehaviour: Arc<Misbehaviour>) -> Self {
        Self {
            terms,
            state: Mutex::new(State::new(terms)),
            in_use: AtomicBool::new(false),
            stats: Stats::default(),
            misbehaviour,
        }
    }

    /// Sets what the driver has negotiated, which is no more than what the NIC offers. Call it before the
    /// first command; a reset takes it back.
    pub fn start(&self, terms: Terms) {
        self.lock().terms = Terms {
            ipsec: self.terms.ipsec && terms.ipsec,
            x_ipsec: self.terms.x_ipsec && terms.x_ipsec,
            pairs: self.terms.pairs.min(terms.pairs),
        };
    }

    /// The rules for a batch of packets; `None` if there are none. Builds the matcher anew if rules have
    /// changed.
    pub fn current(&self) -> Option<Arc<Matcher>> {
        if !self.in_use.load(Ordering::Acquire) {
            return None;
        }
        let State { store, matcher, .. } = &mut *self.lock();
        let matcher = matcher.get_or_insert_with(|| Arc::new(store.matcher()));
        Some(matcher.clone())
    }

    /// The present statistics.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Lets packets see a change.
    fn publish(&self, state: &mut State) {
        state.matcher = None;
        let in_use = state.store.has_rules();
        self.in_use.store(in_use, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
