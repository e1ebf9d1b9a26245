// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Outbound packets: from the driver to the wire.

use super::account::Account;
use super::counters::Counters;
use super::drop::TxDrop;
use super::events::Events;
use super::packet::sa::Packet;
use super::sa::{Mode, Sa};
use super::sent::Sent;
use super::table::Tables;
use super::waiting::Outgoing;
use super::{crypto, packet};
use crate::frame::Frame;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa as wire;

/// Encrypts `frame` and appends what goes to the wire to `outgoing`: one frame, or all segments of it. A
/// single frame is moved out of `frame`.
///
/// After an error `outgoing` has no more frames than before. Packets that are encrypted together with others wait
/// there afterwards.
// Always: it is short for crypto-only packets.
#[inline(always)]
pub(super) fn protect(
    tables: &Tables,
    counters: &Counters,
    events: &Events,
    hdr: &NetHdr48,
    frame: &mut Frame,
    outgoing: &mut Outgoing<'_>,
) -> Result<Sent, TxDrop> {
    if !hdr.has(hdr::F_SECURITY) {
        return Err(TxDrop::Unsupported);
    }
    let sa = find(tables, hdr)?;
    // Not by the mode, which is not in the first line of the SA.
    if sa.crypto_only && is_crypto_only(hdr) {
        check_generation(sa, hdr.sec.generation.get())?;
        return crypto::tx::protect(sa, hdr, frame, outgoing);
    }
    let mode = standard(sa, hdr)?;
    packet::tx::protect(sa, mode, counters, events, hdr, frame, outgoing)
}

/// Most crypto-only packets that are begun with before the first of them is encrypted.
pub(super) const GROUP: usize = 8;
/// Longest frame for which that helps.
const SHORT: usize = 512;
/// Most packets that get their numbers at once.
const RUN: usize = 64;

/// Whether the frame is one packet of a crypto-only SA.
#[inline(always)]
pub(super) fn is_crypto_packet(hdr: &NetHdr48) -> bool {
    is_packet(hdr) && is_crypto_only(hdr)
}

/// How many packets at the start of `packets` are of one SA of the standard, so that they get their numbers at once.
pub(super) fn run(packets: &[(NetHdr48, Frame)]) -> usize {
    let Some((first, _)) = packets.first() else {
        return 0;
    };
    let sa = |hdr: &NetHdr48| {
        let out = &hdr.out;
        (
            out.resource_type.get(),
            out.resource_id.get(),
            hdr.has(hdr::F_X_SEC),
        )
    };
    let belongs = |hdr: &NetHdr48| is_packet(hdr) && !is_crypto_only(hdr) && sa(hdr) == sa(first);
    let run = packets.iter().take(RUN);
    run.take_while(|(hdr, _)| belongs(hdr)).count()
}

#[inline(always)]
fn is_packet(hdr: &NetHdr48) -> bool {
    hdr.has(hdr::F_SECURITY) && hdr.net.gso_type == hdr::GSO_NONE
}

/// [`protect`] for up to [`GROUP`] packets that [`is_crypto_packet`] holds for. `step` is called with the index of
/// each before it is encrypted.
///
/// With short ones the checksums of all are complete before the first one is encrypted: a cipher that reads what has
/// just been written in smaller parts waits until that is done.
#[inline(always)]
pub(super) fn protect_group(
    tables: &Tables,
    packets: &mut [(NetHdr48, Frame)],
    outgoing: &mut Outgoing<'_>,
    account: &mut Account<'_>,
    mut step: impl FnMut(usize),
) {
    if !packets.iter().all(|(_, frame)| frame.len() <= SHORT) {
        for (index, (hdr, frame)) in packets.iter_mut().enumerate() {
            step(index);
            let begun = begin(tables, hdr, frame, outgoing.longest);
            let sent = begun.and_then(|begun| begun.end(frame, outgoing));
            account.note(hdr, sent);
        }
        return;
    }
    let mut begun = [const { None }; GROUP];
    for ((hdr, frame), begun) in packets.iter_mut().zip(&mut begun) {
        match begin(tables, hdr, frame, outgoing.longest) {
            Ok(packet) => *begun = Some(packet),
            Err(drop) => account.note(hdr, Err(drop)),
        }
    }
    for (index, ((hdr, frame), begun)) in packets.iter_mut().zip(&begun).enumerate() {
        step(index);
        if let Some(begun) = begun {
            account.note(hdr, begun.end(frame, outgoing));
        }
    }
}

#[inline(always)]
fn begin<'a>(
    tables: &'a Tables,
    hdr: &NetHdr48,
    frame: &mut Frame,
    longest: usize,
) -> Result<crypto::tx::Begun<'a>, TxDrop> {
    let sa = find(tables, hdr)?;
    if !sa.crypto_only {
        return Err(TxDrop::Unsupported);
    }
    check_generation(sa, hdr.sec.generation.get())?;
    crypto::tx::begin(sa, hdr, frame, longest)
}

/// [`protect`] for packets that [`run`] has found.
#[inline(never)]
pub(super) fn protect_run(
    tables: &Tables,
    events: &Events,
    packets: &mut [(NetHdr48, Frame)],
    outgoing: &mut Outgoing<'_>,
    account: &mut Account<'_>,
) {
    let Some((hdr, _)) = packets.first() else {
        return;
    };
    let found = find(tables, hdr).and_then(|sa| Ok((sa, standard(sa, hdr)?)));
    let mut each = |hdr: &NetHdr48, sent| account.note(hdr, sent);
    match found {
        Err(drop) => packets.iter().for_each(|(hdr, _)| each(hdr, Err(drop))),
        // One packet does not need room for many.
        Ok((sa, mode)) => match packets.len() {
            1 => packet::tx::protect_all::<1>(sa, mode, events, packets, outgoing, each),
            _ => packet::tx::protect_all::<RUN>(sa, mode, events, packets, outgoing, each),
        },
    }
}

#[inline(always)]
fn is_crypto_only(hdr: &NetHdr48) -> bool {
    // Without the flag that part of the header is not there.
    hdr.has(hdr::F_X_SEC) && hdr.sec.sec_op == hdr::SEC_OP_CRYPTO_ONLY
}

/// What an SA of the standard knows of its packets, if the header is for one.
fn standard<'a>(sa: &'a Sa, hdr: &NetHdr48) -> Result<&'a Packet, TxDrop> {
    match &sa.mode {
        Mode::Packet(mode) if mode.x_ipsec == hdr.has(hdr::F_X_SEC) => Ok(mode),
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
