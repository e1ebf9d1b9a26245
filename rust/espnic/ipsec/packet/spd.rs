// SPDX-License-Identifier: GPL-2.0

//! Snapshots of the policies and of the SAs of packet offload, for the path of packets.
//!
//! A snapshot does not change. Each channel keeps one beside its queues, under the locks that its
//! packets take anyway, so that they take no other lock and count no reference. What is deleted is marked
//! dead, which is in force at once, and is missing in the next snapshot.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    policy::{
        Policy,
        Template, //
    },
    sa::Sa, //
};
use espnic_esp::{
    ip::Address,
    selector::Flow,
    sort,
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

/// So many policies may be young: those that came since others were last sorted.
const YOUNG_MAX: usize = 32;

/// By so much a part is larger than the next one at least.
const GROWTH: usize = 8;

/// The policies of one direction: parts that many snapshots share, each older than the next one and much
/// larger, and the youngest ones. So adding one sorts few of them, and a packet meets few parts.
pub(super) struct Policies {
    parts: KVVec<Arc<Sorted>>,
    young: Sorted,
}

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
    pub(super) fn new(list: KVVec<Arc<Policy>>) -> Result<Self> {
        let mut parts = KVVec::new();
        if !list.is_empty() {
            parts.push(Arc::new(Sorted::new(list)?, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self {
            parts,
            young: Sorted::new(KVVec::new())?,
        })
    }

    /// Makes a snapshot with one more policy, the youngest. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with(&self, policy: Arc<Policy>) -> Result<Self> {
        let count = self.young.list.len().saturating_add(1);
        let stay = match count <= YOUNG_MAX {
            true => self.parts.len(),
            false => self.large_parts(count),
        };
        let (stay, join) = self.parts.split_at_checked(stay).ok_or(EINVAL)?;
        let old = join.iter().flat_map(|part| part.list.iter());
        let mut list = KVVec::new();
        for policy in Iterator::chain(old, self.young.list.iter()) {
            list.push(policy.clone(), GFP_KERNEL)?;
        }
        list.push(policy, GFP_KERNEL)?;
        let mut parts = KVVec::new();
        for part in stay {
            parts.push(part.clone(), GFP_KERNEL)?;
        }
        let mut young = Sorted::new(list)?;
        if count > YOUNG_MAX {
            parts.push(Arc::new(young, GFP_KERNEL)?, GFP_KERNEL)?;
            young = Sorted::new(KVVec::new())?;
        }
        Ok(Self { parts, young })
    }

    /// How many parts are large enough to stay if `count` policies become a part. Each policy is sorted anew
    /// only [`GROWTH`] times before its part has grown by that factor.
    fn large_parts(&self, mut count: usize) -> usize {
        let mut stay = self.parts.len();
        for part in self.parts.iter().rev() {
            if part.list.len() >= count.saturating_mul(GROWTH) {
                break;
            }
            count = count.saturating_add(part.list.len());
            stay = stay.saturating_sub(1);
        }
        stay
    }

    /// The policy for a packet of `flow`. Per packet.
    pub(super) fn find(&self, flow: &Flow) -> Found<'_> {
        let mut best = (u32::MAX, Found::None);
        let old = self.parts.iter().map(|part| &**part);
        for part in Iterator::chain(old, [&self.young]) {
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
        self.parts.is_empty() && self.young.list.is_empty()
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

/// The SAs.
pub(super) struct Sas {
    /// Outbound ones by the id by which policies name them, the newest first.
    out: KVVec<Arc<Sa>>,
    /// Inbound ones by destination and SPI.
    inbound: KVVec<Arc<Sa>>,
    /// Request id, SPI and place of each inbound one, in that order.
    inbound_named: KVVec<(u32, u32, u32)>,
}

impl Sas {
    /// Makes a snapshot of SAs in any order. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(mut out: KVVec<Arc<Sa>>, mut inbound: KVVec<Arc<Sa>>) -> Result<Self> {
        // `ip xfrm state update` adds a copy of a state for a while (X16). The older one stays in use:
        // both would number their packets alike.
        sort::by_key(&mut out, |sa| (end(sa), sa.spi, sa.number));
        let mut last = None;
        out.retain(|sa| {
            let this = Some((end(sa), sa.spi));
            core::mem::replace(&mut last, this) != this
        });
        sort::by_key(&mut out, |sa| (sa.reqid, core::cmp::Reverse(sa.number)));
        sort::by_key(&mut inbound, |sa| (end(sa), sa.spi));
        let mut inbound_named = KVVec::with_capacity(inbound.len(), GFP_KERNEL)?;
        for (place, sa) in (0u32..).zip(inbound.iter()) {
            inbound_named.push((sa.reqid, sa.spi, place), GFP_KERNEL)?;
        }
        sort::by_key(&mut inbound_named, |&name| name);
        Ok(Self {
            out,
            inbound,
            inbound_named,
        })
    }

    /// The place of the SA for an outgoing packet of `flow`, whose policy has this template. Per packet.
    pub(super) fn outbound(&self, template: &Template, flow: &Flow) -> Option<u32> {
        let (place, _) = self
            .named(template.reqid)
            .find(|(_, sa)| sa.is_alive() && template.takes_out(sa, flow) && sa.takes(flow))?;
        u32::try_from(place).ok()
    }

    /// The outbound SA at this place, if it is alive. Per packet.
    pub(super) fn at(&self, place: u32) -> Option<&Sa> {
        let sa = self.out.get(place as usize)?;
        sa.is_alive().then_some(&**sa)
    }

    /// The highest number that a living outbound SA with this request id and SPI may have used.
    pub(super) fn last_possible(&self, reqid: u32, spi: u32) -> Option<u64> {
        self.named(reqid)
            .filter(|(_, sa)| sa.spi == spi && sa.is_alive())
            .map(|(_, sa)| sa.last_possible())
            .max()
    }

    /// The highest number that has come for a living inbound SA with this request id and SPI.
    pub(super) fn highest_seen(&self, reqid: u32, spi: u32) -> Option<u64> {
        let name = (reqid, spi);
        let names = &self.inbound_named;
        let start = names.partition_point(|&(reqid, spi, _)| (reqid, spi) < name);
        let same = names.get(start..).unwrap_or_default().iter();
        same.take_while(|&&(reqid, spi, _)| (reqid, spi) == name)
            .filter_map(|&(_, _, place)| self.inbound.get(place as usize))
            .filter(|sa| sa.is_alive())
            .map(|sa| sa.seen())
            .max()
    }

    /// The outbound SAs that a template with this request id names, with their places, the newest first.
    fn named(&self, reqid: u32) -> impl Iterator<Item = (usize, &Sa)> {
        let start = self.out.partition_point(|sa| sa.reqid < reqid);
        let places = self.out.iter().map(|sa| &**sa).enumerate().skip(start);
        places.take_while(move |(_, sa)| sa.reqid == reqid)
    }

    /// The living inbound SAs for packets to `dst` with this SPI, or with any. Per packet.
    pub(super) fn inbound_to(
        &self,
        dst: &Address,
        spi: Option<u32>,
    ) -> impl Iterator<Item = &Sa> + use<'_> {
        let key = (dst.family, dst.bytes);
        let from = (key, spi.unwrap_or(0));
        let start = self.inbound.partition_point(|sa| (end(sa), sa.spi) < from);
        let rest = self.inbound.get(start..).unwrap_or_default();
        rest.iter()
            .take_while(move |sa| end(sa) == key && spi.is_none_or(|spi| sa.spi == spi))
            .map(|sa| &**sa)
            .filter(|sa| sa.is_alive())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.inbound.is_empty()
    }
}

/// The destination, to sort by.
fn end(sa: &Sa) -> (u8, [u8; 16]) {
    (sa.dst.family, sa.dst.bytes)
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
        let none = || Ok::<_, Error>(Arc::new(Policies::new(KVVec::new())?, GFP_KERNEL)?);
        Ok(Self {
            out: none()?,
            inbound: none()?,
            sas: Arc::new(Sas::new(KVVec::new(), KVVec::new())?, GFP_KERNEL)?,
        })
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.inbound.is_empty() && self.sas.is_empty()
    }

    /// Whether there is something to look for in received packets.
    pub(super) fn is_for_received(&self) -> bool {
        !self.inbound.is_empty() || !self.sas.inbound.is_empty()
    }
}
