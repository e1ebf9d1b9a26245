// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver may want to know of an SA, and the events made of it ([`espnic_wire::event`]).

use super::super::events::Events;
use espnic_esp::ip::Address;
use espnic_esp::packet::Esp;
use espnic_wire::event::{Event, Kind, Mapping};
use espnic_wire::sa::SaObject;

/// What has ended, is about to, or has moved, and what was counted then.
#[derive(Clone, Copy, Default)]
pub(super) struct News {
    pub(super) soft: bool,
    pub(super) hard: bool,
    pub(super) overflow: bool,
    /// Where the packets come from now.
    pub(super) moved: Option<Peer>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) seq: u64,
}

/// Where packets in UDP come from. A NAT in between may change it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    src: Address,
    port: u16,
}

impl Peer {
    /// That of an ESP packet in UDP, which was found in `frame`.
    pub(super) fn of_packet(esp: &Esp, frame: &[u8]) -> Option<Self> {
        let [src, _] = esp.addresses(frame)?;
        Some(Self {
            src,
            port: esp.udp?.src,
        })
    }

    /// The one that the driver knows; `None` if it gives no address or no port.
    pub(super) fn of_object(object: &SaObject) -> Option<Self> {
        let mut src = Address {
            family: object.tail.family,
            bytes: object.tail.src,
        };
        if src.family == 4 {
            // Only the first four bytes are an address.
            src.bytes.iter_mut().skip(4).for_each(|byte| *byte = 0);
        }
        let port = object.base.udp_sport.get();
        let known = matches!(src.family, 4 | 6) && port != 0 && src.bytes != [0; 16];
        known.then_some(Self { src, port })
    }
}

impl News {
    /// Whether there is any.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.soft || self.hard || self.overflow || self.moved.is_some()
    }

    /// Lets the driver know, as far as `mask` has it ([`espnic_wire::sa::SaTail::event_mask`]). The SA is an
    /// object of type `res_type` with this `id`.
    #[cold]
    pub(super) fn report(&self, mask: u64, res_type: u16, id: u32, events: &Events) {
        let kinds = [
            (self.soft, Kind::SoftLimit),
            (self.hard, Kind::HardLimit),
            (self.overflow, Kind::Overflow),
        ];
        for (_, kind) in kinds.into_iter().filter(|(is, _)| *is) {
            if kind.is_in(mask) {
                events.push(Event {
                    kind: (kind as u16).into(),
                    res_type: res_type.into(),
                    id: id.into(),
                    packets: self.packets.into(),
                    bytes: self.bytes.into(),
                    seq: self.seq.into(),
                });
            }
        }
        if let Some(peer) = self.moved.filter(|_| Kind::NatMapping.is_in(mask)) {
            let mapping = Mapping {
                kind: (Kind::NatMapping as u16).into(),
                res_type: res_type.into(),
                id: id.into(),
                src: peer.src.bytes,
                port: peer.port.into(),
                family: peer.src.family,
                ..Mapping::default()
            };
            events.push(mapping.into());
        }
    }
}
