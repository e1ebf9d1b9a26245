// SPDX-License-Identifier: GPL-2.0

//! Packet offload: the NIC adds and removes ESP, and the driver chooses the SA of each packet.
//!
//! The stack hands over packets in clear, and believes of received ones what the driver says. So the
//! policies are here as well: [`database::Database`] has them, and the snapshots of [`spd`] take them to
//! the path of packets.

mod changes;
pub(super) mod check;
pub(super) mod counted;
pub(super) mod database;
pub(super) mod filter;
pub(crate) mod known;
mod mapping;
pub(super) mod object;
pub(crate) mod own;
mod parts;
pub(crate) mod policy;
pub(crate) mod rx;
pub(super) mod sa;
mod sas;
pub(crate) mod spd;
pub(crate) mod stats;
pub(super) mod told;
pub(crate) mod tx;
mod update;

pub(super) use sa::Left;
pub(crate) use sa::Sa;
