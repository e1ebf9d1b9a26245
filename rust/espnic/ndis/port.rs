// SPDX-License-Identifier: GPL-2.0

//! An adapter as an open file sees it: bound to an interface, with a bounded ring of records.

use super::{
    ring::{
        now,
        Body,
        Bytes,
        Ring, //
    },
    table::Table,
    Adapter, //
};
use crate::nic::Nic;
use espnic_ndis::envelope::{
    MAX_SUBMITS,
    WANT_BYTES, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        poll::PollCondVar,
        Arc, //
    }, //
};
use kernel_net::{
    net::namespace::{
        HeldDevice,
        Namespace, //
    },
    new_lock,
    sync::SpinLockBh, //
};

/// The records and requests of an open file, under one lock.
struct Inside {
    ring: Ring,
    table: Table,
    /// The adapter is gone, but work on requests goes on: the record of the removal follows them.
    removal_due: bool,
    /// A second, and the number of frames submitted in it.
    submits: (u64, u32),
}

impl Inside {
    /// Takes the oldest record out, as [`Ring::pop`].
    fn pop(&mut self, room: usize) -> Result<Bytes> {
        let Some(finished) = self.table.first() else {
            return self.ring.pop(room);
        };
        let first = self.ring.first();
        if first.is_some_and(|first| first.stamp.is_before(&finished.stamp)) {
            return self.ring.pop(room);
        }
        let mut bytes = finished.to_bytes().ok_or(EIO)?;
        let handles = finished.handles.as_ref().map_or(0, |one| one.bytes().len());
        if bytes.length.saturating_add(handles) > room {
            return Err(EINVAL);
        }
        bytes.handles = self.table.take().and_then(|finished| finished.handles);
        Ok(bytes)
    }

    fn is_empty(&self) -> bool {
        self.ring.length == 0 && self.table.first().is_none()
    }

    /// Records the removal when no other record can follow.
    fn tell_removal(&mut self) {
        if self.removal_due && self.table.is_empty() {
            self.removal_due = false;
            self.ring.push(Body::Removed, true);
        }
    }
}

/// A bound adapter.
#[pin_data]
pub(super) struct Port {
    pub(super) adapter: Arc<Adapter>,
    pub(super) namespace: Namespace,
    pub(super) index: u32,
    /// The number of the open file, never 0.
    pub(super) owner: u32,
    pub(super) wants: u32,
    removed: Atomic<bool>,
    #[pin]
    inside: SpinLockBh<Inside>,
    /// Pended requests that ended with an error.
    failed: Atomic<u64>,
    readable: Arc<PollCondVar>,
}

impl Port {
    pub(super) fn new(
        adapter: Arc<Adapter>,
        namespace: Namespace,
        index: u32,
        owner: u32,
        wants: u32,
        readable: Arc<PollCondVar>,
    ) -> Result<Arc<Self>> {
        let inside = Inside {
            ring: Ring::new()?,
            table: Table::new()?,
            removal_due: false,
            submits: (0, 0),
        };
        Arc::pin_init(
            pin_init!(Self {
                adapter,
                namespace,
                index,
                owner,
                wants,
                removed: Atomic::new(false),
                inside <- new_lock!(inside),
                failed: Atomic::new(0),
                readable,
            }),
            GFP_KERNEL,
        )
    }

    /// Holds the interface, so that it cannot leave. Do not hold it while copying the caller's memory,
    /// which may take for ever.
    ///
    /// # Errors
    ///
    /// `EPERM` for callers without `CAP_NET_ADMIN`; `ENODEV` if it is gone.
    pub(super) fn device(&self) -> Result<HeldDevice<Nic>> {
        self.check_caller()?;
        self.device_unchecked()
    }

    /// Whether the caller may use the interface.
    ///
    /// # Errors
    ///
    /// `EPERM` for callers without `CAP_NET_ADMIN`.
    pub(super) fn check_caller(&self) -> Result {
        let may = self.namespace.may_administrate();
        may.then_some(()).ok_or(EPERM)
    }

    /// [`Self::device`] without the check: for closing the file, and after [`Self::check_caller`].
    pub(super) fn device_unchecked(&self) -> Result<HeldDevice<Nic>> {
        if self.is_removed() {
            return Err(ENODEV);
        }
        let dev = self.namespace.device::<Nic>(self.index);
        let dev = dev.map_err(|_| ENODEV)?;
        if dev.data().ndis.is(&self.adapter) {
            Ok(dev)
        } else {
            Err(ENODEV)
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Acquire)
    }

    /// Ends pending requests and wakes the reader, because the adapter is gone.
    pub(super) fn remove(&self) {
        let mut inside = self.inside.lock();
        self.removed.store(true, Release);
        inside.removal_due = true;
        inside.table.close();
        drop(inside);
        self.abort(None);
    }

    /// Stores a record if the file wants its kind. In any context except interrupts.
    pub(super) fn push(&self, body: &Body) {
        if self.wants & body.wanted_by() == 0 {
            return;
        }
        let body = match self.wants & WANT_BYTES {
            0 => body.without_bytes(),
            _ => *body,
        };
        self.inside.lock().ring.push(body, false);
        self.readable.notify_all();
    }

    /// Wakes the reader, because requests have ended.
    pub(super) fn finished(&self) {
        self.inside.lock().tell_removal();
        self.readable.notify_all();
    }

    /// Calls `act` with ring and table, under their lock. `act` must not sleep.
    pub(super) fn with_table<T>(&self, act: impl FnOnce(&mut Ring, &mut Table) -> T) -> T {
        let mut inside = self.inside.lock();
        let Inside { ring, table, .. } = &mut *inside;
        act(ring, table)
    }

    /// Counts a frame to be submitted; false if there were too many in this second.
    pub(super) fn may_submit(&self) -> bool {
        let second = now() / 1_000_000_000;
        let mut inside = self.inside.lock();
        if inside.submits.0 != second {
            inside.submits = (second, 0);
        }
        inside.submits.1 = inside.submits.1.saturating_add(1);
        inside.submits.1 <= MAX_SUBMITS
    }

    /// Counts pended requests that ended with an error.
    pub(super) fn count_failed(&self, count: u64) {
        self.failed.fetch_add(count, Relaxed);
    }

    /// The number of pended requests that ended with an error.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Takes the oldest record, see [`Ring::pop`]; waits for one if `wait`. Sleeps then.
    ///
    /// # Errors
    ///
    /// As there, also `ERESTARTSYS`; `ENODEV` if there will be no more.
    pub(super) fn pop(&self, room: usize, wait: bool) -> Result<Bytes> {
        let mut inside = self.inside.lock();
        loop {
            match inside.pop(room) {
                Err(EAGAIN) if self.is_removed() && !inside.removal_due => return Err(ENODEV),
                Err(EAGAIN) if wait => {}
                result => return result,
            }
            if self.readable.wait_interruptible(&mut inside) {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// Whether [`Self::pop`] would not wait.
    pub(super) fn has_record(&self) -> bool {
        let inside = self.inside.lock();
        !inside.is_empty() || (self.is_removed() && !inside.removal_due)
    }

    /// Records stored and lost so far.
    pub(super) fn counters(&self) -> (u64, u64) {
        let inside = self.inside.lock();
        (inside.ring.stored, inside.ring.lost)
    }
}
