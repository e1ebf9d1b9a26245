// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Two sides that take turns, and what comes out.

use espnic_device::crypto::{Backend, Libraries};
use std::time::{Duration, Instant};

/// Frames per batch, as the NIC takes them from a queue.
pub const BATCH: usize = 64;

/// One line of the result.
pub struct Row {
    pub name: String,
    /// Nanoseconds per packet of the engine, and of what it is compared with.
    pub ns: [f64; 2],
    /// The second divided by the first: 1 means as fast as the bare library call, less means slower.
    pub ratio: f64,
    /// The least ratio; none if the row is for the record.
    pub target: Option<f64>,
}

/// The measurements that the user has chosen.
pub struct Plan {
    /// The library of the bare calls.
    pub backend: Backend,
    /// The libraries of the engine.
    pub libraries: Libraries,
    pub time: Duration,
    pub sas: u32,
    pub only: String,
}

impl Plan {
    /// Whether the user wants the row with this name.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }
}

/// The median, in nanoseconds per packet.
fn median(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort();
    let middle = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    middle.as_nanos() as f64 / BATCH as f64
}

/// Lets both sides take turns until the time is over. A side does one batch and returns how long the
/// measured part took.
pub fn compare(
    plan: &Plan,
    name: String,
    target: Option<f64>,
    judged: &mut dyn FnMut() -> Duration,
    other: &mut dyn FnMut() -> Duration,
) -> Option<Row> {
    if !plan.wants(&name) {
        return None;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < plan.time || a.len() < 20 {
        // The order alternates, because the second side finds warmer caches.
        if a.len() % 2 == 0 {
            a.push(judged());
            b.push(other());
        } else {
            b.push(other());
            a.push(judged());
        }
    }
    let ns = [median(a), median(b)];
    Some(Row {
        name,
        ns,
        ratio: ns[1] / ns[0],
        target,
    })
}

/// A small and fast generator to choose SAs with (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}
