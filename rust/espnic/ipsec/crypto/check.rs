// SPDX-License-Identifier: GPL-2.0

//! The checks that an SA of crypto offload must pass.

#[cfg(espnic_kunit)]
mod tests;

use super::super::{
    capability::Capabilities,
    check::{
        self,
        Supported, //
    }, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    state::{
        Encapsulation,
        State,
        REPLAY_WINDOW_MAX, //
    },
    Direction, //
};

/// Checks `x`, which belongs to a bond above the interface if `below_bond`; the error is the extack message.
pub(in crate::ipsec) fn supported<'a>(
    x: &'a State,
    capabilities: &Capabilities,
    below_bond: bool,
) -> Result<Supported<'a>, &'static CStr> {
    if x.is_packet_offload() || x.is_acquire() {
        return Err(c"espnic: packet offload is not supported, use crypto offload");
    }
    if x.direction() == Some(Direction::In) && x.has_mark() {
        // The NIC finds the SA before the packet can have a mark.
        return Err(c"espnic: a mark on an inbound state is not supported");
    }
    if x.is_esn() && x.replay_window() > REPLAY_WINDOW_MAX {
        return Err(c"espnic: replay windows of more than 4096 packets are not supported");
    }
    let (_, family) = check::mode_and_family(x)?;
    let encapsulation = encapsulation(x, family, below_bond)?;
    check::supported(x, encapsulation, capabilities)
}

/// Checks the encapsulation. The stack accepts all kinds, but can transmit only ESP in UDP over IPv4
/// (X10).
fn encapsulation(
    x: &State,
    family: u8,
    below_bond: bool,
) -> Result<Option<Encapsulation>, &'static CStr> {
    match x.encapsulation() {
        None => Ok(None),
        Some(encap) if !encap.is_udp => Err(c"espnic: only UDP encapsulation can be offloaded"),
        // A bond does not ask `offload_ok`, which keeps GSO packets away from the NIC.
        Some(_) if below_bond => Err(c"espnic: ESP in UDP is not supported under a bond"),
        Some(_) if family != 4 => Err(c"espnic: UDP encapsulation over IPv6 is not supported"),
        Some(encap) => Ok(Some(encap)),
    }
}
