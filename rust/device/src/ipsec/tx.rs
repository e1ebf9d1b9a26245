// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Outbound packets: from the driver to the wire.

use super::counters::Counters;
use super::drop::TxDrop;
use super::events::Events;
use super::sa::{Mode, Sa};
use super::sent::Sent;
use super::table::Tables;
use super::waiting::{Outgoing, Waiting};
use super::{crypto, packet};
use crate::frame::Frame;
use crate::frames::Frames;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa as wire;

/// Encrypts `frame` and appends what goes to the wire to `out`: one frame, or all segments of it. A
/// single frame is moved out of `frame`.
///
/// After an error `out` is as it was. Packets that are encrypted together with others are in `waiting`
/// afterwards.
// Always: it is short for crypto-only packets.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn protect(
    tables: &Tables,
    counters: &Counters,
    events: &Events,
    hdr: &NetHdr48,
    frame: &mut Frame,
    longest: usize,
    out: &mut Frames,
    waiting: &mut Waiting,
) -> Result<Sent, TxDrop> {
    if !hdr.has(hdr::F_SECURITY) {
        return Err(TxDrop::Unsupported);
    }
    let sa = find(tables, hdr)?;
    // Without the flag that part of the header is not there.
    let extended = hdr.has(hdr::F_X_SEC);
    let is_crypto_only = extended && hdr.sec.sec_op == hdr::SEC_OP_CRYPTO_ONLY;
    let mut outgoing = Outgoing {
        slots: &tables.outb,
        longest,
        out,
        waiting,
    };
    // Not by the mode, which is not in the first line of the SA.
    if sa.crypto_only && is_crypto_only {
        check_generation(sa, hdr.sec.generation.get())?;
        return crypto::tx::protect(sa, hdr, frame, &mut outgoing);
    }
    match &sa.mode {
        Mode::Packet(mode) if mode.x_ipsec == extended => {
            packet::tx::protect(sa, mode, counters, events, hdr, frame, &mut outgoing)
        }
        _ => Err(TxDrop::Unsupported),
    }
}

#[inline]
fn find<'a>(tables: &'a Tables, hdr: &NetHdr48) -> Result<&'a Sa, TxDrop> {
    if !matches!(hdr.out.resource_type.get(), 0 | wire::OBJ_OUTB_SA) {
        return Err(TxDrop::NoSa);
    }
    let sa = tables.outb.get(hdr.out.resource_id.get());
    sa.ok_or(TxDrop::NoSa)
}

#[inline]
pub(super) fn check_generation(sa: &Sa, generation: u16) -> Result<(), TxDrop> {
    (sa.generation == generation)
        .then_some(())
        .ok_or(TxDrop::Stale)
}
