// SPDX-License-Identifier: GPL-2.0

//! ESP that the stack itself has made, in software or for crypto offload.
//!
//! The stack asks its policies for a packet once, before it protects it, and not again for the ESP packet. So
//! the driver must not, either: a policy for all packets would have it wrapped once more.

#[cfg(espnic_kunit)]
mod tests;

use espnic_esp::{
    ip::{
        be32,
        Address,
        Layers,
        Ports,
        IPPROTO_ESP,
        IPPROTO_UDP,
        UDP_HLEN, //
    },
    selector::Flow,
    upper::{
        Fragment,
        Upper, //
    }, //
};
use kernel_net::net::{
    ip::Family,
    netdevice::{
        Device,
        Operations, //
    },
    xfrm::State, //
};

/// What a packet of ESP shows of its SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Esp {
    src: Address,
    dst: Address,
    spi: u32,
    /// With ESP in UDP: source and destination port.
    ports: Option<(u16, u16)>,
}

impl Esp {
    /// The ESP packet in a frame, if there is a whole one.
    fn find(frame: &[u8]) -> Option<Self> {
        let ip = Layers::find(frame).ip()?;
        let Flow { src, dst, .. } = Flow::of(frame.get(ip.network..)?)?;
        let upper = Upper::find(frame, &ip).filter(|upper| upper.fragment == Fragment::No)?;
        let (at, ports) = match upper.protocol {
            IPPROTO_ESP => (upper.at, None),
            IPPROTO_UDP => {
                let Ports { src, dst } = Ports::of(frame.get(upper.at..)?)?;
                (upper.at.checked_add(UDP_HLEN)?, Some((src, dst)))
            }
            _ => return None,
        };
        let spi = be32(frame, at)?;
        Some(Self {
            src,
            dst,
            spi,
            ports,
        })
    }

    /// Whether `x` makes such packets, outside of packet offload.
    fn is_of(&self, x: &State) -> bool {
        let encapsulation = x.encapsulation();
        let ports = encapsulation.map(|encap| (encap.source_port, encap.destination_port));
        !x.is_packet_offload() && x.source() == self.src.bytes && ports == self.ports
    }
}

/// Whether the frame holds ESP of an SA of the stack's: its addresses, its SPI, its ports. Forwarded packets
/// have other source addresses. Those of SAs with marks are not found, and fragments are not recognised. No
/// sleeping.
pub(crate) fn is_made_by_stack<T: Operations>(dev: &Device<T>, frame: &[u8]) -> bool {
    let Some(esp) = Esp::find(frame) else {
        return false;
    };
    let family = match esp.dst.family {
        4 => Family::V4,
        _ => Family::V6,
    };
    State::find_esp(dev, family, &esp.dst.bytes, esp.spi).is_some_and(|x| esp.is_of(&x))
}
