// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The miniport model against the rules of the reference: each test says which ones it checks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "../support/mod.rs"]
mod support;

mod add;
mod changed;
mod config;
mod delete;
mod direct;
mod encapsulation;
mod fixture;
mod form;
mod frame;
mod framing;
mod keys;
mod large_send;
mod leave;
mod parallel;
mod parameters;
mod pending;
mod receive;
mod record;
mod refusal;
mod rubbish;
mod send;
mod table;
mod tasks;
mod transport;
mod udp_esp;
mod unframe;
mod update;

use support::rules;
