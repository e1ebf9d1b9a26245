// SPDX-License-Identifier: GPL-2.0

//! Out-of-band records of packets, for bound files that want them.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    adapter::Adapter,
    ring::{
        Body,
        Start, //
    },
    Ndis, //
};
use crate::ipsec::{
    crypto::{
        self,
        tx::TRAILER_FIXED, //
    },
    Ipsec, //
};
use espnic_esp::ip::ETH_HLEN;
use espnic_ndis::{
    envelope::{
        Received,
        Sent,
        WANT_BYTES,
        WANT_RECEIVE,
        WANT_SEND, //
    },
    model::{
        packet::{
            self,
            Class,
            Plain,
            Protected, //
        },
        Check,
        Mode,
        Report,
        Work, //
    },
    oob::{
        handle_word,
        LargeSend,
        SendHeader, //
    },
    sa::Operation,
    Status, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48, //
    },
    sa, //
};
use kernel_net::net::{
    ip::Family,
    skbuff::{
        Gso,
        SkBuff, //
    },
    xfrm::{
        self,
        Direction,
        RxStatus,
        State,
        TxOffload, //
    }, //
};
use zerocopy::FromZeros;

impl Ndis {
    /// Records a received packet as the NIC reports it, before the driver checks that.
    #[inline]
    pub(crate) fn received(&self, ipsec: &Ipsec, header: &NetHdr48, skb: &SkBuff) {
        let Some(adapter) = self.0.as_deref() else {
            return;
        };
        // For the list of SAs, even if no file wants records.
        if is_delete_request(header) || adapter.wants(WANT_RECEIVE) {
            adapter.note_received(ipsec, header, skb);
        }
    }

    /// Records a packet that the stack left to the NIC, with the header that the NIC gets if the packet is
    /// accepted.
    #[inline]
    pub(crate) fn sent(
        &self,
        skb: &SkBuff,
        gso: Option<Gso>,
        request: &TxOffload<'_>,
        header: &NetHdr48,
        accepted: bool,
    ) {
        let listening = |adapter: &&Adapter| adapter.wants(WANT_SEND);
        if let Some(adapter) = self.0.as_deref().filter(listening) {
            let record = sent(adapter, skb, gso, request, header, accepted);
            adapter.push(&Body::Sent(record, adapter.start(skb)));
        }
    }
}

impl Adapter {
    /// Does what [`Ndis::received`] says.
    // Never: hardly any packet needs it.
    #[cold]
    #[inline(never)]
    fn note_received(&self, ipsec: &Ipsec, header: &NetHdr48, skb: &SkBuff) {
        if is_delete_request(header) {
            if let Some(sa) = named_sa(header) {
                self.handles.set_delete_requested(sa);
            }
        }
        if self.wants(WANT_RECEIVE) {
            if let Some(record) = received(self, ipsec, header, skb) {
                self.push(&Body::Received(record, self.start(skb)));
            }
        }
    }

    /// The first bytes of a packet for its record, if any file wants them.
    fn start(&self, skb: &SkBuff) -> Start {
        match self.wants(WANT_BYTES) {
            true => Start::of(skb),
            false => Start::NONE,
        }
    }
}

/// Whether the NIC asks for the deletion of the packet's SA.
fn is_delete_request(header: &NetHdr48) -> bool {
    header.has(hdr::F_SECURITY | hdr::F_X_SEC)
        && header.sec.ndis_flags & hdr::NDIS_SA_DELETE_REQ != 0
}

/// The inbound SA that the NIC names.
fn named_sa(header: &NetHdr48) -> Option<xfrm::Handle> {
    (header.out.resource_type.get() == sa::OBJ_INB_SA).then_some(xfrm::Handle {
        id: header.out.resource_id.get(),
        direction: Direction::In,
        generation: header.sec.generation.get(),
    })
}

/// The record of a received packet; `None` if it has nothing to do with IPsec, or the driver drops it.
fn received(adapter: &Adapter, ipsec: &Ipsec, header: &NetHdr48, skb: &SkBuff) -> Option<Received> {
    let mut record = Received::new_zeroed();
    record.length = skb.len();
    let frame = skb.head();
    let packet = frame.get(ETH_HLEN..)?;
    record.family = match packet.first()? >> 4 {
        version @ (4 | 6) => version,
        _ => 0,
    };
    if !header.has(hdr::F_SECURITY | hdr::F_X_SEC) {
        let length = skb.len().saturating_sub(ETH_HLEN as u32);
        let length = usize::try_from(length).ok()?;
        // A large packet has only its head in linear memory.
        let offset = match packet::classify_head(packet, length) {
            Class::Protected(found) => Some(numbers_at(&found)),
            Class::Plain(Plain::Ike | Plain::KeepAlive) => None,
            Class::Plain(_) => return None,
        };
        // No SA: all words are zero.
        if let Some(offset) = offset {
            set_numbers(&mut record, packet.get(offset..)?);
        }
        return Some(record);
    }
    let esp = frame.get(usize::from(header.sec.esp_offset.get())..)?;
    set_numbers(&mut record, esp);
    let state = named_sa(header).and_then(|sa| ipsec.states.get(sa));
    let mut report = Report {
        sa_delete_request: is_delete_request(header),
        ..Report::NONE
    };
    if let Some(check) = check(header) {
        let state = state.as_ref()?;
        report.work = work(state, check);
        report.trailer = trailer(skb, packet, state);
    }
    if let Some(state) = state {
        record.handle = handle_word(adapter.handles.number_of(state.handle()));
    }
    let words = report.record();
    record.slot1 = words.ipsec;
    record.slot12 = words.header;
    record.slot1_v1 = words.v1;
    Some(record)
}

/// The place of SPI and sequence number. In AH they follow four other bytes (RFC 4302 section 2).
fn numbers_at(found: &Protected) -> usize {
    match found.operation {
        Operation::AH => found.offset.saturating_add(4),
        _ => found.offset,
    }
}

/// SPI and sequence number, which follow each other.
fn set_numbers(record: &mut Received, esp: &[u8]) {
    if let Some([s0, s1, s2, s3, n0, n1, n2, n3]) = esp.first_chunk() {
        record.spi = [*s0, *s1, *s2, *s3];
        record.sequence = [*n0, *n1, *n2, *n3];
    }
}

/// How the NIC's check went; `None` if it left the packet alone.
fn check(header: &NetHdr48) -> Option<Check> {
    match crypto::rx::status(header) {
        Some(RxStatus::Success) => Some(Check::Good),
        Some(RxStatus::AuthFailed) => Some(Check::EspFailed),
        Some(RxStatus::BadSyntax) => Some(Check::Syntax),
        // It has tried; the driver leaves the packet to software (C47).
        None if is_unsupported(header) => Some(Check::Other),
        None => None,
    }
}

/// Whether the NIC found the packet's SA, and could not process it.
fn is_unsupported(header: &NetHdr48) -> bool {
    let sec = &header.sec;
    header.has(hdr::F_SECURITY_ERR)
        && (sec.sec_op, sec.sec_status) == (hdr::SEC_OP_CRYPTO_ONLY, hdr::SEC_UNSUPPORTED)
}

fn work(state: &State, check: Check) -> Work {
    let mode = match state.is_tunnel() {
        true => Mode::Tunnel,
        false => Mode::Transport,
    };
    Work::Single { mode, check }
}

/// NextHeader and PadLength of a decrypted packet.
fn trailer(skb: &SkBuff, packet: &[u8], state: &State) -> Option<(u8, u8)> {
    // The frame may have padding after the packet.
    let length = (ETH_HLEN as u32).checked_add(ip_length(packet)?)?;
    let at = length
        .min(skb.len())
        .checked_sub(state.icv_bits()?.checked_div(8)?)?
        .checked_sub(TRAILER_FIXED)?;
    let mut fields = [0; 2];
    skb.copy_bits(at, &mut fields).ok()?;
    let [pad_length, next_header] = fields;
    Some((next_header, pad_length))
}

/// The length of an IP packet from its header, in bytes.
fn ip_length(packet: &[u8]) -> Option<u32> {
    let field = |at: usize| {
        let bytes = packet.get(at..)?.first_chunk()?;
        Some(u32::from(u16::from_be_bytes(*bytes)))
    };
    match packet.first()? >> 4 {
        4 => field(2),
        6 => field(4)?.checked_add(40),
        _ => None,
    }
}

fn sent(
    adapter: &Adapter,
    skb: &SkBuff,
    gso: Option<Gso>,
    request: &TxOffload<'_>,
    header: &NetHdr48,
    accepted: bool,
) -> Sent {
    let state = request.state;
    let ipv6 = state.family() == Some(Family::V6);
    let mut record = Sent::new_zeroed();
    // The handle of a refused packet may be another NIC's, from before a bond's failover.
    let handle = accepted.then(|| adapter.handles.number_of(state.handle()));
    record.slot1 = handle_word(handle.flatten());
    record.slot12 = send_header(state, request, header).word().unwrap_or(0);
    if let Some(gso) = gso {
        let large = LargeSend::V2 {
            mss: u32::from(gso.size),
            // Inside ESP, where the checksum of TCP begins.
            tcp_header_offset: u32::from(header.net.csum_start.get()),
            ipv6,
        };
        record.slot2 = large.word().unwrap_or(0);
    }
    let mut esp = [0; 8];
    if let Some(offset) = crypto::tx::esp_offset(skb, state) {
        // Bytes that cannot be read stay zero.
        let _ = skb.copy_bits(u32::from(offset), &mut esp);
    }
    let [s0, s1, s2, s3, n0, n1, n2, n3] = esp;
    record.spi = [s0, s1, s2, s3];
    record.sequence = [n0, n1, n2, n3];
    record.length = skb.len();
    record.family = if ipv6 { 6 } else { 4 };
    record.status = match accepted {
        true => Status::SUCCESS.0,
        false => Status::FAILURE.0,
    };
    record
}

fn send_header(state: &State, request: &TxOffload<'_>, header: &NetHdr48) -> SendHeader {
    let fixed = state.icv_bits().unwrap_or(0) / 8 + TRAILER_FIXED;
    let padding = u32::from(header.sec.trailer_len.get()).saturating_sub(fixed);
    SendHeader {
        next_header: request.next_header,
        pad_length: u8::try_from(padding).unwrap_or(0),
        ah_offset: 0,
        esp_offset: header.sec.esp_offset.get().saturating_sub(ETH_HLEN as u16),
    }
}
