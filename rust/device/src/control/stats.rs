// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The answer to `stats`: one structure whose fields are the names in the JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin;
use crate::filter;
use crate::ipsec;
use crate::nic::Nic;
use crate::ports::capture::Capture;
use crate::stats::{PortStats, VirtioStats, WorkerStats};

/// The counters of all NICs, or of one.
#[derive(Serialize)]
pub struct Stats<'a> {
    /// Each NIC, by name.
    pub nics: BTreeMap<&'a str, NicStats<'a>>,
    /// The capture, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureStats>,
}

/// The counters of a capture.
#[derive(Serialize)]
pub struct CaptureStats {
    frames: u64,
    lost: u64,
}

/// State and counters of one NIC.
#[derive(Serialize)]
pub struct NicStats<'a> {
    link: bool,
    mac: String,
    speed: u32,
    queues: Queues,
    port: &'a PortStats,
    virtio: Virtio<'a>,
    workers: &'a WorkerStats,
    filter: &'a filter::Stats,
    ipsec: Ipsec<'a>,
    misbehaviour: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Queues {
    max: u16,
    active: u16,
}

#[derive(Serialize)]
struct Virtio<'a> {
    #[serde(flatten)]
    stats: &'a VirtioStats,
    interrupts: u64,
}

#[derive(Serialize)]
struct Ipsec<'a> {
    #[serde(flatten)]
    engine: ipsec::Stats<'a>,
    #[serde(flatten)]
    events: &'a ipsec::EventStats,
    #[serde(flatten)]
    admin: &'a admin::Stats,
}

impl CaptureStats {
    /// The present counters of `capture`.
    pub fn of(capture: &Capture) -> Self {
        Self {
            frames: capture.frames(),
            lost: capture.lost(),
        }
    }
}

impl<'a> NicStats<'a> {
    /// The present state and counters of `nic`.
    pub fn of(nic: &'a Nic) -> Self {
        Self {
            link: nic.port.link_up(),
            mac: nic.live.mac().map(|byte| format!("{byte:02x}")).join(":"),
            speed: nic.live.speed(),
            queues: Queues {
                max: nic.config.pairs,
                active: nic.active_pairs(),
            },
            port: &nic.port.stats,
            virtio: Virtio {
                stats: &nic.stats,
                interrupts: nic.msix.signalled(),
            },
            workers: nic.worker_stats(),
            filter: nic.filter.stats(),
            ipsec: Ipsec {
                engine: nic.ipsec.stats(),
                events: nic.ipsec.events.stats(),
                admin: nic.admin.stats(),
            },
            misbehaviour: nic.misbehaviour.made().into_iter().collect(),
        }
    }
}
