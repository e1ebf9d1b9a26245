// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests that were answered with NDIS_STATUS_PENDING and are completed later (R34-R36, R41-R43).
//!
//! [`Pending`] does only the bookkeeping, in storage of the caller and under the caller's lock: which
//! requests may start, which ones a cancellation or a reset ends, and that each request is completed
//! exactly once. The caller does the work and calls NdisMDirectOidRequestComplete with the result.

use crate::status::Status;

/// The kind of a pended request, as far as order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ADD_SA or ADD_SA_EX.
    Add,
    /// UPDATE_SA.
    Update,
    /// DELETE_SA.
    Delete,
}

/// The final statuses of DELETE_SA (R82).
const ENDS_OF_DELETE: [Status; 3] = [
    Status::SUCCESS,
    Status::NOT_ACCEPTED,
    Status::REQUEST_ABORTED,
];

/// The name of one pended request; a table never gives out one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// The end of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The request.
    pub ticket: Ticket,
    /// Its RequestId, as NDIS gave it.
    pub request_id: u64,
    /// The status to complete it with.
    pub status: Status,
}

/// The reason for which a completion is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request was completed before, or never pended (R34).
    NotPending,
    /// The status is no final one for these OIDs: PENDING (R34, R84) or INDICATION_REQUIRED (R42).
    NotFinal,
    /// The status is not one of those that end DELETE_SA (R82).
    NotOfDelete,
}

/// One place of a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot(Option<Entry>);

/// The places of a table.
pub trait Places: AsRef<[Slot]> + AsMut<[Slot]> {}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Places for S {}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ticket: Ticket,
    request_id: u64,
    kind: Kind,
    started: bool,
    cancelled: bool,
}

/// The pended requests of one transport; `S` are its places, such as `&mut [Slot]`.
#[derive(Debug)]
pub struct Pending<S> {
    slots: S,
    /// The ticket that the next request gets.
    next: u64,
}

impl<S: Places> Pending<S> {
    /// An empty table with as many places as `slots` has.
    pub fn new(mut slots: S) -> Self {
        slots.as_mut().fill(Slot(None));
        Self { slots, next: 0 }
    }

    /// Requests that are not completed.
    pub fn len(&self) -> usize {
        self.entries().count()
    }

    /// Whether all requests are completed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes a request; the caller answers it with NDIS_STATUS_PENDING.
    ///
    /// # Errors
    ///
    /// [`Status::RESOURCES`] if the table is full; the request is then answered with that at once.
    pub fn accept(&mut self, request_id: u64, kind: Kind) -> Result<Ticket, Status> {
        let slot = self
            .slots
            .as_mut()
            .iter_mut()
            .find(|slot| slot.0.is_none())
            .ok_or(Status::RESOURCES)?;
        let ticket = Ticket(self.next);
        self.next = self.next.checked_add(1).ok_or(Status::RESOURCES)?;
        slot.0 = Some(Entry {
            ticket,
            request_id,
            kind,
            started: false,
            cancelled: false,
        });
        Ok(ticket)
    }

    /// Whether work on a request may start now, and if so, that it has.
    ///
    /// A delete or an update waits for every request that was accepted before it and is not completed:
    /// for additions (R43), since it may name a handle which they are just making, and for the others,
    /// since it may name the same SA (C45). An addition waits for nothing.
    pub fn start(&mut self, ticket: Ticket) -> bool {
        let Some(kind) = self.find(ticket).map(|entry| entry.kind) else {
            return false;
        };
        let waits = kind != Kind::Add && self.entries().any(|other| other.ticket.0 < ticket.0);
        if waits {
            return false;
        }
        if let Some(entry) = self.find_mut(ticket) {
            entry.started = true;
        }
        true
    }

    /// Whether the transport or NDIS has cancelled a request whose work has started. The work should stop
    /// where it can; the request then ends with [`Status::REQUEST_ABORTED`].
    pub fn is_cancelled(&self, ticket: Ticket) -> bool {
        self.find(ticket).is_some_and(|entry| entry.cancelled)
    }

    /// Ends a request with the status of its work. The caller completes it with what it gets, which
    /// happens once for each request (R34).
    ///
    /// A delete ends with SUCCESS (R83), and around a reset or removal with NOT_ACCEPTED or
    /// REQUEST_ABORTED (R82); a malformed list is refused before it is pended (C6).
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; the table is unchanged then.
    pub fn complete(&mut self, ticket: Ticket, status: Status) -> Result<Done, Refusal> {
        if status == Status::PENDING || status == Status::INDICATION_REQUIRED {
            return Err(Refusal::NotFinal);
        }
        let slot = self
            .slots
            .as_mut()
            .iter_mut()
            .find(|slot| slot.0.is_some_and(|entry| entry.ticket == ticket))
            .ok_or(Refusal::NotPending)?;
        let delete = slot.0.is_some_and(|entry| entry.kind == Kind::Delete);
        if delete && !ENDS_OF_DELETE.contains(&status) {
            return Err(Refusal::NotOfDelete);
        }
        let entry = slot.0.take().ok_or(Refusal::NotPending)?;
        Ok(Done {
            ticket,
            request_id: entry.request_id,
            status,
        })
    }

    /// The cancel handler: all requests with this RequestId. Those without work under way end here,
    /// with [`Status::REQUEST_ABORTED`], and are given to `done` (R35); the others are marked.
    /// A number that no pending request has is nothing wrong: the request may be complete by now.
    pub fn cancel(&mut self, request_id: u64, done: impl FnMut(Done)) {
        self.abort(|entry| entry.request_id == request_id, done);
    }

    /// A reset or halt: ends every request without work under way (R41) and marks the others.
    pub fn reset(&mut self, done: impl FnMut(Done)) {
        self.abort(|_| true, done);
    }

    /// The timeout of a request has passed. That cancels nothing (R36): whether it is still
    /// pending.
    pub fn expired(&self, ticket: Ticket) -> bool {
        self.find(ticket).is_some()
    }

    fn abort(&mut self, hits: impl Fn(&Entry) -> bool, mut done: impl FnMut(Done)) {
        for slot in self.slots.as_mut().iter_mut() {
            let Some(entry) = slot.0.as_mut().filter(|entry| hits(entry)) else {
                continue;
            };
            if entry.started {
                entry.cancelled = true;
                continue;
            }
            done(Done {
                ticket: entry.ticket,
                request_id: entry.request_id,
                status: Status::REQUEST_ABORTED,
            });
            slot.0 = None;
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots
            .as_ref()
            .iter()
            .filter_map(|slot| slot.0.as_ref())
    }

    fn find(&self, ticket: Ticket) -> Option<&Entry> {
        self.entries().find(|entry| entry.ticket == ticket)
    }

    fn find_mut(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        self.slots
            .as_mut()
            .iter_mut()
            .filter_map(|slot| slot.0.as_mut())
            .find(|entry| entry.ticket == ticket)
    }
}
