// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs of the standard (VIRTIO 1.4 section 5.1.6.5.9): the NIC adds and removes ESP, numbers packets and
//! looks for replays, and ends the SA at its limits.

pub(super) mod check;
mod ident;
pub(super) mod joint;
mod news;
pub(super) mod rx;
pub(super) mod sa;
pub(super) mod tx;
