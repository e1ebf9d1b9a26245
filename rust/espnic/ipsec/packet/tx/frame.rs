// SPDX-License-Identifier: GPL-2.0

//! Frames that a program sends (XDP), of which the stack knows nothing: none of them may go out in clear against an
//! outbound policy.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    super::known::{
        Known,
        Way, //
    },
    plan, //
};
use espnic_esp::{
    ip::{
        Layers,
        ETH_HLEN, //
    },
    selector::Flow, //
};

/// Whether a policy demands protection for a frame, or blocks it, or the frame does not show whether one does.
/// Programs know no SA, so there is nothing but dropping it.
pub(crate) fn must_not_leave(known: &Known, frame: &[u8]) -> bool {
    if known.spd.out.is_empty() {
        return false;
    }
    let Some(ip) = Layers::find(frame).ip() else {
        return Layers::may_hide_ip(frame);
    };
    let flow = frame.get(ip.network..).and_then(Flow::of);
    let way = flow.map(|flow| plan(&known.spd, &flow, ip.network != ETH_HLEN));
    !matches!(way, Some(Ok(Way::Plain)))
}
