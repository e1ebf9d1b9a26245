// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Outbound packets of crypto-only SAs.

use super::super::drop::TxDrop;
use super::super::sa::Sa;
use super::super::sent::Sent;
use super::super::waiting::Outgoing;
use crate::frame::Frame;
use espnic_esp::engine::{self, Transform};
use espnic_esp::packet::{self, Esp, ESP_HLEN};
use espnic_esp::segment::{EspRequest, Request, Segments};
use espnic_esp::{checksum, seq};
use espnic_wire::hdr::{self, NetHdr48};

/// See [`super::super::tx::protect`], of an SA whose generation is right.
#[inline(always)]
pub(in super::super) fn protect(
    sa: &Sa,
    hdr: &NetHdr48,
    frame: &mut Frame,
    outgoing: &mut Outgoing<'_>,
) -> Result<Sent, TxDrop> {
    if hdr.net.gso_type == hdr::GSO_NONE {
        return begin(sa, hdr, frame, outgoing.longest)?.end(frame, outgoing);
    }
    segmented(sa, hdr, frame, outgoing)
}

/// A packet that lacks encryption only. It is in the clear.
#[derive(Clone, Copy)]
pub(in super::super) struct Begun<'a> {
    sa: &'a Sa,
    /// That of the ESP header.
    offset: u32,
    esn_hi: u32,
}

/// Checks a frame that is one packet, completes its checksum and writes its IV.
#[inline(always)]
pub(in super::super) fn begin<'a>(
    sa: &'a Sa,
    hdr: &NetHdr48,
    frame: &mut Frame,
    longest: usize,
) -> Result<Begun<'a>, TxDrop> {
    if frame.len() > longest {
        return Err(TxDrop::Long);
    }
    let esp = packet::find(frame, frame.layers()).ok_or(TxDrop::Format)?;
    check(sa, hdr, &esp)?;
    let trailer_len = usize::from(hdr.sec.trailer_len.get());
    if esp.end != frame.len() || !sa.sends_from(esp.udp) {
        return Err(TxDrop::Format);
    }
    if hdr.has(hdr::F_NEEDS_CSUM) {
        complete_checksum(sa, hdr, esp.offset, trailer_len, frame)?;
    }
    let esn_hi = hdr.sec.seq_half.get();
    let packet = frame.behind_headers(esp.offset).ok_or(TxDrop::Format)?;
    begin_seal(sa, esn_hi, trailer_len, packet)?;
    Ok(Begun {
        sa,
        // Not beyond the frame, whose length fits.
        offset: esp.offset as u32,
        esn_hi,
    })
}

impl Begun<'_> {
    /// Encrypts the packet, which is in `frame`, or lets it wait for that.
    #[inline(always)]
    pub(in super::super) fn end(
        &self,
        frame: &mut Frame,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<Sent, TxDrop> {
        let Self { sa, esn_hi, .. } = *self;
        let offset = self.offset as usize;
        // At most the longest frame.
        let bytes = frame.len() as u32;
        if sa.cipher.joint().is_some() {
            outgoing.wait(sa, offset, esn_hi, std::mem::take(frame));
        } else {
            let packet = frame.behind_headers(offset).ok_or(TxDrop::Format)?;
            let sealed = sa.cipher.seal(sa.params.esn.then_some(esn_hi), packet);
            sealed.map_err(engine::Error::from)?;
            outgoing.out.push(std::mem::take(frame));
        }
        Ok(Sent { frames: 1, bytes })
    }
}

/// Segments a frame and encrypts the segments.
#[inline(never)]
fn segmented(
    sa: &Sa,
    hdr: &NetHdr48,
    frame: &Frame,
    outgoing: &mut Outgoing<'_>,
) -> Result<Sent, TxDrop> {
    let before = outgoing.out.len();
    segments(sa, hdr, frame, outgoing).inspect_err(|_| outgoing.truncate(before))
}

/// [`segmented`], which after an error may have sent some.
fn segments(
    sa: &Sa,
    hdr: &NetHdr48,
    frame: &Frame,
    outgoing: &mut Outgoing<'_>,
) -> Result<Sent, TxDrop> {
    let family = match hdr.net.gso_type {
        hdr::GSO_TCPV4 => 4,
        hdr::GSO_TCPV6 => 6,
        _ => return Err(TxDrop::Unsupported),
    };
    let esp = packet::find_unsegmented(frame, frame.layers()).ok_or(TxDrop::Format)?;
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
        layout: sa.params.layout,
        tunnel: sa.tunnel,
        next_header: hdr.sec.next_header,
        seq: seq::join(hdr.sec.seq_half.get(), esp.seq),
        esn: sa.params.esn,
    };
    let segments = Segments::in_esp(frame, frame.layers(), &request, &esp)?;
    if segments.longest() > outgoing.longest {
        return Err(TxDrop::Long);
    }
    let joint = sa.cipher.joint().is_some();
    let mut sent = Sent::default();
    for index in 0..segments.count() {
        let len = segments.len(index);
        let mut segment = outgoing.out.buffer(len);
        segments.write(index, &mut segment)?;
        let number = segments.seq(index).ok_or(TxDrop::Sequence)?;
        let trailer_len = segments.trailer_len(index);
        let packet = segment.get_mut(esp.offset..).ok_or(TxDrop::Format)?;
        let esn_hi = seq::hi(number);
        match joint {
            true => begin_seal(sa, esn_hi, trailer_len, packet)?,
            false => seal(sa, esn_hi, trailer_len, packet)?,
        }
        sent.frames += 1;
        sent.bytes += len as u32;
        // All headers but the lengths are those of the frame.
        let segment = Frame::with_layers(segment, frame.layers().ending_at(len));
        match joint {
            true => outgoing.wait(sa, esp.offset, esn_hi, segment),
            false => outgoing.out.push(segment),
        }
    }
    Ok(sent)
}

/// Checks that the packet belongs to the SA, and that ESP is where the header says.
#[inline]
fn check(sa: &Sa, hdr: &NetHdr48, esp: &Esp) -> Result<(), TxDrop> {
    if sa.spi != esp.spi {
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
    frame: &mut Frame,
) -> Result<(), TxDrop> {
    let payload = esp_offset + ESP_HLEN + usize::from(sa.params.layout.iv_len);
    let start = usize::from(hdr.net.csum_start.get());
    let offset = usize::from(hdr.net.csum_offset.get());
    let end = frame.len().checked_sub(trailer_len);
    let Some(end) = end.filter(|_| start >= payload) else {
        return Err(TxDrop::Format);
    };
    let complete = |_: &[u8], rest: &mut [u8]| {
        let end = end.checked_sub(start)?;
        checksum::complete(rest, 0, offset, end).then_some(())
    };
    let done = frame.change(start, complete).flatten();
    done.ok_or(TxDrop::Format)
}

/// [`seal`], all but the cryptography.
#[inline(always)]
fn begin_seal(sa: &Sa, esn_hi: u32, trailer_len: usize, packet: &mut [u8]) -> Result<(), TxDrop> {
    let begun = engine::begin_seal(&sa.cipher, &sa.params, esn_hi, trailer_len, packet);
    Ok(begun?)
}

#[inline(always)]
fn seal(sa: &Sa, esn_hi: u32, trailer_len: usize, packet: &mut [u8]) -> Result<(), TxDrop> {
    Ok(engine::seal(
        &sa.cipher,
        &sa.params,
        esn_hi,
        trailer_len,
        packet,
    )?)
}
