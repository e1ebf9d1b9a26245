// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Misbehaviour: rules of virtio and of the IPsec extension that a NIC breaks on purpose, so that a
//! driver can be tested against a hostile one.
//!
//! This module counts how often a NIC still has to break each rule, and how often it has. The code that
//! breaks the rules asks it: the queues ([`crate::net`]), the configuration, the SA objects. The NIC
//! itself stays safe: it writes only where the driver lets it write, but reports wrong values.

pub mod order;

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use crate::stats::Counter;
use order::Order;

/// An enum with a word for each variant.
macro_rules! words {
    ($(#[$attr:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $words:literal,)* }) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All variants in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How it is called in requests and counters.
            pub fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }
        }
    };
}

words! {
    /// A kind of queue.
    Queue {
        /// Receive queues.
        Rx = "rx",
        /// Transmit queues.
        Tx = "tx",
        /// Control and administration queue.
        Ctrl = "ctrl",
    }
}

words! {
    /// A wrong entry of a used ring.
    Used {
        /// The id is that of the chain plus the size of the queue.
        IdOutOfRange = "id-out-of-range",
        /// The id of no chain that the device has; if it has all of them, as [`Self::Twice`].
        IdNotGiven = "id-not-given",
        /// One byte more than the writable part of the chain has.
        TooLong = "too-long",
        /// 2^32 - 1 bytes.
        Huge = "huge",
        /// No byte.
        Empty = "empty",
        /// Five bytes: less than every header of a packet, and than that of an answer.
        Short = "short",
        /// The entry is there twice.
        Twice = "twice",
    }
}

words! {
    /// Any other breach of a rule.
    Deed {
        /// Transmit queues are not served until the device is reset.
        Stall = "tx stall",
        /// An interrupt of a transmit queue does not come.
        Silent = "tx silent",
        /// The header of a received packet says that it has 65535 buffers.
        NumBuffers = "rx num-buffers",
        /// A command is carried out, and its answer comes later than the next ones.
        Late = "ctrl late",
        /// Half of an answer is missing; there is something else in its place.
        Truncated = "ctrl truncated",
        /// A command is carried out and not answered. Its buffer comes back with a reset.
        Never = "ctrl never",
        /// `max_virtqueue_pairs` reads as 65535.
        MaxPairs = "config max-pairs",
        /// `mtu` reads as another number.
        Mtu = "config mtu",
        /// The limits of SAs in a capability that the driver gets are 2^32 - 1.
        SaLimits = "sa limits",
        /// Once the device has been reset, new SAs are refused.
        RefuseCreate = "sa refuse-create",
        /// An SA that is to be destroyed stays, and the command is refused.
        RefuseDestroy = "sa refuse-destroy",
        /// A decrypted packet with the id of another SA.
        SaId = "record sa-id",
        /// A decrypted packet with another epoch than its SA.
        Epoch = "record epoch",
        /// A decrypted packet with another SPI in its ESP header.
        Spi = "record spi",
        /// A decrypted packet with another destination address.
        Address = "record address",
        /// A decrypted packet with its ESP header at 65535.
        OffsetOutside = "record offset-outside",
        /// A decrypted packet with its ESP header said to be four bytes behind where it is.
        OffsetInside = "record offset-inside",
        /// After the driver's reset used indices move on, and interrupts come.
        Interrupts = "reset interrupts",
    }
}

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An entry of a used ring is wrong.
    Used(Queue, Used),
    /// Something else.
    Other(Deed),
}

/// The name of the missing device configuration, which is chosen when the process starts.
pub const NO_DEVICE_CONFIG: &str = "pci no-device-config";

const USED: usize = Used::ALL.len();
const KINDS: usize = Queue::ALL.len() * USED + Deed::ALL.len();

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        let used = |&queue| Used::ALL.iter().map(move |&used| Self::Used(queue, used));
        let used = Queue::ALL.iter().flat_map(used);
        used.chain(Deed::ALL.iter().copied().map(Self::Other))
    }

    /// How it is called in requests and counters.
    pub fn words(self) -> String {
        match self {
            Self::Used(queue, used) => format!("{} {}", queue.words(), used.words()),
            Self::Other(deed) => deed.words().to_owned(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Used(queue, used) => queue as usize * USED + used as usize,
            Self::Other(deed) => Queue::ALL.len() * USED + deed as usize,
        }
    }
}

/// The counts of one kind: how often it is still to be done, and how often it was.
#[derive(Default)]
struct Entry {
    left: AtomicU32,
    made: Counter,
}

/// The misbehaviour of one NIC. Costs next to nothing while there is none.
pub struct Misbehaviour {
    entries: [Entry; KINDS],
    /// Some of `entries` are left.
    active: AtomicBool,
    /// The device was reset since [`Deed::RefuseCreate`] was set.
    was_reset: AtomicBool,
    /// [`Deed::Stall`] was done since the last reset.
    stalled: AtomicBool,
    mtu: AtomicU16,
    late_ms: AtomicU32,
    /// Reads of configuration space in which [`NO_DEVICE_CONFIG`] showed.
    no_device_config: Counter,
}

impl Default for Misbehaviour {
    fn default() -> Self {
        Self {
            entries: std::array::from_fn(|_| Entry::default()),
            active: AtomicBool::new(false),
            was_reset: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            mtu: AtomicU16::new(0),
            late_ms: AtomicU32::new(0),
            no_device_config: Counter::default(),
        }
    }
}

impl Misbehaviour {
    /// Sets a misbehaviour in place of the one of the same kind.
    pub fn set(&self, order: &Order) {
        match order.kind {
            Kind::Other(Deed::Mtu) => self.mtu.store(order.value as u16, Ordering::Relaxed),
            Kind::Other(Deed::Late) => self.late_ms.store(order.value, Ordering::Relaxed),
            Kind::Other(Deed::RefuseCreate) => self.was_reset.store(false, Ordering::Relaxed),
            _ => {}
        }
        if let Some(entry) = self.entry(order.kind) {
            entry.left.store(order.count, Ordering::Relaxed);
        }
        self.note();
    }

    /// Ends all but the missing device configuration. Answers that are late still come.
    pub fn clear(&self) {
        for entry in &self.entries {
            entry.left.store(0, Ordering::Relaxed);
        }
        self.note();
    }

    /// The device has been reset.
    pub fn reset(&self) {
        self.was_reset.store(true, Ordering::Relaxed);
        if self.stalled.swap(false, Ordering::Relaxed) {
            self.takes(Deed::Stall);
        }
    }

    /// Name and number of every misbehaviour so far.
    pub fn made(&self) -> Vec<(String, u64)> {
        let made = |kind: Kind| {
            let made = self.entry(kind).map_or(0, |entry| entry.made.get());
            (kind.words(), made)
        };
        let start = (NO_DEVICE_CONFIG.to_owned(), self.no_device_config.get());
        Kind::all().map(made).chain([start]).collect()
    }

    /// Whether anything may be done wrong.
    #[inline]
    pub fn active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether `deed` is due; if so, counts it as done.
    #[inline]
    pub fn takes(&self, deed: Deed) -> bool {
        self.active() && self.take(Kind::Other(deed))
    }

    /// The fault of the next entry of a used ring, if any; counts it as done.
    pub fn takes_used(&self, queue: Queue) -> Option<Used> {
        let due = |used: &Used| self.take(Kind::Used(queue, *used));
        Used::ALL.iter().copied().find(due)
    }

    /// Whether `deed` is still to be done.
    pub fn expects(&self, deed: Deed) -> bool {
        self.active()
            && self
                .entry(Kind::Other(deed))
                .is_some_and(|entry| entry.left.load(Ordering::Relaxed) > 0)
    }

    /// Whether transmit queues are not served now.
    pub fn stalls(&self) -> bool {
        let stalls = self.expects(Deed::Stall);
        if stalls {
            self.stalled.store(true, Ordering::Relaxed);
        }
        stalls
    }

    /// Whether a new SA is refused.
    pub fn refuses_create(&self) -> bool {
        self.was_reset.load(Ordering::Relaxed) && self.takes(Deed::RefuseCreate)
    }

    /// The value that `mtu` reads as instead of `real`.
    pub fn mtu(&self, real: u16) -> u16 {
        match self.takes(Deed::Mtu) {
            true => self.mtu.load(Ordering::Relaxed),
            false => real,
        }
    }

    /// The value that `max_virtqueue_pairs` reads as instead of `real`.
    pub fn max_pairs(&self, real: u16) -> u16 {
        match self.takes(Deed::MaxPairs) {
            true => u16::MAX,
            false => real,
        }
    }

    /// The delay of an answer.
    pub fn lateness(&self) -> Option<Duration> {
        self.takes(Deed::Late)
            .then(|| Duration::from_millis(self.late_ms.load(Ordering::Relaxed).into()))
    }

    /// Counts a read in which the driver could see that the device configuration is missing.
    pub fn device_config_missed(&self) {
        self.no_device_config.inc();
    }

    fn entry(&self, kind: Kind) -> Option<&Entry> {
        self.entries.get(kind.index())
    }

    fn take(&self, kind: Kind) -> bool {
        let Some(entry) = self.entry(kind) else {
            return false;
        };
        let less = |left: u32| left.checked_sub(1);
        let took = entry
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if took.is_ok() {
            entry.made.inc();
        }
        if took == Ok(1) {
            self.note();
        }
        took.is_ok()
    }

    /// Remembers whether anything is left.
    fn note(&self) {
        let left = |entry: &Entry| entry.left.load(Ordering::Relaxed) > 0;
        self.active
            .store(self.entries.iter().any(left), Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "misbehave/tests.rs"]
mod tests;
