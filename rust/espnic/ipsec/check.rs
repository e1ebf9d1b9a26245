// SPDX-License-Identifier: GPL-2.0

//! The checks that an SA must pass in both modes, and what is found by them.
//!
//! XFRM leaves nearly all checks to the driver (X9). Everything that is not listed here is refused,
//! each with an extack message of its own. The error is never `EOPNOTSUPP`: that would silently turn
//! the SA into a software SA (X11).

use super::{
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
    xfrm::state::{
        Encapsulation,
        Mode,
        State,
        IPPROTO_ESP, //
    }, //
};

/// The parameters of an SA that passed.
pub(super) struct Supported<'a> {
    /// `cap::MODE_` constants.
    pub(super) mode: u8,
    /// 4 or 6.
    pub(super) family: u8,
    /// `cap::OPT_` constants.
    pub(super) options: u32,
    pub(super) algorithm: Algorithm<'a>,
    pub(super) encapsulation: Option<Encapsulation>,
}

impl Supported<'_> {
    /// What the NIC must offer for this SA; `None` if no NIC can.
    pub(super) fn entry(&self) -> Option<XSaEntry> {
        let algorithm = &self.algorithm;
        algorithm.suite.single(
            self.mode,
            self.options as u16,
            algorithm.key.len(),
            algorithm.icv_len.into(),
        )
    }
}

/// Checks `x`, but for its encapsulation, which the caller has checked; the error is the extack message.
pub(super) fn supported<'a>(
    x: &'a State,
    encapsulation: Option<Encapsulation>,
    capabilities: &Capabilities,
) -> Result<Supported<'a>, &'static CStr> {
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
    let (mode, family) = mode_and_family(x)?;
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

/// The mode, and the family of the outer addresses.
pub(super) fn mode_and_family(x: &State) -> Result<(u8, u8), &'static CStr> {
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

fn options(x: &State) -> u32 {
    let esn = if x.is_esn() { cap::OPT_ESN } else { 0 };
    match x.encapsulation() {
        Some(_) => esn | cap::OPT_UDP_ENCAP,
        None => esn,
    }
}
