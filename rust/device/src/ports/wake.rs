// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Waking a worker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

/// Wakes a worker that sleeps, and costs next to nothing while it works.
#[derive(Default)]
pub struct Wake {
    asleep: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

impl Wake {
    /// There is work.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            let sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(thread) = &*sleeper {
                thread.unpark();
            }
        }
    }

    /// The worker announces that it is about to sleep; it looks for work once more, then calls
    /// [`Self::sleep`] or [`Self::cancel`].
    pub fn prepare(&self) {
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Sleeps until somebody woke the worker since the last [`Self::prepare`], or until `end`.
    pub fn sleep(&self, end: Option<Instant>) {
        while self.asleep.load(Ordering::SeqCst) {
            match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => self.cancel(),
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Work was found after [`Self::prepare`].
    pub fn cancel(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waking_before_sleep_is_not_lost() {
        let wake = Wake::default();
        wake.prepare();
        wake.wake();
        wake.wake();
        wake.sleep(None);
    }

    #[test]
    fn sleep_ends_in_time() {
        let wake = Wake::default();
        let start = Instant::now();
        wake.prepare();
        wake.sleep(Some(start + Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        wake.prepare();
        wake.sleep(Some(start));
    }

    #[test]
    fn another_thread_wakes() {
        let wake = std::sync::Arc::new(Wake::default());
        let other = wake.clone();
        wake.prepare();
        let waker = thread::spawn(move || other.wake());
        wake.sleep(None);
        waker.join().unwrap();
    }
}
