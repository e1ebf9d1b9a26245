// SPDX-License-Identifier: GPL-2.0

//! Administration commands in the control queue (class 0xE0 of the extension).

use espnic_wire::{
    admin::{
        self,
        Command,
        Reply, //
    },
    ctrl,
    U16, //
};
use kernel::{
    alloc::Flags,
    io::poll::read_poll_timeout_atomic,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};
use kernel_net::{
    net::netdevice::MacAddress,
    new_lock,
    sync::SpinLockIrq,
    virtio::control::{
        zeroed,
        ControlQueue,
        Exchange,
        Waiter, //
    },
    virtio::DeviceRef, //
};
use zerocopy::IntoBytes;

/// Longest wait for an answer, in milliseconds. The NIC answers within 100; the rest is for a busy
/// host. Without a limit the user's request would hold the lock of all XFRM requests.
const TIMEOUT_MS: u32 = 5000;

/// The same after a command without an answer, until the NIC answers again. Link down flushes SAs
/// one by one under RTNL, so that many of them would take five seconds each.
const SILENT_TIMEOUT_MS: u32 = 0;

/// Longest time for which a command is tried again that finds no memory, in milliseconds.
const NO_MEMORY_MS: u32 = 1000;

/// Milliseconds between such tries.
const RETRY_MS: i64 = 10;

/// How often a waiter checks whether the NIC is gone, in milliseconds.
const SLEEP_MS: u32 = 50;

/// Number of polls for an answer before the sender sleeps, and the microseconds between them. For most
/// commands the NIC needs less time than an interrupt and a wake-up take.
const POLLS: usize = 50;
const POLL_MICROS: i64 = 2;

/// Room for the readable part of a command without its variable data, in bytes.
const COMMAND_ROOM: usize = 64;

/// The length of the acknowledgement in front of a result, in bytes.
const ACK: usize = 1;

/// Puts class and command of a request together with its data, as far as they have room.
fn fill(request: &mut [u8], command: [u8; 2], data: &[u8]) {
    let bytes = [&command[..], data];
    let bytes = bytes.into_iter().flatten();
    let places = request.iter_mut().zip(bytes);
    places.for_each(|(to, from)| *to = *from);
}

/// The control queue and its users.
#[pin_data]
pub(crate) struct Control {
    /// Taken in the queue's interrupt, too.
    #[pin]
    queue: SpinLockIrq<Option<ControlQueue>>,
    /// A command timed out, and the NIC has not answered any since.
    silent: Atomic<bool>,
    /// See [`Self::give_up`].
    lost: Atomic<bool>,
    vdev: DeviceRef,
}

/// A command that is ready to be sent, and where its answer will be.
struct Prepared {
    exchange: KBox<Exchange>,
    waiter: Arc<Waiter>,
}

impl Prepared {
    fn new(request_len: usize, answer_len: usize, flags: Flags) -> Result<Self> {
        let waiter = Waiter::new(flags)?;
        let mut answer = zeroed(answer_len, flags)?;
        // An error, in case that the NIC returns the buffer without an answer in it.
        answer.iter_mut().take(ACK).for_each(|ack| *ack = ctrl::ERR);
        let exchange = KBox::new(
            Exchange {
                request: zeroed(request_len, flags)?,
                answer,
                written: 0,
                waiter: Some(waiter.clone()),
            },
            flags,
        )?;
        Ok(Self { exchange, waiter })
    }
}

/// An answered command.
pub(crate) struct Answer(KBox<Exchange>);

impl Answer {
    /// The result, if the NIC carried the command out.
    ///
    /// # Errors
    ///
    /// The status as errno (both use the same numbers), `EIO` for a malformed answer.
    pub(crate) fn result(&self) -> Result<&[u8]> {
        let (ctrl::OK, answer) = self.0.answered().ok_or(EIO)? else {
            return Err(EIO);
        };
        let reply = Reply::parse(answer).map_err(|_| EIO)?;
        match reply.status {
            admin::OK => Ok(reply.result),
            status => Err(Error::from_errno(-i32::from(status))),
        }
    }
}

impl Control {
    pub(crate) fn new(queue: Option<ControlQueue>, vdev: DeviceRef) -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- new_lock!(queue),
            silent: Atomic::new(false),
            lost: Atomic::new(false),
            vdev,
        })
    }

    /// Writes `command`, whose variable data is `data_len` bytes long, for an answer with a result of
    /// at most `result_len` bytes. Sleeps only if `flags` allow it.
    fn prepare(
        command: &Command<'_>,
        data_len: usize,
        result_len: usize,
        flags: Flags,
    ) -> Result<Prepared> {
        let room = data_len.checked_add(COMMAND_ROOM).ok_or(EINVAL)?;
        let reply = size_of::<admin::ReplyHdr>();
        let answer_len = reply
            .checked_add(result_len)
            .and_then(|n| n.checked_next_multiple_of(8))
            .and_then(|n| n.checked_add(ACK))
            .ok_or(EINVAL)?;
        let mut prepared = Prepared::new(room, answer_len, flags)?;
        let request = &mut prepared.exchange.request;
        let head = ctrl::CtrlHdr::X_ADMIN.as_bytes();
        let (class, body) = request.split_at_mut_checked(head.len()).ok_or(EINVAL)?;
        class.copy_from_slice(head);
        // The exchange erases what it holds, so keys are written when it is complete.
        let len = command.write(body).map_err(|_| EINVAL)?;
        request.truncate(len.saturating_add(head.len()));
        Ok(prepared)
    }

    /// Sends a prepared command; its answer comes to the returned waiter. Does not sleep.
    ///
    /// # Errors
    ///
    /// Those of [`ControlQueue::send`]; `ENODEV` without a queue.
    fn send(&self, command: Prepared) -> Result<Arc<Waiter>> {
        let Prepared { exchange, waiter } = command;
        let mut queue = self.queue.lock();
        let sent = match &mut *queue {
            Some(queue) => queue.send(exchange),
            None => Err((ENODEV, exchange)),
        };
        // A refused command is erased and freed when the interrupts are on again.
        drop(queue);
        sent.map_err(|(error, _)| error)?;
        Ok(waiter)
    }

    /// Waits for the answer to a command that was sent. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; the NIC may still carry the command out. `ENXIO` if the NIC was reset meanwhile, or
    /// asks for a reset.
    pub(crate) fn wait(&self, waiter: &Waiter) -> Result<Answer> {
        let limit = match self.is_silent() {
            true => SILENT_TIMEOUT_MS,
            false => TIMEOUT_MS,
        };
        if !self.poll(waiter) && !self.sleep(waiter, limit)? {
            self.silent.store(true, Relaxed);
            return Err(ETIMEDOUT);
        }
        waiter.exchange.lock().take().map(Answer).ok_or(ENXIO)
    }

    /// Sleeps until the answer is there; false if it takes more than `limit` milliseconds.
    ///
    /// # Errors
    ///
    /// `ENXIO` after [`Self::give_up`], or if the NIC asks for a reset: it will not answer.
    fn sleep(&self, waiter: &Waiter, limit: u32) -> Result<bool> {
        let start = Instant::<Monotonic>::now();
        // By the clock, because reading the NIC's status takes time, too.
        while start.elapsed().as_millis() < i64::from(limit) {
            if waiter.done.wait_timeout(SLEEP_MS) {
                return Ok(true);
            }
            if self.is_gone() {
                return Err(ENXIO);
            }
        }
        Ok(false)
    }

    /// Sends a command with `post`, and again while there is no memory or no room in the queue. Sleeps.
    ///
    /// A queue that stays full for the longest wait for an answer belongs to a NIC that does not answer, and
    /// counts as such: else each of the commands that follow would wait as long.
    ///
    /// # Errors
    ///
    /// Those of `post`; `ENXIO` as in [`Self::wait`].
    pub(crate) fn insist(
        &self,
        mut post: impl FnMut() -> Result<Arc<Waiter>>,
    ) -> Result<Arc<Waiter>> {
        let start = Instant::<Monotonic>::now();
        loop {
            let (error, limit) = match post() {
                Err(EBUSY) => (EBUSY, TIMEOUT_MS),
                Err(ENOMEM) => (ENOMEM, NO_MEMORY_MS),
                result => return result,
            };
            if self.is_silent() {
                return Err(error);
            }
            if start.elapsed().as_millis() >= i64::from(limit) {
                if error == EBUSY {
                    self.silent.store(true, Relaxed);
                }
                return Err(error);
            }
            if self.is_gone() {
                return Err(ENXIO);
            }
            fsleep(Delta::from_millis(RETRY_MS));
        }
    }

    /// Whether no answer can come: the NIC is about to be reset, or asks for it.
    fn is_gone(&self) -> bool {
        self.lost.load(Relaxed) || self.vdev.needs_reset()
    }

    /// Ends all waiting until [`Self::set_queue`], because the NIC is about to be reset and will not
    /// answer. Only for the code that resets: no other code knows that a queue follows.
    pub(crate) fn give_up(&self) {
        self.lost.store(true, Relaxed);
    }

    /// Whether the NIC has stopped answering.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Relaxed)
    }

    /// Polls for the answer for a while, without interrupts; true if it is there.
    fn poll(&self, waiter: &Waiter) -> bool {
        if let Some(queue) = &mut *self.queue.lock() {
            queue.disable_cb();
        }
        let look = || {
            self.drain();
            Ok(waiter.exchange.lock().is_some())
        };
        let step = Delta::from_micros(POLL_MICROS);
        let found = read_poll_timeout_atomic(look, |found| *found, step, POLLS).is_ok();
        // For other waiters, too, which may sleep already.
        let more = match &mut *self.queue.lock() {
            Some(queue) => !queue.enable_cb(),
            None => false,
        };
        if more {
            self.drain();
        }
        found
    }

    /// Sends `command`; its answer comes to the returned waiter. Sleeps only if `flags` allow it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if the memory cannot be mapped for the NIC; `EBUSY` if the queue is full; `ENODEV` if
    /// it is broken or absent.
    pub(crate) fn post(
        &self,
        command: &Command<'_>,
        data_len: usize,
        result_len: usize,
        flags: Flags,
    ) -> Result<Arc<Waiter>> {
        let prepared = Self::prepare(command, data_len, result_len, flags)?;
        self.send(prepared)
    }

    /// Sends `command` and waits for the answer. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Self::post`] and of [`Self::wait`].
    pub(crate) fn execute(
        &self,
        command: &Command<'_>,
        data_len: usize,
        result_len: usize,
    ) -> Result<Answer> {
        let waiter = self.post(command, data_len, result_len, GFP_KERNEL)?;
        self.wait(&waiter)
    }

    /// Tells the NIC to use `count` queue pairs. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_queue_pairs(&self, count: u16) -> Result {
        let [low, high] = count.to_le_bytes();
        self.order(&[ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, low, high])
    }

    /// Tells the NIC what to give: a set of features. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_guest_offloads(&self, offloads: u64) -> Result {
        let [a, b, c, d, e, f, g, h] = offloads.to_le_bytes();
        let (class, command) = (ctrl::CLASS_GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET);
        self.order(&[class, command, a, b, c, d, e, f, g, h])
    }

    /// Gives the NIC a MAC address. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_mac_address(&self, [a, b, c, d, e, f]: [u8; 6]) -> Result {
        self.order(&[ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET, a, b, c, d, e, f])
    }

    /// Switches a receive mode (`ctrl::RX_`) on or off. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_rx_mode(&self, mode: u8, on: bool) -> Result {
        self.order(&[ctrl::CLASS_RX, mode, on.into()])
    }

    /// Tells the NIC the addresses and groups whose packets it is to receive. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_mac_table(&self, unicast: &[MacAddress], multicast: &[MacAddress]) -> Result {
        let mut request = KVec::new();
        request.extend_from_slice(&[ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET], GFP_KERNEL)?;
        for table in [unicast, multicast] {
            let count = u32::try_from(table.len()).map_err(|_| EINVAL)?;
            request.extend_from_slice(&count.to_le_bytes(), GFP_KERNEL)?;
            request.extend_from_slice(table.as_flattened(), GFP_KERNEL)?;
        }
        self.order(&request)
    }

    /// Adds or deletes a VLAN that the NIC receives (`ctrl::VLAN_`). Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn change_vlan(&self, command: u8, id: u16) -> Result {
        let [low, high] = id.to_le_bytes();
        self.order(&[ctrl::CLASS_VLAN, command, low, high])
    }

    /// Tells the NIC how long to hold back the interrupts of all transmit queues, or of all receive queues. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_coalescing(&self, transmit: bool, limits: ctrl::Coalescing) -> Result {
        let command = match transmit {
            true => ctrl::NOTF_COAL_TX_SET,
            false => ctrl::NOTF_COAL_RX_SET,
        };
        let mut request = [0; 10];
        let head = [ctrl::CLASS_NOTF_COAL, command];
        fill(&mut request, head, limits.as_bytes());
        self.order(&request)
    }

    /// The same for the virtqueue with this index. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn set_queue_coalescing(&self, index: u16, limits: ctrl::Coalescing) -> Result {
        let set = ctrl::QueueCoalescing {
            queue: ctrl::QueueIndex {
                vq_index: U16::new(index),
                ..Default::default()
            },
            coalescing: limits,
        };
        let mut request = [0; 14];
        let head = [ctrl::CLASS_NOTF_COAL, ctrl::NOTF_COAL_VQ_SET];
        fill(&mut request, head, set.as_bytes());
        self.order(&request)
    }

    /// Sends a command that has no result. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; `EIO` if the NIC refused.
    pub(crate) fn order(&self, request: &[u8]) -> Result {
        let mut prepared = Prepared::new(request.len(), ACK, GFP_KERNEL)?;
        prepared.exchange.request.copy_from_slice(request);
        let waiter = self.send(prepared)?;
        match self.wait(&waiter)?.0.answered() {
            Some((ctrl::OK, _)) => Ok(()),
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
        self.silent.store(false, Relaxed);
        self.lost.store(false, Relaxed);
    }

    /// Hands answers to their waiters. Any context.
    pub(crate) fn drain(&self) {
        let mut queue = self.queue.lock();
        let Some(queue) = &mut *queue else { return };
        while let Some(mut exchange) = queue.take() {
            self.silent.store(false, Relaxed);
            if let Some(waiter) = exchange.waiter.take() {
                *waiter.exchange.lock() = Some(exchange);
                waiter.done.complete_all();
            }
        }
    }
}
