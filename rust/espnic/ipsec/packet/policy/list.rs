// SPDX-License-Identifier: GPL-2.0

//! The list of the policies that were taken.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    Checked,
    Policy, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    net::xfrm::{
        Direction,
        LivePolicy, //
    },
    new_lock,
    sync::SpinLockBh, //
};

/// Room for so many policies at least.
const ROOM_MIN: usize = 16;

/// So many policies are looked at while packets wait for the list.
const STEP: usize = 256;

/// All policies that were taken, also those that are dead and still in use, the oldest first.
///
/// Only the holder of the mutex of `Packet` adds and removes any.
#[pin_data]
pub(in crate::ipsec::packet) struct List {
    #[pin]
    taken: SpinLockBh<Taken>,
}

struct Taken {
    policies: KVVec<Arc<Policy>>,
    out: Count,
    inbound: Count,
}

/// The policies of one direction.
#[derive(Clone, Copy, Default)]
struct Count {
    all: usize,
    living: usize,
}

impl Count {
    fn is_mostly_dead(self) -> bool {
        self.all > self.living.saturating_mul(2)
    }
}

impl Taken {
    fn count(&mut self, direction: Direction) -> &mut Count {
        match direction {
            Direction::Out => &mut self.out,
            Direction::In => &mut self.inbound,
        }
    }
}

impl List {
    pub(in crate::ipsec::packet) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            taken <- new_lock!(Taken {
                policies: KVVec::new(),
                out: Count::default(),
                inbound: Count::default(),
            }),
        })
    }

    /// Adds the policy `id`, which is greater than all before, and returns it. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec::packet) fn add(
        &self,
        id: u64,
        checked: &Checked,
        live: Option<Arc<LivePolicy>>,
    ) -> Result<Arc<Policy>> {
        let policy = Arc::new(Policy::new(id, checked, live), GFP_KERNEL)?;
        self.make_room()?;
        let mut taken = self.taken.lock();
        taken
            .policies
            .push_within_capacity(policy.clone())
            .map_err(|_| ENOMEM)?;
        let count = taken.count(policy.direction);
        count.all = count.all.saturating_add(1);
        count.living = count.living.saturating_add(1);
        Ok(policy)
    }

    /// Makes room for one more.
    fn make_room(&self) -> Result {
        let taken = self.taken.lock();
        let (len, room) = (taken.policies.len(), taken.policies.capacity());
        drop(taken);
        if len < room {
            return Ok(());
        }
        let list = self.copied(len.saturating_mul(2).max(ROOM_MIN), |_| true)?;
        self.exchange(list);
        Ok(())
    }

    /// Stops the policy `id`; false if there is none. Any context.
    pub(in crate::ipsec::packet) fn kill(&self, id: u64) -> bool {
        let mut taken = self.taken.lock();
        let found = taken
            .policies
            .binary_search_by_key(&id, |policy| policy.id)
            .ok()
            .and_then(|at| taken.policies.get(at))
            .map(|policy| (policy.kill(), policy.direction));
        let Some((was_alive, direction)) = found else {
            return false;
        };
        if was_alive {
            let count = taken.count(direction);
            count.living = count.living.saturating_sub(1);
        }
        true
    }

    /// Replaces the policies that migrations have changed (X79); true if there are any. Those that they replace
    /// count until there is a snapshot without them. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec::packet) fn follow_migrations(&self) -> Result<bool> {
        let mut found = false;
        let mut at = 0;
        // Nobody else adds or removes any.
        while let Some(policy) = self.at(at) {
            if let Some(new) = policy.migrated() {
                self.replace(at, Arc::new(new, GFP_KERNEL)?);
                found = true;
            }
            at = at.saturating_add(1);
        }
        Ok(found)
    }

    fn at(&self, at: usize) -> Option<Arc<Policy>> {
        self.taken.lock().policies.get(at).cloned()
    }

    fn replace(&self, at: usize, new: Arc<Policy>) {
        let mut taken = self.taken.lock();
        let old = taken
            .policies
            .get_mut(at)
            .filter(|policy| policy.is_alive())
            .map(|policy| core::mem::replace(policy, new));
        drop(taken);
        drop(old);
    }

    /// Whether most of the policies of a direction are dead.
    pub(in crate::ipsec::packet) fn is_mostly_dead(&self) -> bool {
        let taken = self.taken.lock();
        taken.out.is_mostly_dead() || taken.inbound.is_mostly_dead()
    }

    /// Removes those that are dead. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec::packet) fn sweep(&self) -> Result {
        let list = self.copied(0, Policy::is_alive)?;
        self.exchange(list);
        Ok(())
    }

    /// Those of a direction that live, the oldest first. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec::packet) fn living(
        &self,
        direction: Direction,
    ) -> Result<KVVec<Arc<Policy>>> {
        self.copied(0, |policy| {
            policy.direction == direction && policy.is_alive()
        })
    }

    /// Those that are wanted, the oldest first, with room for `room` at least.
    fn copied(&self, room: usize, wanted: impl Fn(&Policy) -> bool) -> Result<KVVec<Arc<Policy>>> {
        let len = self.taken.lock().policies.len();
        let mut list = KVVec::with_capacity(len.max(room), GFP_KERNEL)?;
        for start in (0..len).step_by(STEP) {
            // Nobody else adds or removes any between two steps.
            let taken = self.taken.lock();
            let some = taken.policies.iter().skip(start).take(STEP);
            for policy in some.filter(|policy| wanted(policy)) {
                list.push_within_capacity(policy.clone())
                    .map_err(|_| ENOMEM)?;
            }
        }
        Ok(list)
    }

    /// Has this list from now on, which has all that live.
    fn exchange(&self, mut list: KVVec<Arc<Policy>>) {
        let [mut out, mut inbound] = [0usize; 2];
        for policy in &list {
            let count = match policy.direction {
                Direction::Out => &mut out,
                Direction::In => &mut inbound,
            };
            *count = count.saturating_add(1);
        }
        let mut taken = self.taken.lock();
        (taken.out.all, taken.inbound.all) = (out, inbound);
        core::mem::swap(&mut taken.policies, &mut list);
        drop(taken);
        // Outside the lock: a long list is memory of vmalloc.
        drop(list);
    }
}
