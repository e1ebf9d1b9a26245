// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The words by which a misbehaviour is set.

use super::kind::{Deed, Kind, Queue, Used, NO_DEVICE_CONFIG};
use crate::words::number;

/// The forms of requests, one per line.
pub const FORMS: [&str; 12] = [
    "misbehave rx|tx|ctrl|event id-out-of-range|id-not-given|too-long|huge|empty|short|twice COUNT",
    "misbehave tx stall|silent COUNT",
    "misbehave rx num-buffers|gso-type|gso-size|csum-start COUNT",
    "misbehave ctrl late MS COUNT",
    "misbehave ctrl truncated|never COUNT",
    "misbehave config max-pairs COUNT",
    "misbehave config mtu MTU COUNT",
    "misbehave sa limits|refuse-create|refuse-destroy COUNT",
    "misbehave filter refuse-create COUNT",
    "misbehave record sa-id|generation|spi|address|offset-outside|offset-inside COUNT",
    "misbehave event sa-id|direction|hard|moved|again COUNT",
    "misbehave reset interrupts COUNT",
];

/// A misbehaviour: `kind` is done `count` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is done.
    pub kind: Kind,
    /// The milliseconds of [`Deed::Late`], the MTU of [`Deed::Mtu`]; else 0.
    pub value: u32,
    /// How often; 0 ends it.
    pub count: u32,
}

impl Order {
    /// Parses the words after `misbehave`.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let (place, what, value, count) = match *words {
            [place, what, count] => (place, what, None, count),
            [place, what, value, count] => (place, what, Some(number(value)?), count),
            _ => return Err(usage()),
        };
        let kind = kind(place, what)?;
        let wants_value = matches!(kind, Kind::Other(Deed::Late | Deed::Mtu));
        if wants_value != value.is_some() {
            return Err(usage());
        }
        let value = value.unwrap_or(0);
        if kind == Kind::Other(Deed::Mtu) && value > u16::MAX.into() {
            return Err(format!("`{value}` is not an MTU from 0 to 65535"));
        }
        let count = number(count)?;
        Ok(Self { kind, value, count })
    }
}

fn kind(place: &str, what: &str) -> Result<Kind, String> {
    let words = format!("{place} {what}");
    if words == NO_DEVICE_CONFIG {
        return Err(format!(
            "`{words}` is chosen when the process starts: --nic ...,device-config=off"
        ));
    }
    let queue = Queue::ALL.iter().find(|queue| queue.words() == place);
    let used = Used::ALL.iter().find(|used| used.words() == what);
    if let (Some(&queue), Some(&used)) = (queue, used) {
        return Ok(Kind::Used(queue, used));
    }
    let deed = Deed::ALL.iter().find(|deed| deed.words() == words);
    deed.map(|&deed| Kind::Other(deed))
        .ok_or_else(|| format!("`{words}` is no misbehaviour: {}", usage()))
}

fn usage() -> String {
    format!("say fault NIC with {}", FORMS.join(", or "))
}
