// SPDX-License-Identifier: GPL-2.0

//! Objects that go and come back under live states: at a reset of the NIC, and while software decrypts
//! because another device takes the interface's frames or NDIS has IPsec off.
//!
//! Objects of outbound SAs stay meanwhile, for packets that the stack has already prepared for the
//! NIC; it prepares no more while [`Ipsec::is_for_software`].

#[cfg(espnic_ndis)]
use super::left::Versions;
use super::{
    capability::Capabilities,
    crypto,
    left::Question,
    life::{
        Life,
        Sa, //
    },
    object,
    packet,
    Ipsec, //
};
use crate::control::Control;
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

/// How many SAs a NIC has not taken back after a reset.
#[derive(Clone, Copy, Default)]
pub(crate) struct NotTaken {
    /// Those that software goes on with.
    pub(crate) left: u64,
    /// Those of packet offload, which have expired.
    pub(crate) expired: u64,
}

impl NotTaken {
    fn add(&mut self, packet: bool) {
        let count = match packet {
            true => &mut self.expired,
            false => &mut self.left,
        };
        *count = count.saturating_add(1);
    }
}

impl Ipsec {
    /// Stops commands before a reset of the NIC. Waits for running ones.
    pub(crate) fn reset_prepare(&self) {
        self.mode.lock().resetting = true;
    }

    /// Negotiates again after a reset and creates the objects of all live states; returns those that the
    /// NIC did not take. Sleeps.
    pub(crate) fn reset_done(&self, control: &Control) -> Result<NotTaken> {
        let mut mode = self.mode.lock();
        if let Some(capabilities) = self.capabilities.as_ref() {
            Capabilities::negotiate(control)?;
            if capabilities.has_packet_offload() {
                let refused = !packet::filter::set_up(control)?;
                self.counters.control_errors.add(refused.into());
                self.filter_refused.store(refused, Relaxed);
            }
        }
        mode.resetting = false;
        mode.left = self.wanted.get();
        self.some_absent.store(false, Relaxed);
        let mut not_taken = NotTaken::default();
        for direction in [Direction::In, Direction::Out] {
            // Slots whose DESTROY was never answered: the reset has destroyed their objects.
            self.states.release_abandoned(direction);
            self.for_each_live(direction, |handle, x| {
                if direction == Direction::In && self.is_left(x, handle) {
                    self.states.with_data(handle, |sa| sa.absent = true);
                } else if !self.reinstall(control, x, handle) {
                    not_taken.add(self.is_packet(handle));
                }
            });
        }
        self.counters.left.add(not_taken.left);
        Ok(not_taken)
    }

    /// Reads the numbers of the SAs of packet offload before a reset, while the NIC still answers and no
    /// traffic runs; `all_sent`: it has sent what it was given. Sleeps.
    pub(crate) fn remember_numbers(&self, control: &Control, all_sent: bool) {
        if self.mode.lock().resetting {
            // A reset has failed. No traffic has run since.
            return;
        }
        for direction in [Direction::Out, Direction::In] {
            self.for_each_live(direction, |handle, x| {
                let Some(sa) = self.packet_sa(handle) else {
                    return;
                };
                let mut left = None;
                let read = self.read(control, handle, x, |number, bitmap| {
                    left = Some(packet::Left::new(number, bitmap)?);
                    Ok(())
                });
                let is_known = read.is_ok() && (all_sent || direction == Direction::In);
                sa.leave(left.filter(|_| is_known));
            });
        }
    }

    /// Sets whether another device takes the interface's frames; [`Self::follow`] acts on it.
    pub(crate) fn set_diverted(&self, diverted: bool) {
        self.wanted.set_diverted(diverted);
    }

    /// Has the NIC decrypt nothing while a receive queue has memory of sockets (AF_XDP), where user space can change what was
    /// verified. Sleeps, and may wait for the NIC; RTNL may be held.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there are SAs of packet offload, behind which there is no software.
    pub(crate) fn begin_lending(&self, control: &Control) -> Result {
        let mode = self.mode.lock();
        if self.has_packet_sas() {
            return Err(EBUSY);
        }
        self.wanted.add_lent();
        drop(mode);
        self.follow(control);
        Ok(())
    }

    /// Undoes [`Self::begin_lending`], when the queue has its own memory again.
    pub(crate) fn end_lending(&self, control: &Control) {
        self.wanted.remove_lent();
        self.follow(control);
    }

    /// Sets the IP versions for which NDIS has ESP off, and those for which it has not set receive
    /// processing going; [`Self::follow`] acts on it. Does not sleep.
    #[cfg(espnic_ndis)]
    pub(crate) fn set_by_ndis(&self, off: Versions, waiting: Versions) {
        self.wanted.set_by_ndis(off, waiting);
    }

    /// Takes the inbound SAs that must be left to software out of the NIC, and gives the others back to
    /// it; returns how many moved. Sleeps, and may wait for the NIC; RTNL may be held.
    ///
    /// Reads the reasons under the lock, so the last of several callers sees all of them. Adds read them
    /// under the lock as well, so no SA is missed.
    pub(crate) fn follow(&self, control: &Control) -> u64 {
        let mut mode = self.mode.lock();
        let wanted = self.wanted.get();
        if core::mem::replace(&mut mode.left, wanted) == wanted || mode.resetting {
            // The end of the reset reads the reasons.
            return 0;
        }
        let (mut taken, mut given) = (0u64, 0u64);
        self.for_each_live(Direction::In, |handle, x| {
            if self.is_left(x, handle) {
                taken = taken.saturating_add(self.withdraw(control, handle).into());
            } else if self.lacks(handle) {
                given = given.saturating_add(self.reinstall(control, x, handle).into());
            }
        });
        self.counters.left.add(taken);
        taken.saturating_add(given)
    }

    /// Marks an SA that was just added as one of the NDIS layer, and takes it out of the NIC if receive
    /// processing does not run yet. Sleeps.
    #[cfg(espnic_ndis)]
    pub(crate) fn claim_for_ndis(&self, control: &Control, x: &State, handle: Handle) {
        let mode = self.mode.lock();
        self.states.with_data(handle, |sa| sa.by_ndis = true);
        let left = handle.direction == Direction::In && self.is_left(x, handle);
        // The end of a reset reads the reasons, too.
        if left && !mode.resetting && self.withdraw(control, handle) {
            self.counters.left.add(1);
        }
    }

    /// Whether the SA must be left to software.
    pub(super) fn is_left(&self, x: &State, handle: Handle) -> bool {
        if self.is_packet(handle) {
            // There is no software behind it.
            return false;
        }
        let by_ndis = self.states.with_data(handle, |sa| sa.by_ndis);
        self.wanted.get().has(Question {
            direction: handle.direction,
            family: x.family(),
            by_ndis: by_ndis == Some(true),
        })
    }

    /// Whether software must encrypt for an outbound SA from now on. Per packet.
    pub(crate) fn is_for_software(&self, x: &State, handle: Handle) -> bool {
        self.is_absent(handle) || (self.wanted.is_anything_off() && self.is_left(x, handle))
    }

    /// Whether the NIC does not have the outbound SA. Per packet.
    pub(crate) fn is_absent(&self, handle: Handle) -> bool {
        self.some_absent.load(Relaxed) && self.lacks(handle)
    }

    /// Whether the SA is one of packet offload.
    pub(super) fn is_packet(&self, handle: Handle) -> bool {
        self.states.with_data(handle, |sa| sa.packet.is_some()) == Some(true)
    }

    fn lacks(&self, handle: Handle) -> bool {
        self.states.with_data(handle, |sa| sa.absent) == Some(true)
    }

    /// Creates the object of a live state again, with a new random part for its IVs; false if the NIC
    /// does not take it.
    fn reinstall(&self, control: &Control, x: &State, handle: Handle) -> bool {
        let esn_hi = seq::hi(x.highest_seen());
        let begun = self.begin(handle, |sa| {
            sa.esn_hi = esn_hi;
            sa.pending_seq = None;
            true
        });
        if !begun {
            return true;
        }
        let packet = self.packet_sa(handle);
        let created = match &packet {
            None => self
                .check(x)
                .map_err(|_| EINVAL)
                .and_then(|supported| crypto::object::create(control, x, handle, &supported)),
            Some(sa) => self.resume(control, x, handle, sa),
        };
        let absent = created.is_err();
        if absent {
            self.counters.control_errors.add(1);
        }
        let deleted = self.end(control, handle, absent);
        if absent && !deleted && (packet.is_some() || self.is_below_bond(x)) {
            // Software does no work for packet offload. A bond does not ask `offload_ok`, so its packets
            // would be dropped.
            x.expire();
        }
        !absent
    }

    /// Creates the object of an SA of packet offload again, with numbers that were not used before.
    ///
    /// # Errors
    ///
    /// `EINVAL` if nobody knows them, or the SA has limits, of which nobody knows how much is left, or
    /// nothing is.
    fn resume(&self, control: &Control, x: &State, handle: Handle, sa: &packet::Sa) -> Result {
        let mut checked = self.check_packet(x).map_err(|_| EINVAL)?;
        let left = sa.take_left();
        if (checked.has_window() || checked.has_limits()) && left.is_none() {
            return Err(EINVAL);
        }
        if checked.has_limits() {
            checked.use_up(x.usage())?;
        }
        let window = left.as_ref().filter(|_| checked.has_window());
        let (number, bitmap) = match window {
            Some(left) => (left.number(), left.bitmap()),
            None => (checked.number().max(sa.last_possible()), [].as_slice()),
        };
        if checked.is_last(number) {
            return Err(EINVAL);
        }
        let told = packet::object::create(control, x, handle, &checked, number, bitmap)?;
        sa.restart(number);
        self.states.with_data(handle, |sa| {
            if let Some(packet) = &mut sa.packet {
                packet.counted.restart();
                packet.told = told;
            }
        });
        Ok(())
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
            self.counters.control_errors.add(1);
        }
        self.end(control, handle, gone.is_ok());
        gone.is_ok()
    }

    /// Marks an SA as changing. If its state dies now, `delete` sends no DESTROY, and [`Self::end`] does
    /// it. False if the state is dead already, or `wanted` says no.
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

    /// Ends what [`Self::begin`] began. If the state died meanwhile, destroys its object and returns true.
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
