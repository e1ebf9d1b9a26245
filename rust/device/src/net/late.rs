// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts that go on after a reset, of a device that does not stop.
//!
//! The used indices, which move once more, are written before the driver can know that the reset is
//! complete, while the rings are certainly its own. Later its memory may have another use, so from then
//! on there are only interrupts.

use crate::irq::Msix;
use crate::misbehave::{Deed, Misbehaviour};
use std::time::{Duration, Instant};

/// From one round of interrupts to the next.
const PERIOD: Duration = Duration::from_millis(1);

/// Interrupts that go on.
pub struct Late {
    /// Of the configuration and of all queues.
    vectors: Vec<u16>,
    due: Instant,
}

impl Late {
    /// Goes on with these vectors from now on.
    pub fn new(vectors: Vec<u16>) -> Self {
        Self {
            vectors,
            due: Instant::now(),
        }
    }

    /// When the next round is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Sends the interrupts that are due; `false` if that were the last.
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
