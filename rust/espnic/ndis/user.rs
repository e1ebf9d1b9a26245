// SPDX-License-Identifier: GPL-2.0

//! What processes ask of the NDIS layer. It stands on the netdev, of which the rest of the layer knows
//! nothing.
//!
//! `file` is the device, and `port` the adapter as an open file sees it. `request` carries out OID
//! requests, `normal` those of the normal path, and `later` those that pend. `list` lists SAs, and
//! `submit` has packets sent.

pub(super) mod file;
mod later;
mod list;
mod normal;
mod port;
mod request;
mod submit;
