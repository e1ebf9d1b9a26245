// SPDX-License-Identifier: GPL-2.0

//! What the NIC has left to do of a received packet: its checksum, and its segments.
//!
//! The NIC may be hostile, and the stack and other drivers rely on what they are told. So all headers that
//! it names are looked at.

#[cfg(espnic_kunit)]
mod tests;

use espnic_esp::{
    checksum::TCP_FIELD,
    ip::{
        Layers,
        IPPROTO_TCP, //
    }, //
};
use espnic_wire::{
    feature,
    hdr::{
        self,
        NetHdr48, //
    }, //
};
use kernel_net::{
    net::{
        ip::Family,
        skbuff::RxSkb, //
    },
    virtio::Device, //
};

/// Least data of a segment, in bytes: `TCP_MIN_GSO_SIZE` of the stack.
const MIN_SIZE: u16 = 8;
/// Length of a TCP header without options, in bytes.
const TCP_HLEN: usize = 20;
/// Offset of the byte with a TCP header's length.
const TCP_OFFSET: usize = 12;

/// The segments for which a packet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Segments {
    family: Family,
    /// Bytes of data in each but the last.
    size: u16,
    count: u16,
    /// The packet ends where its IP header says, so the stack would count as many.
    certain: bool,
}

/// Tells the stack what `header` says, and returns the number of segments for which the packet stands.
/// `None` if that is impossible.
pub(crate) fn apply(dev: &Device, header: &NetHdr48, skb: &mut RxSkb) -> Option<u16> {
    let partial = header.has(hdr::F_NEEDS_CSUM);
    if partial {
        let (start, offset) = (header.net.csum_start.get(), header.net.csum_offset.get());
        if !skb.set_checksum_partial(start, offset) {
            return None;
        }
    } else if header.has(hdr::F_DATA_VALID) {
        skb.set_checksum_verified();
    }
    if header.net.gso_type == hdr::GSO_NONE {
        return Some(1);
    }
    // What IPsec has processed is one packet.
    if !partial || header.has(hdr::F_SECURITY) {
        return None;
    }
    let segments = find(header, skb.head(), skb.len())?;
    if !dev.has_feature(feature_of(segments.family)) {
        return None;
    }
    if segments.count <= 1 {
        return Some(1);
    }
    let Segments {
        family,
        size,
        count,
        certain,
    } = segments;
    skb.set_gso(family, size, count, certain).then_some(count)
}

const fn feature_of(family: Family) -> u32 {
    match family {
        Family::V4 => feature::GUEST_TSO4,
        Family::V6 => feature::GUEST_TSO6,
    }
}

/// Reads the segments of a packet of `len` bytes that begins with `head`; `None` if its headers are not
/// those that `header` describes.
fn find(header: &NetHdr48, head: &[u8], len: u32) -> Option<Segments> {
    let family = match header.net.gso_type {
        hdr::GSO_TCPV4 => Family::V4,
        hdr::GSO_TCPV6 => Family::V6,
        _ => return None,
    };
    let ip = Layers::find(head).ip()?;
    let fits = ip.v6 == (family == Family::V6)
        && ip.protocol == IPPROTO_TCP
        && !ip.fragment
        && ip.transport == usize::from(header.net.csum_start.get())
        && usize::from(header.net.csum_offset.get()) == TCP_FIELD;
    let tcp = head.get(ip.transport..)?;
    let tcp_len = usize::from(tcp.get(TCP_OFFSET)? >> 4).saturating_mul(4);
    let size = header.net.gso_size.get();
    if !fits || tcp_len < TCP_HLEN || tcp_len > tcp.len() || size < MIN_SIZE {
        return None;
    }
    let headers = ip.transport.saturating_add(tcp_len);
    let data = len.checked_sub(u32::try_from(headers).ok()?)?;
    let count = u16::try_from(data.div_ceil(size.into())).ok()?;
    Some(Segments {
        family,
        size,
        count,
        certain: usize::try_from(len) == Ok(ip.end),
    })
}
