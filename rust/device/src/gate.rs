// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A priority lock between the data plane and the control side.
//!
//! The data plane takes it once per batch of packets, and lets the control side go first: a register
//! access or an unmap waits for one batch at most, however busy the worker is. While the control side
//! holds the lock, the data plane touches neither queues nor guest memory, as unmap and reset need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock.
pub struct Gate<T> {
    inner: Mutex<T>,
    waiting: AtomicUsize,
}

impl<T> Gate<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Self {
            inner: Mutex::new(value),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes the lock for the control side.
    pub fn control(&self) -> MutexGuard<'_, T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard
    }

    /// Takes the lock for the data plane, after all waiters of the control side.
    pub fn data(&self) -> MutexGuard<'_, T> {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        self.lock()
    }

    /// Takes the lock even if a thread has panicked with it: every operation keeps the device consistent
    /// enough for a reset.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
        let gate = Arc::new(Gate::new(0u64));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (gate, stop) = (gate.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut value = gate.data();
                    *value += 1;
                    std::thread::sleep(Duration::from_micros(50));
                }
            })
        };
        let start = Instant::now();
        for _ in 0..20 {
            *gate.control() += 1;
        }
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        worker.join().unwrap();
        assert!(took < Duration::from_secs(5), "control waited {took:?}");
    }
}
