// SPDX-License-Identifier: GPL-2.0

//! The link and the address of the interface.

use super::Nic;
use crate::config::read_config;
use espnic_wire::{
    config::STATUS_LINK_UP,
    feature, //
};
use kernel::prelude::*;
use kernel_net::net::{
    address_not_available,
    ethtool::Link,
    netdevice::Device, //
};

impl Nic {
    /// Tells the stack about the link, as far as it is up or down while the interface is up. Sleeps.
    pub(crate) fn follow_link(&self, dev: &Device<Self>) {
        let config = read_config(&self.vdev, &[feature::STATUS, feature::SPEED_DUPLEX]);
        if self.vdev.has_feature(feature::SPEED_DUPLEX) {
            let link = Link::of(config.speed.get(), config.duplex);
            self.link.lock().report(link);
        }
        if dev.is_running() {
            let up = !self.vdev.has_feature(feature::STATUS)
                || config.status.get() & STATUS_LINK_UP != 0;
            dev.set_carrier(up);
        }
    }

    /// Gives the NIC a MAC address in place of that of the interface, if it wants to know. RTNL held. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Self::tell_mac_address`].
    pub(crate) fn change_mac_address(&self, dev: &Device<Self>, address: [u8; 6]) -> Result {
        self.tell_mac_address(address).inspect_err(|_| {
            // Without a good answer the NIC may have taken it.
            let _ = self.tell_mac_address(dev.mac_address());
        })
    }

    /// Gives the NIC a MAC address, if it wants to know. Sleeps.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` if the NIC refuses it; others of the control command.
    fn tell_mac_address(&self, address: [u8; 6]) -> Result {
        if !self.vdev.has_feature(feature::CTRL_MAC_ADDR) {
            return Ok(());
        }
        let told = self.control.set_mac_address(address);
        told.map_err(|error| match error {
            EIO => address_not_available(),
            other => other,
        })
    }

    /// Gives the NIC, which has the address of its configuration after a reset, that of the interface. RTNL
    /// held, or the interface not registered. Sleeps.
    pub(crate) fn offer_mac_address(&self, dev: &Device<Self>) -> Result {
        let address = dev.mac_address();
        if read_config(&self.vdev, &[feature::MAC]).mac == address {
            return Ok(());
        }
        match self.tell_mac_address(address) {
            // Others have it now. The stack goes on with it, like the others.
            Err(error) if error == address_not_available() => {
                let log = (*self.vdev).as_ref();
                dev_warn!(log, "the NIC refuses the interface's address\n");
                Ok(())
            }
            result => result,
        }
    }
}
