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

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its final status.
    pub status: Status,
    /// BytesRead of a set, BytesWritten of a query.
    pub done: u32,
    /// BytesNeeded: with INVALID_LENGTH and BUFFER_TOO_SHORT, the length that the buffer needs.
    pub needed: u32,
}

impl Completion {
    /// A request that ended with a status and touched nothing.
    pub const fn with(status: Status) -> Self {
        Self {
            status,
            done: 0,
            needed: 0,
        }
    }

    /// A request that read or wrote `bytes` bytes.
    pub fn success(bytes: usize) -> Self {
        Self {
            status: Status::SUCCESS,
            done: u32::try_from(bytes).unwrap_or(u32::MAX),
            needed: 0,
        }
    }
}

impl From<Fault> for Completion {
    fn from(fault: Fault) -> Self {
        Self {
            status: fault.status(),
            done: 0,
            needed: fault.needed(),
        }
    }
}

/// Handles a request. The status is final: never PENDING (R84), never INDICATION_REQUIRED (R42).
pub fn request(
    snapshot: &Snapshot,
    backend: &impl Backend,
    request: &Direct,
    buffer: &mut [u8],
) -> Completion {
    let adding = Adding {
        snapshot,
        backend,
        request,
    };
    if let Err(status) = admit(snapshot, backend, request) {
        if status != Status::INVALID_OID {
            adding.clear(buffer);
        }
        return Completion::with(status);
    }
    let result = match request.oid {
        Oid::ADD_SA => adding.list(buffer),
        Oid::ADD_SA_EX => adding.single(buffer),
        Oid::UPDATE_SA => update(snapshot, backend, buffer),
        _ => delete(backend, buffer),
    };
    match result {
        Ok(completion) => completion,
        Err(fault) => fault.into(),
    }
}

/// Whether the adapter takes this request at all (R39-R41, R71).
fn admit(snapshot: &Snapshot, backend: &impl Backend, request: &Direct) -> Result<(), Status> {
    if snapshot.state == State::Removed {
        return Err(Status::NOT_ACCEPTED);
    }
    if request.oid.name().is_none() {
        return Err(Status::INVALID_OID);
    }
    let known = match request.oid {
        // Later versions take the list form as well (C33).
        Oid::ADD_SA | Oid::UPDATE_SA | Oid::DELETE_SA => snapshot.version >= Version::V6_1,
        Oid::ADD_SA_EX => snapshot.version >= Version::V6_30,
        _ => false,
    };
    // SAs from before the hardware lost its IPsec can still be deleted (R82).
    let remains = request.oid == Oid::DELETE_SA && backend.offloaded() != 0;
    if !known
        || !(snapshot.hardware.is_offered() || remains)
        || request.request_type != RequestType::SET_INFORMATION
    {
        return Err(Status::NOT_SUPPORTED);
    }
    match snapshot.state {
        State::Running | State::Paused => Ok(()),
        State::Resetting | State::LowPower | State::Removed => Err(Status::NOT_ACCEPTED),
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
    fn list(&self, buffer: &mut [u8]) -> Result<Completion, Fault> {
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
                    return Ok(if self.roll_back(buffer)? {
                        Completion::with(failed.status)
                    } else {
                        Completion::success(buffer.len())
                    });
                }
                // If all elements fail, the first one's status is that of the request (C27).
                Err(failed) => {
                    refusal.get_or_insert(failed);
                }
            }
        }
        Ok(match refusal {
            Some(refusal) if !any => refusal,
            _ => Completion::success(buffer.len()),
        })
    }

    /// ADD_SA_EX: one bundle (R67-R69).
    fn single(&self, buffer: &mut [u8]) -> Result<Completion, Fault> {
        self.clear(buffer);
        let view = AddSaEx::parse(buffer)?;
        Ok(match self.install(&view) {
            Ok(handle) => {
                AddSaEx::set_handle(buffer, Some(handle))?;
                Completion::success(buffer.len())
            }
            Err(failed) => failed,
        })
    }

    fn install(&self, view: &BundleView<'_>) -> Result<Handle, Completion> {
        let config = &self.snapshot.config;
        let request = self.request;
        let bundle = check::bundle(view, config, request.mode, request.convention)
            .map_err(Completion::with)?;
        if self.backend.offloaded() >= config.capacity {
            return Err(Completion::with(Status::RESOURCES));
        }
        self.backend.add(&bundle).map_err(Completion::with)
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
                // Whatever takes the adapter away takes, or has taken, the bundle along.
                self.backend.remove(handle) == Err(RemoveError::Aborted)
            });
            all = all && stays.is_none();
            AddSa::set_handle(buffer, offset, stays)?;
        }
        Ok(all)
    }

    /// Writes NULL over whatever the sender left in the handles, as far as the buffer has any, so
    /// that no failed request leaves something that looks like a handle (R46, R68).
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
fn update(snapshot: &Snapshot, backend: &impl Backend, buffer: &[u8]) -> Result<Completion, Fault> {
    let update = UpdateSa::parse(buffer)?;
    if update.operation().name().is_none() {
        return Ok(Completion::with(Status::INVALID_DATA));
    }
    let Some(handle) = update.handle().filter(|_| snapshot.hardware.esn) else {
        return Ok(Completion::with(Status::INVALID_PARAMETER));
    };
    let high = update.sequence_number_high_order.get();
    let operation: Operation = update.operation();
    Ok(match backend.update(handle, operation, update.spi, high) {
        Ok(()) => Completion::success(buffer.len()),
        Err(error) => Completion::with(error.status()),
    })
}

/// DELETE_SA: a list (R81). One that cannot be followed to its end is refused before anything is
/// removed. A handle that names nothing counts as deleted (C6).
fn delete(backend: &impl Backend, buffer: &[u8]) -> Result<Completion, Fault> {
    each_handle(buffer, |_| ())?;
    let mut refusal = None;
    each_handle(buffer, |handle| {
        let status = backend
            .remove(handle)
            .map_or_else(RemoveError::status, |()| Status::SUCCESS);
        if status != Status::SUCCESS {
            refusal.get_or_insert(status);
        }
    })?;
    Ok(match refusal {
        Some(status) => Completion::with(status),
        None => Completion::success(buffer.len()),
    })
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
