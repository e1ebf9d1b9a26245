// SPDX-License-Identifier: GPL-2.0

//! An adapter as an open file sees it: bound to an interface, with a bounded ring of records.

use super::{
    later::{
        Finished,
        Table, //
    },
    request::Information,
    Adapter, //
};
use crate::nic::Nic;
use espnic_ndis::envelope::{
    Indication,
    Received,
    Record,
    Sent,
    INDICATION_BUFFER,
    MAX_BYTES,
    MAX_SUBMITS,
    RECORD_INDICATION,
    RECORD_RECEIVED,
    RECORD_REMOVED,
    RECORD_SENT,
    RING_RECORDS,
    WANT_BYTES,
    WANT_INDICATIONS,
    WANT_RECEIVE,
    WANT_SEND, //
};
use kernel::{
    alloc::KVVec,
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
    },
    time::{
        ClockSource,
        Monotonic, //
    }, //
};
use kernel_net::{
    net::{
        namespace::{
            HeldDevice,
            Namespace, //
        },
        skbuff::SkBuff, //
    },
    new_lock,
    sync::SpinLockBh, //
};
use zerocopy::IntoBytes;

/// Bytes of the longest record of a ring.
const MAX_STORED: usize = size_of::<Record>() + size_of::<Indication>() + INDICATION_BUFFER;

/// What a record says.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Indication {
        status: u32,
        length: usize,
        buffer: [u8; INDICATION_BUFFER],
    },
    Received(Received, Start),
    Sent(Sent, Start),
    Removed,
}

/// The first bytes of a frame.
#[derive(Clone, Copy)]
pub(super) struct Start {
    bytes: [u8; MAX_BYTES],
    length: u8,
}

impl Start {
    pub(super) const NONE: Self = Self {
        bytes: [0; MAX_BYTES],
        length: 0,
    };

    pub(super) fn of(skb: &SkBuff) -> Self {
        let mut start = Self::NONE;
        let length = usize::try_from(skb.len()).map_or(MAX_BYTES, |length| length.min(MAX_BYTES));
        if let Some(bytes) = start.bytes.get_mut(..length) {
            start.length = match skb.copy_bits(0, bytes) {
                Ok(()) => length as u8,
                Err(_) => 0,
            };
        }
        start
    }

    /// Writes them behind a body; returns where they end.
    fn write(&self, out: &mut [u8], at: usize) -> Option<usize> {
        let padded = usize::from(self.length).checked_next_multiple_of(8)?;
        put(out, at, self.bytes.get(..padded)?)
    }
}

impl Body {
    /// The bit of `Bind::flags` that asks for it; all files get the others.
    fn wanted_by(&self) -> u32 {
        match self {
            Self::Indication { .. } => WANT_INDICATIONS,
            Self::Received(..) => WANT_RECEIVE,
            Self::Sent(..) => WANT_SEND,
            Self::Removed => !0,
        }
    }

    /// The same without the bytes of the packet.
    fn without_bytes(mut self) -> Self {
        if let Self::Received(_, start) | Self::Sent(_, start) = &mut self {
            *start = Start::NONE;
        }
        self
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Indication { .. } => RECORD_INDICATION,
            Self::Received(..) => RECORD_RECEIVED,
            Self::Sent(..) => RECORD_SENT,
            Self::Removed => RECORD_REMOVED,
        }
    }

    /// Writes the body to `out`; returns its length.
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Indication {
                status,
                length,
                buffer,
            } => {
                let head = Indication {
                    status: *status,
                    buffer_length: u32::try_from(*length).ok()?,
                };
                let at = put(out, 0, head.as_bytes())?;
                let padded = length.checked_next_multiple_of(8)?;
                put(out, at, buffer.get(..padded)?)
            }
            Self::Received(body, start) => {
                let body = Received {
                    bytes: start.length,
                    ..*body
                };
                let at = put(out, 0, body.as_bytes())?;
                start.write(out, at)
            }
            Self::Sent(body, start) => {
                let body = Sent {
                    bytes: start.length,
                    ..*body
                };
                let at = put(out, 0, body.as_bytes())?;
                start.write(out, at)
            }
            Self::Removed => Some(0),
        }
    }
}

/// Copies `bytes` to `out` from `at` on; returns where they end.
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Option<usize> {
    let end = at.checked_add(bytes.len())?;
    out.get_mut(at..end)?
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    Some(end)
}

#[derive(Clone, Copy)]
struct Stored {
    body: Body,
    stamp: Stamp,
}

/// What the head of a record says besides kind and length.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    sequence: u32,
    lost: u32,
    timestamp: u64,
}

impl Stamp {
    fn head(&self, length: usize, kind: u16) -> Option<Record> {
        Some(Record {
            length: u16::try_from(length).ok()?,
            kind,
            sequence: self.sequence,
            lost: self.lost,
            reserved: 0,
            timestamp: self.timestamp,
        })
    }

    /// Whether it is the older one of two that are not far apart.
    fn is_before(&self, other: &Self) -> bool {
        self.sequence.wrapping_sub(other.sequence) > u32::MAX / 2
    }
}

/// Records that wait to be read; new ones are lost while it is full.
pub(super) struct Ring {
    /// As a ring: `length` of them from `first` on are in use.
    records: KVVec<Option<Stored>>,
    first: usize,
    length: usize,
    /// Of the next record.
    sequence: u32,
    /// Lost since the last record.
    gap: u32,
    stored: u64,
    lost: u64,
}

/// A record as bytes.
pub(super) struct Bytes {
    bytes: [u8; MAX_STORED],
    length: usize,
    /// The handles behind it.
    handles: Option<Information>,
}

impl Bytes {
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// What follows the bytes of [`Self::get`].
    pub(super) fn rest(&self) -> &[u8] {
        let handles = self.handles.as_ref();
        handles.map_or(&[], |handles| handles.bytes())
    }

    /// A record without a rest.
    fn new(
        stamp: &Stamp,
        kind: u16,
        body: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<Self> {
        let mut bytes = [0; MAX_STORED];
        let (head, rest) = bytes.split_at_mut_checked(size_of::<Record>())?;
        let length = head.len().checked_add(body(rest)?)?;
        put(head, 0, stamp.head(length, kind)?.as_bytes())?;
        Some(Self {
            bytes,
            length,
            handles: None,
        })
    }

    fn of_finished(finished: &Finished) -> Option<Self> {
        let handles = finished.handles.as_ref().map_or(0, |one| one.bytes().len());
        let body = finished.head.as_bytes();
        let mut bytes = Self::new(&finished.stamp, Finished::KIND, |out| put(out, 0, body))?;
        let all = bytes.length.checked_add(handles)?;
        let head = finished.stamp.head(all, Finished::KIND)?;
        put(&mut bytes.bytes, 0, head.as_bytes())?;
        Some(bytes)
    }
}

impl Ring {
    fn new() -> Result<Self> {
        let mut records = KVVec::new();
        // Whoever opens the file pays for it.
        records.resize(RING_RECORDS, None, kernel::alloc::flags::GFP_KERNEL_ACCOUNT)?;
        Ok(Self {
            records,
            first: 0,
            length: 0,
            sequence: 0,
            gap: 0,
            stored: 0,
            lost: 0,
        })
    }

    /// The next number.
    fn count(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// For a record that is kept elsewhere.
    pub(super) fn stamp(&mut self) -> Stamp {
        self.stored = self.stored.wrapping_add(1);
        Stamp {
            sequence: self.count(),
            lost: core::mem::take(&mut self.gap),
            timestamp: now(),
        }
    }

    /// Stores a record; `even_if_full` replaces the youngest one.
    fn push(&mut self, body: Body, even_if_full: bool) {
        let sequence = self.count();
        if self.length == RING_RECORDS {
            self.gap = self.gap.saturating_add(1);
            self.lost = self.lost.wrapping_add(1);
            if !even_if_full {
                return;
            }
            // What was lost before it comes on top.
            self.length = self.length.wrapping_sub(1);
            if let Some(Some(youngest)) = self.records.get(self.index(self.length)) {
                self.gap = self.gap.saturating_add(youngest.stamp.lost);
            }
        }
        let stored = Stored {
            body,
            stamp: Stamp {
                sequence,
                lost: core::mem::take(&mut self.gap),
                timestamp: now(),
            },
        };
        let index = self.index(self.length);
        if let Some(slot) = self.records.get_mut(index) {
            *slot = Some(stored);
            self.length = self.length.wrapping_add(1);
            self.stored = self.stored.wrapping_add(1);
        }
    }

    fn index(&self, nth: usize) -> usize {
        let index = self.first.wrapping_add(nth);
        match index.checked_sub(RING_RECORDS) {
            Some(index) => index,
            None => index,
        }
    }

    /// The oldest record.
    fn first(&self) -> Option<&Stored> {
        match self.length {
            0 => None,
            _ => self.records.get(self.first)?.as_ref(),
        }
    }

    /// Takes the oldest record out, if it has at most `room` bytes.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is none; `EINVAL` if it is too long.
    fn pop(&mut self, room: usize) -> Result<Bytes> {
        if self.length == 0 {
            return Err(EAGAIN);
        }
        let stored = self.records.get(self.first).copied().flatten();
        let bytes = stored.ok_or(EIO)?.to_bytes().ok_or(EIO)?;
        if bytes.length > room {
            return Err(EINVAL);
        }
        self.first = self.index(1);
        self.length = self.length.wrapping_sub(1);
        Ok(bytes)
    }
}

impl Stored {
    fn to_bytes(self) -> Option<Bytes> {
        Bytes::new(&self.stamp, self.body.kind(), |out| self.body.write(out))
    }
}

/// What waits to be read, and what is to be done.
struct Inside {
    ring: Ring,
    table: Table,
    /// The adapter is gone, and requests are worked on still: the removal is to be told behind them.
    removal_due: bool,
    /// Frames submitted in a second, and which one that is.
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
        let mut bytes = Bytes::of_finished(finished).ok_or(EIO)?;
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

    /// Tells the removal when nothing can come any more.
    fn tell_removal(&mut self) {
        if self.removal_due && self.table.is_empty() {
            self.removal_due = false;
            self.ring.push(Body::Removed, true);
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
fn now() -> u64 {
    u64::try_from(Monotonic::ktime_get()).unwrap_or(0)
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

    /// The interface, kept from going: not while the caller's memory is copied, which may take
    /// for ever.
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

    /// [`Self::device`] for whoever may close the file, or was checked.
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

    /// The adapter is gone: ends what is pending, and tells the reader.
    pub(super) fn remove(&self) {
        let mut inside = self.inside.lock();
        self.removed.store(true, Release);
        inside.removal_due = true;
        inside.table.close();
        drop(inside);
        self.abort(None);
    }

    /// Stores a record if the file wants such. Any context but interrupts.
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

    /// Requests have ended: tells the reader.
    pub(super) fn finished(&self) {
        self.inside.lock().tell_removal();
        self.readable.notify_all();
    }

    /// Looks at the pended requests. No sleeping in `act`.
    pub(super) fn with_table<T>(&self, act: impl FnOnce(&mut Ring, &mut Table) -> T) -> T {
        let mut inside = self.inside.lock();
        let Inside { ring, table, .. } = &mut *inside;
        act(ring, table)
    }

    /// Whether a frame may be submitted: counts it, and says no to too many in a second.
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

    /// How many have.
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
