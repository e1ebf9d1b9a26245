// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The security policy database (RFC 4301 section 4.4.1) as an index: which policy a packet is for.
//!
//! Policies whose selectors look at the same bits of a packet form a group, sorted by what these bits have
//! to be. So a look-up costs one binary search for each group, and hardly depends on the number of
//! policies. The policy with the lowest priority number wins, among equals the one that comes first.
//!
//! The memory is the caller's: make an [`Entry`] of each policy, [`build`] the groups, and look packets up
//! in an [`Index`] of both.

use crate::selector::{Flow, Match, Seen, Selector};
use crate::sort;
use core::cmp::Ordering;

/// Which bits of a packet a selector looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mask {
    family: bool,
    src_len: u8,
    dst_len: u8,
    protocol: bool,
    src_port: u16,
    dst_port: u16,
}

/// What these bits have to be, in the order in which packets show them: a packet that hides its ports
/// still shows what stands before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    family: u8,
    src: u128,
    dst: u128,
    protocol: u8,
    ports: u32,
}

impl Key {
    /// Compares what a packet shows.
    fn order(&self, other: &Self, shown: Shown) -> Ordering {
        let addresses = |key: &Self| (key.family, key.src, key.dst);
        match shown {
            Shown::Addresses => addresses(self).cmp(&addresses(other)),
            Shown::Protocol => {
                (addresses(self), self.protocol).cmp(&(addresses(other), other.protocol))
            }
            Shown::All => self.cmp(other),
        }
    }
}

/// How much a packet shows of what a selector asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The addresses only.
    Addresses,
    /// All but the ports.
    Protocol,
    /// All.
    All,
}

/// Which of several policies wins: the one with the lowest rank. It has the priority, and the policy's
/// place among the others.
type Rank = u64;

const LAST: Rank = Rank::MAX;

/// A policy in the index.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    mask: Mask,
    key: Key,
    rank: Rank,
    /// The best rank of the group's entries with the same addresses.
    best_of_addresses: Rank,
    /// The best rank of the group's entries with the same addresses and protocol.
    best_of_protocol: Rank,
}

impl Entry {
    /// The policy `number` of the caller's list. Older policies have lower numbers, and so win among
    /// those of the same `priority`.
    pub fn new(selector: &Selector, priority: u32, number: u32) -> Self {
        let mask = Mask {
            family: selector.family != 0,
            src_len: selector.src_len,
            dst_len: selector.dst_len,
            protocol: selector.protocol != 0,
            src_port: selector.src_port.mask,
            dst_port: selector.dst_port.mask,
        };
        let key = Key {
            family: selector.family,
            src: prefix(&selector.src, selector.src_len),
            dst: prefix(&selector.dst, selector.dst_len),
            protocol: selector.protocol,
            ports: ports(&mask, selector.src_port.port, selector.dst_port.port),
        };
        Self {
            mask,
            key,
            rank: (Rank::from(priority) << 32) | Rank::from(number),
            best_of_addresses: LAST,
            best_of_protocol: LAST,
        }
    }

    fn number(&self) -> u32 {
        self.rank as u32
    }
}

/// Policies whose selectors look at the same bits.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    mask: Mask,
    start: usize,
    end: usize,
    /// The best rank of all.
    best: Rank,
}

/// Sorts `entries`, and hands their groups to `add`. Afterwards [`arrange`] the groups.
///
/// # Errors
///
/// Those of `add`.
pub fn build<E>(
    entries: &mut [Entry],
    mut add: impl FnMut(Group) -> Result<(), E>,
) -> Result<(), E> {
    sort::by_key(entries, |entry| (entry.mask, entry.key, entry.rank));
    note_best(entries, Shown::Addresses, |entry| {
        &mut entry.best_of_addresses
    });
    note_best(entries, Shown::Protocol, |entry| {
        &mut entry.best_of_protocol
    });
    let mut start = 0usize;
    for list in entries.chunk_by(|a, b| a.mask == b.mask) {
        let end = start.saturating_add(list.len());
        if let Some(first) = list.first() {
            add(Group {
                mask: first.mask,
                start,
                end,
                best: best(list),
            })?;
        }
        start = end;
    }
    Ok(())
}

/// Puts groups in the order in which an [`Index`] looks at them.
pub fn arrange(groups: &mut [Group]) {
    sort::by_key(groups, |group| group.best);
}

/// Writes the best rank of all entries that are alike in what is `shown` into the field of each.
fn note_best(entries: &mut [Entry], shown: Shown, field: impl Fn(&mut Entry) -> &mut Rank) {
    let is_like =
        |a: &Entry, b: &Entry| a.mask == b.mask && a.key.order(&b.key, shown) == Ordering::Equal;
    for list in entries.chunk_by_mut(is_like) {
        let best = best(list);
        list.iter_mut().for_each(|entry| *field(entry) = best);
    }
}

fn best(entries: &[Entry]) -> Rank {
    entries
        .iter()
        .fold(LAST, |best, entry| best.min(entry.rank))
}

/// What the policies say of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No policy is for it.
    None,
    /// The policy with this number is for it.
    Policy(u32),
    /// A policy that would win may be for it, but the packet does not show it ([`Match::Unclear`]).
    Unclear,
}

/// The index: what [`build`] and [`arrange`] made of the policies.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// Sorted.
    pub entries: &'a [Entry],
    /// In their order.
    pub groups: &'a [Group],
}

impl Index<'_> {
    /// Which policy a packet of `flow` is for. Policies that are not alive, as `is_alive` says of their
    /// numbers, count no more; a verdict of [`Verdict::Unclear`] may still come from one.
    ///
    /// Costs a binary search for each group, and a step for each policy that is not alive and has the same
    /// selector as one that matches.
    pub fn find(&self, flow: &Flow, is_alive: impl Fn(u32) -> bool) -> Verdict {
        self.find_first(flow, is_alive).1
    }

    /// [`Self::find`], with the priority of the policy behind the verdict, to compare the verdicts of several
    /// indexes. Means nothing with [`Verdict::None`].
    pub fn find_first(&self, flow: &Flow, is_alive: impl Fn(u32) -> bool) -> (u32, Verdict) {
        let (mut rank, mut verdict) = (LAST, Verdict::None);
        for group in self.groups {
            if group.best >= rank {
                break;
            }
            let Some((shown, key)) = group.mask.apply(flow) else {
                continue;
            };
            let list = self.entries.get(group.start..group.end).unwrap_or_default();
            let start = list.partition_point(|entry| entry.key.order(&key, shown).is_lt());
            let list = list.get(start..).unwrap_or_default();
            let alike = list
                .iter()
                .take_while(|entry| entry.key.order(&key, shown).is_eq());
            let found = match shown {
                Shown::All => alike
                    .map(|entry| (entry.rank, Verdict::Policy(entry.number())))
                    .find(|(rank, _)| is_alive(*rank as u32)),
                Shown::Protocol => unclear(alike.map(|entry| entry.best_of_protocol)),
                Shown::Addresses => unclear(alike.map(|entry| entry.best_of_addresses)),
            };
            if let Some((found, is)) = found.filter(|(found, _)| *found < rank) {
                (rank, verdict) = (found, is);
            }
        }
        ((rank >> 32) as u32, verdict)
    }
}

fn unclear(mut ranks: impl Iterator<Item = Rank>) -> Option<(Rank, Verdict)> {
    ranks.next().map(|rank| (rank, Verdict::Unclear))
}

impl Mask {
    /// What a packet of `flow` shows under the mask; `None` if no selector with this mask is for it.
    fn apply(&self, flow: &Flow) -> Option<(Shown, Key)> {
        let most = if flow.src.family == 4 { 32 } else { 128 };
        if self.src_len > most || self.dst_len > most {
            return None;
        }
        let wants_ports = self.src_port | self.dst_port != 0;
        let (mut shown, mut key) = (
            Shown::All,
            Key {
                family: if self.family { flow.src.family } else { 0 },
                src: prefix(&flow.src.bytes, self.src_len),
                dst: prefix(&flow.dst.bytes, self.dst_len),
                protocol: 0,
                ports: 0,
            },
        );
        match flow.ports {
            Seen::Ports(seen) => key.ports = ports(self, seen.src, seen.dst),
            Seen::Nothing if wants_ports => shown = Shown::Protocol,
            Seen::Nothing => {}
        }
        match flow.protocol {
            _ if !self.protocol => {}
            Some(protocol) => key.protocol = protocol,
            None => shown = Shown::Addresses,
        }
        Some((shown, key))
    }
}

/// The first `len` bits of an address.
fn prefix(address: &[u8; 16], len: u8) -> u128 {
    let hidden = 128u32.saturating_sub(len.into());
    let mask = u128::MAX.checked_shl(hidden).unwrap_or(0);
    u128::from_be_bytes(*address) & mask
}

fn ports(mask: &Mask, src: u16, dst: u16) -> u32 {
    (u32::from(src & mask.src_port) << 16) | u32::from(dst & mask.dst_port)
}

/// What the policies say of a packet, by asking each of them: for a few policies, and to measure the index
/// by. `policies` are their selectors and priorities, the older first.
pub fn ask_each<'a>(
    policies: impl IntoIterator<Item = (&'a Selector, u32)>,
    flow: &Flow,
) -> Verdict {
    let (mut lowest, mut verdict) = (None, Verdict::None);
    for (number, (selector, priority)) in (0u32..).zip(policies) {
        let is = match selector.matches(flow) {
            Match::No => continue,
            Match::Yes => Verdict::Policy(number),
            Match::Unclear => Verdict::Unclear,
        };
        if lowest.is_none_or(|lowest| priority < lowest) {
            (lowest, verdict) = (Some(priority), is);
        }
    }
    verdict
}

#[cfg(test)]
#[path = "spd_tests.rs"]
mod tests;
