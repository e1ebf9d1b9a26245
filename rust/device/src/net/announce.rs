// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tells the driver of used buffers of receive and transmit queues: at once, or after the interrupt was held back
//! ([`super::coalesce`]).

use std::time::Instant;

use super::coalesce::Moderator;
use super::lane::Lane;
use super::state::Device;
use crate::memory::GuestMap;
use crate::misbehave::Deed;
use crate::nic::Nic;
use crate::virtio::error::RingError;
use crate::virtio::queue::VirtQueue;

/// Shows the driver what is used of a queue, `packets` packets. Whether an interrupt is to be sent for it and for
/// what has been held back before: it is due, or `now` says that it must not wait, and the driver wants it.
#[inline]
pub fn show(
    nic: &Nic,
    mem: &GuestMap,
    queue: &mut VirtQueue,
    moderator: &mut Moderator,
    packets: usize,
    now: bool,
) -> Result<bool, RingError> {
    let places = queue.show(mem)?;
    if moderator.note(packets, places, queue.size(), Instant::now) || now {
        if moderator.holds() {
            moderator.settle();
        }
        return Ok(queue.wants_interrupt(mem));
    }
    if places > 0 {
        nic.stats.interrupts_held.inc();
    }
    Ok(false)
}

/// Sends the interrupts of a pair whose time has come.
pub fn send_due(nic: &Nic, device: &Device, lane: &mut Lane, pair: u16) {
    let Some(due) = lane.interrupt_due() else {
        return;
    };
    let now = Instant::now();
    if now < due {
        return;
    }
    let moderators = [&mut lane.rx_moderator, &mut lane.tx_moderator];
    for (index, moderator) in (2 * pair..).zip(moderators) {
        if moderator.is_due(now) && send(nic, device, index, moderator) {
            nic.stats.interrupts_timed.inc();
        }
    }
}

/// Sends the interrupt that a queue has held back; `false` if the driver does not want it.
fn send(nic: &Nic, device: &Device, index: u16, moderator: &mut Moderator) -> bool {
    moderator.settle();
    let Some((mut queue, vector)) = device.virtio.queue(index) else {
        return false;
    };
    let transmit = index % 2 == 1;
    let sent = queue.wants_interrupt(device.virtio.memory())
        && !(transmit && nic.misbehaviour.takes(Deed::Silent));
    if sent {
        nic.interrupt_queue(vector);
    }
    sent
}

/// Applies changed settings. What has been held back, and need not wait any longer, is told at once; the caller wakes
/// the workers, whose sleep ends at another time now.
pub fn apply(nic: &Nic, device: &Device) {
    let now = Instant::now();
    for pair in 0..nic.config.pairs {
        let Some(mut lane) = device.net.lane(pair) else {
            continue;
        };
        let Lane {
            rx_moderator,
            tx_moderator,
            ..
        } = &mut *lane;
        for (index, moderator) in (2 * pair..).zip([rx_moderator, tx_moderator]) {
            moderator.set(device.net.coalescing.of(index));
            if moderator.is_due(now) {
                send(nic, device, index, moderator);
            }
        }
    }
}

/// Forgets what was set for queues that do not run, because one was reset: they have what was set for all of their
/// kind when they run again. What was held back of them is gone.
pub fn forget_stopped(nic: &Nic, device: &mut Device) {
    for index in 0..2 * nic.config.pairs {
        if device.virtio.runs(index) {
            continue;
        }
        device.net.coalescing.restore(index);
        let limits = device.net.coalescing.of(index);
        if let Some(mut lane) = device.net.lane(index / 2) {
            let moderator = match index % 2 {
                0 => &mut lane.rx_moderator,
                _ => &mut lane.tx_moderator,
            };
            moderator.set(limits);
            moderator.settle();
        }
    }
}
