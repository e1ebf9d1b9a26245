// SPDX-License-Identifier: GPL-2.0

//! The SAs of a snapshot.
//!
//! They are found by keys of 64 bits. What has the same key is compared, so keys that are equal by chance cost
//! time only. SAs that are dead stay in it until others are joined, or until they are as many as the living.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    parts::{
        Part,
        Parts, //
    },
    policy::Template,
    sa::Sa, //
};
use core::cmp::Reverse;
use espnic_esp::{
    ip::Address,
    selector::Flow,
    sort, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// An SA and its key.
#[derive(Clone)]
struct Keyed {
    key: u64,
    sa: Arc<Sa>,
}

impl Keyed {
    /// What they are sorted by: of those with one key the newest is first.
    fn rank(&self) -> (u64, Reverse<u64>) {
        (self.key, Reverse(self.sa.number))
    }
}

/// How SAs are sorted.
#[derive(Clone, Copy)]
enum Order {
    /// By request id and destination: [`Sas::outbound`].
    Template,
    /// By request id and SPI.
    Name,
    /// By destination and SPI.
    End,
}

/// All of them, by their discriminants.
const ORDERS: [Order; 3] = [Order::Template, Order::Name, Order::End];

impl Order {
    fn key(self, sa: &Sa) -> u64 {
        match self {
            Self::Template => join(sa.reqid, short(&sa.dst)),
            Self::Name => join(sa.reqid, sa.spi),
            Self::End => join(short(&sa.dst), sa.spi),
        }
    }
}

fn join(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

/// An address in short. Who chooses addresses can choose some that are equal in short.
fn short(address: &Address) -> u32 {
    // Fibonacci hashing: the high bits depend on all bits below.
    let spread = |bits: u64| bits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let all = u128::from_be_bytes(address.bytes);
    let (first, last) = ((all >> 64) as u64, all as u64);
    (spread(spread(last).rotate_left(32) ^ first) >> 32) as u32
}

/// SAs of one direction in all orders.
struct Sorted {
    lists: [KVVec<Keyed>; ORDERS.len()],
}

impl Part for Sorted {
    type Element = Arc<Sa>;

    /// Without those that are dead.
    fn join(parts: &[&Self], young: &[Arc<Sa>]) -> Result<Self> {
        let mut lists = [const { KVVec::new() }; ORDERS.len()];
        for (list, order) in lists.iter_mut().zip(ORDERS) {
            for sa in young {
                let key = order.key(sa);
                list.push(
                    Keyed {
                        key,
                        sa: sa.clone(),
                    },
                    GFP_KERNEL,
                )?;
            }
            sort::by_key(list, Keyed::rank);
            // The smallest first.
            for part in parts.iter().rev() {
                *list = merge(part.list(order), list)?;
            }
        }
        Ok(Self { lists })
    }

    fn len(&self) -> usize {
        self.list(Order::Template).len()
    }
}

fn living(list: &[Keyed]) -> impl Iterator<Item = &Keyed> {
    list.iter().filter(|keyed| keyed.sa.is_alive())
}

/// Merges two sorted lists, and leaves those out that are dead.
fn merge(a: &[Keyed], b: &[Keyed]) -> Result<KVVec<Keyed>> {
    let count = living(a).count().saturating_add(living(b).count());
    let mut merged = KVVec::with_capacity(count, GFP_KERNEL)?;
    let (mut a, mut b) = (living(a).peekable(), living(b).peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(first), Some(second)) if second.rank() < first.rank() => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        };
        let Some(keyed) = next else {
            return Ok(merged);
        };
        // There is room: none of the dead has come back to life.
        merged
            .push_within_capacity(keyed.clone())
            .map_err(|_| ENOMEM)?;
    }
}

impl Sorted {
    fn list(&self, order: Order) -> &[Keyed] {
        self.lists
            .get(order as usize)
            .map_or(&[], |list| list.as_slice())
    }

    /// The SAs whose keys are in this range, with their places.
    fn range(&self, order: Order, first: u64, last: u64) -> impl Iterator<Item = (usize, &Sa)> {
        let list = self.list(order);
        let start = list.partition_point(|keyed| keyed.key < first);
        let places = list.iter().enumerate().skip(start);
        places
            .take_while(move |(_, keyed)| keyed.key <= last)
            .map(|(place, keyed)| (place, &*keyed.sa))
    }
}

/// Whether `is` says so of any living SA whose key is in this range.
fn any(
    parts: &Parts<Sorted>,
    order: Order,
    first: u64,
    last: u64,
    mut is: impl FnMut(&Sa) -> bool,
) -> bool {
    for part in parts.iter() {
        for (_, sa) in part.range(order, first, last) {
            if sa.is_alive() && is(sa) {
                return true;
            }
        }
    }
    false
}

/// The SAs.
pub(super) struct Sas {
    out: Parts<Sorted>,
    inbound: Parts<Sorted>,
}

impl Sas {
    /// None. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn empty() -> Result<Self> {
        Ok(Self {
            out: Parts::new(&[])?,
            inbound: Parts::new(&[])?,
        })
    }

    /// Makes a snapshot with some more, which are newer than the others. So many are `living` then; if it is
    /// [`Self::is_mostly_dead`] it is made anew without the dead. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with(&self, new: &[Arc<Sa>], living: usize) -> Result<Self> {
        let (mut out, mut inbound) = (KVVec::new(), KVVec::new());
        for sa in new {
            let list = match sa.is_inbound() {
                true => &mut inbound,
                false => &mut out,
            };
            list.push(sa.clone(), GFP_KERNEL)?;
        }
        Ok(match self.is_mostly_dead(living) {
            true => Self {
                out: self.out.in_one_with(&out)?,
                inbound: self.inbound.in_one_with(&inbound)?,
            },
            false => Self {
                out: self.out.with(&out)?,
                inbound: self.inbound.with(&inbound)?,
            },
        })
    }

    /// Whether most of the SAs are dead if so many are living.
    pub(super) fn is_mostly_dead(&self, living: usize) -> bool {
        self.len() > living.saturating_mul(2)
    }

    fn len(&self) -> usize {
        self.out.len().saturating_add(self.inbound.len())
    }

    fn of(&self, inbound: bool) -> &Parts<Sorted> {
        match inbound {
            true => &self.inbound,
            false => &self.out,
        }
    }

    /// The place of the newest SA for an outgoing packet of `flow`, whose policy has this template. Per packet.
    pub(super) fn outbound(&self, template: &Template, flow: &Flow) -> Option<u32> {
        let key = join(template.reqid, short(template.destination(flow)));
        let mut before = 0usize;
        // Each part is newer than the next one then, and so is each SA of a key.
        for part in self.out.iter().rev() {
            for (place, sa) in part.range(Order::Template, key, key) {
                let is_right = sa.is_alive()
                    && sa.reqid == template.reqid
                    && template.takes_out(sa, flow)
                    && sa.takes(flow)
                    && !self.is_copy(sa);
                if is_right {
                    return u32::try_from(before.saturating_add(place)).ok();
                }
            }
            before = before.saturating_add(part.len());
        }
        None
    }

    /// The outbound SA at this place, if it is alive. Per packet.
    pub(super) fn at(&self, place: u32) -> Option<&Sa> {
        let mut place = place as usize;
        for part in self.out.iter().rev() {
            if let Some(keyed) = part.list(Order::Template).get(place) {
                return keyed.sa.is_alive().then_some(&*keyed.sa);
            }
            place = place.saturating_sub(part.len());
        }
        None
    }

    /// Whether an older SA has the same name on the wire and lives. `ip xfrm state update` adds a copy of a state
    /// for a while (X16). The older one stays in use: both would number their packets alike.
    fn is_copy(&self, sa: &Sa) -> bool {
        self.any_alike(sa, |other| other.number < sa.number)
    }

    /// Whether `is` says so of any living SA with the same direction, destination and SPI, `sa` itself included.
    pub(super) fn any_alike(&self, sa: &Sa, mut is: impl FnMut(&Sa) -> bool) -> bool {
        let key = Order::End.key(sa);
        any(self.of(sa.is_inbound()), Order::End, key, key, |other| {
            (other.dst, other.spi) == (sa.dst, sa.spi) && is(other)
        })
    }

    /// The highest number that a living outbound SA with this request id and SPI may have used.
    pub(super) fn last_possible(&self, reqid: u32, spi: u32) -> Option<u64> {
        highest(&self.out, reqid, spi, Sa::last_possible)
    }

    /// The highest number that has come for a living inbound SA with this request id and SPI.
    pub(super) fn highest_seen(&self, reqid: u32, spi: u32) -> Option<u64> {
        highest(&self.inbound, reqid, spi, Sa::seen)
    }

    /// Whether `is` says so of any living inbound SA for packets to `dst` with this SPI, or with any. Per packet.
    pub(super) fn any_inbound_to(
        &self,
        dst: &Address,
        spi: Option<u32>,
        mut is: impl FnMut(&Sa) -> bool,
    ) -> bool {
        let short = short(dst);
        let first = join(short, spi.unwrap_or(0));
        let last = join(short, spi.unwrap_or(u32::MAX));
        any(&self.inbound, Order::End, first, last, |sa| {
            sa.dst == *dst && is(sa)
        })
    }

    /// Whether there are none, neither alive nor dead.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.inbound.is_empty()
    }

    /// Whether there are no inbound ones.
    pub(super) fn is_outbound_only(&self) -> bool {
        self.inbound.is_empty()
    }
}

/// The highest `number` of the living SAs with this request id and SPI.
fn highest(
    parts: &Parts<Sorted>,
    reqid: u32,
    spi: u32,
    number: impl Fn(&Sa) -> u64,
) -> Option<u64> {
    let (key, mut highest) = (join(reqid, spi), None);
    any(parts, Order::Name, key, key, |sa| {
        highest = highest.max(Some(number(sa)));
        false
    });
    highest
}
