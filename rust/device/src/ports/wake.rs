// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wake-up of a worker.

use std::sync::atomic::{fence, AtomicBool, Ordering};
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
    /// Wakes the worker, because there is work.
    pub fn wake(&self) {
        // The caller publishes the work before it reads the flag, and the fence in `prepare` makes the worker
        // set the flag before it looks for work: one of the two sees the other. While the worker is awake,
        // the flag is only read, so its cache line stays shared.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
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
        fence(Ordering::SeqCst);
    }

    /// Sleeps until there was a wake-up since the last [`Self::prepare`], or until `end`.
    pub fn sleep(&self, end: Option<Instant>) {
        while self.asleep.load(Ordering::SeqCst) {
            match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => self.cancel(),
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Ends [`Self::prepare`] without sleeping, because there was work.
    pub fn cancel(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
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

    /// The worker takes what others put down and sleeps in between: nothing may be left when it does.
    #[test]
    fn no_work_is_left_behind() {
        const WORK: usize = 20_000;
        let shared = std::sync::Arc::new((Wake::default(), AtomicUsize::new(0)));
        let other = shared.clone();
        let (wake, work) = &*shared;
        let giver = thread::spawn(move || {
            for _ in 0..WORK {
                other.1.fetch_add(1, Ordering::Relaxed);
                other.0.wake();
            }
        });
        let mut done = 0;
        let end = Instant::now() + Duration::from_secs(60);
        while done < WORK && Instant::now() < end {
            wake.prepare();
            match work.swap(0, Ordering::Relaxed) {
                0 => wake.sleep(Some(end)),
                some => {
                    wake.cancel();
                    done += some;
                }
            }
        }
        assert_eq!(done, WORK);
        giver.join().unwrap();
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
