// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts that go on after a reset, as those of a device that does not stop.
//!
//! The used indices move once more before the driver can know that the reset is complete, while the memory
//! certainly still holds the rings. Later it may have another use, so then only interrupts follow.

use crate::irq::Msix;
use crate::misbehave::{Deed, Misbehaviour};
use std::time::{Duration, Instant};

/// The time between two rounds of interrupts.
const PERIOD: Duration = Duration::from_millis(1);

/// Interrupts that go on.
pub struct Late {
    /// The vectors of the configuration and of all queues.
    vectors: Vec<u16>,
    due: Instant,
}

impl Late {
    /// Starts with these vectors now.
    pub fn new(vectors: Vec<u16>) -> Self {
        Self {
            vectors,
            due: Instant::now(),
        }
    }

    /// The time of the next round.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Sends the interrupts that are due; `false` if these were the last ones.
    pub fn run(&mut self, misbehaviour: &Misbehaviour, msix: &Msix) -> bool {
        if self.due > Instant::now() {
            return true;
        }
        if misbehaviour.takes(Deed::Interrupts) {
            for &vector in &self.vectors {
                msix.signal(vector);
            }
        }
        self.due = Instant::now() + PERIOD;
        misbehaviour.expects(Deed::Interrupts)
    }
}
