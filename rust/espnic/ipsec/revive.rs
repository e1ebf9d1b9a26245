// SPDX-License-Identifier: GPL-2.0

//! Objects that go and come back under living states: at a reset of the NIC, and while software decrypts
//! because somebody takes the interface's frames away.

use super::{
    capability::Capabilities,
    object,
    Ipsec,
    Life,
    Sa, //
};
use crate::{
    control::Control,
    nic::Nic, //
};
use espnic_esp::seq;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::net::xfrm::{
    Direction,
    Handle,
    State, //
};

impl Ipsec {
    /// Before a reset of the NIC: no more commands. Waits for running ones.
    pub(crate) fn reset_prepare(&self) {
        self.mode.lock().resetting = true;
    }

    /// After a reset: agrees anew and creates the objects of all live states again; how many of them
    /// the NIC did not take. Sleeps.
    pub(crate) fn reset_done(&self, control: &Control) -> Result<u64> {
        let mut mode = self.mode.lock();
        if self.capabilities.as_ref().is_some() {
            Capabilities::negotiate(control)?;
        }
        mode.resetting = false;
        self.some_absent.store(mode.inbound_left, Relaxed);
        let mut left = 0u64;
        for direction in [Direction::In, Direction::Out] {
            // Of commands that were never answered: the reset was the answer.
            self.states.release_abandoned(direction);
            self.for_each_live(direction, |handle, x| {
                if direction == Direction::In && mode.inbound_left {
                    self.states.with_data(handle, |sa| sa.absent = true);
                } else if !self.revive(control, x, handle) {
                    left = left.saturating_add(1);
                }
            });
        }
        self.left.fetch_add(left, Relaxed);
        Ok(left)
    }

    /// Leaves inbound SAs to software, those that will come included, or gives them to the NIC again; how
    /// many changed hands. Sleeps.
    pub(crate) fn leave_inbound(&self, control: &Control, leave: bool) -> u64 {
        let mut mode = self.mode.lock();
        let mut moved = 0u64;
        if core::mem::replace(&mut mode.inbound_left, leave) == leave || mode.resetting {
            // The end of the reset finds it so.
            return moved;
        }
        self.for_each_live(Direction::In, |handle, x| {
            let done = match leave {
                true => self.withdraw(control, handle),
                false => self.is_absent(handle) && self.revive(control, x, handle),
            };
            moved = moved.saturating_add(done.into());
        });
        if leave {
            self.left.fetch_add(moved, Relaxed);
        }
        moved
    }

    /// Whether the NIC does not have the SA, so that software must do its work. Per packet.
    pub(crate) fn is_absent(&self, handle: Handle) -> bool {
        self.some_absent.load(Relaxed)
            && self.states.with_data(handle, |sa| sa.absent) == Some(true)
    }

    /// Creates the object of a live state again, with a new random part in its IVs; false if the NIC
    /// does not take it.
    fn revive(&self, control: &Control, x: &State, handle: Handle) -> bool {
        let esn_hi = seq::hi(x.highest_seen());
        let begun = self.begin(handle, |sa| {
            sa.esn_hi = esn_hi;
            sa.untold = None;
            true
        });
        if !begun {
            return true;
        }
        let created = self
            .check(x)
            .map_err(|_| EINVAL)
            .and_then(|supported| object::create(control, x, handle, &supported));
        let absent = created.is_err();
        if absent {
            self.control_errors.fetch_add(1, Relaxed);
        }
        let deleted = self.end(control, handle, absent);
        if absent && !deleted && !x.names_device_of::<Nic>() {
            // A bond does not ask whether the NIC can do it.
            x.expire();
        }
        !absent
    }

    /// Destroys the object of a live state; false if the NIC may still have it.
    fn withdraw(&self, control: &Control, handle: Handle) -> bool {
        if !self.begin(handle, |sa| !sa.absent) {
            return false;
        }
        let gone = object::destroy_patiently(control, handle)
            .and_then(|waiter| control.wait(&waiter))
            .and_then(|answer| answer.result().map(|_| ()));
        if gone.is_err() {
            self.control_errors.fetch_add(1, Relaxed);
        }
        self.end(control, handle, gone.is_ok());
        gone.is_ok()
    }

    /// Marks an SA, so that what follows is not overtaken by the DESTROY if its state dies; false if the
    /// state is dead already, or `wanted` says no.
    fn begin(&self, handle: Handle, wanted: impl FnOnce(&mut Sa) -> bool) -> bool {
        let begun = self.states.with_data(handle, |sa| {
            let begun = matches!(sa.life, Life::Live) && wanted(sa);
            if begun {
                sa.life = Life::Changing { deleted: false };
            }
            begun
        });
        begun == Some(true)
    }

    /// The end of what [`Self::begin`] began: whether the state died meanwhile. Then its object is
    /// destroyed.
    fn end(&self, control: &Control, handle: Handle, absent: bool) -> bool {
        if absent {
            self.some_absent.store(true, Relaxed);
        }
        let deleted = self.states.with_data(handle, |sa| {
            let deleted = matches!(sa.life, Life::Changing { deleted: true });
            sa.absent = absent;
            sa.life = if deleted { Life::Sending } else { Life::Live };
            deleted
        });
        if deleted != Some(true) {
            return false;
        }
        let life = object::post_destroy(control, handle, GFP_KERNEL);
        self.states.with_data(handle, |sa| sa.life = life);
        true
    }
}
