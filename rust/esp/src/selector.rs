// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which packets a policy or an SA is for (RFC 4301 section 4.4.1.1), as XFRM has it: prefixes of
//! addresses, a protocol, and ports under a mask.
//!
//! What a packet does not show decides nothing: a later fragment has no ports, so a selector that asks for
//! them answers [`Match::Unclear`]. Neither "yes" nor "no" would be safe, because the packet could then go
//! under the wrong SA or in clear.

use crate::ip::{be16, Address, Ip, Ports};
use crate::upper::{Fragment, Upper};

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_GRE: u8 = 47;
const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_SCTP: u8 = 132;
const IPPROTO_MH: u8 = 135;
const IPPROTO_UDPLITE: u8 = 136;

/// GRE: the header has a checksum.
const GRE_CHECKSUM: u16 = 0x8000;
/// GRE: the header has a key.
const GRE_KEY: u16 = 0x2000;
/// GRE: version.
const GRE_VERSION: u16 = 7;

/// What a packet shows of its protocol's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Ports, or what XFRM takes for them: type and code of ICMP, the halves of the key of GRE, the type of
    /// a mobility header. Zero for protocols without any.
    Ports(Ports),
    /// There are some, but they are not in this packet.
    Nothing,
}

/// What a selector looks at in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Protocol behind all IPv6 extension headers; `None` if they cannot be read.
    pub protocol: Option<u8>,
    /// Ports.
    pub ports: Seen,
    /// Whether the packet is a part of another. Without a protocol nobody knows.
    pub fragment: Fragment,
}

impl Flow {
    /// Of the IP packet at the start of `packet`; `None` if that is none. The end of `packet` may be
    /// missing; what is behind the end that the IP header names does not count. A length of zero is that of
    /// a packet which is still to be segmented and says nothing.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let ip = Ip::at(packet, 0)?;
        let packet = packet.get(..shown(&ip, packet.len()))?;
        let [src, dst] = ip.addresses(packet)?;
        let upper = Upper::find(packet, &ip);
        Some(Self {
            src,
            dst,
            protocol: upper.map(|upper| upper.protocol),
            ports: upper.map_or(Seen::Nothing, |upper| seen(packet, &upper)),
            fragment: upper.map_or(Fragment::No, |upper| upper.fragment),
        })
    }

    /// The flow of the packets that answer this one.
    #[must_use]
    pub fn reversed(self) -> Self {
        let ports = match self.ports {
            Seen::Ports(Ports { src, dst }) if self.has_two_ends() => {
                Seen::Ports(Ports { src: dst, dst: src })
            }
            other => other,
        };
        Self {
            src: self.dst,
            dst: self.src,
            ports,
            ..self
        }
    }

    /// Its ports are those of two ends, not type and code.
    fn has_two_ends(&self) -> bool {
        matches!(
            self.protocol,
            Some(IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE | IPPROTO_SCTP)
        )
    }
}

/// How much of `len` bytes is of the packet.
fn shown(ip: &Ip, len: usize) -> usize {
    let start = if ip.v6 { ip.transport } else { ip.network };
    if ip.end == start {
        len
    } else {
        ip.end.min(len)
    }
}

fn seen(packet: &[u8], upper: &Upper) -> Seen {
    let ports = match upper.protocol {
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE | IPPROTO_SCTP | IPPROTO_ICMP
        | IPPROTO_ICMPV6 | IPPROTO_GRE | IPPROTO_MH
            if upper.fragment == Fragment::Later =>
        {
            None
        }
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_UDPLITE | IPPROTO_SCTP => {
            packet.get(upper.at..).and_then(Ports::of)
        }
        IPPROTO_ICMP | IPPROTO_ICMPV6 => type_and_code(packet, upper.at),
        IPPROTO_GRE => gre_key(packet, upper.at),
        IPPROTO_MH => mobility_type(packet, upper.at),
        _ => Some(Ports { src: 0, dst: 0 }),
    };
    ports.map_or(Seen::Nothing, Seen::Ports)
}

fn type_and_code(packet: &[u8], at: usize) -> Option<Ports> {
    let [kind, code] = be16(packet, at)?.to_be_bytes();
    Some(Ports {
        src: kind.into(),
        dst: code.into(),
    })
}

/// The third byte of a mobility header (RFC 6275 section 6.1.1).
fn mobility_type(packet: &[u8], at: usize) -> Option<Ports> {
    let [kind, _] = be16(packet, at.checked_add(2)?)?.to_be_bytes();
    Some(Ports {
        src: kind.into(),
        dst: 0,
    })
}

/// The halves of the key (RFC 2890), zero without one.
fn gre_key(packet: &[u8], at: usize) -> Option<Ports> {
    let flags = be16(packet, at)?;
    if flags & GRE_VERSION != 0 {
        return None;
    }
    if flags & GRE_KEY == 0 {
        return Some(Ports { src: 0, dst: 0 });
    }
    let skip = if flags & GRE_CHECKSUM != 0 { 8 } else { 4 };
    Ports::of(packet.get(at.checked_add(skip)?..)?)
}

/// A port and the bits of it that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortMask {
    /// The port.
    pub port: u16,
    /// Its bits that count; 0 for any port.
    pub mask: u16,
}

impl PortMask {
    fn takes(&self, port: u16) -> bool {
        (port ^ self.port) & self.mask == 0
    }
}

/// What a selector says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The packet is for it.
    Yes,
    /// It is not.
    No,
    /// Nothing that the packet shows speaks against it, but it does not show all that is asked for.
    Unclear,
}

/// A selector. The default one is for every packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// 4 or 6, or 0 for both.
    pub family: u8,
    /// Source address, network order, IPv4 in the first four bytes.
    pub src: [u8; 16],
    /// Bits of it that count. With more than an address has it is for no packet.
    pub src_len: u8,
    /// Destination address, network order, IPv4 in the first four bytes.
    pub dst: [u8; 16],
    /// Bits of it that count.
    pub dst_len: u8,
    /// Protocol, 0 for any.
    pub protocol: u8,
    /// Source port.
    pub src_port: PortMask,
    /// Destination port.
    pub dst_port: PortMask,
}

impl Selector {
    /// Whether a packet of `flow` is for it.
    pub fn matches(&self, flow: &Flow) -> Match {
        let family = self.family == 0 || self.family == flow.src.family;
        if !family
            || !is_in(&flow.src, &self.src, self.src_len)
            || !is_in(&flow.dst, &self.dst, self.dst_len)
        {
            return Match::No;
        }
        let (protocol, ports) = (self.takes_protocol(flow), self.takes_ports(flow));
        match (protocol, ports) {
            (Some(false), _) | (_, Some(false)) => Match::No,
            (Some(true), Some(true)) => Match::Yes,
            _ => Match::Unclear,
        }
    }

    /// `None` if the packet does not show.
    fn takes_protocol(&self, flow: &Flow) -> Option<bool> {
        match self.protocol {
            0 => Some(true),
            protocol => flow.protocol.map(|of_packet| of_packet == protocol),
        }
    }

    /// `None` if the packet does not show.
    fn takes_ports(&self, flow: &Flow) -> Option<bool> {
        match flow.ports {
            Seen::Ports(ports) => {
                Some(self.src_port.takes(ports.src) && self.dst_port.takes(ports.dst))
            }
            Seen::Nothing => (self.src_port.mask | self.dst_port.mask == 0).then_some(true),
        }
    }
}

/// Whether the first `len` bits of the address are those of `prefix`.
fn is_in(address: &Address, prefix: &[u8; 16], len: u8) -> bool {
    let most = if address.family == 4 { 32 } else { 128 };
    let difference = u128::from_be_bytes(address.bytes) ^ u128::from_be_bytes(*prefix);
    len <= most && difference.leading_zeros() >= len.into()
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
