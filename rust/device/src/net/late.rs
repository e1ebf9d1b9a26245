// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A device that does not stop when it is reset: used indices move once more, and interrupts go on.
//!
//! The indices are written before the driver can know that the reset is complete, while the rings are
//! certainly its own. Later its memory may have another use, so from then on there are only interrupts.

use std::time::{Duration, Instant};

use super::Device;
use crate::misbehave::Deed;
use crate::nic::Nic;

/// From one round of interrupts to the next.
const PERIOD: Duration = Duration::from_millis(1);

/// Interrupts that go on.
pub struct Late {
    /// Of the configuration and of all queues.
    vectors: Vec<u16>,
    due: Instant,
}

impl Late {
    /// When the next round is due.
    pub fn due(&self) -> Instant {
        self.due
    }
}

/// To be called before the device is reset.
pub fn begin(nic: &Nic, device: &mut Device) {
    if !device.virtio.driven() || !nic.misbehaviour.expects(Deed::Interrupts) {
        return;
    }
    let mem = device.virtio.memory();
    for queue in device.virtio.running_queues() {
        if let Err(error) = queue.overrun(&mem) {
            log::debug!("{}: a used index stays as it is: {error}", nic.name);
        }
    }
    device.net.late = Some(Late {
        vectors: device.virtio.vectors(),
        due: Instant::now(),
    });
    run(nic, device);
    nic.kick();
}

/// Sends the interrupts that are due.
pub fn run(nic: &Nic, device: &mut Device) {
    let now = Instant::now;
    let Some(late) = device.net.late.as_mut().filter(|late| late.due <= now()) else {
        return;
    };
    if nic.misbehaviour.takes(Deed::Interrupts) {
        for &vector in &late.vectors {
            nic.msix.signal(vector);
        }
    }
    late.due = now() + PERIOD;
    if !nic.misbehaviour.expects(Deed::Interrupts) {
        device.net.late = None;
    }
}
