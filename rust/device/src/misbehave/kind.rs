// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can be done wrong, and how it is called.

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
        /// Event queue.
        Event = "event",
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
        /// The header of a received packet has a segmentation of no known type.
        GsoType = "rx gso-type",
        /// The header of a received packet asks for segments without data.
        GsoSize = "rx gso-size",
        /// The header of a received packet has a checksum to be completed far behind its end.
        CsumStart = "rx csum-start",
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
        /// New objects of the flow filter are refused.
        RefuseFilter = "filter refuse-create",
        /// An SA that is to be destroyed stays, and the command is refused.
        RefuseDestroy = "sa refuse-destroy",
        /// A decrypted packet with the id of another SA.
        SaId = "record sa-id",
        /// A decrypted packet with another generation than its SA.
        Generation = "record generation",
        /// A decrypted packet with another SPI in its ESP header.
        Spi = "record spi",
        /// A decrypted packet with another destination address.
        Address = "record address",
        /// A decrypted packet with its ESP header at 65535.
        OffsetOutside = "record offset-outside",
        /// A decrypted packet with its ESP header said to be four bytes behind where it is.
        OffsetInside = "record offset-inside",
        /// An event names an SA that there is not.
        EventId = "event sa-id",
        /// An event names an SA of the other direction.
        EventDirection = "event direction",
        /// An event says that the hard limit is reached, whatever has happened.
        EventHard = "event hard",
        /// An event says that the peer has moved, which nobody has asked for.
        EventMoved = "event moved",
        /// An event comes once more.
        EventAgain = "event again",
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
pub(super) const KINDS: usize = Queue::ALL.len() * USED + Deed::ALL.len();

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

    pub(super) fn index(self) -> usize {
        match self {
            Self::Used(queue, used) => queue as usize * USED + used as usize,
            Self::Other(deed) => Queue::ALL.len() * USED + deed as usize,
        }
    }
}
