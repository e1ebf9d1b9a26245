// SPDX-License-Identifier: GPL-2.0

//! Snapshots of the policies and of the SAs of packet offload, for the path of packets.
//!
//! A snapshot does not change. Each channel keeps one beside its queues, under the locks that its
//! packets take anyway, so that they take no other lock and count no reference. What is deleted is marked
//! dead, which is in force at once, and is missing in a later snapshot.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    parts::{
        Part,
        Parts, //
    },
    policy::Policy,
    sas::Sas, //
};
use espnic_esp::{
    selector::Flow,
    spd::{
        self,
        Entry,
        Group,
        Index,
        Verdict, //
    }, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// The policies of one direction.
pub(super) struct Policies(Parts<Sorted>);

/// Policies with an index.
struct Sorted {
    list: KVVec<Arc<Policy>>,
    entries: KVVec<Entry>,
    groups: KVVec<Group>,
}

/// What the policies say of a packet.
pub(super) enum Found<'a> {
    /// Nothing.
    None,
    /// The packet does not show which of them is for it.
    Unclear,
    /// This one is for it.
    Policy(&'a Policy),
}

impl Policies {
    /// Makes a snapshot of a list with the oldest first. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(list: &[Arc<Policy>]) -> Result<Self> {
        Ok(Self(Parts::new(list)?))
    }

    /// Makes a snapshot with one more policy, the youngest. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with(&self, policy: Arc<Policy>) -> Result<Self> {
        Ok(Self(self.0.with(&[policy])?))
    }

    /// The policy for a packet of `flow`. Per packet.
    pub(super) fn find(&self, flow: &Flow) -> Found<'_> {
        let mut best = (u32::MAX, Found::None);
        for part in self.0.iter() {
            let new = part.find(flow);
            // Among equals the older counts.
            let is_better = matches!(best.1, Found::None) || new.0 < best.0;
            if is_better && !matches!(new.1, Found::None) {
                best = new;
            }
        }
        best.1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Part for Sorted {
    type Element = Arc<Policy>;

    /// Without those that are dead.
    fn join(parts: &[&Self], young: &[Arc<Policy>]) -> Result<Self> {
        let old = parts.iter().flat_map(|part| part.list.iter());
        let all = Iterator::chain(old, young);
        let mut list = KVVec::new();
        for policy in all.filter(|policy| policy.is_alive()) {
            list.push(policy.clone(), GFP_KERNEL)?;
        }
        Self::new(list)
    }

    fn len(&self) -> usize {
        self.list.len()
    }
}

impl Sorted {
    /// Sorts a list with the oldest first. Sleeps.
    fn new(list: KVVec<Arc<Policy>>) -> Result<Self> {
        let mut entries = KVVec::with_capacity(list.len(), GFP_KERNEL)?;
        for (number, policy) in (0u32..).zip(list.iter()) {
            let entry = Entry::new(&policy.selector, policy.priority, number);
            entries.push(entry, GFP_KERNEL)?;
        }
        let mut groups = KVVec::new();
        spd::build(&mut entries, |group| groups.push(group, GFP_KERNEL))?;
        spd::arrange(&mut groups);
        Ok(Self {
            list,
            entries,
            groups,
        })
    }

    fn get(&self, number: u32) -> Option<&Policy> {
        self.list.get(number as usize).map(|policy| &**policy)
    }

    /// The policy for a packet of `flow`, and its priority.
    fn find(&self, flow: &Flow) -> (u32, Found<'_>) {
        let index = Index {
            entries: &self.entries,
            groups: &self.groups,
        };
        let is_alive = |number| self.get(number).is_some_and(Policy::is_alive);
        let (priority, verdict) = index.find_first(flow, is_alive);
        let found = match verdict {
            Verdict::None => Found::None,
            Verdict::Unclear => Found::Unclear,
            Verdict::Policy(number) => self.get(number).map_or(Found::Unclear, Found::Policy),
        };
        (priority, found)
    }
}

/// A snapshot.
#[derive(Clone)]
pub(crate) struct Spd {
    pub(super) out: Arc<Policies>,
    pub(super) inbound: Arc<Policies>,
    pub(super) sas: Arc<Sas>,
}

impl Spd {
    /// A snapshot of nothing. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn empty() -> Result<Self> {
        let none = || Ok::<_, Error>(Arc::new(Policies::new(&[])?, GFP_KERNEL)?);
        Ok(Self {
            out: none()?,
            inbound: none()?,
            sas: Arc::new(Sas::empty()?, GFP_KERNEL)?,
        })
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.inbound.is_empty() && self.sas.is_empty()
    }

    /// Whether there is something to look for in received packets.
    pub(super) fn is_for_received(&self) -> bool {
        !self.inbound.is_empty() || !self.sas.is_outbound_only()
    }
}
