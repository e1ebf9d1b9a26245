// SPDX-License-Identifier: GPL-2.0

//! What the NIC knows of an SA that may change.

use kernel_net::net::xfrm::{
    Limits,
    State, //
};

/// What the NIC was told of an SA and can be told anew, and what must stay as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ipsec) struct Told {
    /// The random part of its IVs, which stays.
    pub(super) iv_xor: u64,
    limits: Limits,
    /// Packets and bytes before the NIC got the object, which it does not count.
    pub(super) used: (u64, u64),
    /// Source and destination port of ESP in UDP.
    ports: Option<(u16, u16)>,
}

impl Told {
    /// What is to be said of `x`.
    pub(super) fn of(x: &State, iv_xor: u64, used: (u64, u64)) -> Self {
        let encap = x.encapsulation();
        Self {
            iv_xor,
            limits: x.limits(),
            used,
            ports: encap.map(|encap| (encap.source_port, encap.destination_port)),
        }
    }
}
