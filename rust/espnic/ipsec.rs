// SPDX-License-Identifier: GPL-2.0

//! ESP crypto offload: the life of an SA.
//!
//! An SA is a slot in the driver's state table and an object in the NIC, under the same id and with
//! the same epoch. The slot outlives both the state and the object:
//!
//! * [`Ipsec::add`] creates the object and waits for the NIC's word;
//! * [`Ipsec::delete`], which must not sleep, posts the DESTROY that `add` has prepared;
//! * [`Ipsec::free`] waits until the NIC has destroyed the object, then releases the slot.
//!
//! If the NIC never answers, the slot stays taken, so that no packet of the old SA can be taken for
//! one of a new SA.

mod capability;
mod check;
pub(crate) mod rx;
pub(crate) mod tx;

use crate::control::{
    Control,
    Prepared, //
};
use capability::Capabilities;
use check::Supported;
use espnic_wire::{
    admin::Command,
    cap,
    sa::{
        self,
        SaObject,
        SaTail, //
    },
    U16,
    U32,
    U64, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
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

/// How often and after how many milliseconds a full control queue is tried again.
const SEND_RETRIES: u32 = 100;
const SEND_RETRY_MS: i64 = 10;

/// The IPsec side of a NIC.
#[pin_data]
pub(crate) struct Ipsec {
    #[pin]
    pub(crate) states: StateTable<Sa>,
    /// Set once the driver and the NIC have agreed.
    capabilities: SetOnce<Capabilities>,
    added: Atomic<u64>,
    deleted: Atomic<u64>,
    refused: Atomic<u64>,
    control_errors: Atomic<u64>,
}

/// How far the destruction of an SA's object has come.
pub(crate) enum Sa {
    /// The object lives; the command to destroy it is ready.
    Live(Prepared),
    /// The command was sent.
    Destroying(Arc<Waiter>),
}

impl Ipsec {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            states <- StateTable::new(),
            capabilities: SetOnce::new(),
            added: Atomic::new(0),
            deleted: Atomic::new(0),
            refused: Atomic::new(0),
            control_errors: Atomic::new(0),
        })
    }

    /// Agrees with the NIC on what is offloaded. Before the netdev is registered. Sleeps.
    pub(crate) fn set_up(&self, control: &Control) -> Result {
        let capabilities = Capabilities::negotiate(control)?;
        // Object ids are below the limit, and id 0 is not used.
        let slots = |limit: u32| limit.saturating_sub(1);
        self.states
            .set_limit(Direction::In, slots(capabilities.limit_in))?;
        self.states
            .set_limit(Direction::Out, slots(capabilities.limit_out))?;
        self.capabilities.populate(capabilities);
        Ok(())
    }

    /// Added, deleted and refused SAs, and control commands that failed.
    pub(crate) fn counters(&self) -> (u64, u64, u64, u64) {
        (
            self.added.load(Relaxed),
            self.deleted.load(Relaxed),
            self.refused.load(Relaxed),
            self.control_errors.load(Relaxed),
        )
    }

    /// Takes `x` or refuses it with a sentence. Process context.
    pub(crate) fn add(
        &self,
        control: &Control,
        x: &State,
        handle: Handle,
        extack: &mut ExtAck,
    ) -> Result {
        let supported = self
            .capabilities
            .as_ref()
            .ok_or(c"espnic: the NIC has no ESP crypto offload")
            .and_then(|capabilities| check::supported(x, capabilities));
        let supported = match supported {
            Ok(supported) => supported,
            Err(sentence) => {
                self.refused.fetch_add(1, Relaxed);
                extack.set(sentence);
                self.states.release(handle);
                return Err(EINVAL);
            }
        };
        let result = self.create(control, x, handle, &supported);
        match result {
            Ok(()) => {
                self.added.fetch_add(1, Relaxed);
            }
            Err(error) => {
                self.control_errors.fetch_add(1, Relaxed);
                extack.set(failure(error));
                // Without an answer the NIC may have the object, so the slot stays taken.
                if error != ETIMEDOUT {
                    self.states.release(handle);
                }
            }
        }
        result
    }

    fn create(
        &self,
        control: &Control,
        x: &State,
        handle: Handle,
        supported: &Supported<'_>,
    ) -> Result {
        let (obj_type, id) = object(handle);
        let destroy = Control::prepare(&Command::ObjDestroy { obj_type, id }, 0, 0)?;
        let mut object = KBox::new(describe(x, handle, supported), GFP_KERNEL)?;
        let create = Command::ObjCreate {
            obj_type,
            id,
            object: object.as_bytes(),
        };
        let answer = control.execute(&create, size_of::<SaObject>(), 0);
        random::erase(object.as_mut_bytes());
        answer?.result()?;
        self.states.set_data(handle, Sa::Live(destroy));
        Ok(())
    }

    /// Has the NIC destroy the object of a dead state. Does not sleep.
    pub(crate) fn delete(&self, control: &Control, handle: Handle) {
        self.deleted.fetch_add(1, Relaxed);
        if let Some(Sa::Live(destroy)) = self.states.take_data(handle) {
            // If the queue has no room, `free` tries again.
            let sa = match control.send(destroy) {
                Ok(waiter) => Sa::Destroying(waiter),
                Err(destroy) => Sa::Live(destroy),
            };
            self.states.set_data(handle, sa);
        }
    }

    /// Waits for the end of the object and releases the slot. Sleeps.
    pub(crate) fn free(&self, control: &Control, handle: Handle) {
        let destroyed = match self.states.take_data(handle) {
            Some(Sa::Destroying(waiter)) => Ok(waiter),
            Some(Sa::Live(destroy)) => send_patiently(control, destroy),
            None => return,
        };
        let done = destroyed
            .and_then(|waiter| Control::wait(&waiter))
            .and_then(|answer| answer.result().map(|_| ()));
        match done {
            Ok(()) => self.states.release(handle),
            Err(_) => {
                self.control_errors.fetch_add(1, Relaxed);
            }
        }
    }
}

fn send_patiently(control: &Control, mut command: Prepared) -> Result<Arc<Waiter>> {
    for _ in 0..SEND_RETRIES {
        command = match control.send(command) {
            Ok(waiter) => return Ok(waiter),
            Err(command) => command,
        };
        if control.why_refused() != EBUSY {
            break;
        }
        kernel::time::delay::fsleep(Delta::from_millis(SEND_RETRY_MS));
    }
    Err(control.why_refused())
}

/// The NIC's name for `handle`: object type and id.
fn object(handle: Handle) -> (u16, u32) {
    match handle.direction {
        Direction::In => (sa::OBJ_INB_SA, handle.id),
        Direction::Out => (sa::OBJ_OUTB_SA, handle.id),
    }
}

/// The sentence for an SA that the NIC did not create.
fn failure(error: Error) -> &'static CStr {
    match error {
        ENOSPC => c"espnic: the NIC's table of security associations is full",
        ENOMEM => c"espnic: out of memory",
        ETIMEDOUT => c"espnic: the NIC did not answer in time",
        ENODEV => c"espnic: the NIC's control queue is broken, bind the driver again",
        EBUSY => c"espnic: the NIC's control queue is full, try again",
        _ => c"espnic: the NIC refused the security association",
    }
}

/// The SA object for `x`. It holds the key: erase it after use.
fn describe(x: &State, handle: Handle, supported: &Supported<'_>) -> SaObject {
    let mut object = SaObject::new_zeroed();
    let std = &mut object.std;
    std.mode = supported.mode;
    std.direction = match handle.direction {
        Direction::In => sa::DIR_IN,
        Direction::Out => sa::DIR_OUT,
    };
    std.obj_id = U32::new(handle.id);
    std.spi = U32::new(x.spi());
    std.salt = supported.salt;
    std.cipher_key.length = U16::new(supported.key.len() as u16);
    let to = std.cipher_key.data.iter_mut();
    to.zip(supported.key).for_each(|(to, from)| *to = *from);
    let tail = &mut object.tail;
    tail.tail_len = U16::new(SaTail::LEN);
    tail.tail_flags = U16::new(sa::TAIL_CRYPTO_ONLY | sa::TAIL_MATCH_ADDR | sa::TAIL_DELIVER_ERR);
    tail.aead_algo = U32::new(cap::AEAD_GCM);
    tail.icv_len = supported.icv_len;
    tail.peer_family = supported.family;
    tail.iv_mode = sa::IV_SEQ_XOR;
    tail.epoch = U16::new(handle.epoch);
    // Drawn anew for every installation: no IV of an earlier one, or of software under the same
    // key, comes again.
    tail.iv_xor = U64::new(random::u64());
    tail.peer_dst = x.destination();
    tail.peer_src = x.source();
    object
}
