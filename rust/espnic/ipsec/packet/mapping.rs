// SPDX-License-Identifier: GPL-2.0

//! Peers behind a NAT that have moved.

use super::super::Ipsec;
use espnic_wire::event::Mapping;
use kernel_net::net::{
    ip::Family,
    xfrm::Direction, //
};

impl Ipsec {
    /// Tells the key managers that the packets of an inbound SA come from another address or port, as the stack
    /// would if it decrypted them (X93). A NIC that says so of other SAs, or of the address that the state has, says
    /// nothing. In one thread.
    pub(crate) fn report_mapping(&self, mapping: &Mapping) {
        let Some((handle, x)) = self.states.live(Direction::In, mapping.id.get()) else {
            return;
        };
        let family = match x.family() {
            Some(Family::V4) => 4,
            Some(Family::V6) => 6,
            None => return,
        };
        let Some(known) = x
            .encapsulation()
            .map(|encap| (x.source(), encap.source_port))
        else {
            return;
        };
        let moved = (mapping.src, mapping.port.get());
        if self.is_packet(handle) && mapping.family == family && moved != known {
            x.report_mapping(&moved.0, moved.1);
        }
    }
}
