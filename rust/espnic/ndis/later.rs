// SPDX-License-Identifier: GPL-2.0

//! Workers for pended requests, and early ends of these.

use super::{
    information::Information,
    port::Port,
    request,
    table::Job, //
};
use espnic_ndis::{
    envelope::Request,
    model::{
        pending::Ticket,
        Completion, //
    },
    Status, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::work::{
    Run,
    Task, //
};

/// The number of requests of a file that are carried out at a time.
const WORKERS: usize = 4;

/// One of a file's workers.
pub(super) struct Worker(Arc<Port>);

impl Run for Worker {
    fn run(&self) {
        let port = &self.0;
        while let Some((ticket, mut job)) = port.with_table(|_, table| table.begin()) {
            let completion = request::perform_pended(port, ticket, &mut job);
            let Job {
                request,
                information,
            } = KBox::into_inner(job);
            let success = completion.status == Status::SUCCESS;
            let handles = information.into_handles(&request);
            let handles = handles.filter(|_| success);
            port.finish(ticket, request.oid, &completion, handles);
        }
    }
}

/// A file's workers. Dropping them waits for the requests whose work has begun.
pub(super) struct Workers(KVec<Pin<KBox<Task<Worker>>>>);

impl Workers {
    pub(super) fn new(port: &Arc<Port>) -> Result<Self> {
        let mut workers = KVec::with_capacity(WORKERS, GFP_KERNEL)?;
        for _ in 0..WORKERS {
            let worker = Task::new(Worker(port.clone()));
            workers.push(KBox::pin_init(worker, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self(workers))
    }

    /// Schedules all workers, because a request may begin. A worker without work ends at once; one that
    /// has ended a request looks for the next one.
    pub(super) fn wake(&self) {
        self.0.iter().for_each(|worker| worker.schedule());
    }
}

impl Port {
    /// Pends a request if it may be pended; `None` if it must be performed at once.
    ///
    /// # Errors
    ///
    /// `EPERM`, `EFAULT`, `ENOMEM`; nothing is pended then.
    pub(super) fn pend(&self, request: &Request) -> Result<Option<Status>> {
        self.check_caller()?;
        let information = Information::read(request)?;
        let Some(kind) = request::deferrable(self, request, &information) else {
            return Ok(None);
        };
        let job = Job {
            request: *request,
            information,
        };
        let job = KBox::new(job, GFP_KERNEL)?;
        let accepted = self.with_table(|_, table| table.accept(kind, job));
        // A refused job is freed here, outside the lock.
        Ok(Some(match accepted {
            Ok(()) => Status::PENDING,
            Err((status, _job)) => status,
        }))
    }

    fn finish(
        &self,
        ticket: Ticket,
        oid: u32,
        completion: &Completion,
        handles: Option<Information>,
    ) {
        self.with_table(|ring, table| {
            table.finish(ring.stamp(), ticket, oid, completion, handles);
        });
        if !completion.status.is_success() {
            self.count_failed(1);
        }
        self.finished();
    }

    /// See [`super::table::Table::abort`].
    pub(super) fn abort(&self, request_id: Option<u64>) {
        let ended = self.with_table(|ring, table| table.abort(request_id, || ring.stamp()));
        self.count_failed(ended);
        while let Some(job) = self.with_table(|_, table| table.corpse()) {
            drop(job);
        }
        self.finished();
    }
}
