// SPDX-License-Identifier: GPL-2.0

//! Headers for ESP packets to transmit.
//!
//! The stack has built the packet, except IV, encryption and ICV. Nothing here writes to the packet,
//! because it may be shared with TCP's retransmit queue (X49).

use super::super::Ipsec;
use crate::counters::counters;
use espnic_esp::{
    engine::IV_LEN,
    ip::UDP_HLEN,
    packet::ESP_HLEN,
    seq, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48, //
    },
    sa,
    U16,
    U32, //
};
use kernel_net::net::{
    skbuff::{
        Gso,
        SkBuff, //
    },
    xfrm::{
        State,
        TxOffload, //
    }, //
};

/// Pad length and next header.
pub(crate) const TRAILER_FIXED: u32 = 2;

counters! {
    /// What happened to outgoing ESP packets since the start.
    struct Counters {
        /// As on the wire, as `tx_packets`.
        packets: c"ipsec_tx_packets",
        /// Bytes of these packets, as given to the NIC.
        bytes: c"ipsec_tx_bytes",
        /// See [`Drop::Stale`].
        stale: c"ipsec_tx_drop_stale",
        /// See [`Drop::Format`].
        format: c"ipsec_tx_drop_format",
    }
}

/// Why a packet must be dropped.
#[derive(Clone, Copy)]
pub(crate) enum Drop {
    /// Its SA is no longer in the NIC.
    Stale,
    /// It is not the ESP packet that the NIC expects.
    Format,
}

impl Counters {
    /// Counts a packet that the NIC gets.
    pub(crate) fn count(&self, skb: &SkBuff, gso: Option<Gso>) {
        self.packets
            .add(gso.map_or(1, |gso| u64::from(gso.segments)));
        self.bytes.add(skb.len().into());
    }

    /// Counts a packet that must be dropped.
    pub(crate) fn count_drop(&self, reason: Drop) {
        match reason {
            Drop::Stale => self.stale.count(),
            Drop::Format => self.format.count(),
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.stale.get().wrapping_add(self.format.get())
    }
}

/// Fills `header` for a packet that the stack left to the NIC.
pub(crate) fn describe(
    ipsec: &Ipsec,
    skb: &SkBuff,
    gso: Option<Gso>,
    request: &TxOffload<'_>,
    header: &mut NetHdr48,
) -> Result<(), Drop> {
    let handle = request.state.handle();
    if !ipsec.states.is_outgoing(handle, request.state) || ipsec.is_absent(handle) {
        return Err(Drop::Stale);
    }
    let esp_offset = esp_offset(skb, request.state).ok_or(Drop::Format)?;
    let number = sequence_number(skb, esp_offset, request)?;
    // `offload_ok` keeps these packets away, because sequence numbers may come twice (X56, X57);
    // a bond does not ask it.
    let last_high_half = request.state.is_esn() && seq::hi(number) == u32::MAX;
    if last_high_half || gso.is_some_and(|gso| gso.untrusted) {
        return Err(Drop::Format);
    }
    header.net.flags |= hdr::F_SECURITY | hdr::F_X_SEC;
    header.out.resource_id = U32::new(handle.id);
    header.out.resource_type = U16::new(sa::OBJ_OUTB_SA);
    header.sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    header.sec.esp_offset = U16::new(esp_offset);
    header.sec.seq_half = U32::new(seq::hi(number));
    match gso {
        None => header.sec.trailer_len = U16::new(trailer_len(skb, esp_offset, request)?),
        // The NIC builds the trailers; the packet has none yet.
        Some(_) => header.sec.next_header = request.next_header,
    }
    header.sec.generation = U16::new(handle.generation);
    Ok(())
}

fn sequence_number(skb: &SkBuff, esp_offset: u16, request: &TxOffload<'_>) -> Result<u64, Drop> {
    let mut esp = [0; ESP_HLEN];
    skb.copy_bits(u32::from(esp_offset), &mut esp)
        .map_err(|_| Drop::Format)?;
    let [s0, s1, s2, s3, n0, n1, n2, n3] = esp;
    if u32::from_be_bytes([s0, s1, s2, s3]) != request.state.spi() {
        return Err(Drop::Format);
    }
    let header = u32::from_be_bytes([n0, n1, n2, n3]);
    Ok(seq::of_first_packet(
        header,
        request.seq_low,
        request.seq_hi,
    ))
}

/// Offset of the ESP header from the frame's start. With UDP around it, the stack's transport header
/// is that of UDP.
pub(crate) fn esp_offset(skb: &SkBuff, state: &State) -> Option<u16> {
    let offset = skb.transport_offset()?;
    match state.encapsulation() {
        Some(_) => offset.checked_add(UDP_HLEN as u16),
        None => Some(offset),
    }
}

/// The length of padding, pad length, next header and ICV together, in bytes.
fn trailer_len(skb: &SkBuff, esp_offset: u16, request: &TxOffload<'_>) -> Result<u16, Drop> {
    let icv_bits = request.state.icv_bits().ok_or(Drop::Format)?;
    let icv_len = icv_bits.checked_div(8).ok_or(Drop::Format)?;
    let fixed = icv_len.checked_add(TRAILER_FIXED).ok_or(Drop::Format)?;
    let at = skb.len().checked_sub(fixed).ok_or(Drop::Format)?;
    let mut pad_len = [0];
    skb.copy_bits(at, &mut pad_len).map_err(|_| Drop::Format)?;
    let [pad_len] = pad_len;
    let len = fixed.saturating_add(u32::from(pad_len));
    let payload = u32::from(esp_offset).saturating_add((ESP_HLEN + IV_LEN) as u32);
    if payload.saturating_add(len) > skb.len() {
        return Err(Drop::Format);
    }
    u16::try_from(len).map_err(|_| Drop::Format)
}
