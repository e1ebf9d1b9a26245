// SPDX-License-Identifier: GPL-2.0

//! Which channels can receive: those that the stack uses, while the interface is up.

use super::Nic;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::{
    net::netdevice::Device,
    rtnl, //
};

impl Nic {
    /// Gives the first `count` channels what they receive with. Traffic is stopped, RTNL held. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and others of the pools; some channels may have theirs then.
    pub(crate) fn open_channels(
        &self,
        dev: &Device<Self>,
        count: u32,
        rtnl: &rtnl::Held,
    ) -> Result {
        let channels = (0u16..).zip(&self.channels).take(count as usize);
        for (index, channel) in channels {
            channel.open(dev, index, rtnl)?;
        }
        Ok(())
    }

    /// Takes it from all but the first `count` channels. Traffic is stopped, RTNL held. Sleeps. A NIC that fails to reset
    /// a queue is reset as a whole.
    pub(crate) fn close_channels(&self, dev: &Device<Self>, count: u32) {
        let mut has_reset = false;
        let channels = (0u16..).zip(&self.channels).skip(count as usize);
        for (index, channel) in channels {
            match channel.close(dev, index) {
                Ok(was_reset) => has_reset |= was_reset,
                Err(_) => {
                    self.recovery.request();
                    dev.schedule_work();
                }
            }
        }
        if has_reset {
            self.after_reset_of_queues();
        }
    }

    /// Tells the NIC what has gone with a reset of queues. Sleeps.
    pub(super) fn after_reset_of_queues(&self) {
        if let Err(error) = self.restore_coalescing() {
            let log = (*self.vdev).as_ref();
            dev_warn!(
                log,
                "the NIC has not taken again how long to hold interrupts back: {:?}\n",
                error
            );
        }
    }

    /// Has the stack and the NIC use another number of channels. Traffic is stopped, RTNL held.
    ///
    /// # Errors
    ///
    /// Those of [`Self::set_active`] and [`Self::open_channels`]; then the old number stays.
    pub(crate) fn change_channels(
        &self,
        dev: &Device<Self>,
        count: u32,
        rtnl: &rtnl::Held,
    ) -> Result {
        if !dev.is_running() {
            return self.set_active(dev, count, rtnl);
        }
        let changed = self
            .open_channels(dev, count, rtnl)
            .and_then(|()| self.set_active(dev, count, rtnl));
        self.close_channels(dev, self.active.load(Relaxed));
        changed
    }
}
