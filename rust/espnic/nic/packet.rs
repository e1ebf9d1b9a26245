// SPDX-License-Identifier: GPL-2.0

//! What packet offload needs of the whole NIC: snapshots for all channels, next hops, and what the NIC
//! reports of its SAs.

use super::Nic;
use crate::{
    events::{
        self,
        Subject, //
    },
    ipsec::packet::{
        self,
        known::Known,
        spd::Spd,
        stats::Reading, //
    }, //
};
use kernel_net::net::{
    neighbour::Neighbour,
    netdevice::Device,
    xfrm::State, //
};

/// The delay before a new snapshot of the policies is made, after one was deleted or there was no memory, in
/// milliseconds. Of many that are deleted together one snapshot is made.
pub(crate) const REFRESH_MS: u32 = 100;

impl Nic {
    /// Brings changes of the policies and SAs of packet offload to the channels. Sleeps.
    pub(crate) fn refresh_spd(&self, dev: &Device<Self>) {
        // Without memory it is tried again, too.
        let is_left = self.ipsec.refresh(|spd| self.publish(spd)).unwrap_or(true);
        if is_left {
            dev.schedule_work_in(REFRESH_MS);
        }
    }

    /// Gives each channel the policies and SAs of packet offload, or takes them away.
    pub(crate) fn publish(&self, spd: Option<&Spd>) {
        for channel in &self.channels {
            let new = spd.cloned().map(Known::new);
            let old = core::mem::replace(&mut channel.tx.lock().known, new);
            drop(old);
            let new = spd.cloned().map(Known::new);
            let old = channel.rx.lock().shelf.replace(new);
            drop(old);
        }
    }

    /// Reads what the NIC has counted for SAs of which it says that something has happened, and tells of peers
    /// that have moved. Sleeps.
    pub(crate) fn follow_events(&self, dev: &Device<Self>) {
        let follow = |subject| match subject {
            Subject::Sa(direction, id) => self.ipsec.read_named(&self.control, direction, id),
            Subject::Peer(mapping) => self.ipsec.report_mapping(&mapping),
            Subject::All => {}
        };
        if self.events.drain(follow) {
            dev.schedule_work_in(events::PAUSE_MS);
        }
    }

    /// Looks for the next hop of an outbound SA of packet offload, if it needs one.
    pub(crate) fn find_next_hop(dev: &Device<Self>, x: &State, sa: &packet::Sa) {
        let Some(family) = x.family().filter(|_| sa.needs_next_hop()) else {
            return;
        };
        // Without a route the SA's packets are dropped and counted, and this is tried again.
        if let Ok(hop) = Neighbour::resolve(dev, family, &x.source(), &x.destination()) {
            // Asks for an address that is not known.
            hop.address();
            sa.set_next_hop(hop);
        }
    }

    /// Does what SAs of packet offload need from time to time: reads their counters, and looks for next
    /// hops that were not found. Sleeps.
    pub(crate) fn tend_packet_sas(&self, dev: &Device<Self>) {
        let lost = self.events.take_lost();
        let wanted = self.ipsec.read_states(&self.control, lost);
        if wanted == Reading::Nothing {
            return;
        }
        if lost && wanted == Reading::Early {
            self.events.set_lost();
            dev.schedule_work_in(events::PAUSE_MS);
        }
        self.ipsec
            .for_each_packet_sa(|x, sa| Self::find_next_hop(dev, x, sa));
        dev.schedule_work_in(packet::stats::INTERVAL_MS);
    }
}
