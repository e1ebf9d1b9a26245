// SPDX-License-Identifier: GPL-2.0

//! SAs that are left to software, although the NIC could do their work.

#[cfg(all(espnic_kunit, espnic_ndis))]
mod tests;

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel_net::net::{
    ip::Family,
    xfrm::Direction, //
};

/// A set of IP versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl Versions {
    /// Whether the set has the version of an SA's outer addresses.
    fn has(self, family: Option<Family>) -> bool {
        match family {
            Some(Family::V4) => self.ipv4,
            Some(Family::V6) => self.ipv6,
            None => false,
        }
    }
}

/// Why SAs are left to software.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Another device takes the interface's frames: the NIC must decrypt nothing.
    pub(crate) diverted: bool,
    /// Frames come to memory of sockets (AF_XDP), which user space can change: the NIC must decrypt nothing.
    pub(crate) lent: bool,
    /// NDIS has ESP off: in both directions, for all SAs.
    pub(crate) off: Versions,
    /// NDIS has not set receive processing going: for inbound SAs that were made through NDIS.
    pub(crate) waiting: Versions,
}

/// The properties of an SA that decide whether it is left to software.
#[derive(Clone, Copy)]
pub(super) struct Question {
    pub(super) direction: Direction,
    /// The family of the outer addresses.
    pub(super) family: Option<Family>,
    /// It was made through the NDIS layer.
    pub(super) by_ndis: bool,
}

impl Left {
    /// Whether software does the SA's work.
    pub(super) fn has(self, sa: Question) -> bool {
        let waits = sa.by_ndis && self.waiting.has(sa.family);
        self.off.has(sa.family)
            || (sa.direction == Direction::In && (self.diverted || self.lent || waits))
    }

    #[cfg(espnic_ndis)]
    fn to_bits(self) -> u32 {
        let flags = [
            self.off.ipv4,
            self.off.ipv6,
            self.waiting.ipv4,
            self.waiting.ipv6,
        ];
        flags
            .iter()
            .rfold(0, |bits, &flag| (bits << 1) | u32::from(flag))
    }

    fn from_bits(bits: u32, diverted: bool) -> Self {
        let flag = |number: u32| bits & (1 << number) != 0;
        Self {
            diverted,
            lent: false,
            off: Versions {
                ipv4: flag(0),
                ipv6: flag(1),
            },
            waiting: Versions {
                ipv4: flag(2),
                ipv6: flag(3),
            },
        }
    }
}

/// The reasons that hold now. Setting one waits neither for other threads nor for the NIC.
pub(super) struct Reasons {
    diverted: Atomic<bool>,
    /// How many receive queues have memory of sockets.
    lent: Atomic<u32>,
    by_ndis: Atomic<u32>,
}

impl Reasons {
    pub(super) fn new() -> Self {
        Self {
            diverted: Atomic::new(false),
            lent: Atomic::new(0),
            by_ndis: Atomic::new(0),
        }
    }

    pub(super) fn set_diverted(&self, diverted: bool) {
        self.diverted.store(diverted, Relaxed);
    }

    /// One more receive queue has memory of sockets.
    pub(super) fn add_lent(&self) {
        self.lent.fetch_add(1, Relaxed);
    }

    /// One less has.
    pub(super) fn remove_lent(&self) {
        self.lent.fetch_sub(1, Relaxed);
    }

    pub(super) fn is_lent(&self) -> bool {
        self.lent.load(Relaxed) != 0
    }

    #[cfg(espnic_ndis)]
    pub(super) fn set_by_ndis(&self, off: Versions, waiting: Versions) {
        let left = Left {
            diverted: false,
            lent: false,
            off,
            waiting,
        };
        self.by_ndis.store(left.to_bits(), Relaxed);
    }

    pub(super) fn get(&self) -> Left {
        let bits = self.by_ndis.load(Relaxed);
        Left {
            lent: self.is_lent(),
            ..Left::from_bits(bits, self.diverted.load(Relaxed))
        }
    }

    /// Whether NDIS has anything off. Per packet.
    pub(super) fn is_anything_off(&self) -> bool {
        self.by_ndis.load(Relaxed) & OFF != 0
    }
}

/// The bits of [`Left::off`].
const OFF: u32 = 3;
