// SPDX-License-Identifier: GPL-2.0

//! Records, and the bounded ring of an open file that holds them until they are read.

use super::information::Information;
use espnic_ndis::envelope::{
    Indication,
    Received,
    Record,
    Sent,
    INDICATION_BUFFER,
    MAX_BYTES,
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
    time::{
        ClockSource,
        Monotonic, //
    }, //
};
use kernel_net::net::skbuff::SkBuff;
use zerocopy::IntoBytes;

/// Bytes of the longest record of a ring.
const MAX_STORED: usize = size_of::<Record>() + size_of::<Indication>() + INDICATION_BUFFER;

/// The body of a record.
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

    /// Writes them after a body; returns where they end.
    fn write(&self, out: &mut [u8], at: usize) -> Option<usize> {
        let padded = usize::from(self.length).checked_next_multiple_of(8)?;
        put(out, at, self.bytes.get(..padded)?)
    }
}

impl Body {
    /// The bit of `Bind::flags` that asks for such records; all bits if every file gets them.
    pub(super) fn wanted_by(&self) -> u32 {
        match self {
            Self::Indication { .. } => WANT_INDICATIONS,
            Self::Received(..) => WANT_RECEIVE,
            Self::Sent(..) => WANT_SEND,
            Self::Removed => !0,
        }
    }

    /// The same without the bytes of the packet.
    pub(super) fn without_bytes(mut self) -> Self {
        if let Self::Received(_, start) | Self::Sent(_, start) = &mut self {
            *start = Start::NONE;
        }
        self
    }

    pub(super) fn kind(&self) -> u16 {
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
pub(super) struct Stored {
    body: Body,
    pub(super) stamp: Stamp,
}

/// The head of a record without kind and length.
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

    /// Whether this stamp is older than `other`, which must not be far away.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.sequence.wrapping_sub(other.sequence) > u32::MAX / 2
    }
}

/// The records that wait to be read. While it is full, new ones are lost.
pub(super) struct Ring {
    /// A ring: `length` places from `first` on are in use.
    records: KVVec<Option<Stored>>,
    first: usize,
    pub(super) length: usize,
    /// The sequence number of the next record.
    sequence: u32,
    /// The number of records lost since the last one.
    gap: u32,
    pub(super) stored: u64,
    pub(super) lost: u64,
}

/// A record as bytes.
pub(super) struct Bytes {
    bytes: [u8; MAX_STORED],
    pub(super) length: usize,
    /// The handles that follow the record.
    pub(super) handles: Option<Information>,
}

impl Bytes {
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The bytes that follow those of [`Self::get`].
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

    /// A record that is followed by `rest` bytes, which the caller puts there.
    pub(super) fn with_rest(stamp: &Stamp, kind: u16, body: &[u8], rest: usize) -> Option<Self> {
        let mut bytes = Self::new(stamp, kind, |out| put(out, 0, body))?;
        let all = bytes.length.checked_add(rest)?;
        put(&mut bytes.bytes, 0, stamp.head(all, kind)?.as_bytes())?;
        Some(bytes)
    }
}

impl Ring {
    pub(super) fn new() -> Result<Self> {
        let mut records = KVVec::new();
        // The process that opens the file is charged for it.
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

    /// The stamp for a record that is kept elsewhere.
    pub(super) fn stamp(&mut self) -> Stamp {
        self.stored = self.stored.wrapping_add(1);
        let sequence = self.count();
        self.stamp_as(sequence)
    }

    fn stamp_as(&mut self, sequence: u32) -> Stamp {
        Stamp {
            sequence,
            lost: core::mem::take(&mut self.gap),
            timestamp: now(),
        }
    }

    /// Stores a record; `even_if_full` replaces the youngest one.
    pub(super) fn push(&mut self, body: Body, even_if_full: bool) {
        let sequence = self.count();
        if self.length == RING_RECORDS {
            self.gap = self.gap.saturating_add(1);
            self.lost = self.lost.wrapping_add(1);
            if !even_if_full {
                return;
            }
            // Adds the records that were lost before the replaced one.
            self.length = self.length.wrapping_sub(1);
            if let Some(Some(youngest)) = self.records.get(self.index(self.length)) {
                self.gap = self.gap.saturating_add(youngest.stamp.lost);
            }
        }
        let stored = Stored {
            body,
            stamp: self.stamp_as(sequence),
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
    pub(super) fn first(&self) -> Option<&Stored> {
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
    pub(super) fn pop(&mut self, room: usize) -> Result<Bytes> {
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

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(super) fn now() -> u64 {
    u64::try_from(Monotonic::ktime_get()).unwrap_or(0)
}
