// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network device: what it offers, its state, and the passage of frames between queues and wire.

pub mod announce;
pub mod coalesce;
pub mod config;
pub mod csum;
pub mod ctrl;
pub mod event;
pub mod inbox;
pub mod lane;
pub mod late;
pub mod live;
pub mod offer;
pub mod pending;
pub mod receive_filter;
pub mod rss;
pub mod rx;
pub mod state;
pub mod steer;
pub mod tx;
pub mod unanswered;
pub mod used;

pub use offer::{NetConfig, MAX_PAIRS};
pub use state::{Device, NetState};

/// Chains of one queue that are processed before the lock is given back.
pub(crate) const BATCH: usize = 64;
/// Frames to the wire after which no more chains are begun before the lock is given back: a chain can
/// become many of them.
const FRAMES: usize = 512;
