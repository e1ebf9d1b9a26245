// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rate limit for log messages that a guest can trigger.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one event per second pass.
#[derive(Debug, Default)]
pub struct Limit(Mutex<Option<Instant>>);

impl Limit {
    /// A limit that has let nothing pass yet.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The level for a message that may come in any number: a warning, or debugging if there has been a
    /// warning in the last second.
    pub fn level(&self) -> log::Level {
        if self.passes(Instant::now()) {
            log::Level::Warn
        } else {
            log::Level::Debug
        }
    }

    fn passes(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = last.is_none_or(|last| now >= last + Duration::from_secs(1));
        if passes {
            *last = Some(now);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_second() {
        let (limit, start) = (Limit::new(), Instant::now());
        let passes = |millis| limit.passes(start + Duration::from_millis(millis));
        assert!(passes(0) && !passes(0) && !passes(999));
        assert!(passes(1000) && !passes(1999) && passes(5000));
    }
}
