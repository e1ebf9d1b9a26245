// SPDX-License-Identifier: GPL-2.0

//! OID requests.

use super::{
    normal,
    port::Port, //
};
use crate::{
    ndis::{
        information::Information,
        table::Job,
        translate, //
    },
    nic::Nic, //
};
use espnic_ndis::{
    envelope::{
        Request,
        MAX_BUFFER,
        MODE_DERIVE,
        MODE_TRANSPORT,
        MODE_TUNNEL,
        PATH_DIRECT,
        PATH_NORMAL,
        QUERY, //
    },
    model::{
        direct::{
            self,
            Direct, //
        },
        pending::{
            Kind,
            Ticket, //
        },
        Backend,
        Bundle,
        Completion,
        Convention,
        Mode,
        RemoveError,
        UpdateError, //
    },
    oid::RequestType,
    sa::{
        AddSa,
        AddSaEx,
        Operation,
        Spi, //
    },
    Handle,
    Oid,
    Status, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use kernel_net::net::{
    netdevice::Device,
    xfrm::{
        modify::{
            AdvanceError,
            Configuring, //
        },
        state::REPLAY_WINDOW_MAX,
        Direction,
        State, //
    }, //
};

/// Number of retries, and the milliseconds between them, to add an SA while the table is full of SAs
/// that the NIC is about to destroy.
const ADD_RETRIES: u32 = 100;
const ADD_RETRY_MS: i64 = 10;

/// Checks the envelope. Faults inside of it have a status.
pub(super) fn check(request: &Request) -> Result {
    let known = request.size as usize == size_of::<Request>()
        && matches!(request.path, PATH_NORMAL | PATH_DIRECT)
        && matches!(request.mode, MODE_DERIVE | MODE_TRANSPORT | MODE_TUNNEL)
        && request.replay_window <= REPLAY_WINDOW_MAX
        && request.reserved == [0; 3]
        && request.reserved2 == [0; 2];
    known.then_some(()).ok_or(EINVAL)
}

/// Performs the request and calls `answer` to hand it back to the caller.
///
/// Holds the interface only in between, because the caller decides how long copying its memory takes.
pub(super) fn perform(
    port: &Port,
    request: &mut Request,
    answer: impl FnOnce(&Request) -> Result,
) -> Result<Status> {
    port.check_caller()?;
    let mut information = Information::read(request)?;
    let completion = decide(port, request, None, information.bytes_mut());
    let answered = information
        .write_back(request)
        .and_then(|()| complete(request, &completion, answer));
    if answered.is_err() && completion.status == Status::SUCCESS {
        // The caller does not get the handles. If the interface has left, its SAs are gone already.
        let ticket = None;
        Requester {
            port,
            request,
            ticket,
        }
        .undo(information.bytes_mut());
    }
    answered
}

/// Performs a request that was pended.
pub(super) fn perform_pended(port: &Port, ticket: Ticket, job: &mut Job) -> Completion {
    decide(
        port,
        &job.request,
        Some(ticket),
        job.information.bytes_mut(),
    )
}

/// The kind of a request that may be completed later; `None` if it needs no work, or is not one of the
/// SA requests on the direct path.
pub(super) fn deferrable(
    port: &Port,
    request: &Request,
    information: &Information,
) -> Option<Kind> {
    if request.path != PATH_DIRECT || request.buffer_length > MAX_BUFFER {
        return None;
    }
    port.device_unchecked().ok()?;
    let ticket = None;
    let backend = Requester {
        port,
        request,
        ticket,
    };
    let snapshot = port.adapter.miniport.lock().snapshot();
    direct::deferrable(
        &snapshot,
        &backend,
        &direct_of(request),
        information.bytes(),
    )
    .ok()
}

/// Performs the request. If it fails early, the handles of an addition are NULL (R46, R68). A pended
/// request has a ticket.
fn decide(
    port: &Port,
    request: &Request,
    ticket: Option<Ticket>,
    information: &mut [u8],
) -> Completion {
    let Ok(dev) = port.device_unchecked() else {
        clear_handles(request, information, |_| {});
        return Completion::with(Status::NOT_ACCEPTED);
    };
    // A query may have a buffer of any length behind the answer.
    if request.buffer_length > MAX_BUFFER && request.request_type != QUERY {
        clear_handles(request, information, |_| {});
        return Completion {
            needed: MAX_BUFFER,
            ..Completion::with(Status::INVALID_LENGTH)
        };
    }
    match request.path {
        PATH_DIRECT => {
            // An addition may wait for room. It holds the interface while it tries, not meanwhile.
            drop(dev);
            let backend = Requester {
                port,
                request,
                ticket,
            };
            let snapshot = port.adapter.miniport.lock().snapshot();
            direct::request(&snapshot, &backend, &direct_of(request), information)
        }
        _ => normal::perform(port, &dev, request, information),
    }
}

/// Writes NULL over the handles of an addition, as far as its elements can be followed. `act` gets the
/// old ones.
fn clear_handles(request: &Request, information: &mut [u8], mut act: impl FnMut(Handle)) {
    match Oid(request.oid) {
        Oid::ADD_SA_EX => {
            let handle = AddSaEx::handle(information).ok().flatten();
            handle.into_iter().for_each(act);
            // A buffer that is too short for a handle has none.
            let _ = AddSaEx::set_handle(information, None);
        }
        Oid::ADD_SA => {
            let mut at = Some(0);
            while let Some(offset) = at {
                let element = AddSa::parse(information, offset).ok();
                at = element.as_ref().and_then(|element| element.next());
                let handle = element.and_then(|element| element.fixed.offload_handle.handle());
                handle.into_iter().for_each(&mut act);
                // As above.
                let _ = AddSa::set_handle(information, offset, None);
            }
        }
        _ => {}
    }
}

fn complete(
    request: &mut Request,
    completion: &Completion,
    answer: impl FnOnce(&Request) -> Result,
) -> Result<Status> {
    request.status = completion.status.0;
    request.bytes_done = completion.done;
    request.bytes_needed = completion.needed;
    answer(request)?;
    Ok(completion.status)
}

fn direct_of(request: &Request) -> Direct {
    Direct {
        oid: Oid(request.oid),
        request_type: RequestType(request.request_type),
        mode: match request.mode {
            MODE_TRANSPORT => Mode::Transport,
            MODE_TUNNEL => Mode::Tunnel,
            _ => Mode::ByPacket,
        },
        convention: Convention::default(),
    }
}

/// The NIC behind the model.
struct Requester<'a> {
    port: &'a Port,
    request: &'a Request,
    /// The ticket of a pended request.
    ticket: Option<Ticket>,
}

impl Requester<'_> {
    /// The state of a handle; else one of the errors.
    fn state<E>(&self, handle: Handle, unknown: E, leaving: E) -> Result<ARef<State>, E> {
        let Ok(dev) = self.port.device_unchecked() else {
            return Err(leaving);
        };
        let handle = self.port.adapter.handles.find(handle);
        let found = handle.and_then(|handle| dev.data().ipsec.states.get(handle));
        found.ok_or(unknown)
    }

    /// The status of an SA that could not be added. If the interface leaves meanwhile, the stack only says
    /// that it does not offload.
    fn add_status(&self, error: Error) -> Status {
        match self.port.device_unchecked() {
            Ok(_) => translate::add_status(error),
            Err(_) => Status::NOT_ACCEPTED,
        }
    }

    /// Deletes the SAs that a request has added.
    fn undo(&self, information: &mut [u8]) {
        clear_handles(self.request, information, |handle| {
            // An error means that it is gone already.
            let _ = self.remove(handle);
        });
    }

    fn try_add(&self, bundle: &Bundle<'_>) -> Result<Result<Handle>, Status> {
        let parameters = translate::parameters(bundle, self.request)?;
        let handles = &self.port.adapter.handles;
        let dev = self
            .port
            .device_unchecked()
            .map_err(|_| Status::NOT_ACCEPTED)?;
        let configuring = self.port.namespace.configure_xfrm();
        let added = configuring.add(&dev, &parameters, |x| {
            handles.set_owner(x.handle(), self.port.owner);
            let nic = dev.data();
            nic.ipsec.claim_for_ndis(&nic.control, x, x.handle());
        });
        Ok(added.and_then(|x| self.number_of(&configuring, &x)))
    }

    /// The number of an SA that was added.
    fn number_of(&self, configuring: &Configuring<'_>, x: &State) -> Result<Handle> {
        if self.port.is_removed() {
            // The interface may have left its namespace while the state was made, too late for
            // XFRM to delete it with the others. An error means that XFRM has deleted it.
            let _ = configuring.delete(x);
            return Err(ENODEV);
        }
        let handles = &self.port.adapter.handles;
        handles.number_of(x.handle()).ok_or(ESRCH)
    }
}

impl Backend for Requester<'_> {
    fn add(&self, bundle: &Bundle<'_>) -> Result<Handle, Status> {
        for _ in 0..ADD_RETRIES {
            match self.try_add(bundle)? {
                Err(ENOSPC) if self.port.adapter.handles.some_leave() => {}
                result => return result.map_err(|error| self.add_status(error)),
            }
            let cancelled = |ticket| self.port.with_table(|_, table| table.is_cancelled(ticket));
            if kernel::current!().signal_pending() || self.ticket.is_some_and(cancelled) {
                return Err(Status::REQUEST_ABORTED);
            }
            fsleep(Delta::from_millis(ADD_RETRY_MS));
        }
        self.try_add(bundle)?
            .map_err(|error| self.add_status(error))
    }

    fn remove(&self, handle: Handle) -> Result<(), RemoveError> {
        let x = self.state(handle, RemoveError::Unknown, RemoveError::Leaving)?;
        let configuring = self.port.namespace.configure_xfrm();
        configuring.delete(&x).map_err(|error| match error {
            ESRCH => RemoveError::Unknown,
            _ => RemoveError::Aborted,
        })
    }

    fn update(
        &self,
        handle: Handle,
        operation: Operation,
        spi: Spi,
        high: u32,
    ) -> Result<(), UpdateError> {
        let x = self.state(handle, UpdateError::Unknown, UpdateError::Leaving)?;
        if operation != Operation::ESP || spi.get() != x.spi() {
            return Err(UpdateError::Mismatch);
        }
        let configuring = self.port.namespace.configure_xfrm();
        configuring
            .advance_sequence(&x, high)
            .map_err(|error| match error {
                AdvanceError::Dead => UpdateError::Unknown,
                AdvanceError::NoEsn => UpdateError::NoEsn,
                AdvanceError::Backward => UpdateError::Backward,
            })?;
        drop(configuring);
        // The NIC gets the number before the request is completed; one that has left needs none.
        if let Ok(dev) = self.port.device_unchecked() {
            let nic = dev.data();
            nic.ipsec.tell_sequence(&nic.control);
        }
        Ok(())
    }

    fn offloaded(&self) -> u32 {
        self.port.adapter.handles.alive()
    }
}

impl Port {
    /// Deletes the SAs that this file has made. If the interface is gone, they are gone, too. Sleeps.
    pub(super) fn delete_own(&self) {
        if let Ok(dev) = self.device_unchecked() {
            self.delete_sas(&dev, |owner| owner == self.owner);
        }
    }

    /// Deletes the SAs whose owners are `wanted` (0: no open file). Sleeps.
    pub(super) fn delete_sas(&self, dev: &Device<Nic>, wanted: impl Fn(u32) -> bool) {
        for direction in [Direction::In, Direction::Out] {
            let mut from = 0;
            while let Some(found) = self.adapter.handles.next(direction, from, &wanted) {
                from = found.state.id.saturating_add(1);
                if let Some(x) = dev.data().ipsec.states.get(found.state) {
                    // An error has no remedy here.
                    let _ = self.namespace.configure_xfrm().delete(&x);
                }
            }
        }
    }
}
