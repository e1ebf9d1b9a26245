// SPDX-License-Identifier: GPL-2.0

//! The checks that an SA of packet offload must pass.
//!
//! There is no software behind the NIC in this mode. What it would do in another way than the stack is
//! refused.

#[cfg(espnic_kunit)]
pub(super) mod tests;

use super::{
    super::{
        capability::Capabilities,
        check::{
            self,
            Supported, //
        }, //
    },
    policy, //
};
use core::num::NonZero;
use espnic_esp::{
    ip::NAT_T_PORT,
    selector::Selector, //
};
use espnic_wire::{
    cap,
    tunnel::Tunnel, //
};
use kernel::prelude::*;
use kernel_net::net::{
    ip::Family,
    xfrm::{
        state::{
            Encapsulation,
            REPLAY_WINDOW_MAX, //
        },
        Direction,
        Limits,
        State, //
    }, //
};

/// The extack message where there is no packet offload.
pub(in crate::ipsec) const NONE: &CStr =
    c"espnic: packet offload is not supported by the NIC, use crypto offload";

/// States are not known to come with an interface in their selectors.
const NO_INTERFACE: i32 = 0;

/// Time to live or hop limit of outer headers if that of the stack cannot be taken: the usual one (RFC 1700).
const HOP_LIMIT: u8 = 64;

/// The parameters of an SA that passed.
pub(in crate::ipsec) struct Checked<'a> {
    /// Without the options that only tunnels and lifetimes have.
    pub(super) supported: Supported<'a>,
    /// All `cap::OPT_` constants.
    pub(super) options: u32,
    pub(super) direction: Direction,
    /// In packets; 0 outbound.
    pub(super) window: u32,
    /// The number that the NIC takes for the last one that was used or seen.
    pub(super) number: u64,
    /// Inbound: the highest number that the stack has seen.
    pub(super) seen: u64,
    /// The number behind which there is none.
    pub(super) last_number: u64,
    /// What is left of them for the NIC.
    pub(super) limits: Limits,
    /// Packets and bytes that count for the limits already.
    pub(super) used: (u64, u64),
    pub(super) selector: Selector,
    /// Outbound in tunnel mode.
    pub(super) tunnel: Option<Tunnel>,
}

/// Checks `x`; the error is the extack message.
pub(in crate::ipsec) fn checked<'a>(
    x: &'a State,
    capabilities: &Capabilities,
    below_bond: bool,
) -> Result<Checked<'a>, &'static CStr> {
    let direction = x.direction().ok_or(c"espnic: an SA needs a direction")?;
    if below_bond {
        return Err(c"espnic: packet offload is not supported under a bond");
    }
    let encapsulation = encapsulation(x, direction)?;
    let supported = check::supported(x, encapsulation, capabilities)?;
    check_marks(x)?;
    check_flags(x)?;
    let limits = limits(x)?;
    let window = window(x, direction)?;
    let options = supported.options | tunnel_options(x, direction) | lifetime_option(&limits);
    if !capabilities.has_mode(supported.mode, options, window) {
        return Err(c"espnic: the NIC does not support this combination in packet offload");
    }
    let seen = match direction {
        Direction::In => x.highest_seen(),
        Direction::Out => 0,
    };
    Ok(Checked {
        options,
        direction,
        window,
        number: number(x, direction, seen, window)?,
        seen,
        last_number: last_number(x),
        limits,
        used: (0, 0),
        selector: selector(x)?,
        tunnel: tunnel(x, direction)?,
        supported,
    })
}

fn check_marks(x: &State) -> Result<(), &'static CStr> {
    if x.has_mark() || x.if_id() != 0 {
        return Err(c"espnic: packet offload with a mark or an interface id is not supported");
    }
    if x.cpu().is_some() {
        return Err(c"espnic: packet offload of an SA for one CPU is not supported");
    }
    let (_, mask) = x.output_mark();
    if mask != 0 && x.direction() == Some(Direction::Out) {
        // The route of the ESP packet, which the mark would choose, is not looked up.
        return Err(c"espnic: packet offload with an output mark is not supported outbound");
    }
    Ok(())
}

fn check_flags(x: &State) -> Result<(), &'static CStr> {
    let flags = x.flags();
    if flags.wild_receive {
        return Err(c"espnic: packet offload for any destination is not supported");
    }
    if flags.icmp {
        return Err(c"espnic: packet offload of an SA for ICMP errors is not supported");
    }
    let addresses = [x.source(), x.destination()];
    if x.is_tunnel() && addresses.contains(&[0; 16]) {
        return Err(c"espnic: a tunnel needs both addresses");
    }
    Ok(())
}

/// Checks the encapsulation, which is the NIC's work in both versions of IP.
fn encapsulation(x: &State, direction: Direction) -> Result<Option<Encapsulation>, &'static CStr> {
    let Some(encap) = x.encapsulation() else {
        return Ok(None);
    };
    if !encap.is_udp {
        return Err(c"espnic: only UDP encapsulation can be offloaded");
    }
    if encap.source_port == 0 || encap.destination_port == 0 {
        return Err(c"espnic: UDP encapsulation needs both ports");
    }
    if direction == Direction::In && encap.destination_port != NAT_T_PORT {
        // The NIC's rules send no other to IPsec.
        return Err(c"espnic: packet offload takes UDP encapsulation to port 4500 only");
    }
    Ok(Some(encap))
}

/// The limits that count. A soft one that is not below the hard one never does: libreswan sets both to the
/// same number if it is not to ask for new SAs.
fn limits(x: &State) -> Result<Limits, &'static CStr> {
    let limits = x.limits();
    let all = [
        limits.soft_packets,
        limits.hard_packets,
        limits.soft_bytes,
        limits.hard_bytes,
    ];
    if all.contains(&Some(0)) {
        return Err(c"espnic: a limit of nothing is not supported");
    }
    let below = |soft: Option<u64>, hard: Option<u64>| {
        soft.filter(|&soft| hard.is_none_or(|hard| soft < hard))
    };
    Ok(Limits {
        soft_packets: below(limits.soft_packets, limits.hard_packets),
        soft_bytes: below(limits.soft_bytes, limits.hard_bytes),
        ..limits
    })
}

fn lifetime_option(limits: &Limits) -> u32 {
    let all = [
        limits.soft_packets,
        limits.hard_packets,
        limits.soft_bytes,
        limits.hard_bytes,
    ];
    match all.iter().any(Option::is_some) {
        true => cap::OPT_SA_LIFETIME,
        false => 0,
    }
}

fn window(x: &State, direction: Direction) -> Result<u32, &'static CStr> {
    if direction == Direction::Out {
        return Ok(0);
    }
    let window = x.replay_window();
    if window > REPLAY_WINDOW_MAX {
        return Err(c"espnic: replay windows of more than 4096 packets are not supported");
    }
    if window == 0 && x.is_esn() {
        return Err(c"espnic: ESN needs a replay window");
    }
    Ok(window)
}

/// The number behind which there is none.
pub(super) fn last_number(x: &State) -> u64 {
    match x.is_esn() {
        true => u64::MAX,
        false => u32::MAX.into(),
    }
}

/// The number that the NIC begins with.
fn number(x: &State, direction: Direction, seen: u64, window: u32) -> Result<u64, &'static CStr> {
    let number = match direction {
        Direction::Out => x.last_sent(),
        Direction::In => behind(seen, window),
    };
    if number >= last_number(x) || x.has_last_high_half() {
        return Err(c"espnic: the sequence numbers are nearly used up, take a new key");
    }
    Ok(number)
}

/// The highest number for an SA that begins after `seen`. The bitmap of the window is not handed on. A window that
/// begins behind what was seen has nothing in it that may have come before.
pub(super) fn behind(seen: u64, window: u32) -> u64 {
    match seen {
        0 => 0,
        seen => seen.saturating_add(window.into()),
    }
}

/// What the stack would do to outer headers, and to inner ones on the way back.
fn tunnel_options(x: &State, direction: Direction) -> u32 {
    if !x.is_tunnel() {
        return 0;
    }
    let flags = x.flags();
    let when = |condition: bool, option: u32| if condition { option } else { 0 };
    let ecn = when(!flags.no_ecn, cap::OPT_ECN);
    match direction {
        Direction::In => ecn | when(flags.decap_dscp, cap::OPT_COPY_DSCP),
        Direction::Out => {
            let df = !flags.no_pmtu_discovery && x.family() == Some(Family::V4);
            ecn | when(!flags.dont_encap_dscp, cap::OPT_COPY_DSCP) | when(df, cap::OPT_COPY_DF)
        }
    }
}

fn tunnel(x: &State, direction: Direction) -> Result<Option<Tunnel>, &'static CStr> {
    if !x.is_tunnel() || direction == Direction::In {
        return Ok(None);
    }
    let (src, dst) = (x.source(), x.destination());
    let hop_limit = x.hop_limit().map_or(HOP_LIMIT, NonZero::get);
    Ok(Some(match x.family() {
        Some(Family::V4) => {
            let [s0, s1, s2, s3, ..] = src;
            let [d0, d1, d2, d3, ..] = dst;
            Tunnel::V4 {
                src: [s0, s1, s2, s3],
                dst: [d0, d1, d2, d3],
                dscp: 0,
                df: false,
                ttl: hop_limit,
            }
        }
        _ => Tunnel::V6 {
            src,
            dst,
            flow_label: 0,
            hop_limit,
            dscp: 0,
        },
    }))
}

/// The selector, of which a family without addresses says nothing: the stack fills in that of the outer
/// addresses, and compares no addresses then.
fn selector(x: &State) -> Result<Selector, &'static CStr> {
    let mut selector = policy::selector(&x.selector(), NO_INTERFACE)?;
    if selector.src_len == 0 && selector.dst_len == 0 {
        selector.family = 0;
    }
    Ok(selector)
}
