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
//! one of a new SA. A reset of the NIC destroys all objects; [`Ipsec::reset_done`] creates those of the
//! live states again.

mod algorithm;
mod capability;
mod check;
mod object;
pub(crate) mod rx;
pub(crate) mod tx;

use crate::{
    control::Control,
    nic::Nic, //
};
use capability::Capabilities;
use check::Supported;
use espnic_esp::seq;
#[cfg(espnic_ndis)]
use espnic_wire::cap::XSaEntry;
use espnic_wire::{
    admin::Command,
    sa::SaObject, //
};
use kernel::{
    alloc::Flags,
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
    },
    time::Delta, //
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
    random,
    virtio::control::Waiter, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// How often and after how many milliseconds a command is sent again that found the control queue full
/// or no memory.
const SEND_RETRIES: u32 = 100;
const SEND_RETRY_MS: i64 = 10;

/// The IPsec side of a NIC.
#[pin_data]
pub(crate) struct Ipsec {
    #[pin]
    pub(crate) states: StateTable<Sa>,
    /// Set once the driver and the NIC have agreed.
    capabilities: SetOnce<Capabilities>,
    /// Whether the NIC is being reset. Held while an SA is added or freed.
    #[pin]
    resetting: Mutex<bool>,
    added: Atomic<u64>,
    deleted: Atomic<u64>,
    refused: Atomic<u64>,
    control_errors: Atomic<u64>,
    resets: Atomic<u64>,
    /// SAs that the NIC did not take back after a reset, since the start.
    left: Atomic<u64>,
    /// Whether there may be an SA now that the NIC did not take back.
    some_absent: Atomic<bool>,
}

/// What the driver keeps for an SA.
pub(crate) struct Sa {
    life: Life,
    /// ESN, inbound: the high half of the sequence number that the NIC was told, or is about to be.
    esn_hi: u32,
    /// ESN, inbound: the number that the NIC must be told.
    untold: Option<u64>,
    /// The NIC did not take it back after a reset: software does its work.
    absent: bool,
}

/// How far the life of an SA's object has come.
enum Life {
    /// The object lives.
    Live,
    /// The object is being created again after a reset; `deleted` if the state died meanwhile.
    Reviving { deleted: bool },
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
            resetting <- new_mutex!(false),
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

    /// How many SAs of one direction the NIC takes.
    #[cfg(espnic_ndis)]
    pub(crate) fn limit(&self, direction: Direction) -> u32 {
        match (self.capabilities.as_ref(), direction) {
            (None, _) => 0,
            (Some(capabilities), Direction::In) => capabilities.limit_in,
            (Some(capabilities), Direction::Out) => capabilities.limit_out,
        }
    }

    /// Whether the NIC does all that `entry` says.
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

    /// As [`Self::check`], with what is asked of a new state only.
    fn check_new<'a>(&self, x: &'a State) -> Result<Supported<'a>, &'static CStr> {
        if x.direction() == Some(Direction::Out) && x.in_last_round() {
            return Err(c"espnic: the sequence numbers are nearly used up, take a new key");
        }
        self.check(x)
    }

    /// Takes `x` or refuses it with a sentence. Process context.
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
        let resetting = self.resetting.lock();
        let result = if *resetting {
            Err(EAGAIN)
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
                    // The NIC may have the object, so the slot stays taken. If it is only late, it
                    // shall not keep an object that nobody knows.
                    let _ = destroy(control, handle, GFP_KERNEL);
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
        create(control, x, handle, supported)?;
        let sa = Sa {
            life: Life::Live,
            esn_hi: seq::hi(x.highest_seen()),
            untold: None,
            absent: false,
        };
        self.states.set_data(handle, sa);
        Ok(())
    }

    /// Has the NIC destroy the object of a dead state. Does not sleep.
    pub(crate) fn delete(&self, control: &Control, handle: Handle) {
        self.deleted.fetch_add(1, Relaxed);
        // A slot without data is free for the next SA after a reset, so the data stays.
        let life = self.states.with_data(handle, |sa| {
            let next = match sa.life {
                Life::Reviving { .. } => Life::Reviving { deleted: true },
                _ => Life::Sending,
            };
            core::mem::replace(&mut sa.life, next)
        });
        let life = match life {
            None | Some(Life::Reviving { .. }) => return,
            Some(Life::Live) => post_destroy(control, handle, GFP_ATOMIC),
            Some(other) => other,
        };
        self.states.with_data(handle, |sa| sa.life = life);
    }

    /// Waits for the end of the object and releases the slot. Sleeps.
    pub(crate) fn free(&self, control: &Control, handle: Handle) {
        let resetting = self.resetting.lock();
        let Some(sa) = self.states.take_data(handle) else {
            return;
        };
        let destroyed = match sa.life {
            // The reset has destroyed it.
            _ if *resetting => Err(ENXIO),
            Life::Destroying(waiter) => Ok(waiter),
            Life::Live | Life::Sending | Life::Reviving { .. } => {
                destroy_patiently(control, handle)
            }
        };
        let done = destroyed
            .and_then(|waiter| control.wait(&waiter))
            .and_then(|answer| answer.result().map(|_| ()));
        match done {
            // ENXIO: the NIC does not have it any more, because it was reset.
            Ok(()) | Err(ENXIO) => self.states.release(handle),
            // The NIC says that it never had it.
            Err(error) if sa.absent && error != ETIMEDOUT => self.states.release(handle),
            Err(_) => {
                self.control_errors.fetch_add(1, Relaxed);
            }
        }
    }

    /// Compares the high half of an inbound ESN state with what the NIC was told; true if the NIC
    /// must be told by [`Self::tell_sequence`]. Per packet, under the state's lock, no sleeping.
    ///
    /// The NIC follows the numbers by itself; this is for jumps that it cannot see, such as
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

    /// Tells the NIC the sequence numbers that have moved. Sleeps.
    pub(crate) fn tell_sequence(&self, control: &Control) {
        let resetting = self.resetting.lock();
        if *resetting {
            return;
        }
        self.for_each_live(Direction::In, |handle, x| {
            let untold = self.states.with_data(handle, |sa| sa.untold.take());
            if let Some(number) = untold.flatten() {
                if self.modify(control, x, handle, number).is_err() {
                    // The NIC goes on with the numbers that it sees; the next jump tries again.
                    self.control_errors.fetch_add(1, Relaxed);
                }
            }
        });
    }

    fn modify(&self, control: &Control, x: &State, handle: Handle, number: u64) -> Result {
        let supported = self.check(x).map_err(|_| EINVAL)?;
        let (obj_type, id) = object::name(handle);
        let describe = |object: &mut _| object::describe(object, x, handle, &supported, number);
        send_object(control, describe, |object| Command::ObjModify {
            obj_type,
            id,
            object,
        })
    }

    /// Before a reset of the NIC: no more commands. Waits for running ones.
    pub(crate) fn reset_prepare(&self) {
        *self.resetting.lock() = true;
    }

    /// After a reset: agrees anew and creates the objects of all live states again; how many of them
    /// the NIC did not take. Sleeps.
    pub(crate) fn reset_done(&self, control: &Control) -> Result<u64> {
        let mut resetting = self.resetting.lock();
        if self.capabilities.as_ref().is_some() {
            Capabilities::negotiate(control)?;
        }
        *resetting = false;
        self.some_absent.store(false, Relaxed);
        let mut left = 0u64;
        for direction in [Direction::In, Direction::Out] {
            // Of commands that were never answered: the reset was the answer.
            self.states.release_abandoned(direction);
            self.for_each_live(direction, |handle, x| {
                if !self.revive(control, x, handle) {
                    left = left.saturating_add(1);
                }
            });
        }
        self.left.fetch_add(left, Relaxed);
        Ok(left)
    }

    /// Whether the NIC did not take the SA back after a reset, so that software must do its work. Per
    /// packet.
    pub(crate) fn is_absent(&self, handle: Handle) -> bool {
        self.some_absent.load(Relaxed)
            && self.states.with_data(handle, |sa| sa.absent) == Some(true)
    }

    /// The interface goes down, after which the stack deletes the states and tells nobody: they
    /// expire before, so that key managers make new ones. Sleeps.
    ///
    /// States of a bond stay: it gives them to another NIC.
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

    /// Creates the object of a live state again, with a new random part in its IVs; false if the NIC
    /// does not take it.
    fn revive(&self, control: &Control, x: &State, handle: Handle) -> bool {
        let esn_hi = seq::hi(x.highest_seen());
        // The state may die at any moment: it is marked, so that a DESTROY cannot overtake.
        let marked = self.states.with_data(handle, |sa| {
            let live = matches!(sa.life, Life::Live);
            if live {
                *sa = Sa {
                    life: Life::Reviving { deleted: false },
                    esn_hi,
                    untold: None,
                    absent: false,
                };
            }
            live
        });
        if marked != Some(true) {
            return true;
        }
        let created = self
            .check(x)
            .map_err(|_| EINVAL)
            .and_then(|supported| create(control, x, handle, &supported));
        let absent = created.is_err();
        if absent {
            self.control_errors.fetch_add(1, Relaxed);
            self.some_absent.store(true, Relaxed);
        }
        let deleted = self.states.with_data(handle, |sa| {
            let deleted = matches!(sa.life, Life::Reviving { deleted: true });
            sa.absent = absent;
            sa.life = if deleted { Life::Sending } else { Life::Live };
            deleted
        });
        if deleted == Some(true) {
            let life = post_destroy(control, handle, GFP_KERNEL);
            self.states.with_data(handle, |sa| sa.life = life);
        } else if absent && !x.names_device_of::<Nic>() {
            // A bond does not ask whether the NIC can do it.
            x.expire();
        }
        !absent
    }

    /// Counts a reset that the NIC has survived.
    pub(crate) fn count_reset(&self) {
        self.resets.fetch_add(1, Relaxed);
    }
}

fn create(control: &Control, x: &State, handle: Handle, supported: &Supported<'_>) -> Result {
    let (obj_type, id) = object::name(handle);
    let seen = x.highest_seen();
    let describe = |object: &mut _| object::describe(object, x, handle, supported, seen);
    send_object(control, describe, |object| Command::ObjCreate {
        obj_type,
        id,
        object,
    })
}

/// Sends the command that `command` makes of the SA object which `describe` fills, and erases it.
fn send_object(
    control: &Control,
    describe: impl FnOnce(&mut SaObject),
    command: impl for<'a> FnOnce(&'a [u8]) -> Command<'a>,
) -> Result {
    // Filled where it stays: moving it would leave copies of the key on the stack.
    let mut object = KBox::new(SaObject::new_zeroed(), GFP_KERNEL)?;
    describe(&mut object);
    let answer = control.execute(&command(object.as_bytes()), size_of::<SaObject>(), 0);
    random::erase(object.as_mut_bytes());
    answer?.result().map(|_| ())
}

/// Tells the NIC to destroy the object of `handle`. Sleeps only if `flags` allow it.
///
/// # Errors
///
/// Those of [`Control::post`].
fn destroy(control: &Control, handle: Handle, flags: Flags) -> Result<Arc<Waiter>> {
    let (obj_type, id) = object::name(handle);
    control.post(&Command::ObjDestroy { obj_type, id }, 0, 0, flags)
}

/// As [`destroy`]; if that is not possible now, [`Ipsec::free`] tries again.
fn post_destroy(control: &Control, handle: Handle, flags: Flags) -> Life {
    destroy(control, handle, flags).map_or(Life::Live, Life::Destroying)
}

/// As [`destroy`], for as long as a full queue or a lack of memory may take. Sleeps.
fn destroy_patiently(control: &Control, handle: Handle) -> Result<Arc<Waiter>> {
    for _ in 0..SEND_RETRIES {
        match destroy(control, handle, GFP_KERNEL) {
            Err(EBUSY | ENOMEM) if !control.is_silent() => {}
            result => return result,
        }
        kernel::time::delay::fsleep(Delta::from_millis(SEND_RETRY_MS));
    }
    destroy(control, handle, GFP_KERNEL)
}

/// The sentence for an SA that the NIC did not create.
fn failure(error: Error) -> &'static CStr {
    match error {
        ENOSPC => c"espnic: the NIC's table of security associations is full",
        ENOMEM => c"espnic: out of memory",
        ETIMEDOUT => c"espnic: the NIC did not answer in time",
        ENODEV => c"espnic: the NIC's control queue is broken, bind the driver again",
        EBUSY => c"espnic: the NIC's control queue is full, try again",
        EAGAIN | ENXIO => c"espnic: the NIC is being reset, try again",
        _ => c"espnic: the NIC refused the security association",
    }
}
