// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Receive side scaling and hash reports (VIRTIO 1.4 sections 5.1.6.4.3 to 5.1.6.4.5 and 5.1.6.5.5 to 5.1.6.5.7).
//!
//! Until the driver gives a table, the NIC spreads packets by itself ([`super::steer`]). Under a table ESP, like
//! other packets without ports, goes by its addresses, as the standard says. A packet is hashed as it is delivered:
//! what came in ESP that the NIC has removed by the headers inside, ESP that was decrypted in place by its own.

mod flow;
mod toeplitz;

use espnic_wire::hdr::NetHdr48;
use espnic_wire::rss::{HashConfig, RssHead, RssTail, HASH_TYPES, KEY_MAX, TABLE_MAX};
use zerocopy::FromBytes;

use crate::frame::Frame;
use flow::Flow;
use toeplitz::Toeplitz;

/// Length of the longest command.
pub const COMMAND_MAX: usize =
    size_of::<RssHead>() + 2 * TABLE_MAX + size_of::<RssTail>() + KEY_MAX;

/// What the driver has chosen.
#[derive(Default)]
pub struct Rss {
    hash: Option<Hash>,
    table: Option<Table>,
}

struct Hash {
    types: u32,
    key: Toeplitz,
}

/// The pairs that packets go to.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    /// By the hash; a power of two of them.
    pairs: Vec<u16>,
    /// Without a hash.
    unclassified: u16,
}

impl Hash {
    /// `None` for types that the NIC does not have, a key that is too long, and one that is not there.
    fn new(types: u32, key_len: u8, key: &[u8]) -> Option<Self> {
        let key = key.get(..key_len.into())?;
        let known = types & !HASH_TYPES == 0 && key.len() <= KEY_MAX;
        let has_key = types == 0 || !key.is_empty();
        (known && has_key).then(|| Self {
            types,
            key: Toeplitz::new(key),
        })
    }

    /// The hash of a frame, and its type (`REPORT_`). `None` if no enabled type fits.
    fn of(&self, frame: &Frame) -> Option<(u16, u32)> {
        let flow = Flow::find(frame, frame.layers(), self.types)?;
        Some((flow.report, self.key.hash(flow.bytes())))
    }
}

impl Table {
    /// Of `entries` of two bytes each, which have the numbers of pairs; the reserved bit in each is zero (VIRTIO 1.4
    /// section 5.1.6.5.7.1, `struct rss_rq_id`), or it is the number of a pair that does not exist.
    fn new(entries: &[u8], unclassified: u16) -> Self {
        let pair_of = |entry: &[u8]| entry.first_chunk().copied().map(u16::from_le_bytes);
        Self {
            pairs: entries.chunks_exact(2).filter_map(pair_of).collect(),
            unclassified,
        }
    }

    /// The highest pair in it.
    fn last(&self) -> u16 {
        let pairs = self.pairs.iter().copied();
        pairs.max().unwrap_or(0).max(self.unclassified)
    }

    /// The pair for a packet with this hash, or with none.
    fn pair(&self, hash: Option<u32>) -> u16 {
        let mask = self.pairs.len().wrapping_sub(1);
        let entry = hash.and_then(|hash| self.pairs.get(hash as usize & mask));
        entry.copied().unwrap_or(self.unclassified)
    }
}

impl Rss {
    /// Takes the command `MQ_RSS_CONFIG` of a NIC with `pairs` queue pairs; returns how many of them the driver
    /// uses. `None`, and nothing changes, for values that the NIC does not have. Surplus bytes are ignored.
    pub fn set(&mut self, data: &[u8], pairs: u16) -> Option<u16> {
        let (head, rest) = RssHead::read_from_prefix(data).ok()?;
        let len = usize::from(head.table_mask.get()) + 1;
        if !len.is_power_of_two() || len > TABLE_MAX {
            return None;
        }
        let (entries, rest) = rest.split_at_checked(2 * len)?;
        let (tail, key) = RssTail::read_from_prefix(rest).ok()?;
        let table = Table::new(entries, head.unclassified.get());
        let used = tail.max_tx_vq.get();
        if table.last() >= pairs || !(1..=pairs).contains(&used) {
            return None;
        }
        self.hash = Some(Hash::new(head.hash_types.get(), tail.key_len, key)?);
        let active = used.max(table.last() + 1);
        self.table = Some(table);
        Some(active)
    }

    /// Takes the command `MQ_HASH_CONFIG`; `None` as above.
    pub fn set_hash(&mut self, data: &[u8]) -> Option<()> {
        let (config, key) = HashConfig::read_from_prefix(data).ok()?;
        if config.reserved != HashConfig::default().reserved {
            return None;
        }
        self.hash = Some(Hash::new(config.hash_types.get(), config.key_len, key)?);
        Some(())
    }

    /// The NIC spreads packets by itself again. What is hashed stays.
    pub fn forget_table(&mut self) {
        self.table = None;
    }

    /// What is to be done with each frame of a driver that wants hashes to be reported, or does not. `None`: nothing.
    pub fn task(&self, report: bool) -> Option<Task<'_>> {
        let hash = self.hash.as_ref()?;
        let report = report && hash.types != 0;
        (report || self.table.is_some()).then_some(Task {
            hash,
            table: self.table.as_ref(),
            report,
        })
    }
}

/// What the driver wants to be done with each received frame.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    hash: &'a Hash,
    table: Option<&'a Table>,
    report: bool,
}

impl Task<'_> {
    /// Writes the hash of a frame to `hdr` if it is to be reported; returns the pair that the table names, if there
    /// is a table.
    // Apart from the way of frames that are not hashed.
    #[inline(never)]
    pub fn apply(&self, hdr: &mut NetHdr48, frame: &Frame) -> Option<u16> {
        let hash = self.hash.of(frame);
        if let Some((kind, value)) = hash.filter(|_| self.report) {
            hdr.out.hash_value = value.into();
            hdr.out.hash_report = kind.into();
        }
        Some(self.table?.pair(hash.map(|(_, value)| value)))
    }

    /// The pair that the table names, if there is a table.
    pub fn pair(&self, frame: &Frame) -> Option<u16> {
        let table = self.table?;
        Some(table.pair(self.hash.of(frame).map(|(_, value)| value)))
    }
}

#[cfg(test)]
mod tests;
