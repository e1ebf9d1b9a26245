// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The time for which a worker looks for work before it sleeps.
//!
//! It grows while work comes so soon that looking for it would have saved the sleep, and is nothing when it does
//! not: an idle NIC takes no processor. Linux's KVM decides in the same way how long a halted virtual processor
//! is polled (`Documentation/virt/kvm/halt-polling.rst`).

use std::time::Duration;

/// The first time after none, at most; later ones are twice the one before.
const FIRST: Duration = Duration::from_micros(10);

/// The time, and its limit.
#[derive(Debug)]
pub(super) struct Window {
    len: Duration,
    most: Duration,
}

impl Window {
    /// No time, which may grow to `most`.
    pub(super) fn new(most: Duration) -> Self {
        Self {
            len: Duration::ZERO,
            most,
        }
    }

    /// How long to look for work; `None`: not at all.
    pub(super) fn len(&self) -> Option<Duration> {
        (!self.len.is_zero()).then_some(self.len)
    }

    /// The worker has looked for work for `looked`, and found some or not.
    ///
    /// If that took much longer than it should, something else has had the processor meanwhile: it is needed
    /// elsewhere.
    pub(super) fn has_looked(&mut self, looked: Duration) {
        if looked > 2 * self.most {
            self.len = Duration::ZERO;
        }
    }

    /// The worker has slept. There was no work for `waited`, the look for it included.
    pub(super) fn has_slept(&mut self, waited: Duration) {
        self.len = match waited > self.most {
            true => Duration::ZERO,
            false => (2 * self.len).max(FIRST).min(self.most),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(50);
    const SOON: Duration = Duration::from_micros(30);

    fn lens(window: &mut Window, waits: &[Duration]) -> Vec<u64> {
        let each = waits.iter().map(|&waited| {
            window.has_slept(waited);
            window.len().map_or(0, |len| len.as_micros() as u64)
        });
        each.collect()
    }

    #[test]
    fn it_grows_while_work_comes_soon() {
        let mut window = Window::new(MOST);
        assert_eq!(window.len(), None);
        assert_eq!(lens(&mut window, &[SOON; 5]), [10, 20, 40, 50, 50]);
        window.has_looked(SOON);
        assert_eq!(window.len(), Some(MOST));
    }

    #[test]
    fn it_is_nothing_when_work_does_not_come() {
        let mut window = Window::new(MOST);
        let long = MOST + Duration::from_nanos(1);
        let waits = [SOON, SOON, long, long, MOST];
        assert_eq!(lens(&mut window, &waits), [10, 20, 0, 0, 10]);
    }

    #[test]
    fn it_is_nothing_when_the_processor_is_needed() {
        let mut window = Window::new(MOST);
        lens(&mut window, &[SOON; 3]);
        window.has_looked(2 * MOST);
        assert!(window.len().is_some());
        window.has_looked(3 * MOST);
        assert_eq!(window.len(), None);
    }

    #[test]
    fn it_keeps_its_limit() {
        let few = Duration::from_micros(3);
        let mut window = Window::new(few);
        assert_eq!(lens(&mut window, &[Duration::ZERO; 2]), [3, 3]);
        let mut off = Window::new(Duration::ZERO);
        assert_eq!(lens(&mut off, &[Duration::ZERO, SOON]), [0, 0]);
    }
}
