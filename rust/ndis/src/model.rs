// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A miniport with IPsecOV2 as pure functions: what it reports, how it answers OIDs, what it does
//! with packets.
//!
//! Numbers R and C in the comments are the rules and choices that
//! `Documentation/ndis-rules.rst` lists with their sources.
//!
//! * [`adapter`], [`capabilities`], [`keywords`]: configuration and its changes;
//! * [`direct`], [`check`], [`refusal`], [`bundle`], [`backend`]: the SA OIDs, on a table of the caller's;
//! * [`receive`], [`packet`], [`table`]: packets and their out-of-band words;
//! * [`send`], [`segment`], [`flow`]: the data path;
//! * [`pending`]: requests that complete later;
//! * `transport`, `leave`: the side above, and the removal of the NIC.
//!
//! The last row is for hosts only; in the kernel XFRM does that.
//!
//! The model has no locks, no memory and no clock of its own.

pub mod adapter;
mod algorithm;
pub mod backend;
pub mod bundle;
pub mod capabilities;
pub mod check;
mod completion;
pub mod direct;
pub mod flow;
mod image;
pub mod keywords;
#[cfg(not(kernel))]
pub mod leave;
pub mod packet;
pub mod pending;
pub mod receive;
pub mod refusal;
pub mod segment;
pub mod send;
pub mod table;
mod tasks;
#[cfg(not(kernel))]
pub mod transport;

pub use adapter::{Adapter, Effects, Hardware, Snapshot, State};
pub use algorithm::SALT;
#[cfg(not(kernel))]
pub use backend::UpperHalves;
pub use backend::{Backend, RemoveError, UpdateError};
pub use bundle::{Ah, Bundle, Cipher, Esp, Integrity, Mode};
pub use capabilities::Capabilities;
pub use check::{Convention, IcvUnit, Repeated, Salt};
pub use completion::Completion;
pub use direct::Direct;
pub use keywords::{Enabled, Keywords};
pub use receive::{Check, Record, Report, Work};
pub use refusal::Refusal;
pub use send::{Job, SendSlots, Verdict};
pub use table::{Lookup, Offloaded};
pub use tasks::{Directions, Tasks};
