// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NICs that a wire or switch connects, by their numbers.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::Inbox;

/// The inboxes of all NICs that are connected.
#[derive(Default)]
pub struct Ends(RwLock<Vec<Arc<Inbox>>>);

impl Ends {
    /// Connects a NIC and returns its number.
    pub fn connect(&self, inbox: Arc<Inbox>) -> usize {
        let mut ends = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ends.push(inbox);
        ends.len() - 1
    }

    /// The inboxes; a NIC's number is its place.
    pub fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<Inbox>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a NIC has another one to talk to.
    pub fn linked(&self) -> bool {
        self.read().len() > 1
    }
}
