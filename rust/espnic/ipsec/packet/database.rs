// SPDX-License-Identifier: GPL-2.0

//! The policies that were taken, the snapshot that is in use, and what has changed since it was made.

use super::{
    policy::List,
    spd::{
        Policies,
        Spd, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};
use kernel_net::net::{
    skbuff::SkBuff,
    xfrm::{
        Direction,
        OutputSkb,
        PolicyHandle,
        Sign, //
    }, //
};

/// Reading all SAs takes at most one part of the time, and this many parts are left for other commands.
const RESTS: i64 = 4;

/// The policies, and the snapshot that is in use.
#[pin_data]
pub(crate) struct Database {
    #[pin]
    pub(super) list: List,
    #[pin]
    pub(super) current: Mutex<Current>,
    /// See [`Self::changes`].
    changes: Atomic<u32>,
    /// A policy was deleted since the last snapshot.
    pub(super) policies_changed: Atomic<bool>,
    /// An SA came or went since the last snapshot.
    pub(super) sas_changed: Atomic<bool>,
    /// The number of SAs so far.
    sas: Atomic<u64>,
    /// What packets get that the stack leaves to the NIC. Set before the first outbound SA.
    sign: SetOnce<Sign>,
    /// When the NIC's counters were last read, and how many milliseconds that took.
    #[pin]
    last_reading: Mutex<Option<(Instant<Monotonic>, i64)>>,
}

/// What changes with the policies.
pub(super) struct Current {
    /// `None` before the first policy or SA.
    pub(super) spd: Option<Spd>,
    /// The number of policies so far.
    pub(super) policies: u64,
}

impl Database {
    pub(in crate::ipsec) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- List::new(),
            current <- new_mutex!(Current {
                spd: None,
                policies: 0,
            }),
            changes: Atomic::new(0),
            policies_changed: Atomic::new(false),
            sas_changed: Atomic::new(false),
            sas: Atomic::new(0),
            sign: SetOnce::new(),
            last_reading <- new_mutex!(None::<(Instant<Monotonic>, i64)>),
        })
    }

    /// The number of the next SA.
    pub(in crate::ipsec) fn next_sa(&self) -> u64 {
        self.sas.fetch_add(1, Relaxed)
    }

    /// Makes what [`Self::sign`] needs, once. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec) fn make_sign(&self) -> Result {
        if self.sign.as_ref().is_none() {
            self.sign.populate(Sign::new()?);
        }
        Ok(())
    }

    /// Signs a packet that the stack leaves to the NIC; false if it must not be sent. Per packet, no sleeping.
    pub(crate) fn sign(&self, skb: &mut OutputSkb<'_>) -> bool {
        self.sign
            .as_ref()
            .is_some_and(|sign| skb.sign(sign).is_ok())
    }

    /// Whether the stack has left a packet to the NIC. Per packet.
    pub(crate) fn has_signed(&self, skb: &SkBuff) -> bool {
        self.sign.as_ref().is_some_and(|sign| skb.has_sign(sign))
    }

    /// The highest number that a living outbound SA with this request id and SPI may have used. Sleeps.
    pub(in crate::ipsec) fn last_possible(&self, reqid: u32, spi: u32) -> Option<u64> {
        let current = self.current.lock();
        current.spd.as_ref()?.sas.last_possible(reqid, spi)
    }

    /// The highest number that has come for a living inbound SA with this request id and SPI. Sleeps.
    pub(in crate::ipsec) fn highest_seen(&self, reqid: u32, spi: u32) -> Option<u64> {
        let current = self.current.lock();
        current.spd.as_ref()?.sas.highest_seen(reqid, spi)
    }

    /// Notes that an SA came or went; the next refresh makes a snapshot. Any context.
    pub(in crate::ipsec) fn sas_changed(&self) {
        self.sas_changed.store(true, Release);
    }

    /// Stops a policy; false if it is not known. The next refresh removes it. Any context.
    pub(crate) fn delete_policy(&self, handle: PolicyHandle) -> bool {
        // Before: who finds the policy dead sees that the number has changed, and asks a newer snapshot, in
        // which there may be another policy in its place. Behind: what was remembered meanwhile is forgotten.
        self.note_change();
        let found = self.list.kill(handle.get());
        self.note_change();
        self.policies_changed.store(true, Release);
        found
    }

    /// Notes that a policy was deleted, or is in a new snapshot that was published. Any context.
    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Release);
    }

    /// The number of changes of policies; it wraps. Per packet: when it changes, [`Known`](super::known::Known)
    /// forgets what it knows, and a run of NAPI takes the newest snapshot.
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Acquire)
    }

    pub(super) fn policies(&self, direction: Direction) -> Result<Arc<Policies>> {
        let policies = Policies::new(self.list.living(direction)?)?;
        Ok(Arc::new(policies, GFP_KERNEL)?)
    }

    /// Whether policies or SAs have changed since the last snapshot. Any context.
    pub(crate) fn has_changed(&self) -> bool {
        self.policies_changed.load(Relaxed) || self.sas_changed.load(Relaxed)
    }

    /// Runs `read` if `interval` milliseconds have passed since it last ended, and [`RESTS`] times as many
    /// as it then took; false if not. Sleeps.
    pub(super) fn read_if_due(&self, interval: u32, read: impl FnOnce()) -> bool {
        let mut last = self.last_reading.lock();
        let is_early = last.as_ref().is_some_and(|(ended, took)| {
            let pause = i64::from(interval).max(took.saturating_mul(RESTS));
            ended.elapsed().as_millis() < pause
        });
        if !is_early {
            let start = Instant::<Monotonic>::now();
            read();
            *last = Some((Instant::now(), start.elapsed().as_millis()));
        }
        !is_early
    }
}
