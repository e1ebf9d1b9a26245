// SPDX-License-Identifier: GPL-2.0

//! ESP crypto offload: the life of an SA.
//!
//! An SA is a slot in the driver's state table and an object in the NIC, under the same id and with
//! the same epoch. The slot outlives both the state and the object:
//!
//! * [`Ipsec::add`] creates the object and waits for the NIC's word;
//! * [`Ipsec::delete`], which must not sleep, posts the DESTROY if there are memory and room for it;
//! * [`Ipsec::free`] makes up for that, waits until the NIC has destroyed the object, then releases the
//!   slot.
//!
//! If the NIC never answers, the slot stays taken, so that no packet of the old SA can be taken for
//! one of a new SA. A reset of the NIC destroys all objects; `revive` creates those of the live states
//! again. It also takes objects out of the NIC while software must do the work.

mod algorithm;
mod capability;
mod check;
pub(crate) mod left;
mod object;
mod revive;
pub(crate) mod rx;
pub(crate) mod tx;

use crate::{
    control::Control,
    nic::Nic, //
};
use capability::Capabilities;
use check::Supported;
use espnic_esp::seq;
use espnic_wire::admin::Command;
#[cfg(espnic_ndis)]
use espnic_wire::cap::XSaEntry;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    }, //
};
use kernel_net::{
    net::{
        netlink::ExtAck,
        xfrm::{
            Direction,
            Handle,
            State,
            StateTable, //
        }, //
    },
    virtio::control::Waiter, //
};
use left::{
    Left,
    Wanted, //
};

/// The IPsec side of a NIC.
#[pin_data]
pub(crate) struct Ipsec {
    #[pin]
    pub(crate) states: StateTable<Sa>,
    /// Set once the driver and the NIC have agreed.
    capabilities: SetOnce<Capabilities>,
    /// Held while an SA is added or freed, and while objects come and go under living states.
    #[pin]
    mode: Mutex<Mode>,
    /// Which SAs must be left to software; `follow` acts on it.
    wanted: Wanted,
    added: Atomic<u64>,
    deleted: Atomic<u64>,
    refused: Atomic<u64>,
    control_errors: Atomic<u64>,
    resets: Atomic<u64>,
    /// SAs that went from the NIC to software, since the start.
    left: Atomic<u64>,
    /// Whether the NIC may lack an outbound SA.
    some_absent: Atomic<bool>,
}

/// Whether commands may be sent now, and for which SAs.
#[derive(Clone, Copy, Default)]
struct Mode {
    /// The NIC is being reset.
    resetting: bool,
    /// What [`Ipsec::follow`] saw last.
    left: Left,
}

/// What the driver keeps for an SA.
pub(crate) struct Sa {
    life: Life,
    /// ESN, inbound: the high half of the sequence number that the NIC has, or is about to get.
    esn_hi: u32,
    /// ESN, inbound: the sequence number that the NIC must still get.
    untold: Option<u64>,
    /// The NIC does not have the object, so software does its work: the NIC did not take it back after a
    /// reset, or must not decrypt now.
    absent: bool,
    /// It was made through the NDIS layer.
    by_ndis: bool,
}

/// How far the life of an SA's object has come.
enum Life {
    /// The object lives.
    Live,
    /// The object is being created again, or destroyed, under the living state; `deleted` if the state
    /// died meanwhile.
    Changing { deleted: bool },
    /// The command to destroy it is being sent.
    Sending,
    /// The command to destroy it was sent.
    Destroying(Arc<Waiter>),
}

impl Ipsec {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            states <- StateTable::new(),
            capabilities: SetOnce::new(),
            mode <- new_mutex!(Mode::default()),
            wanted: Wanted::new(),
            added: Atomic::new(0),
            deleted: Atomic::new(0),
            refused: Atomic::new(0),
            control_errors: Atomic::new(0),
            resets: Atomic::new(0),
            left: Atomic::new(0),
            some_absent: Atomic::new(false),
        })
    }

    /// Agrees with the NIC on what is offloaded. Before the netdev is registered. Sleeps.
    pub(crate) fn set_up(&self, control: &Control) -> Result {
        let capabilities = Capabilities::negotiate(control)?;
        // Object ids are below the limits, as slots are.
        self.states
            .set_limit(Direction::In, capabilities.limit_in)?;
        self.states
            .set_limit(Direction::Out, capabilities.limit_out)?;
        self.capabilities.populate(capabilities);
        Ok(())
    }

    /// The number of SAs of one direction that the NIC takes.
    #[cfg(espnic_ndis)]
    pub(crate) fn limit(&self, direction: Direction) -> u32 {
        match (self.capabilities.as_ref(), direction) {
            (None, _) => 0,
            (Some(capabilities), Direction::In) => capabilities.limit_in,
            (Some(capabilities), Direction::Out) => capabilities.limit_out,
        }
    }

    /// Whether the NIC offers everything in `entry`.
    #[cfg(espnic_ndis)]
    pub(crate) fn offers(&self, entry: &XSaEntry) -> bool {
        self.capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.offers(entry))
    }

    /// Added, deleted and refused SAs, those that a reset left to software, control commands that
    /// failed, resets of the NIC.
    pub(crate) fn counters(&self) -> [u64; 6] {
        [
            self.added.load(Relaxed),
            self.deleted.load(Relaxed),
            self.refused.load(Relaxed),
            self.left.load(Relaxed),
            self.control_errors.load(Relaxed),
            self.resets.load(Relaxed),
        ]
    }

    fn check<'a>(&self, x: &'a State) -> Result<Supported<'a>, &'static CStr> {
        let none = c"espnic: the NIC has no ESP crypto offload";
        check::supported(x, self.capabilities.as_ref().ok_or(none)?)
    }

    /// Checks like [`Self::check`], and what only a new state must fulfil.
    fn check_new<'a>(&self, x: &'a State) -> Result<Supported<'a>, &'static CStr> {
        if x.direction() == Some(Direction::Out) && x.in_last_round() {
            return Err(c"espnic: the sequence numbers are nearly used up, take a new key");
        }
        self.check(x)
    }

    /// Takes `x`, or refuses it with an extack message. Process context.
    pub(crate) fn add(
        &self,
        control: &Control,
        x: &State,
        handle: Handle,
        extack: &mut ExtAck,
    ) -> Result {
        let supported = match self.check_new(x) {
            Ok(supported) => supported,
            Err(sentence) => {
                self.refused.fetch_add(1, Relaxed);
                extack.set(sentence);
                self.states.release(handle);
                return Err(EINVAL);
            }
        };
        let mode = self.mode.lock();
        let result = if mode.resetting {
            Err(EAGAIN)
        } else if handle.direction == Direction::In && self.is_left(x, handle) {
            self.keep(x, handle, true);
            Ok(())
        } else {
            self.install(control, x, handle, &supported)
        };
        match result {
            Ok(()) => {
                self.added.fetch_add(1, Relaxed);
            }
            Err(error) => {
                self.control_errors.fetch_add(1, Relaxed);
                extack.set(failure(error));
                if error == ETIMEDOUT {
                    // The NIC may have the object, so the slot stays taken. If it was only late, this
                    // destroys the object, which nobody would use.
                    let _ = object::destroy(control, handle, GFP_KERNEL);
                } else {
                    self.states.release(handle);
                }
            }
        }
        result
    }

    fn install(
        &self,
        control: &Control,
        x: &State,
        handle: Handle,
        supported: &Supported<'_>,
    ) -> Result {
        object::create(control, x, handle, supported)?;
        self.keep(x, handle, false);
        Ok(())
    }

    /// Stores the data of an SA that was taken; `absent` if the NIC does not have its object.
    fn keep(&self, x: &State, handle: Handle, absent: bool) {
        let sa = Sa {
            life: Life::Live,
            esn_hi: seq::hi(x.highest_seen()),
            untold: None,
            absent,
            by_ndis: false,
        };
        self.states.set_data(handle, sa);
        if absent {
            self.left.fetch_add(1, Relaxed);
        }
    }

    /// Makes the NIC destroy the object of a dead state. Does not sleep.
    pub(crate) fn delete(&self, control: &Control, handle: Handle) {
        self.deleted.fetch_add(1, Relaxed);
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
            Some(Life::Live) => object::post_destroy(control, handle, GFP_ATOMIC),
            Some(other) => other,
        };
        self.states.with_data(handle, |sa| sa.life = life);
    }

    /// Waits until the NIC has destroyed the object, and releases the slot. Sleeps.
    pub(crate) fn free(&self, control: &Control, handle: Handle) {
        let mode = self.mode.lock();
        let Some(sa) = self.states.take_data(handle) else {
            return;
        };
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
            Ok(()) | Err(ENXIO) => self.states.release(handle),
            // The NIC says that it does not have it.
            Err(error) if sa.absent && error != ETIMEDOUT => self.states.release(handle),
            Err(_) => {
                self.control_errors.fetch_add(1, Relaxed);
            }
        }
    }

    /// Compares the high half of an inbound ESN state with that of the NIC. If they differ, returns true,
    /// and the caller must schedule [`Self::tell_sequence`]. Per packet, under the state's lock, no
    /// sleeping.
    ///
    /// The NIC follows the sequence numbers of the packets; this is for jumps that it cannot see, such as
    /// `XFRM_MSG_NEWAE`.
    pub(crate) fn sequence_moved(&self, x: &State, handle: Handle) -> bool {
        if handle.direction != Direction::In {
            return false;
        }
        let number = x.highest_seen_locked();
        let moved = self.states.with_data(handle, |sa| {
            let moved = sa.esn_hi != seq::hi(number);
            if moved {
                sa.esn_hi = seq::hi(number);
                sa.untold = Some(number);
            }
            moved
        });
        moved.unwrap_or(false)
    }

    /// Sends the sequence numbers that have moved to the NIC. Sleeps.
    pub(crate) fn tell_sequence(&self, control: &Control) {
        let mode = self.mode.lock();
        if mode.resetting {
            return;
        }
        self.for_each_live(Direction::In, |handle, x| {
            let untold = self
                .states
                .with_data(handle, |sa| sa.untold.take().filter(|_| !sa.absent));
            if let Some(number) = untold.flatten() {
                if self.modify(control, x, handle, number).is_err() {
                    // The NIC goes on with the numbers of the packets; the next jump tries again.
                    self.control_errors.fetch_add(1, Relaxed);
                }
            }
        });
    }

    fn modify(&self, control: &Control, x: &State, handle: Handle, number: u64) -> Result {
        let supported = self.check(x).map_err(|_| EINVAL)?;
        let (obj_type, id) = object::name(handle);
        let describe = |object: &mut _| object::describe(object, x, handle, &supported, number);
        object::send(control, describe, |object| Command::ObjModify {
            obj_type,
            id,
            object,
        })
    }

    /// Expires all states, so that key managers make new ones: the interface goes down, and the stack
    /// would delete them without telling anybody. Sleeps.
    ///
    /// States of a bond stay, because the bond moves them to another NIC.
    pub(crate) fn expire_all(&self) {
        for direction in [Direction::In, Direction::Out] {
            self.for_each_live(direction, |_, x| {
                if x.names_device_of::<Nic>() {
                    x.expire();
                }
            });
        }
    }

    fn for_each_live(&self, direction: Direction, mut action: impl FnMut(Handle, &State)) {
        let mut from = 0;
        while let Some((handle, x)) = self.states.next_live(direction, from) {
            from = handle.id.saturating_add(1);
            action(handle, &x);
        }
    }

    /// Counts a reset that the NIC has survived.
    pub(crate) fn count_reset(&self) {
        self.resets.fetch_add(1, Relaxed);
    }
}

/// The extack message for an SA that finds no room.
pub(crate) const TABLE_FULL: &CStr = c"espnic: the NIC's table of security associations is full";

/// The extack message for an SA that the NIC did not create.
fn failure(error: Error) -> &'static CStr {
    match error {
        ENOSPC => TABLE_FULL,
        ENOMEM => c"espnic: out of memory",
        ETIMEDOUT => c"espnic: the NIC did not answer in time",
        ENODEV => c"espnic: the NIC's control queue is broken, bind the driver again",
        EBUSY => c"espnic: the NIC's control queue is full, try again",
        EAGAIN | ENXIO => c"espnic: the NIC is being reset, try again",
        _ => c"espnic: the NIC refused the security association",
    }
}
