// SPDX-License-Identifier: GPL-2.0

//! The policies that were taken, the snapshot that is in use, and what has changed since it was made.

use super::{
    policy::list::List,
    sa::Sa,
    spd::{
        Policies,
        Spd, //
    }, //
};
use kernel::{
    alloc::KVVec,
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
        Monotonic,
        NSEC_PER_MSEC, //
    }, //
};
use kernel_net::{
    net::{
        skbuff::SkBuff,
        xfrm::{
            Direction,
            Handle,
            OutputSkb,
            PolicyHandle,
            Sign, //
        }, //
    },
    new_lock,
    sync::SpinLockBh, //
};

/// Looking at all SAs or policies takes at most one part of the time, and this many parts are left for other work.
const RESTS: i64 = 4;

/// When something was last done, if ever, and how many nanoseconds that took.
#[derive(Default)]
pub(super) struct Pace(Option<(Instant<Monotonic>, i64)>);

impl Pace {
    /// Runs `work` if `interval` milliseconds have passed since it last ended, and [`RESTS`] times as many as it
    /// then took; `None` if not.
    pub(super) fn run_if_due<R>(&mut self, interval: u32, work: impl FnOnce() -> R) -> Option<R> {
        let is_early = self.0.as_ref().is_some_and(|(ended, took)| {
            let interval = i64::from(interval).saturating_mul(NSEC_PER_MSEC);
            ended.elapsed().as_nanos() < interval.max(took.saturating_mul(RESTS))
        });
        if is_early {
            return None;
        }
        let start = Instant::<Monotonic>::now();
        let result = work();
        self.0 = Some((Instant::now(), start.elapsed().as_nanos()));
        Some(result)
    }
}

/// The policies, and the snapshot that is in use.
#[pin_data]
pub(crate) struct Database {
    #[pin]
    pub(super) list: List,
    #[pin]
    pub(super) current: Mutex<Current>,
    /// See [`Self::changes`].
    changes: Atomic<u32>,
    /// A policy was deleted since it was last looked whether the snapshot is to be rid of some.
    pub(super) policies_changed: Atomic<bool>,
    /// An SA came since the last snapshot.
    pub(super) sas_added: Atomic<bool>,
    /// An SA went since it was last looked whether the snapshot is to be rid of some.
    pub(super) sas_gone: Atomic<bool>,
    /// Copies of SAs that went.
    #[pin]
    copies: SpinLockBh<KVec<Arc<Sa>>>,
    /// The number of SAs so far.
    sas: Atomic<u64>,
    /// What packets get that the stack leaves to the NIC. Set before the first outbound SA.
    sign: SetOnce<Sign>,
    /// When the NIC's counters were last read.
    #[pin]
    last_reading: Mutex<Pace>,
}

/// What changes with the policies.
pub(super) struct Current {
    /// `None` before the first policy or SA.
    pub(super) spd: Option<Spd>,
    /// The number of policies so far.
    pub(super) policies: u64,
    /// SAs that the snapshot does not have yet, the oldest first.
    pub(super) new_sas: KVVec<Arc<Sa>>,
    /// When it was last looked for policies that a migration has changed.
    pub(super) last_look: Pace,
    /// The snapshot has policies as they were before a migration.
    pub(super) is_outdated: bool,
}

impl Database {
    pub(in crate::ipsec) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- List::new(),
            current <- new_mutex!(Current {
                spd: None,
                policies: 0,
                new_sas: KVVec::new(),
                last_look: Pace::default(),
                is_outdated: false,
            }),
            changes: Atomic::new(0),
            policies_changed: Atomic::new(false),
            sas_added: Atomic::new(false),
            sas_gone: Atomic::new(false),
            copies <- new_lock!(KVec::new()),
            sas: Atomic::new(0),
            sign: SetOnce::new(),
            last_reading <- new_mutex!(Pace::default()),
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

    /// Makes room for one more SA. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec) fn expect_sa(&self) -> Result {
        Ok(self.current.lock().new_sas.reserve(1, GFP_KERNEL)?)
    }

    /// Takes an SA after [`Self::expect_sa`], without another one in between; the next refresh brings it into the
    /// snapshot. Sleeps.
    pub(in crate::ipsec) fn sa_added(&self, sa: Arc<Sa>) {
        let mut current = self.current.lock();
        let spd = current.spd.as_ref();
        if spd.is_some_and(|spd| spd.sas.any_alike(&sa, |_| true)) {
            sa.note_copy();
        }
        // There is room, which is not given back.
        let _ = current.new_sas.push_within_capacity(sa);
        drop(current);
        self.sas_added.store(true, Release);
    }

    /// Notes that an SA has died. Any context.
    pub(in crate::ipsec) fn sa_gone(&self, sa: Arc<Sa>) {
        if sa.is_copy() {
            // Without memory the next reading of all SAs makes up for it.
            let _ = self.copies.lock().push(sa, GFP_ATOMIC);
        }
        self.sas_gone.store(true, Release);
    }

    /// The living SAs of which copies have gone since the last call. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn take_copied(&self) -> Result<KVec<Handle>> {
        let copies = core::mem::take(&mut *self.copies.lock());
        let mut handles = KVec::new();
        let current = self.current.lock();
        let Some(spd) = &current.spd else {
            return Ok(handles);
        };
        for copy in &copies {
            let is_lost = |sa: &Sa| handles.push(sa.handle, GFP_KERNEL).is_err();
            if spd.sas.any_alike(copy, is_lost) {
                return Err(ENOMEM);
            }
        }
        Ok(handles)
    }

    /// Stops a policy; false if it is not known. A later refresh removes it. Any context.
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
        let policies = Policies::new(&self.list.living(direction)?)?;
        Ok(Arc::new(policies, GFP_KERNEL)?)
    }

    /// Whether policies or SAs have changed since the last snapshot. Any context.
    pub(crate) fn has_changed(&self) -> bool {
        let flags = [&self.policies_changed, &self.sas_added, &self.sas_gone];
        flags.iter().any(|flag| flag.load(Relaxed))
    }

    /// Runs `read` if `interval` milliseconds have passed since it last ended, and [`RESTS`] times as many
    /// as it then took; false if not. Sleeps.
    pub(super) fn read_if_due(&self, interval: u32, read: impl FnOnce()) -> bool {
        let mut last = self.last_reading.lock();
        last.run_if_due(interval, read).is_some()
    }
}
