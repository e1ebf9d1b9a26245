// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Comparing packets with rules.
//!
//! The rules of a group that have the same classifier are a table, in which a packet is looked up by those
//! of its bytes that the classifier selects. The hash has a random key for each table, so a guest cannot
//! choose rules that fall on one place.

use super::headers::Headers;
use super::steps::{self, Step};
use crate::frame::Frame;
use espnic_wire::filter::selector::{Kind, Selectors};
use espnic_wire::filter::{Action, Rule, MAX_KEYS};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Most pairs of a group and a classifier that have a rule together, which is the number of tables that a
/// packet is looked up in. One more is refused with ENOSPC.
pub const MAX_TABLES: usize = 64;

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It meets no rule.
    #[default]
    Pass,
    /// It is dropped.
    Drop,
    /// It goes to the receive queue with this index.
    Queue(u16),
    /// It goes through IPsec.
    Ipsec,
    /// It goes through IPsec, and what comes out through the filter again.
    IpsecAgain,
}

impl Verdict {
    /// Whether the packet goes through IPsec.
    pub const fn is_ipsec(self) -> bool {
        matches!(self, Self::Ipsec | Self::IpsecAgain)
    }

    fn of(rule: &Rule) -> Self {
        match rule.action {
            Action::Drop => Self::Drop,
            Action::Queue => Self::Queue(rule.queue),
            Action::Ipsec => Self::Ipsec,
            Action::IpsecAgain => Self::IpsecAgain,
        }
    }
}

/// All rules of a filter.
pub struct Matcher {
    /// The groups, that with the highest priority first.
    groups: Vec<Tables>,
}

/// The tables of a group, that with the highest rule first.
type Tables = Vec<Table>;

/// The rules of a group with one classifier.
struct Table {
    selected: Selected,
    rules: HashMap<Box<[u8]>, Hit>,
    /// The highest priority of its rules.
    highest: u8,
}

/// A rule that a packet meets.
#[derive(Clone, Copy)]
struct Hit {
    priority: u8,
    verdict: Verdict,
}

impl Matcher {
    /// Of rules, with the priorities of their groups and with their classifiers. Among equal rules the first
    /// one counts.
    pub(super) fn new<'a>(rules: impl Iterator<Item = (u16, &'a Selectors, &'a Rule)>) -> Self {
        let mut groups: BTreeMap<Reverse<u16>, BTreeMap<u32, Table>> = BTreeMap::new();
        for (priority, classifier, rule) in rules {
            let tables = groups.entry(Reverse(priority)).or_default();
            let table = tables
                .entry(rule.classifier_id)
                .or_insert_with(|| Table::new(classifier));
            table.add(rule);
        }
        let groups = groups.into_values().map(|tables| {
            let mut tables: Tables = tables.into_values().collect();
            tables.sort_by_key(|table| Reverse(table.highest));
            tables
        });
        Self {
            groups: groups.collect(),
        }
    }

    /// What happens to a packet, which IPsec has decrypted under the SA `sa`: the action of the highest rule
    /// of the highest group in which it meets a rule (V99).
    pub fn verdict(&self, frame: &Frame, sa: Option<u32>) -> Verdict {
        let headers = Headers::of(frame, sa);
        let mut hits = self.groups.iter().filter_map(|group| find(group, &headers));
        hits.next().map_or(Verdict::Pass, |hit| hit.verdict)
    }

    /// The number of tables that a packet may be looked up in.
    pub fn tables(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }
}

/// The highest rule of a group that the packet meets.
fn find(group: &[Table], headers: &Headers<'_>) -> Option<Hit> {
    let mut best: Option<Hit> = None;
    for table in group {
        if best.is_some_and(|best| best.priority >= table.highest) {
            break;
        }
        let hit = table.get(headers);
        best = best.into_iter().chain(hit).max_by_key(|hit| hit.priority);
    }
    best
}

impl Table {
    fn new(classifier: &Selectors) -> Self {
        Self {
            selected: Selected::of(classifier),
            rules: HashMap::new(),
            highest: 0,
        }
    }

    fn add(&mut self, rule: &Rule) {
        steps::count(Step::Rule);
        self.highest = self.highest.max(rule.priority);
        let hit = Hit {
            priority: rule.priority,
            verdict: Verdict::of(rule),
        };
        let key = self.selected.of_keys(rule.keys());
        let present = self.rules.entry(key.as_slice().into()).or_insert(hit);
        if present.priority < hit.priority {
            *present = hit;
        }
    }

    #[inline]
    fn get(&self, headers: &Headers<'_>) -> Option<Hit> {
        steps::count(Step::Table);
        let key = self.selected.of_packet(headers)?;
        self.rules.get(key.as_slice()).copied()
    }
}

/// The bytes that a classifier selects.
struct Selected {
    /// The headers that a packet must have.
    kinds: Vec<Kind>,
    bytes: Vec<Byte>,
}

/// A byte that is selected, at least in part.
struct Byte {
    kind: Kind,
    /// Its place in the header, and in the keys of a rule.
    at: u8,
    in_keys: u8,
    mask: u8,
}

/// Selected bytes, masked.
struct Key {
    bytes: [u8; MAX_KEYS],
    len: usize,
}

impl Key {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl FromIterator<u8> for Key {
    #[inline]
    fn from_iter<I: IntoIterator<Item = u8>>(iter: I) -> Self {
        let (mut bytes, mut len) = ([0; MAX_KEYS], 0);
        for (to, from) in bytes.iter_mut().zip(iter) {
            *to = from;
            len += 1;
        }
        Self { bytes, len }
    }
}

impl Selected {
    fn of(classifier: &Selectors) -> Self {
        let mut start = 0usize;
        let mut bytes = Vec::new();
        for selector in classifier.iter() {
            let masks = selector.mask().iter().enumerate();
            let selected = masks.filter(|(_, &mask)| mask != 0);
            // Keys have at most MAX_KEYS bytes.
            bytes.extend(selected.map(|(at, &mask)| Byte {
                kind: selector.kind(),
                at: at as u8,
                in_keys: (start + at) as u8,
                mask,
            }));
            start += selector.kind().len();
        }
        Self {
            kinds: classifier.iter().map(|one| one.kind()).collect(),
            bytes,
        }
    }

    /// The selected bytes of the keys of a rule.
    fn of_keys(&self, keys: &[u8]) -> Key {
        let bytes = self.bytes.iter().map(|byte| {
            let key = keys.get(usize::from(byte.in_keys)).copied();
            key.unwrap_or(0) & byte.mask
        });
        bytes.collect()
    }

    /// The selected bytes of a packet; `None` if it lacks a header.
    #[inline]
    fn of_packet(&self, headers: &Headers<'_>) -> Option<Key> {
        if !self.kinds.iter().all(|&kind| headers.get(kind).is_some()) {
            return None;
        }
        let byte = |byte: &Byte| {
            steps::count(Step::Byte);
            let header = headers.get(byte.kind)?;
            Some(header.get(usize::from(byte.at))? & byte.mask)
        };
        self.bytes.iter().map(byte).collect()
    }
}
