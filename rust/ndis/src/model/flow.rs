// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The way of a received packet through the NIC (R111-R119, R126, R129-R136).
//!
//! [`receive`] decides what is processed, in which order and how the result is reported; the
//! cryptography itself is the [`Engine`]'s. The packet is processed in place and always indicated
//! (R111), in whatever form it has by then (R122). There is no replay check (R123).

use super::bundle::Mode;
use super::capabilities::Capabilities;
use super::packet::{self, Class, Ip, Protected, ESP_HEADER};
use super::receive::{Check, Report, Work};
use super::table::{EspShape, Lookup, Offloaded};
use crate::sa::{Address, Operation, UdpEsp};
use crate::Handle;

/// The NIC's cryptography.
pub trait Engine {
    /// Whether the integrity value of the AH header at `offset` is right for the whole packet.
    fn verify_ah(&self, handle: Handle, packet: &[u8], offset: usize) -> bool;

    /// Verifies the ESP of `packet`, which starts at `offset` and reaches to the end, and decrypts
    /// it in place: `false` if its integrity value is wrong.
    fn open_esp(&self, handle: Handle, packet: &mut [u8], offset: usize) -> bool;
}

/// One payload that was checked.
struct Layer {
    mode: Mode,
    check: Check,
    /// NextHeader and PadLength of an ESP trailer.
    trailer: Option<(u8, u8)>,
    /// Where the inner IP packet of a tunnel starts and ends.
    inner: Option<(usize, usize)>,
    /// The subtype of its SA.
    udp: UdpEsp,
    /// A UDP header was in front of it.
    in_udp: bool,
}

/// Processes a packet that starts with its IP header, and says what was done.
///
/// `processing` is whether the adapter is set up for IPsec offload (R112); `config` what it is set
/// up for, see [`Adapter::processed`](super::Adapter::processed). A packet that needs more than
/// that is left alone (R115), also if its SA is older than the configuration.
pub fn receive(
    processing: bool,
    config: &Capabilities,
    packet: &mut [u8],
    table: &impl Lookup,
    engine: &impl Engine,
) -> Report {
    if !processing {
        return Report::NONE;
    }
    let Some(outer) = layer(config, packet, None, table, engine) else {
        return Report::NONE;
    };
    let transport = outer
        .inner
        // Under this subtype the inner packet is not ESP of ours (R133).
        .filter(|_| config.transport_tunnel_combined && outer.udp != UdpEsp::TUNNEL)
        .and_then(|(start, end)| packet.get_mut(start..end))
        .and_then(|inner| layer(config, inner, Some(&outer), table, engine));
    match transport {
        Some(transport) => Report {
            work: Work::Nested {
                tunnel: outer.check,
                transport: Some(transport.check),
            },
            trailer: transport.trailer,
            ..Report::NONE
        },
        None => Report {
            work: Work::Single {
                mode: outer.mode,
                check: outer.check,
            },
            trailer: outer.trailer,
            ..Report::NONE
        },
    }
}

/// Processes the outermost IPsec payload of a packet, or of the one inside of the payload `outer`;
/// `None` if there is nothing to do.
fn layer(
    config: &Capabilities,
    packet: &mut [u8],
    outer: Option<&Layer>,
    table: &impl Lookup,
    engine: &impl Engine,
) -> Option<Layer> {
    let Class::Protected(found) = packet::classify(packet) else {
        return None;
    };
    if !covers(config, &found.ip) {
        return None;
    }
    // UDP in both parts is no form (R63).
    if found.udp && outer.is_some_and(|outer| outer.in_udp) {
        return None;
    }
    let (handle, sa) =
        table.find(|sa| sa.receives(&found, outer.is_some()) && sa.is_covered_by(config))?;
    let packet = packet.get_mut(..found.ip.length)?;
    let mut layer = Layer {
        mode: sa.mode,
        check: Check::Good,
        trailer: None,
        inner: None,
        udp: sa.udp,
        in_udp: found.udp,
    };
    if let Err(check) = open(&mut layer, handle, &sa, &found, packet, engine) {
        layer.check = check;
    }
    Some(layer)
}

/// Whether the configuration covers the IP header (R28, R115).
pub(super) fn covers(config: &Capabilities, ip: &Ip) -> bool {
    let version = match ip.source {
        Address::V4(_) => config.ipv4,
        Address::V6(_) => config.ipv6,
    };
    version
        && (!ip.options || config.ipv4_options)
        && (!ip.extensions || config.ipv6_extension_headers)
}

/// Verifies AH, then opens ESP (C17), whichever of them the SA has.
fn open(
    layer: &mut Layer,
    handle: Handle,
    sa: &Offloaded,
    found: &Protected,
    packet: &mut [u8],
    engine: &impl Engine,
) -> Result<(), Check> {
    let mut operation = found.operation;
    let mut offset = found.offset;
    if let Some(ah) = sa.ah {
        if operation != Operation::AH {
            return Err(Check::Protocol);
        }
        let (next, end) = ah.header(packet, offset).ok_or(Check::Syntax)?;
        if !engine.verify_ah(handle, packet, offset) {
            return Err(Check::AhFailed);
        }
        if sa.esp.is_none() {
            return behind(layer, next, end, packet.len());
        }
        operation = if next == packet::PROTOCOL_ESP {
            Operation::ESP
        } else {
            return Err(Check::Protocol);
        };
        offset = end;
    }
    let esp = sa.esp.ok_or(Check::Other)?;
    if operation != Operation::ESP || packet::spi(packet, operation, offset) != Some(esp.spi) {
        return Err(Check::Protocol);
    }
    let (start, end) = esp_body(&esp, packet.len(), offset)?;
    if !engine.open_esp(handle, packet, offset) {
        return Err(Check::EspFailed);
    }
    let (next_header, pad_length) = trailer(packet, start, end).ok_or(Check::Syntax)?;
    layer.trailer = Some((next_header, pad_length));
    let end = end
        .saturating_sub(2)
        .saturating_sub(usize::from(pad_length));
    behind(layer, next_header, start, end)
}

/// What follows: an IP packet means tunnel mode, unless the SA says otherwise.
fn behind(layer: &mut Layer, next: u8, start: usize, end: usize) -> Result<(), Check> {
    let ip = next == packet::PROTOCOL_IPV4 || next == packet::PROTOCOL_IPV6;
    if layer.mode == Mode::ByPacket {
        layer.mode = if ip { Mode::Tunnel } else { Mode::Transport };
    }
    if ip && layer.mode == Mode::Tunnel {
        layer.inner = Some((start, end));
    }
    Ok(())
}

/// Where payload and trailer of an ESP start and end, if the length fits the SA (RFC 4303).
fn esp_body(esp: &EspShape, length: usize, offset: usize) -> Result<(usize, usize), Check> {
    let read = || {
        let start = offset.checked_add(ESP_HEADER)?.checked_add(esp.iv)?;
        let end = length.checked_sub(esp.icv)?;
        let body = end.checked_sub(start)?;
        let whole = body.checked_rem(esp.alignment)? == 0;
        (body >= 2 && whole).then_some((start, end))
    };
    read().ok_or(Check::Syntax)
}

/// NextHeader and PadLength of the trailer that ends at `end`.
fn trailer(packet: &[u8], start: usize, end: usize) -> Option<(u8, u8)> {
    let next = packet::byte(packet, end.checked_sub(1)?)?;
    let pad = packet::byte(packet, end.checked_sub(2)?)?;
    let first = end.checked_sub(2)?.checked_sub(usize::from(pad))?;
    (first >= start).then_some((next, pad))
}
