// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A priority lock between the data plane and the control side.
//!
//! The workers of the data plane take it once per batch of packets, any number of them at a time, and let
//! the control side go first: a register access or an unmap waits for one batch at most, however busy the
//! workers are. While the control side holds the lock, the data plane touches neither queues nor guest
//! memory, as unmap and reset need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The lock.
pub struct PriorityLock<T> {
    inner: RwLock<T>,
    waiting: AtomicUsize,
}

impl<T> PriorityLock<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Self {
            inner: RwLock::new(value),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes the lock for the control side. It is taken even if a thread has panicked with it: every
    /// operation keeps the device consistent enough for a reset.
    pub fn control(&self) -> RwLockWriteGuard<'_, T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard
    }

    /// Takes the lock for the data plane, after all waiters of the control side.
    pub fn data(&self) -> RwLockReadGuard<'_, T> {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn control_gets_in_while_the_data_plane_is_busy() {
        let lock = Arc::new(PriorityLock::new(0u64));
        let stop = Arc::new(AtomicBool::new(false));
        let workers = [(); 3].map(|()| {
            let (lock, stop) = (lock.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let value = lock.data();
                    assert!(*value <= 20);
                    std::thread::sleep(Duration::from_micros(50));
                }
            })
        });
        let start = Instant::now();
        for _ in 0..20 {
            *lock.control() += 1;
        }
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        workers.map(|worker| worker.join().unwrap());
        assert!(took < Duration::from_secs(5), "control waited {took:?}");
    }

    #[test]
    fn workers_hold_it_together_and_control_alone() {
        let lock = PriorityLock::new(0);
        let (one, two) = (lock.data(), lock.data());
        assert_eq!((*one, *two), (0, 0));
        assert!(lock.inner.try_write().is_err());
        drop((one, two));
        let control = lock.control();
        assert!(lock.inner.try_read().is_err());
        drop(control);
        assert_eq!(*lock.data(), 0);
    }
}
