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
use super::packet::{self, Class, Ip, Protected, AH_HEADER, ESP_HEADER};
use super::segment::Segments;
use super::table::{EspShape, IvSource, Lookup, Offloaded};
use crate::nbl::Slot;
use crate::oob::{LargeSend, SendHeader};
use crate::sa::{Address, Operation};
use crate::{Handle, Status};

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

/// What becomes of a packet.
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

/// What does not fit.
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
    for packet in packets {
        if let Verdict::Fail(status) = check(processing, config, slots, packet, table) {
            return status;
        }
    }
    Status::SUCCESS
}

/// Checks one packet. `processing` is whether the adapter is set up for IPsec offload, `config`
/// what it last reported.
pub fn check(
    processing: bool,
    config: &Capabilities,
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
        let tunnel = match Handle::new(self.slots.tunnel) {
            Some(handle) => Some((handle, self.tunnel(handle, &sa, table)?)),
            None => None,
        };
        let outer = tunnel.as_ref().map_or(&sa, |(_, tunnel)| tunnel);
        let found = self.found(outer)?;
        let (esp, ah) = self.offsets(&sa, &found, tunnel.is_some())?;
        let segments = match LargeSend::from_word(self.slots.large_send) {
            Some(large) => Some(self.segments(large, &sa, &found.ip, tunnel.is_some())?),
            None => {
                self.trailer(&sa, esp, tunnel.as_ref().map(|(_, tunnel)| tunnel))?;
                None
            }
        };
        Ok(Job {
            handle,
            tunnel: tunnel.map(|(handle, _)| handle),
            esp,
            ah,
            iv: sa.esp.map_or(IvSource::None, |esp| esp.iv_source),
            segments,
        })
    }

    /// The tunnel SA of transport over tunnel (R96).
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
                && tunnel.mode != Mode::Transport,
        )?;
        Ok(tunnel)
    }

    /// The first IPsec header of the packet, which is that of the outer SA. A fragment is never
    /// sent with offload (R105), nor a packet that the configuration does not cover.
    fn found(&self, outer: &Offloaded) -> Result<Protected, Mismatch> {
        let Class::Protected(found) = packet::classify(self.packet) else {
            return Err(Mismatch);
        };
        let version = match found.ip.source {
            Address::V4(_) => self.config.ipv4,
            Address::V6(_) => self.config.ipv6,
        };
        require(
            found.ip.length == self.packet.len()
                && outer.encapsulates(found.udp, false)
                && outer.spi(found.operation) == Some(found.spi)
                && (outer.ah.is_none() || found.operation == Operation::AH)
                && version
                && (!found.ip.options || self.config.ipv4_options)
                && (!found.ip.extensions || self.config.ipv6_extension_headers),
        )?;
        Ok(found)
    }

    /// Where ESP and AH of the SA start, by slot 12 (R97). 0 means that there is none (C25); at any
    /// other offset there must be the SA's SPI.
    fn offsets(
        &self,
        sa: &Offloaded,
        found: &Protected,
        nested: bool,
    ) -> Result<(Option<usize>, Option<usize>), Mismatch> {
        let named = |offset: u16| Some(usize::from(offset)).filter(|&offset| offset != 0);
        let esp = named(self.header.esp_offset);
        let ah = named(self.header.ah_offset);
        for (operation, offset) in [(Operation::ESP, esp), (Operation::AH, ah)] {
            let there = offset.and_then(|at| packet::spi(self.packet, operation, at));
            require(there == sa.spi(operation) && there.is_some() == offset.is_some())?;
            require(offset.is_none_or(|at| at >= found.offset))?;
        }
        let first = match (ah, esp) {
            (Some(ah), Some(esp)) => {
                require(ah.saturating_add(AH_HEADER) <= esp)?;
                ah
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Err(Mismatch),
        };
        require(nested || first == found.offset)?;
        Ok((esp, ah))
    }

    /// Without large send offload the ESP trailer is there and says what slot 12 says (R98, R99).
    /// Outside of it is only the tunnel's own trailer.
    fn trailer(
        &self,
        sa: &Offloaded,
        esp: Option<usize>,
        tunnel: Option<&Offloaded>,
    ) -> Result<(), Mismatch> {
        let (Some(shape), Some(offset)) = (sa.esp, esp) else {
            return Ok(());
        };
        let mut end = self.packet.len();
        if let Some(tunnel) = tunnel.and_then(|tunnel| tunnel.esp) {
            let (_, pad, at) = self.read_trailer(&tunnel, end)?;
            end = at.checked_sub(usize::from(pad)).ok_or(Mismatch)?;
        }
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

    /// Large send offload: no trailer yet (R102), and never with a tunnel (R104).
    fn segments(
        &self,
        large: LargeSend,
        sa: &Offloaded,
        ip: &Ip,
        nested: bool,
    ) -> Result<Segments, Mismatch> {
        let inner_ip = matches!(
            self.header.next_header,
            packet::PROTOCOL_IPV4 | packet::PROTOCOL_IPV6
        );
        let ipv6 = matches!(ip.source, Address::V6(_));
        let family = match large {
            LargeSend::V1 { .. } => !ipv6,
            LargeSend::V2 { ipv6: named, .. } => named == ipv6,
        };
        require(self.config.lso && family && !nested && !inner_ip && sa.mode != Mode::Tunnel)?;
        // Only ESP has a trailer to make.
        let shape = sa.esp.ok_or(Mismatch)?;
        let start = payload(&shape, usize::from(self.header.esp_offset))?;
        Segments::new(large, self.packet, start, &shape, self.header.pad_length).ok_or(Mismatch)
    }
}

/// Where the payload of an ESP at `offset` starts.
fn payload(shape: &EspShape, offset: usize) -> Result<usize, Mismatch> {
    offset
        .checked_add(ESP_HEADER)
        .and_then(|at| at.checked_add(shape.iv))
        .ok_or(Mismatch)
}
