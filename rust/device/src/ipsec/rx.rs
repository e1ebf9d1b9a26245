// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets: from the wire to the driver.

use super::counters::{Counters, Tally};
use super::events::Events;
use super::faults::Faults;
use super::sa::{Mode, Sa};
use super::table::Tables;
use super::{crypto, packet};
use crate::frame::Frame;
use espnic_esp::packet as esp;
use espnic_wire::hdr::{self, NetHdr48, SecExt};
use espnic_wire::sa as wire;

/// A frame from the wire, on its way to the driver.
#[derive(Debug, Default)]
pub struct Inbound {
    /// The header for the driver.
    pub hdr: NetHdr48,
    /// The frame. One that IPsec has dropped is empty.
    pub frame: Frame,
    /// A rule of the flow filter sends the frame to IPsec. Without it only crypto-only SAs take it.
    pub by_rule: bool,
}

impl From<Frame> for Inbound {
    /// A frame that no rule sends to IPsec.
    fn from(frame: Frame) -> Self {
        Self {
            frame,
            ..Self::default()
        }
    }
}

/// See [`super::Ipsec::receive`]. `now` is the time of [`super::room::Room`].
#[inline]
pub(super) fn process(
    tables: &Tables,
    counters: &Counters,
    tally: &mut Tally,
    faults: &Faults,
    events: &Events,
    inbound: &mut Inbound,
    now: u64,
) {
    let Inbound {
        hdr,
        frame,
        by_rule,
    } = inbound;
    let Some(esp) = esp::find(frame, frame.layers()) else {
        if *by_rule {
            in_udp6(tables, counters, tally, faults, events, inbound, now);
        }
        return;
    };
    let Some(sa) = tables.inbound(&esp, frame, *by_rule) else {
        // Anything can be in UDP.
        if esp.udp.is_none() {
            counters.rx_no_sa.inc();
        }
        return;
    };
    match &sa.mode {
        Mode::Crypto(numbers) => {
            crypto::rx::process(counters, tally, faults, sa, numbers, &esp, frame, hdr, now)
        }
        Mode::Packet(mode) => packet::rx::process(
            counters, tally, faults, events, sa, mode, &esp, frame, hdr, now,
        ),
    }
}

/// ESP in UDP over IPv6, which only SAs of the standard have. Apart from the others, because two ways to find
/// a packet would cost those that are found by the first one.
#[cold]
fn in_udp6(
    tables: &Tables,
    counters: &Counters,
    tally: &mut Tally,
    faults: &Faults,
    events: &Events,
    inbound: &mut Inbound,
    now: u64,
) {
    let Inbound { hdr, frame, .. } = inbound;
    let Some(esp) = esp::find_in_udp6(frame, frame.layers()) else {
        return;
    };
    let sa = tables.inbound(&esp, frame, true);
    if let Some((sa, Mode::Packet(mode))) = sa.map(|sa| (sa, &sa.mode)) {
        packet::rx::process(
            counters, tally, faults, events, sa, mode, &esp, frame, hdr, now,
        );
    }
}

/// Marks `hdr` as that of a packet that went through IPsec under `sa`, with this result. `extension` is
/// [`hdr::F_X_SEC`], or 0 if the driver does not know that part of the header.
#[inline]
pub(super) fn mark(hdr: &mut NetHdr48, sa: &Sa, sec_status: u8, extension: u8) {
    hdr.net.flags |= hdr::F_SECURITY | extension;
    if sec_status != hdr::SEC_OK {
        hdr.net.flags |= hdr::F_SECURITY_ERR;
    }
    hdr.out.resource_id = sa.id.into();
    hdr.out.resource_type = wire::OBJ_INB_SA.into();
    // Field by field: building a header first and copying it costs more than all of this.
    let sec = &mut hdr.sec;
    *sec = SecExt::default();
    sec.sec_status = sec_status;
    sec.generation = sa.generation.into();
}
