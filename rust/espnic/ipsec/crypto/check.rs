// SPDX-License-Identifier: GPL-2.0

//! The checks that an SA must pass to be offloaded.
//!
//! XFRM leaves nearly all checks to the driver (X9). Everything that is not listed here is refused,
//! each with an extack message of its own. The error is never `EOPNOTSUPP`: that would silently turn
//! the SA into a software SA (X11).

#[cfg(espnic_kunit)]
mod tests;

use super::super::{
    algorithm::{
        self,
        Algorithm, //
    },
    capability::Capabilities, //
};
use espnic_wire::cap::{
    self,
    XSaEntry, //
};
use kernel::prelude::*;
use kernel_net::net::{
    ip::Family,
    xfrm::{
        state::{
            Encapsulation,
            Mode,
            State,
            IPPROTO_ESP,
            REPLAY_WINDOW_MAX, //
        },
        Direction, //
    }, //
};

/// The parameters of an SA that passed.
pub(in crate::ipsec) struct Supported<'a> {
    /// `cap::MODE_` constants.
    pub(in crate::ipsec) mode: u8,
    /// 4 or 6.
    pub(in crate::ipsec) family: u8,
    /// `cap::OPT_` constants.
    pub(in crate::ipsec) options: u32,
    pub(in crate::ipsec) algorithm: Algorithm<'a>,
    pub(in crate::ipsec) encapsulation: Option<Encapsulation>,
}

impl Supported<'_> {
    /// What the NIC must offer for this SA; `None` if no NIC can.
    pub(in crate::ipsec) fn entry(&self) -> Option<XSaEntry> {
        let algorithm = &self.algorithm;
        algorithm.suite.single(
            self.mode,
            self.options as u16,
            algorithm.key.len(),
            algorithm.icv_len.into(),
        )
    }
}

/// Checks `x`, which belongs to a bond above the interface if `below_bond`; the error is the extack message.
pub(in crate::ipsec) fn supported<'a>(
    x: &'a State,
    capabilities: &Capabilities,
    below_bond: bool,
) -> Result<Supported<'a>, &'static CStr> {
    if x.is_packet_offload() || x.is_acquire() {
        return Err(c"espnic: packet offload is not supported, use crypto offload");
    }
    if x.protocol() != IPPROTO_ESP {
        return Err(c"espnic: only ESP can be offloaded");
    }
    if x.may_wrap() {
        // IVs are made from sequence numbers, so they would repeat.
        return Err(c"espnic: sequence numbers that wrap are not supported");
    }
    if x.has_compression() {
        return Err(c"espnic: compression is not supported");
    }
    if x.has_tfc_padding() {
        return Err(c"espnic: traffic flow confidentiality padding is not supported");
    }
    if x.direction() == Some(Direction::In) && x.has_mark() {
        // The NIC finds the SA before the packet can have a mark.
        return Err(c"espnic: a mark on an inbound state is not supported");
    }
    if x.is_esn() && x.replay_window() > REPLAY_WINDOW_MAX {
        return Err(c"espnic: replay windows of more than 4096 packets are not supported");
    }
    let (mode, family) = mode_and_family(x)?;
    let encapsulation = encapsulation(x, family, below_bond)?;
    let supported = Supported {
        mode,
        family,
        options: options(x),
        algorithm: algorithm::of(x)?,
        encapsulation,
    };
    let entry = supported.entry();
    if !entry.is_some_and(|entry| capabilities.offers(&entry)) {
        return Err(c"espnic: the NIC does not support this mode and algorithm");
    }
    Ok(supported)
}

fn mode_and_family(x: &State) -> Result<(u8, u8), &'static CStr> {
    let family = match x.family() {
        Some(Family::V4) => 4,
        Some(Family::V6) => 6,
        None => return Err(c"espnic: only IPv4 and IPv6 can be offloaded"),
    };
    match x.mode() {
        Mode::Transport => Ok((cap::MODE_ESP_TRANSPORT, family)),
        Mode::Tunnel => Ok((cap::MODE_ESP_TUNNEL, family)),
        Mode::Other => Err(c"espnic: only transport and tunnel mode can be offloaded"),
    }
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

fn options(x: &State) -> u32 {
    let esn = if x.is_esn() { cap::OPT_ESN } else { 0 };
    match x.encapsulation() {
        Some(_) => esn | cap::OPT_UDP_ENCAP,
        None => esn,
    }
}
