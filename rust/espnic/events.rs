// SPDX-License-Identifier: GPL-2.0

//! The event queue: what the NIC says of SAs without being asked.
//!
//! Most records are only hints. They name an SA, whose state the work then reads, as it also does from time to
//! time: so a wrong record, or one too many, costs no more than a command, and one that is lost no more than
//! time. What a record says of a peer behind a NAT goes to the key managers, which check it by means of their own. The buffers are handed back at once, and a NIC that fills all of them has to pause.

#[cfg(espnic_kunit)]
mod tests;

use crate::counters::counters;
use espnic_wire::{
    event::{
        Event,
        Kind,
        Mapping, //
    },
    sa, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use kernel_net::{
    net::xfrm::Direction,
    new_lock,
    sync::SpinLockIrq,
    virtio::event::{
        EventBuffer,
        EventQueue, //
    }, //
};

/// The number of buffers that the NIC has, and of records that are looked at together.
const BUFFERS: usize = 64;

/// The pause after that many records, in milliseconds.
pub(crate) const PAUSE_MS: u32 = 10;

/// The kinds of events that the driver wants to hear of, for an SA object.
pub(crate) const MASK: u64 = Kind::SoftLimit.mask()
    | Kind::HardLimit.mask()
    | Kind::Overflow.mask()
    | Kind::NatMapping.mask();

counters! {
    /// What came through the event queue.
    shared struct Counters {
        /// Events of SAs.
        taken: c"ipsec_events",
        /// How often the NIC said that events were lost.
        lost: c"ipsec_events_lost",
        /// Records that say nothing.
        malformed: c"ipsec_events_malformed",
    }
}

/// The event queue, and what came through it.
#[pin_data]
pub(crate) struct Events {
    /// Taken in the queue's interrupt, too. `None` without the extension, and during a reset.
    #[pin]
    queue: SpinLockIrq<Option<EventQueue>>,
    /// Events were lost, so any SA may have changed.
    lost: Atomic<bool>,
    pub(crate) counters: Counters,
}

/// What a record is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The SA object with this id.
    Sa(Direction, u32),
    /// The peer of an inbound SA.
    Peer(Mapping),
    /// Any SA: records were lost.
    All,
}

impl Events {
    pub(crate) fn new(queue: Option<EventQueue>) -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- new_lock!(queue),
            lost: Atomic::new(false),
            counters: Counters::default(),
        })
    }

    /// Gives the NIC its buffers, once for each queue. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; then the driver learns of less, or only by asking.
    pub(crate) fn fill(&self) -> Result {
        for _ in 0..BUFFERS {
            let buffer = EventBuffer::new(Event::LEN)?;
            if !self.post(buffer) {
                break;
            }
        }
        self.rearm();
        Ok(())
    }

    /// A record has come. Hard interrupt; the caller schedules the work that drains the queue.
    pub(crate) fn interrupt(&self) {
        if let Some(queue) = &mut *self.queue.lock() {
            queue.disable_cb();
        }
    }

    /// Calls `act` for what each record that has come is about, up to a number; true if there may be more,
    /// which are to be looked at after [`PAUSE_MS`]. Sleeps if `act` does.
    pub(crate) fn drain(&self, mut act: impl FnMut(Subject)) -> bool {
        for _ in 0..BUFFERS {
            let Some(buffer) = self.take() else {
                return self.rearm();
            };
            let subject = subject(buffer.record());
            // At once, because `act` may take long.
            self.post(buffer);
            match subject {
                Some(Subject::All) => {
                    self.counters.lost.add(1);
                    self.set_lost();
                }
                Some(subject) => {
                    self.counters.taken.add(1);
                    act(subject);
                }
                None => self.counters.malformed.add(1),
            }
        }
        self.rearm();
        true
    }

    /// Whether events were lost since the last call.
    pub(crate) fn take_lost(&self) -> bool {
        self.lost.xchg(false, Relaxed)
    }

    /// Events were lost, and nobody has looked at the SAs since.
    pub(crate) fn set_lost(&self) {
        self.lost.store(true, Relaxed);
    }

    /// Drops the queue before a reset. Sleeps.
    pub(crate) fn take_queue(&self) {
        let queue = self.queue.lock().take();
        // Outside the lock: dropping the last queue of a NIC sleeps.
        drop(queue);
    }

    /// Takes a new queue after a reset. It is to be filled when the NIC is ready.
    pub(crate) fn set_queue(&self, queue: Option<EventQueue>) {
        *self.queue.lock() = queue;
    }

    fn take(&self) -> Option<KBox<EventBuffer>> {
        match &mut *self.queue.lock() {
            Some(queue) => queue.take(),
            None => None,
        }
    }

    /// Gives the NIC a buffer; false if it takes none.
    fn post(&self, buffer: KBox<EventBuffer>) -> bool {
        let mut queue = self.queue.lock();
        let left = match &mut *queue {
            Some(queue) => queue.post(buffer).err(),
            None => Some(buffer),
        };
        drop(queue);
        // Freed with interrupts on.
        left.is_none()
    }

    /// Rings the doorbell for new buffers, and asks for the next interrupt; true if a record is there
    /// already.
    fn rearm(&self) -> bool {
        match &mut *self.queue.lock() {
            Some(queue) => {
                queue.kick();
                !queue.enable_cb()
            }
            None => false,
        }
    }
}

/// What a record is about; `None` if it is none, or of a kind that nobody asked for.
fn subject(record: &[u8]) -> Option<Subject> {
    let event = Event::read(record).ok()?;
    match Kind::of(event.kind.get())? {
        Kind::Lost => return Some(Subject::All),
        Kind::NatMapping => {
            let mapping = Mapping::of(&event)?;
            let is_inbound = mapping.res_type.get() == sa::OBJ_INB_SA;
            return is_inbound.then_some(Subject::Peer(mapping));
        }
        kind if !kind.is_in(MASK) => return None,
        _ => {}
    }
    let direction = match event.res_type.get() {
        sa::OBJ_OUTB_SA => Direction::Out,
        sa::OBJ_INB_SA => Direction::In,
        _ => return None,
    };
    Some(Subject::Sa(direction, event.id.get()))
}
