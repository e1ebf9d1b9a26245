// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Headers of decrypted packets that are wrong on purpose.

use crate::misbehave::{Deed, Misbehaviour};
use espnic_esp::checksum::complete_ipv4;
use espnic_esp::ip::{self, Ip};
use espnic_wire::hdr::{self, NetHdr48};

/// Offset of the last byte of the SPI in the ESP header, and of the byte after it.
const SPI_END: usize = 3;
const BEHIND_SPI: u16 = 4;

/// Falsifies the header `hdr` of a decrypted packet, or the packet itself, if such a misbehaviour is due.
#[inline(never)]
pub(super) fn distort(misbehaviour: &Misbehaviour, frame: &mut [u8], hdr: &mut NetHdr48) {
    let decrypted = hdr.has(hdr::F_SECURITY) && hdr.sec.sec_status == hdr::SEC_OK;
    if !decrypted {
        return;
    }
    let sec = &mut hdr.sec;
    let offset = sec.esp_offset.get();
    if misbehaviour.takes(Deed::SaId) {
        hdr.out.resource_id = (hdr.out.resource_id.get() ^ 1).into();
    }
    if misbehaviour.takes(Deed::Epoch) {
        sec.epoch = (sec.epoch.get() ^ 1).into();
    }
    if misbehaviour.takes(Deed::Spi) {
        flip(frame, usize::from(offset) + SPI_END);
    }
    if misbehaviour.takes(Deed::Address) {
        readdress(frame);
    }
    if misbehaviour.takes(Deed::OffsetOutside) {
        sec.esp_offset = u16::MAX.into();
    }
    if misbehaviour.takes(Deed::OffsetInside) {
        sec.esp_offset = offset.saturating_add(BEHIND_SPI).into();
    }
}

fn flip(frame: &mut [u8], at: usize) {
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1;
    }
}

/// Gives the packet another destination, and an IPv4 header checksum that agrees.
fn readdress(frame: &mut [u8]) {
    let Some(ip) = Ip::find(frame) else {
        return;
    };
    flip(frame, ip.network + ip::last_of_destination(ip.v6));
    if let Some(header) = frame.get_mut(ip.network..ip.transport).filter(|_| !ip.v6) {
        complete_ipv4(header);
    }
}
