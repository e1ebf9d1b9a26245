// SPDX-License-Identifier: GPL-2.0

//! Queue pairs with memory of sockets (AF_XDP).

use super::Nic;
use espnic_wire::feature;
use kernel::prelude::*;
use kernel_net::{
    net::{
        netdevice::Device,
        operation_not_supported,
        xdp::umem::Offer, //
    },
    rtnl, //
};

impl Nic {
    /// Has a queue pair use the memory of sockets that is offered for it. RTNL held. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the NIC cannot do it, `EBUSY` while there are SAs of packet offload, `EAGAIN` during a reset, and
    /// those of the queues.
    pub(crate) fn lend(&self, dev: &Device<Self>, offer: Offer<'_>, _rtnl: &rtnl::Held) -> Result {
        let channel = self.channel(offer.queue()).ok_or(EINVAL)?;
        if !self.vdev.has_feature(feature::RING_RESET) {
            return Err(operation_not_supported());
        }
        if channel.rx.lock().queue.is_none() {
            return Err(EAGAIN);
        }
        // Before the NIC gets memory that it could decrypt to.
        self.ipsec.begin_lending(&self.control)?;
        let header = self.header.bytes();
        let lent = self.paused(dev, || {
            let lent = channel.lend(dev, offer, header);
            self.after_reset_of_queues();
            lent
        });
        if lent.is_err() {
            self.ipsec.end_lending(&self.control);
            if !channel.is_usable() {
                self.recovery.request();
                dev.schedule_work();
            }
        }
        lent
    }

    /// Gives the memory of a queue pair back, if it has any. A NIC that does not is reset. RTNL held. Sleeps.
    pub(crate) fn take_back(&self, dev: &Device<Self>, queue: u16, _rtnl: &rtnl::Held) {
        let Some(channel) = self.channel(queue).filter(|channel| channel.is_lent()) else {
            return;
        };
        let is_back = self.paused(dev, || {
            let is_back = channel.take_back(dev);
            self.after_reset_of_queues();
            is_back
        });
        if !is_back {
            self.halt(dev);
            self.drop_queues(dev);
            self.recovery.request();
            dev.schedule_work();
        }
        self.ipsec.end_lending(&self.control);
    }
}
