// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets: from the wire to the driver.

use super::counters::{Counters, Tally};
use super::sa::Sa;
use super::table::Tables;
use espnic_esp::engine::{self, Error};
use espnic_esp::inner;
use espnic_esp::packet::{self, Esp};
use espnic_wire::hdr::{self, NetHdr48, SecExt};
use espnic_wire::sa as wire;

/// See [`super::Ipsec::receive`]. `now` is the time of [`super::room::Room`].
#[inline]
pub(super) fn process(
    tables: &Tables,
    counters: &Counters,
    tally: &mut Tally,
    frame: &mut [u8],
    hdr: &mut NetHdr48,
    now: u64,
) {
    let Some(esp) = packet::find(frame) else {
        return;
    };
    let Some(sa) = tables.inbound(&esp, frame) else {
        // Anything can be in UDP.
        if esp.udp.is_none() {
            counters.rx_no_sa.inc();
        }
        return;
    };
    let len = frame.len();
    let esn_hi = sa.infer_esn_hi(esp.seq);
    let result = open(sa, &esp, esn_hi, frame);
    match result {
        Ok(checksum) => {
            sa.last.set(now);
            tally.received(checksum, len);
        }
        Err(error) => counters.refused(error),
    }
    fill(hdr, sa, &esp, esn_hi, result);
}

/// Opens the packet; tells whether the checksum inside it is right.
#[inline]
fn open(sa: &Sa, esp: &Esp, esn_hi: u32, frame: &mut [u8]) -> Result<bool, Error> {
    let (head, rest) = frame
        .split_at_mut_checked(esp.offset)
        .ok_or(Error::Length)?;
    let packet = rest.get_mut(..esp.end - esp.offset).ok_or(Error::Length)?;
    let opened = engine::open(&sa.cipher, &sa.params, esn_hi, packet)?;
    sa.verified(esn_hi, esp.seq);
    if esp.udp.is_some() {
        forget_udp_checksum(head);
    }
    Ok(inner::checksum_is_right(&opened, sa.tunnel, || {
        esp.addresses(head)
    }))
}

/// Takes the checksum out of the UDP header at the end of `head`: it was that of the ciphertext, and the
/// ICV has proven more (RFC 3948, section 2.1). Zero is none.
fn forget_udp_checksum(head: &mut [u8]) {
    if let Some(checksum) = head.last_chunk_mut::<2>() {
        *checksum = [0; 2];
    }
}

/// Writes to `hdr` the result for a packet that has an SA.
#[inline]
fn fill(hdr: &mut NetHdr48, sa: &Sa, esp: &Esp, esn_hi: u32, result: Result<bool, Error>) {
    let sec_status = match result {
        Ok(_) => hdr::SEC_OK,
        Err(Error::Auth) => hdr::SEC_AUTH,
        Err(Error::Format) => hdr::SEC_FORMAT,
        Err(Error::Length) => hdr::SEC_LENGTH,
        Err(Error::Unsupported) => hdr::SEC_UNSUPPORTED,
    };
    hdr.net.flags |= hdr::F_SECURITY | hdr::F_X_SEC;
    if sec_status != hdr::SEC_OK {
        hdr.net.flags |= hdr::F_SECURITY_ERR;
    }
    if result == Ok(true) {
        hdr.net.flags |= hdr::F_DATA_VALID;
    }
    hdr.out.resource_id = sa.id.into();
    hdr.out.resource_type = wire::OBJ_INB_SA.into();
    // Field by field: building a header first and copying it costs more than all of this.
    let sec = &mut hdr.sec;
    *sec = SecExt::default();
    sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    sec.sec_status = sec_status;
    // At most 54.
    sec.esp_offset = (esp.offset as u16).into();
    sec.esn_hi = esn_hi.into();
    sec.epoch = sa.epoch.into();
}
