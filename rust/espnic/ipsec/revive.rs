// SPDX-License-Identifier: GPL-2.0

//! Objects that go and come back under living states: at a reset of the NIC, and while software decrypts,
//! because somebody takes the interface's frames away or IPsec is off by NDIS.
//!
//! Of outbound SAs the objects stay, for packets that the stack has prepared for the NIC; it
//! prepares no more while [`Ipsec::is_for_software`].

#[cfg(espnic_ndis)]
use super::left::Versions;
use super::{
    capability::Capabilities,
    left::Question,
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
        mode.left = self.wanted.get();
        self.some_absent.store(false, Relaxed);
        let mut left = 0u64;
        for direction in [Direction::In, Direction::Out] {
            // Of commands that were never answered: the reset was the answer.
            self.states.release_abandoned(direction);
            self.for_each_live(direction, |handle, x| {
                if direction == Direction::In && self.is_left(x, handle) {
                    self.states.with_data(handle, |sa| sa.absent = true);
                } else if !self.revive(control, x, handle) {
                    left = left.saturating_add(1);
                }
            });
        }
        self.left.fetch_add(left, Relaxed);
        Ok(left)
    }

    /// Whether somebody takes the interface's frames away; [`Self::follow`] acts on it.
    pub(crate) fn set_diverted(&self, diverted: bool) {
        self.wanted.set_diverted(diverted);
    }

    /// The IP versions for which NDIS has switched ESP off, and those for which it has not set receive
    /// processing going; [`Self::follow`] acts on it. No sleeping.
    #[cfg(espnic_ndis)]
    pub(crate) fn set_by_ndis(&self, off: Versions, waiting: Versions) {
        self.wanted.set_by_ndis(off, waiting);
    }

    /// Leaves the inbound SAs that are to be left to software, and gives the others to the NIC again; how
    /// many changed hands. Sleeps. RTNL may be held, but the NIC may let us wait.
    ///
    /// What is wanted is read under the lock: of several who call this, the last one sees all of it.
    /// Additions read it under the lock as well, so that none escapes.
    pub(crate) fn follow(&self, control: &Control) -> u64 {
        let mut mode = self.mode.lock();
        let wanted = self.wanted.get();
        if core::mem::replace(&mut mode.left, wanted) == wanted || mode.resetting {
            // The end of the reset finds it so.
            return 0;
        }
        let (mut taken, mut given) = (0u64, 0u64);
        self.for_each_live(Direction::In, |handle, x| {
            if self.is_left(x, handle) {
                taken = taken.saturating_add(self.withdraw(control, handle).into());
            } else if self.lacks(handle) {
                given = given.saturating_add(self.revive(control, x, handle).into());
            }
        });
        self.left.fetch_add(taken, Relaxed);
        taken.saturating_add(given)
    }

    /// An SA that was just added is one of the NDIS layer: the NIC does not receive for it before it
    /// is to. Sleeps.
    #[cfg(espnic_ndis)]
    pub(crate) fn claim_for_ndis(&self, control: &Control, x: &State, handle: Handle) {
        let mode = self.mode.lock();
        self.states.with_data(handle, |sa| sa.by_ndis = true);
        let left = handle.direction == Direction::In && self.is_left(x, handle);
        // The end of a reset finds it so, too.
        if left && !mode.resetting && self.withdraw(control, handle) {
            self.left.fetch_add(1, Relaxed);
        }
    }

    /// Whether the SA is to be left to software.
    pub(super) fn is_left(&self, x: &State, handle: Handle) -> bool {
        let by_ndis = self.states.with_data(handle, |sa| sa.by_ndis);
        self.wanted.get().has(Question {
            direction: handle.direction,
            family: x.family(),
            by_ndis: by_ndis == Some(true),
        })
    }

    /// Whether software shall do the work of an outbound SA from now on. Per packet.
    pub(crate) fn is_for_software(&self, x: &State, handle: Handle) -> bool {
        self.is_absent(handle) || (self.wanted.is_anything_off() && self.is_left(x, handle))
    }

    /// Whether the NIC does not have the outbound SA. Per packet.
    pub(crate) fn is_absent(&self, handle: Handle) -> bool {
        self.some_absent.load(Relaxed) && self.lacks(handle)
    }

    fn lacks(&self, handle: Handle) -> bool {
        self.states.with_data(handle, |sa| sa.absent) == Some(true)
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
        if absent && handle.direction == Direction::Out {
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
