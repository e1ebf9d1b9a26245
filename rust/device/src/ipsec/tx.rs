// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Outbound packets: from the driver to the wire.

use super::drop::TxDrop;
use super::frames::Frames;
use super::sa::Sa;
use super::table::Tables;
use espnic_esp::engine::{self, Error};
use espnic_esp::packet::{self, Esp, ESP_HLEN};
use espnic_esp::segment::{self, EspRequest, Request, Segments};
use espnic_esp::{checksum, seq};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa as wire;

/// The number of frames that a frame became, and their bytes.
pub(super) struct Sent {
    pub(super) frames: usize,
    /// Bytes in all of them.
    pub(super) bytes: usize,
}

/// Encrypts `frame` and appends what goes to the wire to `out`: one frame, or all segments of it. A
/// single frame is moved out of `frame`.
///
/// After an error `out` is as it was.
#[inline]
pub(super) fn protect(
    tables: &Tables,
    hdr: &NetHdr48,
    frame: &mut Vec<u8>,
    longest: usize,
    out: &mut Frames,
) -> Result<Sent, TxDrop> {
    if !hdr.has(hdr::F_SECURITY | hdr::F_X_SEC) || hdr.sec.sec_op != hdr::SEC_OP_CRYPTO_ONLY {
        return Err(TxDrop::Unsupported);
    }
    if !matches!(hdr.out.resource_type.get(), 0 | wire::OBJ_OUTB_SA) {
        return Err(TxDrop::NoSa);
    }
    let sa = tables
        .outb
        .get(hdr.out.resource_id.get())
        .ok_or(TxDrop::NoSa)?;
    if hdr.net.gso_type == hdr::GSO_NONE {
        if frame.len() > longest {
            return Err(TxDrop::Long);
        }
        single(sa, hdr, frame)?;
        let bytes = frame.len();
        out.push(std::mem::take(frame));
        return Ok(Sent { frames: 1, bytes });
    }
    let before = out.len();
    segmented(sa, hdr, frame, longest, out).inspect_err(|_| out.truncate(before))
}

/// Encrypts a frame that is one packet.
#[inline]
fn single(sa: &Sa, hdr: &NetHdr48, frame: &mut [u8]) -> Result<(), TxDrop> {
    let esp = packet::find(frame).ok_or(TxDrop::Format)?;
    check(sa, hdr, &esp)?;
    let trailer_len = usize::from(hdr.sec.trailer_len.get());
    if esp.end != frame.len() || !sa.sends_from(esp.udp) {
        return Err(TxDrop::Format);
    }
    if hdr.has(hdr::F_NEEDS_CSUM) {
        complete_checksum(sa, hdr, esp.offset, trailer_len, frame)?;
    }
    let packet = frame.get_mut(esp.offset..).ok_or(TxDrop::Format)?;
    seal(sa, hdr.sec.esn_hi.get(), trailer_len, packet)
}

/// Segments a frame and encrypts the segments.
#[inline(never)]
fn segmented(
    sa: &Sa,
    hdr: &NetHdr48,
    frame: &[u8],
    longest: usize,
    out: &mut Frames,
) -> Result<Sent, TxDrop> {
    let family = match hdr.net.gso_type {
        hdr::GSO_TCPV4 => 4,
        hdr::GSO_TCPV6 => 6,
        _ => return Err(TxDrop::Unsupported),
    };
    let esp = packet::find_unsegmented(frame).ok_or(TxDrop::Format)?;
    check(sa, hdr, &esp)?;
    let fits = hdr.has(hdr::F_NEEDS_CSUM)
        && usize::from(hdr.net.csum_offset.get()) == checksum::TCP_FIELD
        && hdr.sec.trailer_len.get() == 0
        && sa.sends_from(None);
    if !fits {
        return Err(TxDrop::Format);
    }
    let request = Request {
        family,
        tcp: hdr.net.csum_start.get().into(),
        size: hdr.net.gso_size.get().into(),
    };
    let esp = EspRequest {
        offset: esp.offset,
        shape: sa.params.shape,
        tunnel: sa.tunnel,
        next_header: hdr.sec.next_header,
        seq: seq::join(hdr.sec.esn_hi.get(), esp.seq),
        esn: sa.params.esn,
    };
    let segments = Segments::in_esp(frame, &request, &esp)?;
    if segments.longest() > longest {
        return Err(TxDrop::Long);
    }
    let mut sent = Sent {
        frames: segments.count(),
        bytes: 0,
    };
    for index in 0..segments.count() {
        let segment = out.add(segments.len(index));
        segments.write(index, segment)?;
        let number = segments.seq(index).ok_or(TxDrop::Sequence)?;
        let trailer_len = segments.trailer_len(index);
        let packet = segment.get_mut(esp.offset..).ok_or(TxDrop::Format)?;
        seal(sa, seq::hi(number), trailer_len, packet)?;
        sent.bytes += segments.len(index);
    }
    Ok(sent)
}

/// Checks that the packet belongs to the SA with this object id, and that ESP is where the header says.
#[inline]
fn check(sa: &Sa, hdr: &NetHdr48, esp: &Esp) -> Result<(), TxDrop> {
    if sa.epoch != hdr.sec.epoch.get() || sa.spi != esp.spi {
        return Err(TxDrop::Stale);
    }
    if esp.offset != usize::from(hdr.sec.esp_offset.get()) {
        return Err(TxDrop::Format);
    }
    Ok(())
}

/// Completes the inner checksum. The payload ends where the trailer starts.
#[inline(never)]
fn complete_checksum(
    sa: &Sa,
    hdr: &NetHdr48,
    esp_offset: usize,
    trailer_len: usize,
    frame: &mut [u8],
) -> Result<(), TxDrop> {
    let payload = esp_offset + ESP_HLEN + usize::from(sa.params.shape.iv_len);
    let start = usize::from(hdr.net.csum_start.get());
    let offset = usize::from(hdr.net.csum_offset.get());
    let end = frame.len().checked_sub(trailer_len);
    match end {
        Some(end) if start >= payload && checksum::complete(frame, start, offset, end) => Ok(()),
        _ => Err(TxDrop::Format),
    }
}

#[inline]
fn seal(sa: &Sa, esn_hi: u32, trailer_len: usize, packet: &mut [u8]) -> Result<(), TxDrop> {
    engine::seal(&sa.cipher, &sa.params, esn_hi, trailer_len, packet).map_err(|error| match error {
        Error::Length | Error::Format => TxDrop::Format,
        Error::Auth | Error::Unsupported => TxDrop::Unsupported,
    })
}

impl From<segment::Error> for TxDrop {
    fn from(error: segment::Error) -> Self {
        match error {
            segment::Error::Sequence => Self::Sequence,
            segment::Error::Headers | segment::Error::Size | segment::Error::Buffer => Self::Format,
        }
    }
}
