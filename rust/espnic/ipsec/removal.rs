// SPDX-License-Identifier: GPL-2.0

//! The end of an SA: the stack deletes and frees its state, the NIC destroys its object.

use super::{
    life::Life,
    object,
    Ipsec, //
};
use crate::control::Control;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::net::xfrm::{
    Direction,
    Handle, //
};

impl Ipsec {
    /// Makes the NIC destroy the object of a dead state; that of an outbound one with [`Self::bury`]. Does
    /// not sleep.
    pub(crate) fn delete(&self, control: &Control, handle: Handle) {
        self.counters.deleted.add(1);
        if let Some(sa) = self.packet_sa(handle) {
            sa.kill();
            self.database.sa_gone(sa);
        }
        // A slot without data is free for the next SA after a reset, so the data stays.
        let life = self.states.with_data(handle, |sa| {
            let next = match sa.life {
                Life::Changing { .. } => Life::Changing { deleted: true },
                _ => Life::Sending,
            };
            core::mem::replace(&mut sa.life, next)
        });
        let life = match life {
            None | Some(Life::Changing { .. }) => return,
            Some(Life::Live)
                if handle.direction == Direction::Out && self.doomed.add(handle).is_ok() =>
            {
                return
            }
            Some(Life::Live) => object::post_destroy(control, handle, GFP_ATOMIC),
            Some(other) => other,
        };
        self.states.with_data(handle, |sa| sa.life = life);
    }

    /// Whether there is work for [`Self::bury`]. Any context.
    pub(crate) fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// Makes the NIC destroy the objects that [`Self::delete`] has left. `wait` returns when the NIC has
    /// sent the packets that it has got so far. Sleeps.
    pub(crate) fn bury(&self, control: &Control, wait: impl FnOnce()) {
        let _mode = self.mode.lock();
        self.bury_locked(control, wait);
    }

    /// The same under the lock.
    pub(super) fn bury_locked(&self, control: &Control, wait: impl FnOnce()) {
        let handles = self.doomed.take();
        if handles.is_empty() {
            return;
        }
        wait();
        for &handle in &handles {
            let is_doomed = self
                .states
                .with_data(handle, |sa| matches!(sa.life, Life::Sending));
            if is_doomed != Some(true) {
                continue;
            }
            // If it cannot be sent now, `free` sends it.
            if let Ok(waiter) = object::destroy(control, handle, GFP_KERNEL) {
                self.states
                    .with_data(handle, |sa| sa.life = Life::Destroying(waiter));
            }
        }
    }

    /// Waits until the NIC has destroyed the object, and releases the slot. `wait` is that of
    /// [`Self::bury`]. Sleeps.
    pub(crate) fn free(&self, control: &Control, handle: Handle, wait: impl FnOnce()) {
        let mode = self.mode.lock();
        self.bury_locked(control, wait);
        let Some((slot, sa)) = self.states.retire(handle) else {
            return;
        };
        if let Some(packet) = &sa.packet {
            // Free may come without delete.
            packet.sa.kill();
            self.packet_sas.fetch_sub(1, Relaxed);
            self.database.sa_gone(packet.sa.clone());
        }
        let destroyed = match sa.life {
            // The reset has destroyed it.
            _ if mode.resetting => Err(ENXIO),
            Life::Destroying(waiter) => Ok(waiter),
            Life::Live | Life::Sending | Life::Changing { .. } => {
                object::destroy_patiently(control, handle)
            }
        };
        let done = destroyed
            .and_then(|waiter| control.wait(&waiter))
            .and_then(|answer| answer.result().map(|_| ()));
        match done {
            // ENXIO: the NIC does not have it any more, because it was reset.
            Ok(()) | Err(ENXIO) => drop(slot),
            // The NIC says that it does not have it.
            Err(error) if sa.absent && error != ETIMEDOUT => drop(slot),
            Err(_) => {
                self.counters.control_errors.add(1);
                slot.leak();
            }
        }
    }
}
