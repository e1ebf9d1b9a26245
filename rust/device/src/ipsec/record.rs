// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Records of decrypted packets that are wrong on purpose.

use crate::fault::damage;
use crate::misbehave::{Deed, Misbehaviour};
use crate::net::frame;
use espnic_wire::hdr::{self, NetHdr48};

/// From the start of an ESP header to the last byte of the SPI, and to what is behind the SPI.
const SPI_END: usize = 3;
const BEHIND_SPI: u16 = 4;
/// From the start of an IP header to the last byte of the destination address.
const IPV4_DST_END: usize = 19;
const IPV6_DST_END: usize = 39;

/// Makes what `hdr` says of a packet that was decrypted wrong, or `frame` another one than the SA's, if
/// that is to be.
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
    let Some(packet) = frame::parse(frame) else {
        return;
    };
    if packet.v6 {
        flip(frame, packet.network + IPV6_DST_END);
        return;
    }
    flip(frame, packet.network + IPV4_DST_END);
    damage::renew_ipv4_checksum(frame, packet.network, packet.transport);
}
