// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checks before the NIC sends a NET_BUFFER_LIST (R92-R110).
//!
//! The transport has framed the packet: headers, padding, trailer, SPI and sequence number (R101,
//! R108); the NIC only does the cryptography. Whatever does not fit together fails with
//! NDIS_STATUS_FAILURE, so that a packet meant for ESP never leaves in the clear (C7, C8).
//!
//! Packets start with their outermost IP header, from which slot 12 counts (C25). With a tunnel SA
//! in slot 11, slot 12 describes the transport SA of slot 1.

use super::bundle::Mode;
use super::capabilities::Capabilities;
use super::flow;
use super::packet::{self, Class, Ip, Protected, ESP_HEADER};
use super::segment::{Limits, Segments};
use super::table::{EspShape, IvSource, Lookup, Offloaded};
use crate::encapsulation;
use crate::nbl::Slot;
use crate::oob::{LargeSend, SendHeader};
use crate::sa::{Address, Operation, UdpEsp};
use crate::{Handle, Status};
use core::ops::Range;

/// The out-of-band words of a NET_BUFFER_LIST to send. They hold for all of its packets (R100).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendSlots {
    /// Slot 1: handle of the SA (R95), of the transport SA for transport over tunnel (R96).
    pub ipsec: u64,
    /// Slot 2: large send offload.
    pub large_send: u64,
    /// Slot 11: handle of the tunnel SA, for transport over tunnel only (C8).
    pub tunnel: u64,
    /// Slot 12: NextHeader, PadLength and where AH and ESP start.
    pub header: u64,
}

impl SendSlots {
    /// Reads them from NetBufferListInfo; a slot that is not there is zero.
    pub fn of(info: &[u64]) -> Self {
        let word = |slot: Slot| info.get(slot.0).copied().unwrap_or(0);
        Self {
            ipsec: word(Slot::IPSEC),
            large_send: word(Slot::LARGE_SEND),
            tunnel: word(Slot::IPSEC_TUNNEL),
            header: word(Slot::IPSEC_HEADER),
        }
    }
}

/// Copies the IPsec words of NetBufferListInfo to a clone, for sends and receives alike (R128).
pub fn copy_info(from: &[u64], to: &mut [u64]) {
    for slot in [Slot::IPSEC, Slot::IPSEC_TUNNEL, Slot::IPSEC_HEADER] {
        if let (Some(from), Some(to)) = (from.get(slot.0), to.get_mut(slot.0)) {
            *to = *from;
        }
    }
}

/// The decision on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent as it is.
    Plain,
    /// The NIC does this cryptography and sends it.
    Crypto(Job),
    /// Its NET_BUFFER_LIST is completed with this status, unsent.
    Fail(Status),
}

/// The cryptography of one packet. Offsets in bytes from the outermost IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The SA of slot 1.
    pub handle: Handle,
    /// The SA of slot 11, which is applied after that of slot 1.
    pub tunnel: Option<Handle>,
    /// Where its ESP header starts.
    pub esp: Option<usize>,
    /// Where its AH header starts. AH is made after ESP (C17).
    pub ah: Option<usize>,
    /// Where the initialisation vector comes from.
    pub iv: IvSource,
    /// How the NIC cuts the packet, with large send offload.
    pub segments: Option<Segments>,
}

/// The packet does not fit its out-of-band words or its SA.
struct Mismatch;

/// Checks every packet of a NET_BUFFER_LIST against its out-of-band words (R100). The status is
/// that of the list.
pub fn check_list<'p>(
    processing: bool,
    config: &Capabilities,
    slots: &SendSlots,
    packets: impl IntoIterator<Item = &'p [u8]>,
    table: &impl Lookup,
) -> Status {
    let large = LargeSend::from_word(slots.large_send).is_some();
    for (number, packet) in packets.into_iter().enumerate() {
        // A list with a large send has a single packet (R143).
        if large && number != 0 {
            return Status::FAILURE;
        }
        if let Verdict::Fail(status) = check(processing, config, slots, packet, table) {
            return status;
        }
    }
    Status::SUCCESS
}

/// Checks one packet like [`check_within`], for an adapter without limits for large sends.
pub fn check(
    processing: bool,
    config: &Capabilities,
    slots: &SendSlots,
    packet: &[u8],
    table: &impl Lookup,
) -> Verdict {
    check_within(processing, config, None, slots, packet, table)
}

/// Checks one packet. `processing` is whether the adapter is set up for IPsec offload, `config`
/// what it last reported of that, `limits` what of large sends (R24).
pub fn check_within(
    processing: bool,
    config: &Capabilities,
    limits: Option<&Limits>,
    slots: &SendSlots,
    packet: &[u8],
    table: &impl Lookup,
) -> Verdict {
    let Some(handle) = Handle::new(slots.ipsec) else {
        // Without a handle there is no service to leave out (R92, R93). A tunnel alone has no
        // meaning, but protection was asked for (C8).
        return if slots.tunnel == 0 {
            Verdict::Plain
        } else {
            Verdict::Fail(Status::FAILURE)
        };
    };
    let sending = Sending {
        config,
        limits,
        slots,
        packet,
        header: SendHeader::from_word(slots.header),
    };
    let outcome = if processing {
        sending.job(handle, table)
    } else {
        Err(Mismatch)
    };
    match outcome {
        Ok(job) => Verdict::Crypto(job),
        Err(Mismatch) => Verdict::Fail(Status::FAILURE),
    }
}

fn require(holds: bool) -> Result<(), Mismatch> {
    if holds {
        Ok(())
    } else {
        Err(Mismatch)
    }
}

struct Sending<'a> {
    config: &'a Capabilities,
    limits: Option<&'a Limits>,
    slots: &'a SendSlots,
    packet: &'a [u8],
    header: SendHeader,
}

impl Sending<'_> {
    /// The outbound SA of a handle; one that is inbound counts as not found (R94, C26). The
    /// configuration may have lost what the SA needs since it was added (R28).
    fn outbound(&self, handle: Handle, table: &impl Lookup) -> Result<Offloaded, Mismatch> {
        let sa = table.by_handle(handle).ok_or(Mismatch)?;
        require(!sa.inbound && sa.authenticates() && sa.is_covered_by(self.config))?;
        Ok(sa)
    }

    fn job(&self, handle: Handle, table: &impl Lookup) -> Result<Job, Mismatch> {
        let sa = self.outbound(handle, table)?;
        let tunnel = Handle::new(self.slots.tunnel);
        let whole = 0..self.packet.len();
        let (part, outer_udp) = match tunnel {
            Some(handle) => {
                let tunnel = self.tunnel(handle, &sa, table)?;
                let outer = self.found(&tunnel, whole, false)?;
                (self.inside(&tunnel, &outer)?, outer.udp)
            }
            None => (whole, false),
        };
        let found = self.found(&sa, part.clone(), tunnel.is_some())?;
        // UDP in both parts is no form (R63).
        require(!(outer_udp && found.udp))?;
        let (esp, ah) = self.headers(&sa, &found)?;
        self.offsets(esp, ah)?;
        let segments = match LargeSend::from_word(self.slots.large_send) {
            // Never with a tunnel (R104).
            Some(_) if tunnel.is_some() => return Err(Mismatch),
            Some(large) => Some(self.segments(large, &sa, &found.ip, esp)?),
            None => {
                self.trailer(&sa, esp, part.end)?;
                None
            }
        };
        Ok(Job {
            handle,
            tunnel,
            esp,
            ah,
            iv: sa.esp.map_or(IvSource::None, |esp| esp.iv_source),
            segments,
        })
    }

    /// The tunnel SA of transport over tunnel (R96). One subtype has no ESP inside (R133).
    fn tunnel(
        &self,
        handle: Handle,
        transport: &Offloaded,
        table: &impl Lookup,
    ) -> Result<Offloaded, Mismatch> {
        let tunnel = self.outbound(handle, table)?;
        require(
            self.config.transport_tunnel_combined
                && transport.mode != Mode::Tunnel
                && tunnel.mode != Mode::Transport
                && tunnel.udp != UdpEsp::TUNNEL,
        )?;
        Ok(tunnel)
    }

    /// The IP packet inside of the tunnel, which the transport has framed in the clear.
    fn inside(&self, tunnel: &Offloaded, found: &Protected) -> Result<Range<usize>, Mismatch> {
        let end = self.packet.len();
        let (esp, _) = self.headers(tunnel, found)?;
        let (next, inside) = match (tunnel.esp.zip(esp), tunnel.ah) {
            (Some((shape, offset)), _) => {
                let (next, pad, at) = self.read_trailer(&shape, end)?;
                let end = at.checked_sub(usize::from(pad)).ok_or(Mismatch)?;
                (next, payload(&shape, offset)?..end)
            }
            (None, Some(ah)) => {
                let (next, start) = ah.header(self.packet, found.offset).ok_or(Mismatch)?;
                (next, start..end)
            }
            (None, None) => return Err(Mismatch),
        };
        require(next == packet::PROTOCOL_IPV4 || next == packet::PROTOCOL_IPV6)?;
        Ok(inside)
    }

    /// The first IPsec header of the packet or of the one inside of the tunnel, which is that of
    /// the SA. A fragment is never sent with offload (R105), nor a packet that the configuration
    /// does not cover.
    fn found(
        &self,
        sa: &Offloaded,
        part: Range<usize>,
        inner: bool,
    ) -> Result<Protected, Mismatch> {
        let packet = self.packet.get(part.clone()).ok_or(Mismatch)?;
        let Class::Protected(mut found) = packet::classify(packet) else {
            return Err(Mismatch);
        };
        require(
            found.ip.length == packet.len()
                && sa.encapsulates(found.udp, inner)
                && sa.spi(found.operation) == Some(found.spi)
                && (sa.ah.is_none() || found.operation == Operation::AH)
                && flow::covers(self.config, &found.ip),
        )?;
        found.offset = found.offset.checked_add(part.start).ok_or(Mismatch)?;
        Ok(found)
    }

    /// Where ESP and AH of an SA start whose first header is `found`.
    fn headers(
        &self,
        sa: &Offloaded,
        found: &Protected,
    ) -> Result<(Option<usize>, Option<usize>), Mismatch> {
        let Some(ah) = sa.ah else {
            return Ok((Some(found.offset), None));
        };
        let (next, behind) = ah.header(self.packet, found.offset).ok_or(Mismatch)?;
        let Some(esp) = sa.esp else {
            return Ok((None, Some(found.offset)));
        };
        let spi = packet::spi(self.packet, Operation::ESP, behind);
        require(next == packet::PROTOCOL_ESP && spi == Some(esp.spi))?;
        Ok((Some(behind), Some(found.offset)))
    }

    /// Slot 12 names the places of the headers (R97). 0 means that there is none (C25).
    fn offsets(&self, esp: Option<usize>, ah: Option<usize>) -> Result<(), Mismatch> {
        let named = |offset: u16| Some(usize::from(offset)).filter(|&offset| offset != 0);
        require(named(self.header.esp_offset) == esp && named(self.header.ah_offset) == ah)
    }

    /// Without large send offload the ESP trailer is there and says what slot 12 says (R98, R99).
    /// `end` is where the integrity value ends; outside of it is only the tunnel's own trailer.
    fn trailer(&self, sa: &Offloaded, esp: Option<usize>, end: usize) -> Result<(), Mismatch> {
        let Some((shape, offset)) = sa.esp.zip(esp) else {
            return Ok(());
        };
        let (next, pad, at) = self.read_trailer(&shape, end)?;
        let start = payload(&shape, offset)?;
        let first = at.checked_sub(usize::from(pad)).ok_or(Mismatch)?;
        require(next == self.header.next_header && pad == self.header.pad_length && first >= start)
    }

    /// NextHeader, PadLength and the offset behind the padding of the ESP that ends at `end`.
    fn read_trailer(&self, shape: &EspShape, end: usize) -> Result<(u8, u8, usize), Mismatch> {
        let read = || {
            let next = end.checked_sub(shape.icv)?.checked_sub(1)?;
            let pad = next.checked_sub(1)?;
            Some((
                packet::byte(self.packet, next)?,
                packet::byte(self.packet, pad)?,
                pad,
            ))
        };
        read().ok_or(Mismatch)
    }

    /// Large send offload: no trailer yet (R102), TCP in transport mode only (R104).
    fn segments(
        &self,
        large: LargeSend,
        sa: &Offloaded,
        ip: &Ip,
        esp: Option<usize>,
    ) -> Result<Segments, Mismatch> {
        let ipv6 = matches!(ip.source, Address::V6(_));
        let family = match large {
            LargeSend::V1 { .. } => !ipv6,
            LargeSend::V2 { ipv6: named, .. } => named == ipv6,
        };
        let tcp = self.header.next_header == packet::PROTOCOL_TCP;
        require(self.config.lso && family && tcp && sa.mode != Mode::Tunnel)?;
        // Only ESP has a trailer to make.
        let (shape, offset) = sa.esp.zip(esp).ok_or(Mismatch)?;
        let start = payload(&shape, offset)?;
        let link = self.link(large, start)?;
        let pad_length = self.header.pad_length;
        let cut = Segments::new(large, self.packet, start, &shape, pad_length).ok_or(Mismatch)?;
        require(
            self.limits
                .is_none_or(|limits| limits.allow(&cut, ip, link)),
        )?;
        Ok(cut)
    }

    /// Bytes in front of the IP header, if TcpHeaderOffset in slot 2 is that of the TCP header. It
    /// counts from the start of the frame, which is as far in front of the IP header as an
    /// encapsulation that was reported says.
    fn link(&self, large: LargeSend, tcp: usize) -> Result<usize, Mismatch> {
        let (LargeSend::V1 {
            tcp_header_offset: named,
            ..
        }
        | LargeSend::V2 {
            tcp_header_offset: named,
            ..
        }) = large;
        let link = usize::try_from(named)
            .ok()
            .and_then(|named| named.checked_sub(tcp))
            .ok_or(Mismatch)?;
        require(encapsulation::has_header(self.config.encapsulation, link))?;
        Ok(link)
    }
}

/// Where the payload of an ESP at `offset` starts.
fn payload(shape: &EspShape, offset: usize) -> Result<usize, Mismatch> {
    offset
        .checked_add(ESP_HEADER)
        .and_then(|at| at.checked_add(shape.iv))
        .ok_or(Mismatch)
}
