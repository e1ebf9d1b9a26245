// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Direct OID requests: the four SA OIDs (R29-R85).
//!
//! [`request`] handles one request to its end. It holds no lock and may run several times at once
//! (R31); all it shares is the [`Backend`]. The buffer is the caller's own copy, handles are
//! written into it before the request completes (R48).

use super::adapter::{Snapshot, State};
use super::backend::{Backend, RemoveError};
use super::bundle::Mode;
use super::check::{self, Convention};
use super::completion::Completion;
use super::pending::Kind;
use super::refusal::Refusal;
use crate::oid::RequestType;
use crate::sa::{AddSa, AddSaEx, BundleView, DeleteSa, Operation, UpdateSa};
use crate::{Fault, Handle, Oid, Status, Version};

/// One direct OID request without its buffer.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    /// The OID.
    pub oid: Oid,
    /// Query, set, …; the SA OIDs are sets (R29).
    pub request_type: RequestType,
    /// Transport or tunnel, for additions; NDIS itself cannot say (C14).
    pub mode: Mode,
    /// How key material is meant, for additions.
    pub convention: Convention,
}

/// Handles a request. The status is final: never PENDING (R84), never INDICATION_REQUIRED (R42).
pub fn request(
    snapshot: &Snapshot,
    backend: &impl Backend,
    request: &Direct,
    buffer: &mut [u8],
) -> Completion {
    try_request(snapshot, backend, request, buffer).unwrap_or_else(Completion::from)
}

/// The same, with the rule that a refusal comes from.
///
/// # Errors
///
/// The refusal. If some elements of a list succeed, the refusals of others are not in it.
pub fn try_request(
    snapshot: &Snapshot,
    backend: &impl Backend,
    request: &Direct,
    buffer: &mut [u8],
) -> Result<Completion, Refusal> {
    let adding = Adding {
        snapshot,
        backend,
        request,
    };
    if let Err(refusal) = admit(snapshot, backend, request) {
        if refusal.status != Status::INVALID_OID {
            adding.clear(buffer);
        }
        return Err(refusal);
    }
    match request.oid {
        Oid::ADD_SA => adding.list(buffer),
        Oid::ADD_SA_EX => adding.single(buffer),
        Oid::UPDATE_SA => update(snapshot, backend, buffer),
        _ => delete(backend, buffer),
    }
}

/// What a request does that the adapter may answer with NDIS_STATUS_PENDING. It holds for this moment:
/// [`request`] looks again when the work is done.
///
/// # Errors
///
/// The refusal of one that needs no work: what the adapter does not take, and a DELETE_SA that cannot
/// be followed, whose status is none that could end it later (R82).
pub fn deferrable(
    snapshot: &Snapshot,
    backend: &impl Backend,
    request: &Direct,
    buffer: &[u8],
) -> Result<Kind, Refusal> {
    admit(snapshot, backend, request)?;
    match request.oid {
        Oid::UPDATE_SA => Ok(Kind::Update),
        Oid::DELETE_SA => {
            each_handle(buffer, |_| ())?;
            Ok(Kind::Delete)
        }
        _ => Ok(Kind::Add),
    }
}

/// Whether the adapter takes this request at all (R39-R41, R71).
fn admit(snapshot: &Snapshot, backend: &impl Backend, request: &Direct) -> Result<(), Refusal> {
    if snapshot.state == State::Removed {
        return Err(Refusal::new(Status::NOT_ACCEPTED, "R40"));
    }
    if request.oid.name().is_none() {
        return Err(Refusal::new(Status::INVALID_OID, "R39"));
    }
    let (known, rules) = match request.oid {
        // Later versions take the list form as well (C33).
        Oid::ADD_SA | Oid::UPDATE_SA | Oid::DELETE_SA => (snapshot.version >= Version::V6_1, "R39"),
        Oid::ADD_SA_EX => (snapshot.version >= Version::V6_30, "R71"),
        _ => (false, "R29 R39"),
    };
    // SAs from before the hardware lost its IPsec can still be deleted (R82).
    let remains = request.oid == Oid::DELETE_SA && backend.offloaded() != 0;
    let refused = [
        (known, rules),
        (snapshot.hardware.is_offered() || remains, "R39"),
        (request.request_type == RequestType::SET_INFORMATION, "R29"),
    ];
    if let Some((_, rules)) = refused.into_iter().find(|(holds, _)| !holds) {
        return Err(Refusal::new(Status::NOT_SUPPORTED, rules));
    }
    match snapshot.state.refusal() {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

/// One request to add SAs.
struct Adding<'a, B> {
    snapshot: &'a Snapshot,
    backend: &'a B,
    request: &'a Direct,
}

impl<B: Backend> Adding<'_, B> {
    /// ADD_SA: a list, of which some may fail (R44-R49).
    ///
    /// A list that cannot be followed to its end is refused before anything is installed.
    fn list(&self, buffer: &mut [u8]) -> Result<Completion, Refusal> {
        self.clear_list(buffer)?;
        let mut refusal = None;
        let mut any = false;
        let mut at = Some(0);
        while let Some(offset) = at {
            let element = AddSa::parse(buffer, offset)?;
            at = element.next();
            let added = match element.bundle() {
                Ok(view) => self.install(&view),
                Err(fault) => Err(fault.into()),
            };
            match added {
                Ok(handle) => {
                    AddSa::set_handle(buffer, offset, Some(handle))?;
                    any = true;
                }
                Err(failed) if is_final(failed.status) => {
                    return if self.roll_back(buffer)? {
                        Err(failed)
                    } else {
                        Ok(Completion::success(buffer.len()))
                    };
                }
                // If all elements fail, the first one's status is that of the request (C27).
                Err(failed) => {
                    refusal.get_or_insert(failed);
                }
            }
        }
        match refusal {
            Some(refusal) if !any => Err(refusal),
            _ => Ok(Completion::success(buffer.len())),
        }
    }

    /// ADD_SA_EX: one bundle (R67-R69).
    fn single(&self, buffer: &mut [u8]) -> Result<Completion, Refusal> {
        self.clear(buffer);
        let view = AddSaEx::parse(buffer)?;
        let handle = self.install(&view)?;
        AddSaEx::set_handle(buffer, Some(handle))?;
        Ok(Completion::success(buffer.len()))
    }

    fn install(&self, view: &BundleView<'_>) -> Result<Handle, Refusal> {
        let config = &self.snapshot.config;
        let request = self.request;
        let bundle = check::bundle(view, config, request.mode, request.convention)?;
        if self.backend.offloaded() >= config.capacity {
            return Err(Refusal::new(Status::RESOURCES, "R49 C27"));
        }
        self.backend.add(&bundle).map_err(Refusal::by_backend)
    }

    /// Takes out what this request has installed so far, and its handles (R47): whether all of it
    /// is out. What stays keeps its handle, so that it can be deleted; the request must not fail
    /// then, since a failed one has no handles (C36).
    fn roll_back(&self, buffer: &mut [u8]) -> Result<bool, Fault> {
        let mut all = true;
        let mut at = Some(0);
        while let Some(offset) = at {
            let element = AddSa::parse(buffer, offset)?;
            at = element.next();
            let stays = element.fixed.offload_handle.handle().filter(|&handle| {
                // If the adapter is leaving, the bundle goes, or has gone, with it.
                self.backend.remove(handle) == Err(RemoveError::Aborted)
            });
            all = all && stays.is_none();
            AddSa::set_handle(buffer, offset, stays)?;
        }
        Ok(all)
    }

    /// Writes NULL over the handles, as far as the buffer has any, so that a failed request leaves nothing
    /// that looks like a handle (R46, R68).
    fn clear(&self, buffer: &mut [u8]) {
        // A buffer that is too short for a handle has none to clear.
        let _ = match self.request.oid {
            Oid::ADD_SA => self.clear_list(buffer),
            Oid::ADD_SA_EX => AddSaEx::set_handle(buffer, None),
            _ => Ok(()),
        };
    }

    /// Follows a list to its end and clears its handles on the way.
    fn clear_list(&self, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut at = Some(0);
        while let Some(offset) = at {
            let next = AddSa::parse(buffer, offset).map(|element| element.next());
            // Also in an element that ends the list because its header is wrong.
            let _ = AddSa::set_handle(buffer, offset, None);
            at = next?;
        }
        Ok(())
    }
}

/// Whether a status ends the whole request, not only one element.
fn is_final(status: Status) -> bool {
    status == Status::NOT_ACCEPTED || status == Status::REQUEST_ABORTED
}

/// UPDATE_SA: one SA of one bundle (R77-R80).
fn update(
    snapshot: &Snapshot,
    backend: &impl Backend,
    buffer: &[u8],
) -> Result<Completion, Refusal> {
    let update = UpdateSa::parse(buffer)?;
    if update.operation().name().is_none() {
        return Err(Refusal::new(Status::INVALID_DATA, "R37"));
    }
    let invalid = |rules| Refusal::new(Status::INVALID_PARAMETER, rules);
    let handle = update.handle().ok_or(invalid("R74 R78"))?;
    if !snapshot.hardware.esn {
        return Err(invalid("R79"));
    }
    let high = update.sequence_number_high_order.get();
    let operation: Operation = update.operation();
    backend
        .update(handle, operation, update.spi, high)
        .map(|()| Completion::success(buffer.len()))
        .map_err(|error| Refusal::new(error.status(), error.rules()))
}

/// DELETE_SA: a list (R81). One that cannot be followed to its end is refused before anything is
/// removed. A handle that names nothing counts as deleted (C6).
fn delete(backend: &impl Backend, buffer: &[u8]) -> Result<Completion, Refusal> {
    each_handle(buffer, |_| ()).map_err(|fault| Refusal {
        rules: "R81 C6",
        ..Refusal::from(fault)
    })?;
    let mut refusal = None;
    each_handle(buffer, |handle| {
        let status = backend
            .remove(handle)
            .map_or_else(RemoveError::status, |()| Status::SUCCESS);
        if status != Status::SUCCESS {
            refusal.get_or_insert(status);
        }
    })?;
    match refusal {
        Some(status) => Err(Refusal::by_backend(status)),
        None => Ok(Completion::success(buffer.len())),
    }
}

/// Follows a list of DELETE_SA to its end. NULL names nothing (R74).
fn each_handle(buffer: &[u8], mut act: impl FnMut(Handle)) -> Result<(), Fault> {
    let mut at = Some(0);
    while let Some(offset) = at {
        let element = DeleteSa::parse(buffer, offset)?;
        at = element.next;
        if let Some(handle) = element.handle {
            act(handle);
        }
    }
    Ok(())
}
