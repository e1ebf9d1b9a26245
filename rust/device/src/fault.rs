// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults on purpose in the next ESP frames of one direction of a NIC.

pub mod damage;
pub mod request;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ipsec::Frames;
use damage::Damage;
use espnic_esp::ip::Ip;
use espnic_esp::packet;

/// The time for which a frame that must be overtaken waits for another one.
const REORDER_PATIENCE: Duration = Duration::from_millis(200);

/// Most frames that are held back in one direction; a delay may be long.
const MAX_HELD: usize = 4096;

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the NIC to the wire.
    Tx,
    /// From the wire to the NIC.
    Rx,
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is lost.
    Drop,
    /// It comes twice.
    Duplicate,
    /// The next ESP frame overtakes it.
    Reorder,
    /// It comes later.
    Delay(Duration),
    /// It is damaged.
    Damage(Damage),
}

/// A fault: `kind` happens to every `every`th ESP frame, `count` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Direction.
    pub direction: Direction,
    /// What happens.
    pub kind: Kind,
    /// How often; 0 ends a fault of this kind.
    pub count: u32,
    /// 1 for all ESP frames; not 0.
    pub every: u32,
}

struct Rule {
    kind: Kind,
    left: u32,
    every: u32,
    /// Frames up to the next one that is hit, that one included.
    until: u32,
}

impl Rule {
    /// Whether the present ESP frame is hit.
    fn hits(&mut self) -> bool {
        self.until = self.until.saturating_sub(1);
        if self.until > 0 {
            return false;
        }
        self.until = self.every;
        self.left = self.left.saturating_sub(1);
        true
    }
}

/// A frame that is held back.
struct Held {
    frame: Vec<u8>,
    due: Instant,
    /// It also goes on after the next ESP frame.
    overtaken: bool,
}

/// What was done to a batch of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Faults.
    pub faults: u64,
    /// Frames that were lost instead of being held back, because too many are already.
    pub dropped: u64,
}

/// The faults of one direction.
#[derive(Default)]
struct Line {
    rules: Vec<Rule>,
    held: Vec<Held>,
}

impl Line {
    fn set(&mut self, fault: &Fault) {
        let same = |kind: &Kind| std::mem::discriminant(kind);
        self.rules.retain(|rule| match (rule.kind, fault.kind) {
            (Kind::Damage(old), Kind::Damage(new)) => old != new,
            (old, new) => same(&old) != same(&new),
        });
        if fault.count > 0 {
            self.rules.push(Rule {
                kind: fault.kind,
                left: fault.count,
                every: fault.every,
                until: fault.every,
            });
        }
    }

    /// Passes `frame` to `out`, or applies the faults that are due.
    fn pass(&mut self, mut frame: Vec<u8>, out: &mut Frames, made: &mut Made) {
        let ip = Ip::find(&frame);
        if ip.and_then(|ip| packet::range(&frame, &ip)).is_none() {
            out.push(frame);
            return;
        }
        let overtakes = self.held.iter().any(|held| held.overtaken);
        let (mut copies, mut due) = (1, None);
        let mut reordered = false;
        for rule in &mut self.rules {
            // The frame that overtakes is not overtaken itself.
            if (rule.kind == Kind::Reorder && overtakes) || !rule.hits() {
                continue;
            }
            made.faults += 1;
            match rule.kind {
                Kind::Drop => copies = 0,
                Kind::Duplicate => copies *= 2,
                Kind::Reorder => reordered = true,
                Kind::Delay(time) => due = Some(Instant::now() + time),
                Kind::Damage(damage) => damage.apply(&mut frame),
            }
        }
        self.rules.retain(|rule| rule.left > 0);
        if reordered {
            due = due.or(Some(Instant::now() + REORDER_PATIENCE));
        }
        for copy in 0..copies {
            let frame = match copy + 1 < copies {
                true => frame.clone(),
                false => std::mem::take(&mut frame),
            };
            match due {
                Some(_) if self.held.len() >= MAX_HELD => made.dropped += 1,
                Some(due) => self.held.push(Held {
                    frame,
                    due,
                    overtaken: reordered,
                }),
                None => out.push(frame),
            }
        }
        if overtakes {
            self.release(out, |held| held.overtaken);
        }
    }

    /// Releases the held frames that `which` chooses, in the order of their arrival.
    fn release(&mut self, out: &mut Frames, which: impl Fn(&Held) -> bool) {
        let (go, stay) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<Vec<_>, _>(which);
        self.held = stay;
        go.into_iter().for_each(|held| out.push(held.frame));
    }
}

#[derive(Default)]
struct Pending {
    line: Mutex<Line>,
    /// There are rules or frames in `line`.
    active: AtomicBool,
}

impl Pending {
    /// Changes the line and remembers whether anything is in it.
    fn change<R>(&self, action: impl FnOnce(&mut Line) -> R) -> R {
        let mut line: MutexGuard<'_, Line> =
            self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut line);
        let active = !line.rules.is_empty() || !line.held.is_empty();
        self.active.store(active, Ordering::Relaxed);
        result
    }
}

/// The pending faults of one NIC. Costs next to nothing while there are none.
#[derive(Default)]
pub struct Faults {
    tx: Pending,
    rx: Pending,
}

impl Faults {
    /// Sets a fault in place of the one of the same kind and direction.
    pub fn set(&self, fault: &Fault) {
        self.pending(fault.direction).change(|line| line.set(fault));
    }

    /// Ends all faults. Frames that are held back still come.
    pub fn clear(&self) {
        for pending in [&self.tx, &self.rx] {
            pending.change(|line| line.rules.clear());
        }
    }

    /// Applies the faults to `frames`, and adds frames that were held back and are due.
    pub fn apply(&self, direction: Direction, frames: &mut Frames) -> Made {
        let pending = self.pending(direction);
        if !pending.active.load(Ordering::Relaxed) {
            return Made::default();
        }
        pending.change(|line| {
            let batch: Vec<_> = frames.drain().collect();
            let mut made = Made::default();
            for frame in batch {
                line.pass(frame, frames, &mut made);
            }
            let now = Instant::now();
            line.release(frames, |held| held.due <= now);
            made
        })
    }

    /// The time when the next held frame is due.
    pub fn next_due(&self) -> Option<Instant> {
        let active = |pending: &&Pending| pending.active.load(Ordering::Relaxed);
        [&self.tx, &self.rx]
            .into_iter()
            .filter(active)
            .filter_map(|pending| pending.change(|line| line.held.iter().map(|h| h.due).min()))
            .min()
    }

    /// Drops all held frames.
    pub fn discard(&self) {
        for pending in [&self.tx, &self.rx] {
            if pending.active.load(Ordering::Relaxed) {
                pending.change(|line| line.held.clear());
            }
        }
    }

    fn pending(&self, direction: Direction) -> &Pending {
        match direction {
            Direction::Tx => &self.tx,
            Direction::Rx => &self.rx,
        }
    }
}

#[cfg(test)]
#[path = "fault/tests.rs"]
mod tests;
