// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The headers of a packet as selectors see them.
//!
//! * Ethernet: the first 14 bytes. A packet with a VLAN tag has the tag's EtherType, so no selector of IP
//!   meets it.
//! * IPv4: without options, which are passed over.
//! * IPv6: with the next header of the last extension header in place of the first (V106). If extension
//!   headers cannot be read, that is left as it is.
//! * TCP, UDP and ESP: if all of the header is there. Later fragments have none.
//! * META: what IPsec has done; all zeroes before it has.

use crate::frame::Frame;
use espnic_esp::ip::{Ip, ETH_HLEN, IPPROTO_ESP, IPPROTO_TCP, IPPROTO_UDP, IPV6_HLEN};
use espnic_esp::upper::{Fragment, Upper};
use espnic_wire::filter::selector::Kind;
use espnic_wire::sa::OBJ_INB_SA;

/// Offset of the next header in an IPv6 header.
const NEXT_HEADER: usize = 6;
/// META: the packet was decrypted.
const DECRYPTED: u8 = 1;

/// The headers of one packet.
pub(super) struct Headers<'a> {
    eth: Option<&'a [u8]>,
    meta: [u8; 8],
    ipv4: Option<&'a [u8]>,
    ipv6: Option<[u8; IPV6_HLEN]>,
    upper: Option<(Kind, &'a [u8])>,
}

impl<'a> Headers<'a> {
    /// Those of `frame`, which IPsec has decrypted under the SA `sa`.
    #[inline]
    pub(super) fn of(frame: &'a Frame, sa: Option<u32>) -> Self {
        let mut headers = Self {
            eth: frame.get(..ETH_HLEN),
            meta: sa.map(meta).unwrap_or_default(),
            ipv4: None,
            ipv6: None,
            upper: None,
        };
        // Behind a VLAN tag nobody looks.
        if let Some(ip) = frame.layers().ip().filter(|ip| ip.network == ETH_HLEN) {
            headers.add_ip(frame, &ip);
        }
        headers
    }

    fn add_ip(&mut self, frame: &'a Frame, ip: &Ip) {
        // Behind the end there may be the padding of Ethernet.
        let packet = frame.get(..ip.end.min(frame.len())).unwrap_or_default();
        let upper = Upper::find(packet, ip);
        let Some(header) = packet.get(ip.network..) else {
            return;
        };
        if ip.v6 {
            self.ipv6 = header.first_chunk().copied();
            if let (Some(header), Some(upper)) = (&mut self.ipv6, &upper) {
                if let Some(next) = header.get_mut(NEXT_HEADER) {
                    *next = upper.protocol;
                }
            }
        } else {
            self.ipv4 = header.get(..Kind::Ipv4.len());
        }
        self.upper = upper.and_then(|upper| content(packet, &upper));
    }

    /// The header of this kind; it has the kind's length.
    #[inline]
    pub(super) fn get(&self, kind: Kind) -> Option<&[u8]> {
        match kind {
            Kind::Eth => self.eth,
            Kind::XMeta => Some(&self.meta),
            Kind::Ipv4 => self.ipv4,
            Kind::Ipv6 => self.ipv6.as_ref().map(|header| header.as_slice()),
            Kind::Tcp | Kind::Udp | Kind::Esp => {
                let (found, header) = self.upper?;
                (found == kind).then_some(header)
            }
        }
    }
}

fn meta(sa: u32) -> [u8; 8] {
    let [a, b] = OBJ_INB_SA.to_be_bytes();
    let [c, d, e, f] = sa.to_be_bytes();
    [DECRYPTED, 0, a, b, c, d, e, f]
}

/// The header behind those of IP.
fn content<'a>(packet: &'a [u8], upper: &Upper) -> Option<(Kind, &'a [u8])> {
    if upper.fragment == Fragment::Later {
        return None;
    }
    let kind = match upper.protocol {
        IPPROTO_TCP => Kind::Tcp,
        IPPROTO_UDP => Kind::Udp,
        IPPROTO_ESP => Kind::Esp,
        _ => return None,
    };
    let header = packet.get(upper.at..)?.get(..kind.len())?;
    Some((kind, header))
}
