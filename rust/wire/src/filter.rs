// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The flow filter (VIRTIO 1.4 section 5.1.6.5): its capabilities, and its three kinds of objects.
//!
//! A classifier says which parts of a packet count, a rule what they have to be and what happens then, and
//! groups put rules in order. A rule names no SA: with [`Action::Ipsec`] the NIC finds it by the SPI.
//! Selectors, of which classifiers are made, are in [`selector`].
//!
//! Data that is shorter than it should be reads as if zeroes followed, and surplus is ignored.

use crate::admin;
use crate::refusal::Refusal;
use crate::{U16, U32};

pub mod selector;

use selector::{Kind, Selectors, MAX_LEN};

/// Capability: [`Limits`].
pub const CAP_LIMITS: u16 = 0x0800;
/// Capability: a list of selectors, [`Selectors`].
pub const CAP_SELECTORS: u16 = 0x0801;
/// Capability: a list of actions, [`Actions`].
pub const CAP_ACTIONS: u16 = 0x0802;

/// Object type: [`Group`].
pub const OBJ_GROUP: u16 = 0x0200;
/// Object type: a classifier, which is a list of selectors, [`Selectors`].
pub const OBJ_CLASSIFIER: u16 = 0x0201;
/// Object type: [`RuleHdr`], and behind it the keys.
pub const OBJ_RULE: u16 = 0x0202;

/// Longest keys of a rule in bytes: Ethernet, META, IPv6, TCP.
pub const MAX_KEYS: usize = 14 + 8 + MAX_LEN + 20;

/// EtherType of IPv4.
const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
const ETHERTYPE_IPV6: u16 = 0x86dd;

layout! {
    /// Data of [`CAP_LIMITS`]: how much there can be. Object ids are below the limits.
    pub struct Limits {
        /// Groups.
        pub groups: U32,
        /// Classifiers.
        pub classifiers: U32,
        /// Rules.
        pub rules: U32,
        /// Rules of one group.
        pub rules_per_group: U32,
        /// The priorities of rules are below this.
        pub last_rule_priority: u8,
        /// Selectors of one classifier.
        pub selectors_per_classifier: u8,
        /// Zero.
        pub reserved: [u8; 2],
    }
}

impl Limits {
    /// Whether a driver may set these limits where the device has `device`.
    pub fn is_within(&self, device: &Self) -> bool {
        self.groups.get() <= device.groups.get()
            && self.classifiers.get() <= device.classifiers.get()
            && self.rules.get() <= device.rules.get()
            && self.rules_per_group.get() <= device.rules_per_group.get()
            && self.last_rule_priority <= device.last_rule_priority
            && self.selectors_per_classifier <= device.selectors_per_classifier
    }

    /// Whether there may be one more group besides the `others`, with this id.
    ///
    /// # Errors
    ///
    /// [`Refusal::FULL`] if there are as many as may be, [`Refusal::FIELD`] if the id is beyond the limit.
    pub fn admit_group(&self, id: u32, others: u32) -> Result<(), Refusal> {
        admit(self.groups.get(), id, others)
    }

    /// Whether there may be one more classifier besides the `others`, with this id.
    ///
    /// # Errors
    ///
    /// As for [`Limits::admit_group`].
    pub fn admit_classifier(&self, id: u32, others: u32) -> Result<(), Refusal> {
        admit(self.classifiers.get(), id, others)
    }

    /// Whether there may be one more rule besides the `others`, of which `in_group` are in the same group.
    ///
    /// # Errors
    ///
    /// As for [`Limits::admit_group`]. The standard compares the id with both limits.
    pub fn admit_rule(&self, id: u32, others: u32, in_group: u32) -> Result<(), Refusal> {
        admit(self.rules.get(), id, others)?;
        admit(self.rules_per_group.get(), id, in_group)
    }
}

fn admit(limit: u32, id: u32, others: u32) -> Result<(), Refusal> {
    if others >= limit {
        return Err(Refusal::FULL);
    }
    Refusal::unless(id < limit)
}

/// What happens to a packet that meets a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// It is dropped.
    Drop = 1,
    /// It goes to the receive queue that the rule names.
    Queue = 2,
    /// It is taken through IPsec.
    Ipsec = 3,
    /// It is taken through IPsec, and what comes out through the filter once more.
    IpsecAgain = 4,
}

impl Action {
    const ALL: [Self; 4] = [Self::Drop, Self::Queue, Self::Ipsec, Self::IpsecAgain];

    /// The action with this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&action| action as u8 == number)
    }
}

/// A set of actions: the data of [`CAP_ACTIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Actions {
    /// This set and `action`.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | bit(action))
    }

    /// Whether `action` is in the set.
    pub const fn has(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// Whether all of it is in `other`.
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Reads what a driver sets.
    ///
    /// # Errors
    ///
    /// [`Refusal::FIELD`] if an action is not known, or the list is not in ascending order.
    pub fn parse(data: &[u8]) -> Result<Self, Refusal> {
        let (mut set, mut last) = (Self::default(), 0);
        for number in numbers(data) {
            let action = Action::of(number).filter(|_| number > last);
            set = set.with(action.ok_or(Refusal::FIELD)?);
            last = number;
        }
        Ok(set)
    }

    /// Reads what a device offers; actions that are not known are left out.
    pub fn known(data: &[u8]) -> Self {
        let known = numbers(data).filter_map(Action::of);
        known.fold(Self::default(), Self::with)
    }

    /// The data, of which the first bytes count, as many as the second result says.
    pub fn data(self) -> ([u8; 12], usize) {
        let mut data = [0; 12];
        let mut len = 8usize;
        for action in Action::ALL.into_iter().filter(|&action| self.has(action)) {
            if let Some(byte) = data.get_mut(len) {
                *byte = action as u8;
            }
            len = len.saturating_add(1);
        }
        data[0] = len.saturating_sub(8) as u8;
        (data, len)
    }
}

/// The numbers in a list of actions; those that are missing read as zero.
fn numbers(data: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let count = data.first().copied().unwrap_or(0);
    let list = data.get(8..).unwrap_or_default().iter().copied();
    list.chain(core::iter::repeat(0)).take(count.into())
}

const fn bit(action: Action) -> u8 {
    1u8.rotate_left(action as u32)
}

layout! {
    /// A group of rules.
    pub struct Group {
        /// Groups with a higher priority are tried first.
        pub priority: U16,
    }
}

impl Group {
    /// Reads the object of a CREATE or MODIFY; `others` are the priorities of the other groups.
    ///
    /// # Errors
    ///
    /// [`Refusal::FIELD`] if one of them is the same.
    pub fn parse(data: &[u8], others: impl IntoIterator<Item = u16>) -> Result<Self, Refusal> {
        let group: Self = crate::read_zero_extended(data);
        let mut others = others.into_iter();
        Refusal::unless(others.all(|other| other != group.priority.get()))?;
        Ok(group)
    }
}

layout! {
    /// Start of a rule.
    pub struct RuleHdr {
        /// Id of its group.
        pub group_id: U32,
        /// Id of its classifier.
        pub classifier_id: U32,
        /// In a group rules with a higher priority are tried first.
        pub rule_priority: u8,
        /// Length of the keys in bytes: that of all selectors of the classifier.
        pub key_length: u8,
        /// The number of an [`Action`].
        pub action: u8,
        /// Zero.
        pub reserved: u8,
        /// With [`Action::Queue`]: index of the receive queue.
        pub vq_index: U16,
        /// Zero.
        pub reserved1: [u8; 2],
    }
}

impl RuleHdr {
    /// Reads it; the ids lead to what [`Rule::parse`] needs.
    pub fn read(data: &[u8]) -> Self {
        crate::read_zero_extended(data)
    }
}

/// A rule that fits its classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// See [`RuleHdr::group_id`].
    pub group_id: u32,
    /// See [`RuleHdr::classifier_id`].
    pub classifier_id: u32,
    /// See [`RuleHdr::rule_priority`].
    pub priority: u8,
    /// What happens.
    pub action: Action,
    /// See [`RuleHdr::vq_index`].
    pub queue: u16,
    keys: [u8; MAX_KEYS],
    len: usize,
}

/// What a rule is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The limits that the driver has set.
    pub limits: &'a Limits,
    /// The actions that the driver has set.
    pub actions: Actions,
    /// The classifier that the rule names.
    pub classifier: &'a Selectors,
}

impl Rule {
    /// Reads the object of a CREATE or MODIFY. `is_receive_queue` tells whether an index is that of a
    /// receive queue.
    ///
    /// # Errors
    ///
    /// [`Refusal::FIELD`] if the priority is not below the last one, the keys have not the length of the
    /// selectors, the action is not one of those that were set, the queue is none, or the keys do not name
    /// the headers that the selectors are about.
    pub fn parse(
        data: &[u8],
        frame: &Frame<'_>,
        is_receive_queue: impl FnOnce(u16) -> bool,
    ) -> Result<Self, Refusal> {
        let hdr = RuleHdr::read(data);
        let queue = hdr.vq_index.get();
        let action = Action::of(hdr.action).filter(|&action| frame.actions.has(action));
        let action = action.ok_or(Refusal::FIELD)?;
        let len = frame.classifier.key_len();
        Refusal::unless(
            hdr.rule_priority < frame.limits.last_rule_priority
                && usize::from(hdr.key_length) == len
                && (action != Action::Queue || is_receive_queue(queue)),
        )?;
        let rule = Self {
            group_id: hdr.group_id.get(),
            classifier_id: hdr.classifier_id.get(),
            priority: hdr.rule_priority,
            action,
            queue,
            keys: keys(data, len),
            len,
        };
        Refusal::unless(names_its_headers(frame.classifier, rule.keys()))?;
        Ok(rule)
    }

    /// The keys, one behind the other, in the order and the lengths of the selectors.
    pub fn keys(&self) -> &[u8] {
        self.keys.get(..self.len).unwrap_or_default()
    }
}

/// The keys in the data of a rule: `len` bytes, those that are missing zero.
fn keys(data: &[u8], len: usize) -> [u8; MAX_KEYS] {
    let mut keys = [0; MAX_KEYS];
    let from = data.get(size_of::<RuleHdr>()..).unwrap_or_default();
    for (to, from) in keys.iter_mut().take(len).zip(from) {
        *to = *from;
    }
    keys
}

/// Where a selector is followed by one of the next header, its key names that header.
fn names_its_headers(classifier: &Selectors, keys: &[u8]) -> bool {
    let (mut rest, mut named) = (keys, None);
    for selector in classifier.iter() {
        let kind = selector.kind();
        let Some((key, behind)) = rest.split_at_checked(kind.len()) else {
            return false;
        };
        let (is_next, next) = match kind {
            // Not a header of the packet.
            Kind::XMeta => (true, named),
            _ => (
                named.is_none() || named == number_of(kind),
                next_of(kind, key),
            ),
        };
        if !is_next {
            return false;
        }
        (rest, named) = (behind, next);
    }
    true
}

/// What the header in front names a header of this kind.
fn number_of(kind: Kind) -> Option<u16> {
    match kind {
        Kind::Ipv4 => Some(ETHERTYPE_IPV4),
        Kind::Ipv6 => Some(ETHERTYPE_IPV6),
        Kind::Tcp => Some(6),
        Kind::Udp => Some(17),
        Kind::Esp => Some(50),
        Kind::Eth | Kind::XMeta => None,
    }
}

/// What the header with this key names the next one.
fn next_of(kind: Kind, key: &[u8]) -> Option<u16> {
    match (kind, key) {
        (Kind::Eth, [.., hi, lo]) => Some(u16::from_be_bytes([*hi, *lo])),
        (Kind::Ipv4, _) => key.get(9).copied().map(u16::from),
        (Kind::Ipv6, _) => key.get(6).copied().map(u16::from),
        _ => None,
    }
}

/// Whether an object command for a filter object may have these `flags`: only classifiers have one,
/// [`selector::PARTIAL_MASK`].
pub fn flags_are_known(opcode: u16, obj_type: u16, flags: u64) -> bool {
    let writes = matches!(opcode, admin::OP_OBJ_CREATE | admin::OP_OBJ_MODIFY);
    let known = if writes && obj_type == OBJ_CLASSIFIER {
        u64::from(selector::PARTIAL_MASK)
    } else {
        0
    };
    flags & !known == 0
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Limits>() == 20);
    assert!(offset_of!(Limits, classifiers) == 4);
    assert!(offset_of!(Limits, rules) == 8);
    assert!(offset_of!(Limits, rules_per_group) == 12);
    assert!(offset_of!(Limits, last_rule_priority) == 16);
    assert!(offset_of!(Limits, selectors_per_classifier) == 17);
    assert!(size_of::<Group>() == 2);
    assert!(size_of::<RuleHdr>() == 16);
    assert!(offset_of!(RuleHdr, classifier_id) == 4);
    assert!(offset_of!(RuleHdr, rule_priority) == 8);
    assert!(offset_of!(RuleHdr, key_length) == 9);
    assert!(offset_of!(RuleHdr, action) == 10);
    assert!(offset_of!(RuleHdr, vq_index) == 12);
};

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
