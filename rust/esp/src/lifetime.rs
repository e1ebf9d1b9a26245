// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long an SA lasts: limits of packets and bytes (RFC 4301 section 4.4.2.1), and the end of its
//! sequence numbers (RFC 4303 section 3.3.3).
//!
//! A packet may go as long as what was counted before it is below every hard limit, as in XFRM: a limit of
//! three packets lets three go. Packets are counted in batches, because one request of the stack becomes
//! many of them, but the end is found to the packet. Each limit is reported once.
//!
//! Nothing here locks: use it under the lock of the SA.

/// Limits of an SA; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Packets until a warning.
    pub soft_packets: u64,
    /// Bytes until a warning.
    pub soft_bytes: u64,
    /// Packets until the end.
    pub hard_packets: u64,
    /// Bytes until the end.
    pub hard_bytes: u64,
}

impl Limits {
    /// Whether every warning comes before the end.
    pub fn are_in_order(&self) -> bool {
        let before = |soft, hard| soft == 0 || hard == 0 || soft < hard;
        before(self.soft_packets, self.hard_packets) && before(self.soft_bytes, self.hard_bytes)
    }
}

/// Packets that are sent or received together, all but the last of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many, at least one.
    pub packets: u32,
    /// Bytes of each packet but the last.
    pub each: u32,
    /// Bytes of the last packet.
    pub last: u32,
}

impl Batch {
    /// A single packet.
    pub const fn one(bytes: u32) -> Self {
        Self {
            packets: 1,
            each: bytes,
            last: bytes,
        }
    }

    /// Bytes of its first `packets` packets.
    fn bytes(&self, packets: u32) -> u64 {
        let all = packets >= self.packets && packets > 0;
        let full = if all {
            self.packets.saturating_sub(1)
        } else {
            packets
        };
        let tail = if all { self.last } else { 0 };
        // Two numbers of 32 bits each.
        u64::from(full)
            .saturating_mul(self.each.into())
            .saturating_add(tail.into())
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets from its start that may go; the rest is to be dropped.
    pub passed: u32,
    /// A soft limit was reached, which is now to be reported.
    pub soft: bool,
    /// A hard limit was reached, which is now to be reported: no further packet may go.
    pub hard: bool,
}

/// What an SA has counted, and its limits.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    limits: Limits,
    packets: u64,
    bytes: u64,
    soft_told: bool,
    hard_told: bool,
}

impl Lifetime {
    /// Of an SA that has counted nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Goes on under other limits, which are reported anew.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.soft_told = false;
        self.hard_told = false;
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Packets that have passed.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a hard limit is reached, so that no packet may go. To be asked before the work of
    /// decryption.
    pub fn is_over(&self) -> bool {
        reached(self.limits.hard_packets, self.packets)
            || reached(self.limits.hard_bytes, self.bytes)
    }

    /// Whether a soft limit is reached, told or not.
    pub fn is_past_soft(&self) -> bool {
        reached(self.limits.soft_packets, self.packets)
            || reached(self.limits.soft_bytes, self.bytes)
    }

    /// How many packets of `batch` may go.
    pub fn admits(&self, batch: &Batch) -> u32 {
        if self.is_over() {
            return 0;
        }
        let by_packets = match self.limits.hard_packets {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.packets),
        };
        let by_bytes = match self.limits.hard_bytes {
            0 => u64::MAX,
            // The packet that reaches the limit still goes.
            limit => packets_to(limit.saturating_sub(self.bytes), batch.each),
        };
        let most = by_packets.min(by_bytes);
        u32::try_from(most).map_or(batch.packets, |most| most.min(batch.packets))
    }

    /// Counts the packets of `batch` that may go. Inbound, only authentic packets are counted.
    pub fn count(&mut self, batch: &Batch) -> Counted {
        self.count_first(batch, self.admits(batch))
    }

    /// Counts the first `passed` packets, no more than may go.
    fn count_first(&mut self, batch: &Batch, passed: u32) -> Counted {
        self.packets = self.packets.saturating_add(passed.into());
        self.bytes = self.bytes.saturating_add(batch.bytes(passed));
        let (soft, hard) = (self.is_past_soft(), self.is_over());
        Counted {
            passed,
            soft: is_news(&mut self.soft_told, soft),
            hard: is_news(&mut self.hard_told, hard),
        }
    }
}

fn reached(limit: u64, count: u64) -> bool {
    limit != 0 && count >= limit
}

/// Whether `now` holds for the first time, which `told` remembers.
fn is_news(told: &mut bool, now: bool) -> bool {
    let news = now && !*told;
    *told |= now;
    news
}

/// Packets of `each` bytes until `bytes` are reached.
fn packets_to(bytes: u64, each: u32) -> u64 {
    match each {
        0 => u64::MAX,
        each => bytes.div_ceil(each.into()),
    }
}

/// The sequence numbers of an outbound SA.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The last one that was used.
    last: u64,
    /// The last one that may be used.
    end: u64,
    told: bool,
}

impl Sequence {
    /// Numbers after `last`, the first one of a new SA being 1. They end with 32 bits, or with 64 with
    /// `esn`. An SA that `may_wrap` goes on beyond 32 bits: in the header the number starts again at zero,
    /// while the 64-bit number, of which the IV is made, never comes twice.
    pub fn new(last: u64, esn: bool, may_wrap: bool) -> Self {
        let end = if esn || may_wrap {
            u64::MAX
        } else {
            u32::MAX.into()
        };
        Self {
            last,
            end,
            told: false,
        }
    }

    /// The last number that was used, 0 for none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many of `packets` packets get a number.
    pub fn admits(&self, packets: u32) -> u32 {
        let left = self.end.saturating_sub(self.last);
        u32::try_from(left).map_or(packets, |left| left.min(packets))
    }

    /// Takes numbers for `packets` packets, of which there have to be so many, and returns the first.
    fn take(&mut self, packets: u32) -> u64 {
        let first = self.last.saturating_add(1);
        self.last = self.last.saturating_add(packets.into());
        first
    }
}

/// What became of a batch that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// As for every batch.
    pub counted: Counted,
    /// 64-bit number of its first packet; the others follow. Means nothing if none may go.
    pub first: u64,
    /// The numbers are used up, which is now to be reported: no further packet may go.
    pub overflow: bool,
}

/// Limits and numbers of an outbound SA together, so that each packet that is counted has a number and
/// each number belongs to a packet that is counted.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Limits and what was counted.
    pub lifetime: Lifetime,
    sequence: Sequence,
}

impl Outbound {
    /// Of an SA with these limits, which goes on with these numbers.
    pub fn new(limits: Limits, sequence: Sequence) -> Self {
        Self {
            lifetime: Lifetime::new(limits),
            sequence,
        }
    }

    /// The last number that was used, 0 for none.
    pub fn last(&self) -> u64 {
        self.sequence.last()
    }

    /// Lets as many packets of `batch` go as limits and numbers allow.
    pub fn send(&mut self, batch: &Batch) -> Sent {
        let wanted = self.lifetime.admits(batch);
        let passed = self.sequence.admits(wanted);
        let first = self.sequence.take(passed);
        let empty = self.sequence.admits(1) == 0;
        Sent {
            counted: self.lifetime.count_first(batch, passed),
            first,
            overflow: is_news(&mut self.sequence.told, empty),
        }
    }
}

#[cfg(test)]
#[path = "lifetime_tests.rs"]
mod tests;
