// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Room in the table of inbound SAs: the choice of the SA that the NIC asks the driver to delete.
//!
//! While there are more inbound SAs than a mark, the NIC asks for the deletion of the excess, least
//! recently used first. A request travels in the header of a packet of its SA, so the NIC cannot ask for
//! an SA that receives nothing; after [`PATIENCE`] it chooses the next one.

use super::oldest::{Found, Oldest, Use, Uses};
use super::table::Tables;
use espnic_wire::hdr::{self, NetHdr48};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The longest wait for a packet of the chosen SA.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// No SA has this id, and no table so many SAs.
const NOTHING: u32 = u32::MAX;

/// The SA that the next request is for.
struct Choice {
    id: u32,
    /// Its last use. If that has changed, it is another SA, or was used again.
    at: u64,
    since: Instant,
}

impl Choice {
    /// Whether the SA still exists, unused since it was chosen.
    fn holds(&self, tables: &Tables) -> bool {
        tables.is_last((self.at, self.id))
    }
}

/// The choice, and how it is made.
#[derive(Default)]
struct Choosing {
    choice: Option<Choice>,
    oldest: Oldest,
    /// The next choice comes after this one.
    after: Use,
}

/// The policy.
pub(super) struct Room {
    /// The number of inbound SAs up to which the NIC asks for nothing.
    mark: AtomicU32,
    /// Counts batches and creations, which suffices to tell which use is more recent.
    now: AtomicU64,
    /// The id of the choice, for packets.
    chosen: AtomicU32,
    choosing: Mutex<Choosing>,
    made: AtomicU64,
}

impl Room {
    /// Makes the policy; with a `mark` of `None` the NIC asks for nothing.
    pub(super) fn new(mark: Option<u32>) -> Self {
        Self {
            mark: AtomicU32::new(mark.unwrap_or(NOTHING)),
            now: AtomicU64::new(0),
            chosen: AtomicU32::new(NOTHING),
            choosing: Mutex::default(),
            made: AtomicU64::new(0),
        }
    }

    pub(super) fn set_mark(&self, mark: Option<u32>) {
        self.mark.store(mark.unwrap_or(NOTHING), Ordering::Relaxed);
    }

    /// The number of requests so far.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Advances the time.
    #[inline]
    pub(super) fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Begins a batch of received packets; returns the time.
    #[inline]
    pub(super) fn begin(&self, tables: &Tables) -> u64 {
        if self.is_short(tables) {
            self.choose(tables, Instant::now());
        } else if self.chosen.load(Ordering::Relaxed) != NOTHING {
            self.chosen.store(NOTHING, Ordering::Relaxed);
        }
        self.tick()
    }

    /// Whether there are too many SAs, not counting those that the NIC has asked for.
    #[inline]
    fn is_short(&self, tables: &Tables) -> bool {
        let mark = self.mark.load(Ordering::Relaxed);
        // Without a mark there is no limit.
        mark != NOTHING && tables.len().0 > tables.asked() + mark as usize
    }

    /// Chooses the SA that was used least recently, which may take several calls if there are many. After some
    /// time without a packet of it, chooses the next one, and in the end the first again.
    #[cold]
    pub(super) fn choose(&self, tables: &Tables, now: Instant) {
        // Another thread is choosing already.
        let Ok(mut choosing) = self.choosing.try_lock() else {
            return;
        };
        let Choosing {
            choice,
            oldest,
            after,
        } = &mut *choosing;
        let old = choice.take().filter(|old| old.holds(tables));
        *choice = match old {
            Some(old) if now.duration_since(old.since) < PATIENCE => Some(old),
            old => {
                let passed = old.map_or(std::mem::take(after), |old| (old.at, old.id));
                let (found, from) = self.find(oldest, tables, passed);
                *after = from;
                found.map(|(at, id)| Choice { id, at, since: now })
            }
        };
        let id = choice.as_ref().map_or(NOTHING, |choice| choice.id);
        self.chosen.store(id, Ordering::Relaxed);
    }

    /// The SA that was used least recently after `passed`, or else of all; and from where to go on if that is not
    /// known yet.
    fn find(&self, oldest: &mut Oldest, tables: &Tables, passed: Use) -> (Option<Use>, Use) {
        let time = self.now.load(Ordering::Relaxed);
        let (mut from, mut found) = (passed, oldest.next(tables, time, passed));
        if found == Found::Nothing && passed != Use::default() {
            (from, found) = (Use::default(), oldest.next(tables, time, Use::default()));
        }
        match found {
            Found::Oldest(one) => (Some(one), Use::default()),
            Found::Nothing => (None, Use::default()),
            Found::Later => (None, from),
        }
    }

    /// Whether [`Self::mark`] may have something to do.
    #[inline]
    pub(super) fn is_asking(&self) -> bool {
        self.chosen.load(Ordering::Relaxed) != NOTHING
    }

    /// Marks a received packet, whose header is `hdr`, if its SA is the one that was chosen.
    #[inline]
    pub(super) fn mark(&self, tables: &Tables, hdr: &mut NetHdr48) {
        let chosen = self.chosen.load(Ordering::Relaxed);
        if chosen != NOTHING && hdr.has(hdr::F_SECURITY) && hdr.out.resource_id.get() == chosen {
            self.ask(tables, chosen, hdr);
        }
    }

    #[cold]
    fn ask(&self, tables: &Tables, id: u32, hdr: &mut NetHdr48) {
        let Some(sa) = tables.inb.get(id) else {
            return;
        };
        // Only one thread asks for it.
        if sa.last.ask() {
            tables.count_asked();
            self.made.fetch_add(1, Ordering::Relaxed);
            hdr.sec.ndis_flags |= hdr::NDIS_SA_DELETE_REQ;
        }
        self.chosen.store(NOTHING, Ordering::Relaxed);
    }
}

impl Uses for Tables {
    /// Those that the NIC has asked for do not count.
    fn part(&self, index: usize) -> Option<impl Iterator<Item = Use>> {
        let sas = self.inb.part(index)?.filter(|sa| !sa.last.asked());
        Some(sas.map(|sa| (sa.last.at(), sa.id)))
    }

    fn is_last(&self, (at, id): Use) -> bool {
        let sa = self.inb.get(id);
        sa.is_some_and(|sa| sa.last.at() == at && !sa.last.asked())
    }
}
