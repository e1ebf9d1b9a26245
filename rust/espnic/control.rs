// SPDX-License-Identifier: GPL-2.0

//! Administration commands in the control queue (class 0xE0 of the extension).

use espnic_wire::{
    admin::{
        self,
        Command,
        Reply, //
    },
    ctrl, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    new_lock,
    sync::SpinLockIrq,
    virtio::control::{
        ControlQueue,
        Exchange,
        Waiter, //
    }, //
};
use zerocopy::IntoBytes;

/// How long a command may take, in milliseconds. The NIC answers within 100; the rest is for a
/// busy host. Without an end the user's request would hold the lock of all XFRM requests.
const TIMEOUT_MS: u32 = 5000;

/// Room for the readable part of a command without its variable data, in bytes.
const COMMAND_ROOM: usize = 64;

/// The control queue and its users.
#[pin_data]
pub(crate) struct Control {
    /// Taken in the queue's interrupt, too.
    #[pin]
    queue: SpinLockIrq<Option<ControlQueue>>,
}

/// A command that is ready to be sent, and where its answer will be.
pub(crate) struct Prepared {
    exchange: KBox<Exchange>,
    waiter: Arc<Waiter>,
}

/// An answered command.
pub(crate) struct Answer(KBox<Exchange>);

impl Answer {
    /// The result, if the NIC did what it was told.
    ///
    /// # Errors
    ///
    /// The status as errno (both use the same numbers), `EIO` for a malformed answer.
    pub(crate) fn result(&self) -> Result<&[u8]> {
        let len = self.0.written.checked_sub(1).ok_or(EIO)?;
        let answer = self.0.answer.get(..len as usize).ok_or(EIO)?;
        if self.0.ack != ctrl::OK {
            return Err(EIO);
        }
        let reply = Reply::parse(answer).map_err(|_| EIO)?;
        match reply.status {
            admin::OK => Ok(reply.result),
            status => Err(Error::from_errno(-i32::from(status))),
        }
    }
}

impl Control {
    pub(crate) fn new(queue: Option<ControlQueue>) -> impl PinInit<Self> {
        pin_init!(Self { queue <- new_lock!(queue) })
    }

    /// Writes `command`, whose variable data is `data_len` bytes long, for an answer with a result of
    /// at most `result_len` bytes. Sleeps.
    pub(crate) fn prepare(
        command: &Command<'_>,
        data_len: usize,
        result_len: usize,
    ) -> Result<Prepared> {
        let room = data_len.checked_add(COMMAND_ROOM).ok_or(EINVAL)?;
        let mut request = KVec::from_elem(0, room, GFP_KERNEL)?;
        let len = command.write(&mut request).map_err(|_| EINVAL)?;
        request.truncate(len);
        let reply = size_of::<admin::ReplyHdr>();
        let answer_len = reply
            .checked_add(result_len)
            .and_then(|n| n.checked_next_multiple_of(8))
            .ok_or(EINVAL)?;
        let waiter = Waiter::new()?;
        let mut head = [0; 2];
        head.copy_from_slice(ctrl::CtrlHdr::X_ADMIN.as_bytes());
        let exchange = KBox::new(
            Exchange {
                head,
                request,
                ack: ctrl::ERR,
                answer: KVec::from_elem(0, answer_len, GFP_KERNEL)?,
                written: 0,
                waiter: Some(waiter.clone()),
            },
            GFP_KERNEL,
        )?;
        Ok(Prepared { exchange, waiter })
    }

    /// Sends a prepared command; its answer comes to the returned waiter. Does not sleep.
    ///
    /// # Errors
    ///
    /// The command, if the queue is full, broken or absent.
    pub(crate) fn send(&self, command: Prepared) -> Result<Arc<Waiter>, Prepared> {
        let Prepared { exchange, waiter } = command;
        let mut queue = self.queue.lock();
        let refused = match &mut *queue {
            Some(queue) => match queue.send(exchange) {
                Ok(()) => return Ok(waiter),
                Err(exchange) => exchange,
            },
            None => exchange,
        };
        Err(Prepared {
            exchange: refused,
            waiter,
        })
    }

    /// Waits for the answer to a command that was sent. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; the NIC may still do what it was told. `ENXIO` if the NIC was reset meanwhile.
    pub(crate) fn wait(waiter: &Waiter) -> Result<Answer> {
        if !waiter.done.wait_timeout(TIMEOUT_MS) {
            return Err(ETIMEDOUT);
        }
        waiter.exchange.lock().take().map(Answer).ok_or(ENXIO)
    }

    /// Sends `command` and waits for the answer. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` if the queue is full; `ENODEV` if it is broken or absent; `ETIMEDOUT`.
    pub(crate) fn execute(
        &self,
        command: &Command<'_>,
        data_len: usize,
        result_len: usize,
    ) -> Result<Answer> {
        let prepared = Self::prepare(command, data_len, result_len)?;
        let waiter = self.send(prepared).map_err(|_| self.why_refused())?;
        Self::wait(&waiter)
    }

    /// Tells the NIC to use `count` queue pairs. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_queue_pairs(&self, count: u16) -> Result {
        let waiter = Waiter::new()?;
        let mut request = KVec::new();
        request.extend_from_slice(&count.to_le_bytes(), GFP_KERNEL)?;
        let exchange = KBox::new(
            Exchange {
                head: [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET],
                request,
                ack: ctrl::ERR,
                answer: KVec::new(),
                written: 0,
                waiter: Some(waiter.clone()),
            },
            GFP_KERNEL,
        )?;
        let waiter = self
            .send(Prepared { exchange, waiter })
            .map_err(|_| self.why_refused())?;
        match Self::wait(&waiter)?.0.ack {
            ctrl::OK => Ok(()),
            _ => Err(EIO),
        }
    }

    /// Drops the queue before a reset; commands on their way come back as lost.
    pub(crate) fn take_queue(&self) {
        let queue = self.queue.lock().take();
        drop(queue);
    }

    /// Takes a new queue after a reset.
    pub(crate) fn set_queue(&self, queue: Option<ControlQueue>) {
        *self.queue.lock() = queue;
    }

    /// Why a command was not taken.
    pub(crate) fn why_refused(&self) -> Error {
        match self.queue.lock().as_ref() {
            Some(queue) if !queue.is_broken() => EBUSY,
            _ => ENODEV,
        }
    }

    /// Hands answers to those who wait. Hard interrupt.
    pub(crate) fn drain(&self) {
        let mut queue = self.queue.lock();
        let Some(queue) = &mut *queue else { return };
        while let Some(mut exchange) = queue.take() {
            if let Some(waiter) = exchange.waiter.take() {
                *waiter.exchange.lock() = Some(exchange);
                waiter.done.complete_all();
            }
        }
    }
}
