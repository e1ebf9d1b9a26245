// SPDX-License-Identifier: GPL-2.0

//! An adapter as an open file sees it: bound to an interface, with a bounded ring of records.

use super::Adapter;
use crate::nic::Nic;
use espnic_ndis::envelope::{
    Indication,
    Received,
    Record,
    Sent,
    INDICATION_BUFFER,
    MAX_RECORD,
    RECORD_INDICATION,
    RECORD_RECEIVED,
    RECORD_REMOVED,
    RECORD_SENT,
    RING_RECORDS,
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
    net::namespace::{
        HeldDevice,
        Namespace, //
    },
    new_lock,
    sync::SpinLockBh, //
};
use zerocopy::IntoBytes;

/// What a record says.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Indication {
        status: u32,
        length: usize,
        buffer: [u8; INDICATION_BUFFER],
    },
    Received(Received),
    Sent(Sent),
    Removed,
}

impl Body {
    /// The bit of `Bind::flags` that asks for it; all files get the others.
    fn wanted_by(&self) -> u32 {
        match self {
            Self::Indication { .. } => WANT_INDICATIONS,
            Self::Received(_) => WANT_RECEIVE,
            Self::Sent(_) => WANT_SEND,
            Self::Removed => !0,
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Indication { .. } => RECORD_INDICATION,
            Self::Received(_) => RECORD_RECEIVED,
            Self::Sent(_) => RECORD_SENT,
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
            Self::Received(body) => put(out, 0, body.as_bytes()),
            Self::Sent(body) => put(out, 0, body.as_bytes()),
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
    sequence: u32,
    lost: u32,
    timestamp: u64,
}

/// Records that wait to be read; new ones are lost while it is full.
struct Ring {
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
    bytes: [u8; MAX_RECORD],
    length: usize,
}

impl Bytes {
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
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

    /// Stores a record; `even_if_full` replaces the youngest one.
    fn push(&mut self, body: Body, even_if_full: bool) {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        if self.length == RING_RECORDS {
            self.gap = self.gap.saturating_add(1);
            self.lost = self.lost.wrapping_add(1);
            if !even_if_full {
                return;
            }
            // What was lost before it comes on top.
            self.length = self.length.wrapping_sub(1);
            if let Some(Some(youngest)) = self.records.get(self.index(self.length)) {
                self.gap = self.gap.saturating_add(youngest.lost);
            }
        }
        let stored = Stored {
            body,
            sequence,
            lost: core::mem::take(&mut self.gap),
            timestamp: now(),
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
        let mut bytes = [0; MAX_RECORD];
        let (head, rest) = bytes.split_at_mut_checked(size_of::<Record>())?;
        let length = head.len().checked_add(self.body.write(rest)?)?;
        let record = Record {
            length: u16::try_from(length).ok()?,
            kind: self.body.kind(),
            sequence: self.sequence,
            lost: self.lost,
            reserved: 0,
            timestamp: self.timestamp,
        };
        put(head, 0, record.as_bytes())?;
        Some(Bytes { bytes, length })
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
    ring: SpinLockBh<Ring>,
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
        let ring = Ring::new()?;
        Arc::pin_init(
            pin_init!(Self {
                adapter,
                namespace,
                index,
                owner,
                wants,
                removed: Atomic::new(false),
                ring <- new_lock!(ring),
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

    /// The adapter is gone: tells the reader.
    pub(super) fn remove(&self) {
        self.removed.store(true, Release);
        self.push(&Body::Removed);
    }

    /// Stores a record if the file wants such. Any context but interrupts.
    pub(super) fn push(&self, body: &Body) {
        if self.wants & body.wanted_by() == 0 && !matches!(body, Body::Removed) {
            return;
        }
        self.ring.lock().push(*body, matches!(body, Body::Removed));
        self.readable.notify_all();
    }

    /// Takes the oldest record, see [`Ring::pop`]; waits for one if `wait`. Sleeps then.
    ///
    /// # Errors
    ///
    /// As there, also `ERESTARTSYS`; `ENODEV` if there will be no more.
    pub(super) fn pop(&self, room: usize, wait: bool) -> Result<Bytes> {
        let mut ring = self.ring.lock();
        loop {
            match ring.pop(room) {
                Err(EAGAIN) if self.is_removed() => return Err(ENODEV),
                Err(EAGAIN) if wait => {}
                result => return result,
            }
            if self.readable.wait_interruptible(&mut ring) {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// Whether [`Self::pop`] would not wait.
    pub(super) fn has_record(&self) -> bool {
        self.ring.lock().length != 0 || self.is_removed()
    }

    /// Records stored and lost so far.
    pub(super) fn counters(&self) -> (u64, u64) {
        let ring = self.ring.lock();
        (ring.stored, ring.lost)
    }
}
