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
    spd::Spd, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Relaxed,
            Release, //
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
                // A later refresh removes it.
                database.policies_changed.store(true, Release);
                Err(error)
            }
        }
    }

    /// Makes a new snapshot if policies or SAs have changed, and hands it to `publish`. True if something is left
    /// for another call, some time later. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the old snapshot stays, and the next call tries again.
    pub(crate) fn refresh(&self, publish: impl Fn(Option<&Spd>)) -> Result<bool> {
        let database = &self.database;
        let mut current = database.current.lock();
        // Who sees a change noted sees the change.
        let policies = database.policies_changed.xchg(false, Acquire);
        let gone = database.sas_gone.xchg(false, Acquire);
        let added = database.sas_added.xchg(false, Relaxed);
        let (looked, found) = match added || gone {
            // A migration also adds and deletes states, and those last.
            true => self.look_for_migrations(&mut current),
            false => (true, Ok(())),
        };
        if !looked {
            database.sas_gone.store(true, Relaxed);
        }
        let made = found.and_then(|()| self.next_snapshot(&current, policies, gone));
        let new = made.inspect_err(|_| {
            database.policies_changed.store(true, Relaxed);
            database.sas_added.store(true, Relaxed);
            database.sas_gone.store(true, Relaxed);
        })?;
        current.new_sas.clear();
        current.is_outdated = false;
        if let Some(new) = new {
            current.spd = (!new.is_empty()).then_some(new);
            publish(current.spd.as_ref());
        }
        Ok(!looked)
    }

    /// Takes over what migrations have changed about policies, if that was not done a short time ago; whether it
    /// was done.
    fn look_for_migrations(&self, current: &mut Current) -> (bool, Result) {
        let list = &self.database.list;
        match current.last_look.run_if_due(0, || list.follow_migrations()) {
            Some(found) => {
                // Without memory some may have been found before.
                current.is_outdated |= found != Ok(false);
                (true, found.map(|_| ()))
            }
            None => (false, Ok(())),
        }
    }

    /// The snapshot with all new SAs; `None` if it is the present one. `policies` and SAs have `gone`, which are
    /// removed once they are as many as those that live.
    fn next_snapshot(&self, current: &Current, policies: bool, gone: bool) -> Result<Option<Spd>> {
        let mut spd = match &current.spd {
            Some(spd) => spd.clone(),
            None => Spd::empty()?,
        };
        // CAST: A `u32` fits.
        let living = self.packet_sas.load(Relaxed) as usize;
        let sas = !current.new_sas.is_empty() || gone && spd.sas.is_mostly_dead(living);
        if sas {
            spd.sas = Arc::new(spd.sas.with(&current.new_sas, living)?, GFP_KERNEL)?;
        }
        let list = &self.database.list;
        let policies = current.is_outdated || policies && list.is_mostly_dead();
        if policies {
            list.sweep()?;
            spd.out = self.database.policies(Direction::Out)?;
            spd.inbound = self.database.policies(Direction::In)?;
        }
        Ok((sas || policies).then_some(spd))
    }

    /// Runs `action` for each living outbound SA of packet offload.
    pub(crate) fn for_each_packet_sa(&self, mut action: impl FnMut(&State, &Sa)) {
        self.for_each_live(Direction::Out, |handle, x| {
            if let Some(sa) = self.packet_sa(handle) {
                action(x, &sa);
            }
        });
    }
}
