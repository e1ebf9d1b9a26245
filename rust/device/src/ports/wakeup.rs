// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wakeups of a NIC's workers.

use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

/// Wakes a worker that sleeps, and costs next to nothing while it works.
// Aligned, so that no two workers share a cache line, or a pair of them that is loaded together.
#[derive(Default)]
#[repr(align(128))]
pub struct Wakeup {
    asleep: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

impl Wakeup {
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

    /// Sleeps until there was a wakeup since the last [`Self::prepare`], or until `end`.
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

/// The wakeups of all workers of a NIC.
pub struct Wakeups(Vec<Wakeup>);

impl Default for Wakeups {
    /// Of one worker.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Wakeups {
    /// Of `count` workers.
    pub fn new(count: u16) -> Self {
        Self((0..count).map(|_| Wakeup::default()).collect())
    }

    /// Number of workers.
    pub fn count(&self) -> u16 {
        self.0.len() as u16
    }

    /// The wakeup of a worker.
    pub fn of(&self, worker: u16) -> Option<&Wakeup> {
        self.0.get(usize::from(worker))
    }

    /// Wakes a worker.
    pub fn wake(&self, worker: u16) {
        if let Some(wakeup) = self.of(worker) {
            wakeup.wake();
        }
    }

    /// Wakes all workers.
    pub fn wake_all(&self) {
        self.0.iter().for_each(Wakeup::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn waking_before_sleep_is_not_lost() {
        let wakeup = Wakeup::default();
        wakeup.prepare();
        wakeup.wake();
        wakeup.wake();
        wakeup.sleep(None);
    }

    #[test]
    fn sleep_ends_in_time() {
        let wakeup = Wakeup::default();
        let start = Instant::now();
        wakeup.prepare();
        wakeup.sleep(Some(start + Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        wakeup.prepare();
        wakeup.sleep(Some(start));
    }

    /// The worker takes what others put down and sleeps in between: nothing may be left when it does.
    #[test]
    fn no_work_is_left_behind() {
        const WORK: usize = 20_000;
        let shared = std::sync::Arc::new((Wakeup::default(), AtomicUsize::new(0)));
        let other = shared.clone();
        let (wakeup, work) = &*shared;
        let giver = thread::spawn(move || {
            for _ in 0..WORK {
                other.1.fetch_add(1, Ordering::Relaxed);
                other.0.wake();
            }
        });
        let mut done = 0;
        let end = Instant::now() + Duration::from_secs(60);
        while done < WORK && Instant::now() < end {
            wakeup.prepare();
            match work.swap(0, Ordering::Relaxed) {
                0 => wakeup.sleep(Some(end)),
                some => {
                    wakeup.cancel();
                    done += some;
                }
            }
        }
        assert_eq!(done, WORK);
        giver.join().unwrap();
    }

    #[test]
    fn another_thread_wakes() {
        let wakeup = std::sync::Arc::new(Wakeup::default());
        let other = wakeup.clone();
        wakeup.prepare();
        let waker = thread::spawn(move || other.wake());
        wakeup.sleep(None);
        waker.join().unwrap();
    }
}
