// SPDX-License-Identifier: GPL-2.0

//! From policies and SAs that come and go to snapshots for the path of packets.

use super::{
    super::Ipsec,
    check::NONE,
    database::Current,
    policy::{
        self,
        Added, //
    },
    sa::Sa,
    spd::{
        Sas,
        Spd, //
    }, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Relaxed, //
        },
        Arc, //
    }, //
};
use kernel_net::net::{
    netlink::ExtAck,
    operation_not_supported,
    xfrm::{
        Direction,
        PolicyHandle,
        State, //
    }, //
};

impl Ipsec {
    /// Takes a policy, which is in force when this returns, or refuses it
    /// with an extack message. Sleeps. `publish` hands a snapshot to the path of packets, or takes it away.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a policy that cannot be honoured, `EOPNOTSUPP` if the NIC has no packet offload,
    /// `ENOMEM`.
    pub(crate) fn add_policy(
        &self,
        added: Added<'_>,
        extack: &mut ExtAck,
        publish: impl Fn(Option<&Spd>),
    ) -> Result<PolicyHandle> {
        if !self.has_packet_offload() {
            extack.set(NONE);
            return Err(operation_not_supported());
        }
        let checked = policy::check(added.policy, added.interface).map_err(|message| {
            extack.set(message);
            EINVAL
        })?;
        let database = &self.database;
        let mut current = database.current.lock();
        let id = current.policies.checked_add(1).ok_or(ENOSPC)?;
        let handle = PolicyHandle::new(id).ok_or(ENOSPC)?;
        let policy = database.list.add(id, &checked, Some(added.live.clone()))?;
        current.policies = id;
        let current_spd = match &current.spd {
            Some(spd) => Ok(spd.clone()),
            None => Spd::empty(),
        };
        let made = current_spd.and_then(|spd| {
            let before = match checked.direction {
                Direction::Out => &spd.out,
                Direction::In => &spd.inbound,
            };
            let policies = Arc::new(before.with(policy)?, GFP_KERNEL)?;
            Ok(match checked.direction {
                Direction::Out => Spd {
                    out: policies,
                    ..spd
                },
                Direction::In => Spd {
                    inbound: policies,
                    ..spd
                },
            })
        });
        match made {
            Ok(spd) => {
                publish(Some(&spd));
                database.note_change();
                current.spd = Some(spd);
                Ok(handle)
            }
            Err(error) => {
                database.list.kill(id);
                database.list.sweep();
                Err(error)
            }
        }
    }

    /// Makes a new snapshot if policies or SAs have changed, and hands it to `publish`. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the old snapshot stays, and the next call tries again.
    pub(crate) fn refresh(&self, publish: impl Fn(Option<&Spd>)) -> Result {
        let database = &self.database;
        let mut current = database.current.lock();
        // Who sees a change noted sees the change.
        let policies = database.policies_changed.xchg(false, Acquire);
        let sas = database.sas_changed.xchg(false, Acquire);
        if !policies && !sas {
            return Ok(());
        }
        let new = self
            .next_snapshot(&current, policies, sas)
            .inspect_err(|_| {
                database.policies_changed.store(true, Relaxed);
                database.sas_changed.store(true, Relaxed);
            })?;
        current.spd = (!new.is_empty()).then_some(new);
        publish(current.spd.as_ref());
        Ok(())
    }

    fn next_snapshot(&self, current: &Current, policies: bool, sas: bool) -> Result<Spd> {
        let mut spd = match &current.spd {
            Some(spd) => spd.clone(),
            None => Spd::empty()?,
        };
        // A migration also adds and deletes states, and those last.
        let policies = (sas && self.database.list.follow_migrations()?) || policies;
        if policies {
            self.database.list.sweep();
            spd.out = self.database.policies(Direction::Out)?;
            spd.inbound = self.database.policies(Direction::In)?;
        }
        if sas {
            let sas = Sas::new(
                self.packet_sas(Direction::Out)?,
                self.packet_sas(Direction::In)?,
            )?;
            spd.sas = Arc::new(sas, GFP_KERNEL)?;
        }
        Ok(spd)
    }

    /// Runs `action` for each living outbound SA of packet offload.
    pub(crate) fn for_each_packet_sa(&self, mut action: impl FnMut(&State, &Sa)) {
        self.for_each_live(Direction::Out, |handle, x| {
            if let Some(sa) = self.packet_sa(handle) {
                action(x, &sa);
            }
        });
    }

    /// The SAs of packet offload of one direction.
    fn packet_sas(&self, direction: Direction) -> Result<KVVec<Arc<Sa>>> {
        let mut list = KVVec::new();
        let mut result = Ok(());
        self.for_each_live(direction, |handle, _| {
            let sa = self.packet_sa(handle);
            if let Some(sa) = sa.filter(|sa| sa.is_alive()) {
                if list.push(sa, GFP_KERNEL).is_err() {
                    result = Err(ENOMEM);
                }
            }
        });
        result.map(|()| list)
    }
}
