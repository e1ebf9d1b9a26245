// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wakeups of a NIC's workers.

use std::sync::atomic::{fence, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::stats::WorkerStats;

/// The worker works, or was woken. Nothing has to be done to wake it.
const AWAKE: u8 = 0;
/// It looks at this state all the time.
const WATCHING: u8 = 1;
/// It sleeps, or is about to.
const ASLEEP: u8 = 2;

/// Wakes a worker that sleeps, and costs next to nothing while it works.
// Aligned, so that no two workers share a cache line, or a pair of them that is loaded together.
#[derive(Default)]
#[repr(align(128))]
pub struct Wakeup {
    state: AtomicU8,
    sleeper: Mutex<Option<Thread>>,
}

impl Wakeup {
    /// Wakes the worker, because there is work. `true` if it slept, which costs a system call.
    pub fn wake(&self) -> bool {
        // The caller publishes the work before it reads the state, and the fence in `announce` makes the worker
        // set the state before it looks for work: one of the two sees the other. While the worker is awake,
        // the state is only read, so its cache line stays shared.
        fence(Ordering::SeqCst);
        let slept = self.state.load(Ordering::Relaxed) != AWAKE
            && self.state.swap(AWAKE, Ordering::SeqCst) == ASLEEP;
        if slept {
            let sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(thread) = &*sleeper {
                thread.unpark();
            }
        }
        slept
    }

    /// The worker announces that it is going to look at [`Self::is_woken`]; it looks for work once more first.
    pub fn watch(&self) {
        self.announce(WATCHING);
    }

    /// Whether there was a wakeup since the last [`Self::watch`].
    pub fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) == AWAKE
    }

    /// The worker announces that it is about to sleep; it looks for work once more, then calls
    /// [`Self::sleep`] or [`Self::cancel`].
    pub fn prepare(&self) {
        *self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        self.announce(ASLEEP);
    }

    fn announce(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Sleeps until there was a wakeup since the last [`Self::prepare`], or until `end`. `false` if there was
    /// one already.
    pub fn sleep(&self, end: Option<Instant>) -> bool {
        let mut slept = false;
        while !self.is_woken() {
            match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => {
                    self.cancel();
                    continue;
                }
                Some(left) => thread::park_timeout(left),
            }
            slept = true;
        }
        slept
    }

    /// Ends [`Self::prepare`] or [`Self::watch`], because there was work.
    pub fn cancel(&self) {
        self.state.store(AWAKE, Ordering::SeqCst);
    }
}

/// The wakeups of all workers of a NIC.
pub struct Wakeups {
    each: Vec<Wakeup>,
    /// Counters of the workers.
    pub stats: WorkerStats,
}

impl Default for Wakeups {
    /// Of one worker.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Wakeups {
    /// Of `count` workers.
    pub fn new(count: u16) -> Self {
        Self {
            each: (0..count).map(|_| Wakeup::default()).collect(),
            stats: WorkerStats::default(),
        }
    }

    /// Number of workers.
    pub fn count(&self) -> u16 {
        self.each.len() as u16
    }

    /// The wakeup of a worker.
    pub fn of(&self, worker: u16) -> Option<&Wakeup> {
        self.each.get(usize::from(worker))
    }

    /// Wakes a worker.
    pub fn wake(&self, worker: u16) {
        if self.of(worker).is_some_and(Wakeup::wake) {
            self.stats.wakes.inc();
        }
    }

    /// Wakes all workers.
    pub fn wake_all(&self) {
        (0..self.count()).for_each(|worker| self.wake(worker));
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
        assert!(wakeup.wake() && !wakeup.wake());
        assert!(!wakeup.sleep(None));
    }

    /// Only a worker that sleeps has to be woken by the system.
    #[test]
    fn who_watches_is_woken_without_a_call() {
        let wakeups = Wakeups::default();
        let wakeup = wakeups.of(0).unwrap();
        wakeups.wake(0);
        wakeup.watch();
        assert!(!wakeup.is_woken());
        wakeups.wake(0);
        assert!(wakeup.is_woken());
        assert_eq!(wakeups.stats.wakes.get(), 0);
        wakeup.watch();
        wakeup.prepare();
        wakeups.wake_all();
        wakeups.wake(0);
        wakeups.wake(7);
        assert!(!wakeup.sleep(None));
        assert_eq!(wakeups.stats.wakes.get(), 1);
    }

    #[test]
    fn sleep_ends_in_time() {
        let wakeup = Wakeup::default();
        let start = Instant::now();
        wakeup.prepare();
        assert!(wakeup.sleep(Some(start + Duration::from_millis(20))));
        assert!(start.elapsed() >= Duration::from_millis(20));
        wakeup.prepare();
        assert!(!wakeup.sleep(Some(start)));
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
                0 => _ = wakeup.sleep(Some(end)),
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
