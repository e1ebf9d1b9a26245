// SPDX-License-Identifier: GPL-2.0

//! Outgoing packets: what the policies say of them, and the header for those that the NIC protects.
//!
//! The stack hands these packets over in clear (X85), so every packet is looked at. One that cannot be read
//! is dropped rather than sent in clear, and so is one that has the sign of packet offload when no policy is
//! for it any more.

pub(crate) mod frame;
#[cfg(espnic_kunit)]
mod tests;

use super::{
    known::{
        From,
        Known,
        Way, //
    },
    policy::Action,
    sa::Sa,
    spd::{
        Found,
        Spd, //
    }, //
};
use crate::counters::counters;
use espnic_esp::{
    flow_key::FlowKey,
    ip::{
        Layers,
        ETHERTYPE_IPV4,
        ETHERTYPE_IPV6,
        ETH_HLEN,
        IPPROTO_ESP,
        IPPROTO_UDP,
        NAT_T_PORT, //
    },
    selector::{
        Flow,
        Seen, //
    },
    upper::Fragment, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48, //
    },
    sa as wire,
    U16,
    U32, //
};
use kernel_net::net::skbuff::{
    Gso,
    SkBuff, //
};

/// Bytes of a packet that are looked at, from its IP header on. With many extension headers it may not
/// show its ports then.
const LOOKED_AT: usize = 128;

counters! {
    /// What happened to outgoing packets of packet offload since the start.
    struct Counters {
        /// Given to the NIC to protect; as `tx_packets`.
        packets: c"ipsec_packet_tx_packets",
        /// Bytes of these packets, in clear.
        bytes: c"ipsec_packet_tx_bytes",
        /// See [`Drop::Blocked`].
        blocked: c"ipsec_packet_tx_drop_blocked",
        /// See [`Drop::Unclear`].
        unclear: c"ipsec_packet_tx_drop_unclear",
        /// See [`Drop::NoSa`].
        no_sa: c"ipsec_packet_tx_drop_no_sa",
        /// See [`Drop::NoHop`].
        no_hop: c"ipsec_packet_tx_drop_no_hop",
        /// See [`Drop::Form`].
        form: c"ipsec_packet_tx_drop_form",
        /// See [`Drop::Late`].
        late: c"ipsec_packet_tx_drop_late",
    }
}

/// Why a packet must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// A policy says so.
    Blocked,
    /// It does not show which policy it is for.
    Unclear,
    /// There is no SA for its policy.
    NoSa,
    /// The address of the next hop to the tunnel's other end is not known, or not yet.
    NoHop,
    /// It must be protected, but the NIC cannot: a fragment in transport mode, or in a VLAN.
    Form,
    /// The stack has sent it by an offloaded policy, and now it would go out in clear: the policy was deleted
    /// while the packet was under way to the driver.
    Late,
}

impl Counters {
    /// Counts a packet that the NIC gets.
    pub(crate) fn count(&self, len: u32, gso: Option<Gso>) {
        self.packets
            .add(gso.map_or(1, |gso| u64::from(gso.segments)));
        self.bytes.add(len.into());
    }

    /// Counts a packet that must be dropped.
    pub(crate) fn count_drop(&self, reason: Drop) {
        let counter = match reason {
            Drop::Blocked => &self.blocked,
            Drop::Unclear => &self.unclear,
            Drop::NoSa => &self.no_sa,
            Drop::NoHop => &self.no_hop,
            Drop::Form => &self.form,
            Drop::Late => &self.late,
        };
        counter.count();
    }

    pub(crate) fn dropped(&self) -> u64 {
        [
            &self.blocked,
            &self.unclear,
            &self.no_sa,
            &self.no_hop,
            &self.form,
            &self.late,
        ]
        .into_iter()
        .fold(0, |sum, counter| sum.wrapping_add(counter.get()))
    }
}

/// What is asked of the world outside of the policies and SAs.
pub(crate) struct Outside<S, O> {
    /// The address of the interface.
    pub(crate) source: S,
    /// Whether the stack has made the ESP in a frame.
    pub(crate) is_own: O,
}

/// What a frame holds.
enum Content {
    /// No IP packet.
    Other,
    /// An IP packet that cannot be read.
    Unreadable,
    /// An IP packet directly behind the Ethernet header.
    Packet(Flow),
    /// One behind VLAN tags.
    Tagged(Flow),
}

/// Fills `header` for a packet that must be protected, and returns true; false for one that goes out as it
/// is. `changes` is [`Database::changes`](super::database::Database::changes). Per packet, no sleeping.
///
/// # Errors
///
/// Why the packet must be dropped.
pub(crate) fn describe(
    known: &mut Known,
    changes: u32,
    skb: &mut SkBuff,
    gso: Option<Gso>,
    outside: Outside<impl FnOnce() -> [u8; 6], impl FnOnce(&[u8]) -> bool>,
    header: &mut NetHdr48,
) -> Result<bool, Drop> {
    if known.spd.out.is_empty() {
        return Ok(false);
    }
    let key = key(skb);
    let recalled = key.and_then(|key| known.recall(changes, &key, From::Clear));
    // An SA may have gone meanwhile.
    let is_there = |way| match way {
        Way::Plain => true,
        Way::Under(place) => known.spd.sas.at(place).is_some(),
    };
    let (way, form) = match (key, recalled.filter(|&way| is_there(way))) {
        (Some(key), Some(way)) => (way, Form::whole(key.is_v6())),
        _ => ask(&known.spd, skb, outside.is_own)?,
    };
    if let Some(key) = key.filter(|_| recalled != Some(way)) {
        known.note(key, From::Clear, way);
    }
    let Way::Under(place) = way else {
        return Ok(false);
    };
    let sa = known.spd.sas.at(place).ok_or(Drop::NoSa)?;
    protect(sa, &form, skb, gso, outside.source, header).map(|()| true)
}

/// What of a packet matters to its protection.
struct Form {
    /// IPv6, else IPv4.
    v6: bool,
    fragment: Fragment,
}

impl Form {
    fn whole(v6: bool) -> Self {
        let fragment = Fragment::No;
        Self { v6, fragment }
    }

    fn of(flow: &Flow) -> Self {
        Self {
            v6: flow.src.family != 4,
            fragment: flow.fragment,
        }
    }

    fn ethertype(&self) -> u16 {
        match self.v6 {
            false => ETHERTYPE_IPV4,
            true => ETHERTYPE_IPV6,
        }
    }
}

/// The short form of the packet's flow, if it stands in one piece behind an Ethernet header, or behind room
/// for one.
fn key(skb: &SkBuff) -> Option<FlowKey> {
    let v6 = match skb.protocol() {
        ETHERTYPE_IPV4 => false,
        ETHERTYPE_IPV6 => true,
        _ => return None,
    };
    if skb.network_offset() != Some(ETH_HLEN as u16) {
        return None;
    }
    skb.head()
        .get(ETH_HLEN..)
        .and_then(FlowKey::of)
        // ESP in UDP has more to it than its flow.
        .filter(|key| key.is_v6() == v6 && !key.is_udp_with(NAT_T_PORT))
}

/// What the policies say of a packet.
fn ask(spd: &Spd, skb: &SkBuff, is_own: impl FnOnce(&[u8]) -> bool) -> Result<(Way, Form), Drop> {
    let (flow, tagged) = match content(skb) {
        Content::Other => return Ok((Way::Plain, Form::whole(false))),
        Content::Unreadable => return Err(Drop::Unclear),
        Content::Packet(flow) => (flow, false),
        Content::Tagged(flow) => (flow, true),
    };
    let way = match plan(spd, &flow, tagged) {
        Ok(Way::Plain) => Ok(Way::Plain),
        // The stack does not ask the policies again for the ESP that it makes.
        _ if may_be_esp(&flow) && is_own(skb.head()) => Ok(Way::Plain),
        other => other,
    }?;
    Ok((way, Form::of(&flow)))
}

/// What the policies say of a packet of `flow`.
fn plan(spd: &Spd, flow: &Flow, tagged: bool) -> Result<Way, Drop> {
    match spd.out.find(flow) {
        Found::None => Ok(Way::Plain),
        Found::Unclear => Err(Drop::Unclear),
        Found::Policy(policy) => match &policy.action {
            Action::Hole => Ok(Way::Plain),
            Action::Block => Err(Drop::Blocked),
            Action::Protect(_) if tagged => Err(Drop::Form),
            Action::Protect(template) => {
                let place = spd.sas.outbound(template, flow);
                place.map(Way::Under).ok_or(Drop::NoSa)
            }
        },
    }
}

fn may_be_esp(flow: &Flow) -> bool {
    match (flow.protocol, flow.ports) {
        (Some(IPPROTO_ESP), _) => true,
        (Some(IPPROTO_UDP), Seen::Ports(ports)) => [ports.src, ports.dst].contains(&NAT_T_PORT),
        _ => false,
    }
}

fn protect(
    sa: &Sa,
    form: &Form,
    skb: &mut SkBuff,
    gso: Option<Gso>,
    source: impl FnOnce() -> [u8; 6],
    header: &mut NetHdr48,
) -> Result<(), Drop> {
    if sa.tunnel {
        let hop = sa.hop_address().ok_or(Drop::NoHop)?;
        // A forwarded packet has room for the header, but what is there is of another network; a local
        // one has the address of a neighbour that is at the other end of the tunnel (X82).
        let link = ethernet(hop, source(), form.ethertype());
        skb.set_ethernet(&link).map_err(|_| Drop::Form)?;
    } else if form.fragment != Fragment::No {
        return Err(Drop::Form);
    }
    sa.give(gso, skb.len());
    header.net.flags |= hdr::F_SECURITY | hdr::F_X_SEC;
    header.out.resource_id = U32::new(sa.handle.id);
    header.out.resource_type = U16::new(wire::OBJ_OUTB_SA);
    header.sec.sec_op = hdr::SEC_OP_STANDARD;
    header.sec.generation = U16::new(sa.handle.generation);
    Ok(())
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16) -> [u8; ETH_HLEN] {
    let mut header = [0; ETH_HLEN];
    let bytes = to.into_iter().chain(from).chain(kind.to_be_bytes());
    header
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    header
}

/// Reads the packet in a frame. In a forwarded one there is no Ethernet header, only room for it, so what
/// the stack says counts.
fn content(skb: &SkBuff) -> Content {
    match skb.protocol() {
        kind @ (ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => {
            if skb.network_offset() != Some(ETH_HLEN as u16) {
                return Content::Unreadable;
            }
            flow_at(skb, ETH_HLEN)
                .filter(|flow| Form::of(flow).ethertype() == kind)
                .map_or(Content::Unreadable, Content::Packet)
        }
        _ => {
            let layers = Layers::find(skb.head());
            let Some(ip) = layers.ip() else {
                return Content::Other;
            };
            let tagged = ip.network != ETH_HLEN;
            match flow_at(skb, ip.network) {
                None => Content::Unreadable,
                Some(flow) if tagged => Content::Tagged(flow),
                Some(flow) => Content::Packet(flow),
            }
        }
    }
}

/// The flow of the IP packet at `at`.
fn flow_at(skb: &SkBuff, at: usize) -> Option<Flow> {
    let in_one_piece = skb.head().get(at..).and_then(Flow::of);
    if in_one_piece.is_some_and(|flow| flow.ports != Seen::Nothing) {
        return in_one_piece;
    }
    let mut room = [0; LOOKED_AT];
    let left = (skb.len() as usize).checked_sub(at)?;
    let part = room.get_mut(..left.min(LOOKED_AT))?;
    skb.copy_bits(u32::try_from(at).ok()?, part).ok()?;
    Flow::of(part)
}
