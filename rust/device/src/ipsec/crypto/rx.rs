// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets of crypto-only SAs.

use super::super::counters::{Counters, Tally};
use super::super::drop::RxDrop;
use super::super::faults::Faults;
use super::super::rx::mark;
use super::super::sa::Sa;
use super::sa::Numbers;
use crate::frame::Frame;
use espnic_esp::checksum::UDP_FIELD;
use espnic_esp::engine::{self, Error};
use espnic_esp::inner;
use espnic_esp::ip::UDP_HLEN;
use espnic_esp::packet::Esp;
use espnic_wire::hdr::{self, NetHdr48};

/// See [`super::super::Ipsec::receive`], of a packet with its SA. `now` is the time of
/// [`super::super::room::Room`].
#[inline]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn process(
    counters: &Counters,
    tally: &mut Tally,
    faults: &Faults,
    sa: &Sa,
    numbers: &Numbers,
    esp: &Esp,
    frame: &mut Frame,
    hdr: &mut NetHdr48,
    now: u64,
) {
    let len = frame.len();
    let esn_hi = numbers.infer_esn_hi(esp.seq);
    let result = match faults.is_unsupported() {
        true => Err(Error::Unsupported),
        false => open(sa, numbers, esp, esn_hi, frame),
    };
    match result {
        Ok(checksum) => {
            sa.last.set(now);
            tally.received(checksum, len);
        }
        Err(error) => counters.refused(error.into()),
    }
    fill(hdr, sa, esp, esn_hi, result);
}

/// Opens the packet; tells whether the checksum inside it is right.
#[inline]
fn open(
    sa: &Sa,
    numbers: &Numbers,
    esp: &Esp,
    esn_hi: u32,
    frame: &mut Frame,
) -> Result<bool, Error> {
    let open = |head: &[u8], rest: &mut [u8]| {
        let packet = rest.get_mut(..esp.end - esp.offset).ok_or(Error::Length)?;
        let opened = engine::open(&sa.cipher, &sa.params, esn_hi, packet)?;
        numbers.verified(esn_hi, esp.seq);
        Ok(inner::checksum_is_right(&opened, sa.tunnel, || {
            esp.addresses(head)
        }))
    };
    let result = frame
        .change(esp.offset, open)
        .unwrap_or(Err(Error::Length))?;
    if esp.udp.is_some() {
        forget_udp_checksum(esp, frame);
    }
    Ok(result)
}

/// Takes the checksum out of the UDP header in front of ESP: it was that of the ciphertext, and the ICV
/// has proven more (RFC 3948, section 2.1). Zero is none.
fn forget_udp_checksum(esp: &Esp, frame: &mut Frame) {
    let at = esp.offset - UDP_HLEN + UDP_FIELD;
    frame.change(at, |_, rest| {
        if let Some(checksum) = rest.first_chunk_mut::<2>() {
            *checksum = [0; 2];
        }
    });
}

/// Writes to `hdr` the result for a packet that has an SA.
#[inline]
fn fill(hdr: &mut NetHdr48, sa: &Sa, esp: &Esp, esn_hi: u32, result: Result<bool, Error>) {
    let sec_status = match result {
        Ok(_) => hdr::SEC_OK,
        Err(error) => RxDrop::from(error).status(),
    };
    mark(hdr, sa, sec_status, hdr::F_X_SEC);
    if result == Ok(true) {
        hdr.net.flags |= hdr::F_DATA_VALID;
    }
    let sec = &mut hdr.sec;
    sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    // At most 54.
    sec.esp_offset = (esp.offset as u16).into();
    sec.esn_hi = esn_hi.into();
}
