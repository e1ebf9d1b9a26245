// SPDX-License-Identifier: GPL-2.0

//! Pended requests: each open file has a table of them.
//!
//! The model decides which request may begin, and which ones a cancellation ends. A completed request
//! keeps its place until it has been read, so that no completion is lost and their number is bounded.

use super::{
    information::Information,
    ring::{
        Bytes,
        Stamp, //
    }, //
};
use espnic_ndis::{
    envelope::{
        Completed,
        Request,
        MAX_PENDING,
        RECORD_COMPLETED, //
    },
    model::{
        pending::{
            Done,
            Kind,
            Pending,
            Slot,
            Ticket, //
        },
        Completion, //
    },
    Status, //
};
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// A request that waits or is being carried out.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) information: Information,
}

/// A completed request that waits to be read.
pub(super) struct Finished {
    pub(super) stamp: Stamp,
    pub(super) head: Completed,
    /// The handles; `None` if there are none.
    pub(super) handles: Option<Information>,
}

impl Finished {
    const KIND: u16 = RECORD_COMPLETED;

    /// Makes the record of a request. `information` has the handles of an addition that has succeeded.
    fn new(
        stamp: Stamp,
        request_id: u64,
        oid: u32,
        completion: &Completion,
        handles: Option<Information>,
    ) -> Self {
        let count = handles.as_ref().map_or(0, Information::handles);
        Self {
            stamp,
            head: Completed {
                request_id,
                oid,
                status: completion.status.0,
                bytes_done: completion.done,
                bytes_needed: completion.needed,
                handles: count,
                reserved: 0,
            },
            handles,
        }
    }

    /// The record, without the handles that follow it.
    pub(super) fn to_bytes(&self) -> Option<Bytes> {
        let handles = self.handles.as_ref().map_or(0, |one| one.bytes().len());
        Bytes::with_rest(&self.stamp, Self::KIND, self.head.as_bytes(), handles)
    }
}

struct Places(KVec<Slot>);

impl AsRef<[Slot]> for Places {
    fn as_ref(&self) -> &[Slot] {
        &self.0
    }
}

impl AsMut<[Slot]> for Places {
    fn as_mut(&mut self) -> &mut [Slot] {
        &mut self.0
    }
}

/// The pended requests of an open file, under the lock of its ring.
pub(super) struct Table {
    pending: Pending<Places>,
    /// Requests whose work has not begun, oldest first. An aborted one stays until [`Self::corpse`].
    waiting: KVec<(Ticket, KBox<Job>)>,
    /// Completed requests, oldest first. It has room for all.
    finished: KVec<Finished>,
    /// No request is accepted any more, and no work begins.
    closed: bool,
}

impl Table {
    pub(super) fn new() -> Result<Self> {
        let mut places = KVec::new();
        places.resize(MAX_PENDING, Slot::default(), GFP_KERNEL)?;
        Ok(Self {
            pending: Pending::new(Places(places)),
            // Aborted requests may come on top until `corpse` takes them.
            waiting: KVec::with_capacity(2 * MAX_PENDING, GFP_KERNEL)?,
            finished: KVec::with_capacity(MAX_PENDING, GFP_KERNEL)?,
            closed: false,
        })
    }

    /// # Errors
    ///
    /// The status of a request that finds no place, with the request.
    pub(super) fn accept(&mut self, kind: Kind, job: KBox<Job>) -> Result<(), (Status, KBox<Job>)> {
        if self.closed {
            return Err((Status::NOT_ACCEPTED, job));
        }
        let used = self.pending.len().saturating_add(self.finished.len());
        if used >= MAX_PENDING || self.waiting.len() == self.waiting.capacity() {
            return Err((Status::RESOURCES, job));
        }
        let ticket = match self.pending.accept(job.request.request_id, kind) {
            Ok(ticket) => ticket,
            Err(status) => return Err((status, job)),
        };
        // There is room, as was seen above.
        let _ = self.waiting.push_within_capacity((ticket, job));
        Ok(())
    }

    /// Begins the oldest request that may begin now.
    pub(super) fn begin(&mut self) -> Option<(Ticket, KBox<Job>)> {
        if self.closed {
            return None;
        }
        let Self {
            pending, waiting, ..
        } = self;
        let at = waiting
            .iter()
            .position(|(ticket, _)| pending.start(*ticket))?;
        waiting.remove(at).ok()
    }

    /// Ends a request whose work has begun.
    pub(super) fn finish(
        &mut self,
        stamp: Stamp,
        ticket: Ticket,
        oid: u32,
        completion: &Completion,
        handles: Option<Information>,
    ) {
        let aborted = Status::REQUEST_ABORTED;
        // The configuration may have changed since the request was accepted, so a deletion may have a
        // status that cannot complete it. Its SA is still there, as after an abort.
        let done = self
            .pending
            .complete(ticket, completion.status)
            .or_else(|_| self.pending.complete(ticket, aborted));
        if let Ok(done) = done {
            let completion = Completion {
                status: done.status,
                ..*completion
            };
            let finished = Finished::new(stamp, done.request_id, oid, &completion, handles);
            // There is room, since it had a place.
            let _ = self.finished.push_within_capacity(finished);
        }
    }

    /// Ends all requests whose work has not begun, or those with this RequestId, and tells the others to
    /// stop where they can. Returns how many have ended.
    pub(super) fn abort(
        &mut self,
        request_id: Option<u64>,
        mut stamp: impl FnMut() -> Stamp,
    ) -> u64 {
        let Self {
            pending,
            waiting,
            finished,
            ..
        } = self;
        let before = finished.len();
        let done = |done: Done| {
            let job = waiting.iter().find(|(ticket, _)| *ticket == done.ticket);
            let oid = job.map_or(0, |(_, job)| job.request.oid);
            let completion = Completion::with(done.status);
            let ended = Finished::new(stamp(), done.request_id, oid, &completion, None);
            // There is room, since it had a place.
            let _ = finished.push_within_capacity(ended);
        };
        match request_id {
            Some(number) => pending.cancel(number, done),
            None => pending.reset(done),
        }
        finished.len().wrapping_sub(before) as u64
    }

    /// Accepts and begins no requests from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the work on a request should stop.
    pub(super) fn is_cancelled(&self, ticket: Ticket) -> bool {
        self.closed || self.pending.is_cancelled(ticket)
    }

    /// Whether all requests are completed.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes an aborted request out, to be freed outside the lock.
    pub(super) fn corpse(&mut self) -> Option<KBox<Job>> {
        let Self {
            pending, waiting, ..
        } = self;
        let at = waiting
            .iter()
            .position(|(ticket, _)| !pending.expired(*ticket))?;
        waiting.remove(at).ok().map(|(_, job)| job)
    }

    /// The oldest completed request.
    pub(super) fn first(&self) -> Option<&Finished> {
        self.finished.first()
    }

    /// Takes the oldest completed request out.
    pub(super) fn take(&mut self) -> Option<Finished> {
        match self.finished.is_empty() {
            true => None,
            false => self.finished.remove(0).ok(),
        }
    }
}
