// SPDX-License-Identifier: GPL-2.0

//! Tests of the moderation, with a clock of their own.

use super::{
    Dim,
    Sample, //
};
use kernel::prelude::*;

/// Nanoseconds between two interrupts.
const GAP: i64 = 20_000;

/// A queue whose rate of packets depends on nothing.
struct Queue {
    dim: Pin<KBox<Dim>>,
    time: i64,
    events: u16,
    packets: u32,
}

impl Queue {
    fn new() -> Result<Self> {
        Ok(Self {
            dim: KBox::pin_init(Dim::new(), GFP_KERNEL)?,
            time: 0,
            events: 0,
            packets: 0,
        })
    }

    /// So many interrupts, each for so many packets; whether something is wanted then.
    fn run(&mut self, interrupts: u32, packets: u32) -> bool {
        let mut wanted = false;
        for _ in 0..interrupts {
            self.time += GAP;
            self.events = self.events.wrapping_add(1);
            self.packets = self.packets.wrapping_add(packets);
            let bytes = self.packets.wrapping_mul(1500);
            let sample = Sample::at(self.time, self.events, self.packets, bytes);
            wanted |= self.dim.as_mut().measure(&sample);
        }
        wanted
    }
}

#[kunit_tests(espnic_dim)]
mod cases {
    use super::*;

    #[test]
    fn it_begins_with_little() -> Result {
        let queue = Queue::new()?;
        let first = queue.dim.moderation();
        assert!(first.usecs > 0 && first.usecs < 64 && first.frames > 0);
        assert!(queue.dim.wanted().is_none());
        Ok(())
    }

    #[test]
    fn more_packets_want_another_moderation() -> Result {
        let mut queue = Queue::new()?;
        let first = queue.dim.moderation();
        assert!(!queue.run(1, 1));
        // The first measurement has none before it, so a few may be needed.
        let rates = [1, 8, 64, 256];
        assert!(rates.into_iter().any(|rate| queue.run(130, rate)));
        let wanted = queue.dim.wanted().ok_or(EINVAL)?;
        assert!(wanted != first);
        // It waits until the device has been told.
        assert!(!queue.run(1000, 1));
        assert!(queue.dim.wanted() == Some(wanted));
        queue.dim.as_mut().go_on();
        assert!(queue.dim.wanted().is_none());
        assert!(queue.dim.moderation() == wanted);
        Ok(())
    }

    #[test]
    fn few_interrupts_say_nothing() -> Result {
        let mut queue = Queue::new()?;
        assert!(!queue.run(60, 1000));
        Ok(())
    }

    /// Its work item is waited for.
    #[test]
    fn it_can_go_at_any_time() -> Result {
        for _ in 0..100 {
            let mut queue = Queue::new()?;
            for rate in [1, 8, 64, 256] {
                queue.run(130, rate);
            }
        }
        Ok(())
    }
}
