// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an IP packet carries: the protocol behind IPv6 extension headers (RFC 8200 section 4), and whether
//! it is there from its start.

use crate::ip::{be16, Ip};

/// Hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
/// Routing header.
const ROUTING: u8 = 43;
/// Fragment header.
const FRAGMENT: u8 = 44;
/// Destination options.
const DESTINATION: u8 = 60;
/// Extension headers that are looked through in one packet.
const MAX_HEADERS: usize = 8;
/// Length of a fragment header in bytes.
const FRAGMENT_HLEN: usize = 8;
/// Offset of flags and fragment offset in an IPv4 header.
const IPV4_FLAGS: usize = 6;
/// IPv4: more fragments.
const IPV4_MORE: u16 = 0x2000;
/// IPv4: fragment offset.
const IPV4_OFFSET: u16 = 0x1fff;
/// IPv6: more fragments.
const IPV6_MORE: u16 = 1;
/// IPv6: fragment offset.
const IPV6_OFFSET: u16 = 0xfff8;
/// Offset of the protocol in an IPv4 header.
const IPV4_PROTOCOL: usize = 9;
/// Offset of the next header in an IPv6 header.
const IPV6_NEXT_HEADER: usize = 6;

/// Whether a packet is a part of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    No,
    /// It is the first part, which has the start of the content.
    First,
    /// It is a part that has not.
    Later,
}

impl Fragment {
    fn of(more: bool, offset: u16) -> Self {
        match (more, offset) {
            (false, 0) => Self::No,
            (true, 0) => Self::First,
            _ => Self::Later,
        }
    }
}

/// What is behind all headers of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The last protocol or next header number.
    pub protocol: u8,
    /// Where that starts, in the bytes in which the IP header was found. In a later fragment the middle of
    /// something is there.
    pub at: usize,
    /// The byte that names it.
    pub named_at: usize,
    /// Whether all of it is there.
    pub fragment: Fragment,
}

impl Upper {
    /// Behind the header `ip`, which was found in `bytes`. `None` if the headers are not complete or too
    /// many.
    pub fn find(bytes: &[u8], ip: &Ip) -> Option<Self> {
        if !ip.v6 {
            return Some(Self {
                protocol: ip.protocol,
                at: ip.transport,
                named_at: named_at(ip)?,
                fragment: ipv4_fragment(bytes, ip)?,
            });
        }
        let mut named_at = named_at(ip)?;
        let mut chain = Chain::new(bytes, ip);
        let mut fragment = Fragment::No;
        while let Some(header) = chain.next()? {
            named_at = header.at;
            if header.kind == FRAGMENT {
                fragment = ipv6_fragment(bytes, header.at)?;
            }
            // What follows it in a later fragment is no header.
            if fragment == Fragment::Later {
                break;
            }
        }
        Some(Self {
            protocol: chain.kind,
            at: chain.at,
            named_at,
            fragment,
        })
    }
}

/// Where ESP in transport mode goes into a packet (RFC 4303 section 3.1.1): behind the headers that
/// routers read, in front of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The protocol that ESP will protect.
    pub protocol: u8,
    /// Where that starts, in the bytes in which the IP header was found.
    pub at: usize,
    /// The byte that names it, and will name ESP.
    pub named_at: usize,
}

impl Gap {
    /// In the packet with the header `ip`, which was found in `bytes`. `None` if its headers cannot be
    /// read, or it is a fragment, which transport mode does not protect.
    pub fn find(bytes: &[u8], ip: &Ip) -> Option<Self> {
        let mut gap = Self {
            protocol: ip.protocol,
            at: ip.transport,
            named_at: named_at(ip)?,
        };
        if !ip.v6 {
            let whole = ipv4_fragment(bytes, ip)? == Fragment::No;
            return whole.then_some(gap);
        }
        let mut chain = Chain::new(bytes, ip);
        while let Some(header) = chain.next()? {
            match header.kind {
                FRAGMENT => return None,
                // Destination options are for routers only in front of a routing header.
                HOP_BY_HOP | ROUTING => {
                    gap = Self {
                        protocol: chain.kind,
                        at: chain.at,
                        named_at: header.at,
                    }
                }
                _ => {}
            }
        }
        Some(gap)
    }
}

/// The byte in the fixed header that names what follows it.
fn named_at(ip: &Ip) -> Option<usize> {
    let offset = if ip.v6 {
        IPV6_NEXT_HEADER
    } else {
        IPV4_PROTOCOL
    };
    ip.network.checked_add(offset)
}

fn ipv4_fragment(bytes: &[u8], ip: &Ip) -> Option<Fragment> {
    let word = be16(bytes, ip.network.checked_add(IPV4_FLAGS)?)?;
    Some(Fragment::of(word & IPV4_MORE != 0, word & IPV4_OFFSET))
}

fn ipv6_fragment(bytes: &[u8], at: usize) -> Option<Fragment> {
    let word = be16(bytes, at.checked_add(2)?)?;
    Some(Fragment::of(word & IPV6_MORE != 0, word & IPV6_OFFSET))
}

/// An extension header.
struct Header {
    kind: u8,
    at: usize,
}

/// A walk over extension headers.
struct Chain<'a> {
    bytes: &'a [u8],
    /// What the walk has come to.
    kind: u8,
    at: usize,
    left: usize,
}

impl<'a> Chain<'a> {
    fn new(bytes: &'a [u8], ip: &Ip) -> Self {
        Self {
            bytes,
            kind: ip.protocol,
            at: ip.transport,
            left: MAX_HEADERS,
        }
    }

    /// Goes over the next header. `None` if it cannot be read, `Some(None)` if there is none.
    #[allow(clippy::should_implement_trait)]
    fn next(&mut self) -> Option<Option<Header>> {
        if !matches!(self.kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Some(None);
        }
        self.left = self.left.checked_sub(1)?;
        let header = Header {
            kind: self.kind,
            at: self.at,
        };
        let &[next, units, ..] = self.bytes.get(self.at..)? else {
            return None;
        };
        let len = match self.kind {
            FRAGMENT => FRAGMENT_HLEN,
            // In units of eight bytes, without the first.
            _ => usize::from(units).checked_add(1)?.checked_mul(8)?,
        };
        (self.kind, self.at) = (next, self.at.checked_add(len)?);
        (self.at <= self.bytes.len()).then_some(Some(header))
    }
}

#[cfg(test)]
#[path = "upper_tests.rs"]
pub(crate) mod tests;
