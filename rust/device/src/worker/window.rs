// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The time for which a worker looks for work before it sleeps.
//!
//! It grows while work comes so soon that looking for it would have saved the sleep, and is nothing when it does
//! not: an idle NIC takes no processor. Linux's KVM decides in the same way how long a halted virtual processor
//! is polled (`Documentation/virt/kvm/halt-polling.rst`).
//!
//! Where the worker shares its processor with who makes the work, none comes while it looks, however long. So after
//! looks in vain, more than it takes to grow to the limit, it pauses, longer each time that it learns nothing new.

use std::time::Duration;

/// The first time after none, at most; later ones are twice the one before.
const FIRST: Duration = Duration::from_micros(10);

/// Looks in vain in a row, beyond those that the time needs to grow to its limit, after which there is a pause.
const VAIN: u32 = 4;
/// The first pause and the longest one, in waits for work that came soon.
const PAUSE: u32 = 16;
const LONGEST_PAUSE: u32 = 1024;

/// The time, and its limit.
#[derive(Debug)]
pub(super) struct Window {
    len: Duration,
    most: Duration,
    /// Looks in vain since the last pause or success, and so many that there is a pause.
    vain: u32,
    enough: u32,
    /// The last pause since the last success, and what is left of it.
    pause: u32,
    left: u32,
}

impl Window {
    /// No time, which may grow to `most`.
    pub(super) fn new(most: Duration) -> Self {
        let lens = std::iter::successors(Some(FIRST), |&len| (len < most).then(|| 2 * len));
        let growth = lens.skip(1).count() as u32;
        Self {
            len: Duration::ZERO,
            most,
            vain: 0,
            enough: growth + VAIN,
            pause: 0,
            left: 0,
        }
    }

    /// How long to look for work; `None`: not at all.
    pub(super) fn len(&self) -> Option<Duration> {
        (!self.len.is_zero()).then_some(self.len)
    }

    /// The worker has looked for work for `looked`, and `found` some or not.
    ///
    /// If that took much longer than it should, something else has had the processor meanwhile: it is needed
    /// elsewhere.
    pub(super) fn has_looked(&mut self, looked: Duration, found: bool) {
        if looked > 2 * self.most {
            self.len = Duration::ZERO;
        }
        if found {
            (self.vain, self.pause) = (0, 0);
            return;
        }
        self.vain += 1;
        if self.vain >= self.enough {
            self.vain = 0;
            self.pause = (2 * self.pause).clamp(PAUSE, LONGEST_PAUSE);
            self.left = self.pause;
            self.len = Duration::ZERO;
        }
    }

    /// The worker has slept. There was no work for `waited`, the look for it included.
    pub(super) fn has_slept(&mut self, waited: Duration) {
        if waited > self.most {
            self.len = Duration::ZERO;
        } else if self.left > 0 {
            self.left -= 1;
        } else {
            self.len = (2 * self.len).max(FIRST).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(50);
    const SOON: Duration = Duration::from_micros(30);
    /// Looks of 10, 20 and 40 microseconds, and some of 50.
    const ENOUGH: u32 = 3 + VAIN;

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
        window.has_looked(SOON, true);
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
        window.has_looked(2 * MOST, true);
        assert!(window.len().is_some());
        window.has_looked(3 * MOST, true);
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

    /// Looks in vain, whenever there is a time for it, until `looks` were made; how many waits that took.
    fn vain(window: &mut Window, looks: u32) -> u32 {
        let (mut looked, mut waits) = (0, 0);
        while looked < looks {
            assert!(waits < 10_000, "it never looks again");
            if let Some(len) = window.len() {
                looked += 1;
                window.has_looked(len, false);
            }
            window.has_slept(SOON);
            waits += 1;
        }
        waits
    }

    #[test]
    fn it_pauses_when_it_finds_nothing() {
        let mut window = Window::new(MOST);
        window.has_slept(SOON);
        // The end of a round is the first wait of the pause after it.
        let rounds = [(); 9].map(|()| vain(&mut window, ENOUGH));
        let pauses = [0, 16, 32, 64, 128, 256, 512, 1024, 1024];
        assert_eq!(rounds, pauses.map(|pause| ENOUGH + pause));
    }

    #[test]
    fn one_success_ends_the_pauses() {
        let mut window = Window::new(MOST);
        window.has_slept(SOON);
        for _ in 0..5 {
            vain(&mut window, ENOUGH);
        }
        vain(&mut window, 1);
        window.has_looked(SOON, true);
        assert_eq!(vain(&mut window, ENOUGH - 1), ENOUGH - 1);
        assert!(window.len().is_some());
        vain(&mut window, 1);
        assert_eq!(window.len(), None);
        assert_eq!(vain(&mut window, 1), PAUSE + 1);
    }

    /// Looks that are too short at first are no reason to give up, however many the limit takes.
    #[test]
    fn it_grows_to_its_limit_before_it_pauses() {
        for (millis, growth) in [(1, 7), (3000, 19)] {
            let most = Duration::from_millis(millis);
            let mut window = Window::new(most);
            window.has_slept(most);
            let mut looks = 0;
            while window.len().is_some_and(|len| len < most) {
                window.has_looked(FIRST, false);
                window.has_slept(most);
                looks += 1;
            }
            assert_eq!((window.len(), looks), (Some(most), growth));
            for _ in 1..VAIN {
                window.has_looked(FIRST, false);
            }
            assert_eq!(window.len(), Some(most));
            window.has_looked(FIRST, false);
            assert_eq!(window.len(), None);
        }
    }
}
