// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NICs that a wire or switch connects, by their numbers.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::RxBacklog;

/// The backlogs of all NICs that are connected.
#[derive(Default)]
pub struct Endpoints(RwLock<Vec<Arc<RxBacklog>>>);

impl Endpoints {
    /// Connects a NIC and returns its number.
    pub fn connect(&self, backlog: Arc<RxBacklog>) -> usize {
        let mut endpoints = self.0.write().unwrap_or_else(PoisonError::into_inner);
        endpoints.push(backlog);
        endpoints.len() - 1
    }

    /// The backlogs; a NIC's number is its place.
    pub fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<RxBacklog>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a NIC has another one to talk to.
    pub fn linked(&self) -> bool {
        self.read().len() > 1
    }
}
