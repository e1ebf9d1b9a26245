// SPDX-License-Identifier: GPL-2.0

//! Interrupts that the NIC holds back: by how long the user says, or the kernel's library for it (DIM) finds out.

#[cfg(espnic_kunit)]
mod tests;

use crate::rx;
use espnic_wire::{
    ctrl,
    U32, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};
use kernel_net::{
    net::{
        dim::{
            Dim,
            Sample, //
        },
        ethtool::{
            Coalesce,
            Moderation, //
        },
        netlink::ExtAck, //
    },
    new_lock,
    sync::SpinLockBh, //
};

/// The longest time, in microseconds. The stack takes a transmit queue without events for stuck after seconds, and
/// TCP a path for slow after milliseconds.
const USECS_MAX: u32 = 10_000;

/// What is set for all queues, and for each pair of them.
#[pin_data]
pub(crate) struct Coalescing {
    /// Held while the NIC is told.
    #[pin]
    pub(crate) set: Mutex<Set>,
    /// The log has said that the NIC does not take what was chosen.
    pub(crate) failing: Atomic<bool>,
}

impl Coalescing {
    /// For so many queue pairs; nothing is held back.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(pairs: usize) -> Result<impl PinInit<Self>> {
        let mut each = KVec::with_capacity(pairs, GFP_KERNEL)?;
        for _ in 0..pairs {
            each.push(Pair::default(), GFP_KERNEL)?;
        }
        let all = Coalesce::default();
        Ok(pin_init!(Self {
            set <- new_mutex!(Set { all, each }),
            failing: Atomic::new(false),
        }))
    }
}

/// The settings themselves.
pub(crate) struct Set {
    /// What was set for all queues last.
    pub(crate) all: Coalesce,
    pub(crate) each: KVec<Pair>,
}

/// What is set for a queue pair.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pair {
    pub(crate) set: Coalesce,
    /// While receiving is adaptive: what was chosen last.
    pub(crate) chosen: Moderation,
}

impl Pair {
    /// What is in force now.
    pub(crate) fn now(&self) -> Coalesce {
        Coalesce {
            rx: match self.set.adaptive_rx {
                true => self.chosen,
                false => self.set.rx,
            },
            ..self.set
        }
    }

    /// Receiving is not adaptive any more. The NIC has what was chosen until it is told something else.
    pub(crate) fn keep_chosen(&mut self) {
        self.set = Coalesce {
            adaptive_rx: false,
            ..self.now()
        };
    }
}

/// Refuses what the NIC should not have to do.
///
/// # Errors
///
/// `EINVAL`, with a message.
pub(crate) fn check(wanted: &Coalesce, extack: &mut ExtAck) -> Result {
    for moderation in [wanted.rx, wanted.tx] {
        if moderation.usecs > USECS_MAX {
            extack.set(c"espnic: interrupts cannot be held back for more than 10000 microseconds");
            return Err(EINVAL);
        }
        if moderation.usecs == 0 && moderation.frames > 1 {
            extack.set(
                c"espnic: a number of frames needs a time, or the last ones would wait for ever",
            );
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// The same as the NIC is told. To ethtool 0 frames mean that only the time counts, to the NIC that nothing is held
/// back.
pub(crate) fn limits(moderation: Moderation) -> ctrl::Coalescing {
    let frames = match moderation {
        Moderation { usecs: 0, .. } => 0,
        Moderation { frames: 0, .. } => u32::MAX,
        Moderation { frames, .. } => frames,
    };
    ctrl::Coalescing {
        max_packets: U32::new(frames),
        max_usecs: U32::new(moderation.usecs),
    }
}

/// The part of a receive queue that finds out how its interrupts should be moderated.
#[pin_data]
pub(crate) struct Adaptive {
    /// Whether `state` is there.
    on: Atomic<bool>,
    #[pin]
    state: SpinLockBh<Option<State>>,
}

struct State {
    dim: Pin<KBox<Dim>>,
    /// Polls that have received all there was; for each of them there was an interrupt.
    polls: u16,
}

impl Adaptive {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            on: Atomic::new(false),
            state <- new_lock!(None),
        })
    }

    /// Looks at what the queue has received after a poll that ends with an interrupt to come; true if the NIC is to
    /// be told something (`Nic::follow_moderation`).
    pub(crate) fn measure(&self, received: &rx::Counters) -> bool {
        if !self.on.load(Relaxed) {
            return false;
        }
        let mut state = self.state.lock();
        let Some(State { dim, polls }) = &mut *state else {
            return false;
        };
        *polls = polls.wrapping_add(1);
        // CAST: The counts of a sample may wrap around.
        let (packets, bytes) = (received.packets.get() as u32, received.bytes.get() as u32);
        dim.as_mut().measure(&Sample::now(*polls, packets, bytes))
    }

    /// What the NIC is to be told, if anything.
    pub(crate) fn wanted(&self) -> Option<Moderation> {
        if !self.on.load(Relaxed) {
            return None;
        }
        let state = self.state.lock();
        state.as_ref().and_then(|state| state.dim.wanted())
    }

    /// Goes on measuring: the NIC has been told, or has refused.
    pub(crate) fn go_on(&self) {
        if let Some(state) = &mut *self.state.lock() {
            state.dim.as_mut().go_on();
        }
    }

    /// Begins to measure anew, and returns what the NIC is to have meanwhile. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn start(&self) -> Result<Moderation> {
        let dim = KBox::pin_init(Dim::new(), GFP_KERNEL)?;
        let first = dim.moderation();
        self.replace(Some(State { dim, polls: 0 }));
        Ok(first)
    }

    /// Ends it. Sleeps.
    pub(crate) fn stop(&self) {
        self.replace(None);
    }

    fn replace(&self, new: Option<State>) {
        let mut state = self.state.lock();
        self.on.store(new.is_some(), Relaxed);
        let old = core::mem::replace(&mut *state, new);
        drop(state);
        // Outside the lock, because this sleeps.
        drop(old);
    }
}
