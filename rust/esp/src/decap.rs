// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From an ESP packet that was decrypted in place to the IP packet in it: the way back of
//! [`crate::encap`].
//!
//! Nothing is allocated and little moves: what comes out lies in the buffer of the ESP packet. After an
//! error the buffer is not to be used, the packet is dropped.

use crate::ds::{self, ECN_MASK};
use crate::encap::set_length;
use crate::engine::Layout;
use crate::ip::{Ip, IPPROTO_ESP, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_UDP, UDP_HLEN};
use crate::packet::ESP_HLEN;
use crate::upper::{Fragment, Upper};
use core::ops::Range;

/// Next header of a dummy packet (RFC 4303 section 2.6).
const IPPROTO_NONE: u8 = 59;

/// Why nothing comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is a dummy packet, which is to be dropped without a complaint.
    Dummy,
    /// The outer headers are not those of an ESP packet, or there is no room for IV, trailer and ICV.
    Headers,
    /// The padding is longer than the packet or not 1, 2, 3 and so on (RFC 4303 section 2.4).
    Padding,
    /// In tunnel mode: the next header is no version of IP.
    NextHeader,
    /// In tunnel mode: the content is no whole packet of that version.
    Inner,
    /// A router told of congestion, and the transport does not know ECN ([`ds::combine`]).
    Congestion,
}

/// What an SA wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Tunnel mode, else transport mode.
    pub tunnel: bool,
    /// Tunnel mode: the packet takes over the DSCP of the outer header.
    pub dscp: bool,
    /// Tunnel mode: the packet learns of congestion from the outer header.
    pub ecn: bool,
    /// Lengths of IV and ICV.
    pub layout: Layout,
}

/// What comes out of an ESP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it is in the buffer. Behind a packet from a tunnel there may be padding against traffic analysis
    /// (RFC 4303 section 2.7), which is left out.
    pub range: Range<usize>,
    /// It is IPv6, else IPv4.
    pub v6: bool,
}

/// The text of an ESP packet, taken apart.
struct Text {
    start: usize,
    /// Of the payload.
    end: usize,
    next_header: u8,
}

impl Rules {
    /// Takes an ESP packet apart that is authentic and decrypted. `packet` starts with its IP header and
    /// ends with the ICV; the ESP header is at `esp`, behind UDP or not.
    ///
    /// In transport mode over UDP the checksums of the content are those of the addresses that the sender
    /// had, which a NAT may have changed (RFC 3948 section 3.1.2); they are not looked at.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn strip(&self, packet: &mut [u8], esp: usize) -> Result<Packet, Error> {
        let text = take_apart(packet, esp, &self.layout)?;
        if text.next_header == IPPROTO_NONE {
            return Err(Error::Dummy);
        }
        if self.tunnel {
            self.leave_tunnel(packet, &text)
        } else {
            leave_transport(packet, esp, &text).ok_or(Error::Headers)
        }
    }

    fn leave_tunnel(&self, packet: &mut [u8], text: &Text) -> Result<Packet, Error> {
        let v6 = match text.next_header {
            IPPROTO_IPIP => false,
            IPPROTO_IPV6 => true,
            _ => return Err(Error::NextHeader),
        };
        let outer = Ip::at(packet, 0).ok_or(Error::Headers)?;
        let outer_class = ds::read(packet, outer.v6).ok_or(Error::Headers)?;
        let payload = packet.get_mut(text.start..text.end).ok_or(Error::Inner)?;
        let ip = Ip::whole(payload, 0).filter(|ip| ip.v6 == v6);
        let ip = ip.ok_or(Error::Inner)?;
        self.carry_class(outer_class, payload, v6)?;
        let end = text.start.checked_add(ip.end).ok_or(Error::Inner)?;
        Ok(Packet {
            range: text.start..end,
            v6,
        })
    }

    /// What the outer header knows of priority and congestion goes into that of the packet.
    fn carry_class(&self, outer: u8, inner: &mut [u8], v6: bool) -> Result<(), Error> {
        let class = ds::read(inner, v6).ok_or(Error::Inner)?;
        let ecn = match self.ecn {
            true => ds::combine(outer, class).ok_or(Error::Congestion)?,
            false => class & ECN_MASK,
        };
        let dscp = if self.dscp { outer } else { class } & !ECN_MASK;
        let now = dscp | ecn;
        if now != class && !ds::write(inner, v6, now) {
            return Err(Error::Inner);
        }
        Ok(())
    }
}

/// Finds payload and next header, and looks at the padding.
fn take_apart(packet: &[u8], esp: usize, layout: &Layout) -> Result<Text, Error> {
    let start = esp
        .saturating_add(ESP_HLEN)
        .saturating_add(layout.iv_len.into());
    let end = packet.len().checked_sub(layout.icv_len.into());
    let text = end.and_then(|end| packet.get(start..end));
    let Some([padded @ .., pad_len, next_header]) = text else {
        return Err(Error::Headers);
    };
    let len = padded.len().checked_sub((*pad_len).into());
    let (payload, padding) = len
        .and_then(|len| padded.split_at_checked(len))
        .ok_or(Error::Padding)?;
    if !padding.iter().copied().eq(1..=*pad_len) {
        return Err(Error::Padding);
    }
    Ok(Text {
        start,
        end: start.saturating_add(payload.len()),
        next_header: *next_header,
    })
}

/// Moves the IP headers to the payload and makes them right.
fn leave_transport(packet: &mut [u8], esp: usize, text: &Text) -> Option<Packet> {
    let ip = Ip::at(packet, 0)?;
    let upper = Upper::find(packet, &ip)?;
    let behind = match upper.protocol {
        IPPROTO_ESP => 0,
        IPPROTO_UDP => UDP_HLEN,
        _ => return None,
    };
    if upper.fragment != Fragment::No || upper.at.checked_add(behind)? != esp {
        return None;
    }
    let start = text.start.checked_sub(upper.at)?;
    *packet.get_mut(upper.named_at)? = text.next_header;
    // To the start of the text, which lies in the packet.
    packet.copy_within(..upper.at, start);
    let headers = packet.get_mut(start..text.start)?;
    set_length(headers, ip.v6, text.end.checked_sub(start)?)?;
    Some(Packet {
        range: start..text.end,
        v6: ip.v6,
    })
}

#[cfg(test)]
#[path = "decap_tests.rs"]
mod tests;
