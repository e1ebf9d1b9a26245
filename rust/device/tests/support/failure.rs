// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What tests of running workers need: a port that makes them fail, and patience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use espnic_device::frames::Frames;
use espnic_device::ports::{Port, Totals};

/// Panics at the first frame after it was armed.
pub struct Mine(pub Arc<AtomicBool>);

impl Port for Mine {
    fn send(&self, frames: &mut Frames) -> Totals {
        assert!(!self.0.swap(false, Ordering::SeqCst), "armed");
        frames.truncate(0);
        Totals::default()
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// Waits until `what` is true, but not longer than `patience`.
pub fn wait(patience: Duration, what: impl Fn() -> bool) {
    let end = Instant::now() + patience;
    while !what() {
        assert!(Instant::now() < end, "nothing happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}
