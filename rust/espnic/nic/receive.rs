// SPDX-License-Identifier: GPL-2.0

//! Tells the NIC what to receive.

use super::Nic;
use espnic_wire::{
    ctrl,
    feature, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use kernel_net::net::netdevice::{
    Device,
    MacAddress,
    RxMode, //
};

/// Most addresses of one kind that the NIC is told. With more it receives all of that kind.
const MAX_ADDRESSES: usize = 1024;
/// Milliseconds until a receive mode is tried again that the NIC has not taken.
const RETRY_MS: u32 = 1000;

impl Nic {
    /// Tells the NIC the receive mode if it has changed. Sleeps.
    pub(crate) fn follow_rx_mode(&self, dev: &Device<Self>) {
        let receive = &self.receive;
        if !receive.changed.xchg(false, Relaxed) {
            return;
        }
        let Err(error) = self.send_rx_mode(dev) else {
            receive.failing.store(false, Relaxed);
            return;
        };
        if !receive.failing.xchg(true, Relaxed) {
            let log = (*self.vdev).as_ref();
            dev_warn!(log, "the NIC has not taken what to receive: {:?}\n", error);
        }
        receive.request();
        dev.schedule_work_in(RETRY_MS);
    }

    /// Tells the NIC after a reset all that it is to receive. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and those of the control commands.
    pub(crate) fn restore_rx_mode(&self, dev: &Device<Self>) -> Result {
        self.receive.restore_vlans(&self.control)?;
        self.send_rx_mode(dev)
    }

    fn send_rx_mode(&self, dev: &Device<Self>) -> Result {
        if !self.vdev.has_feature(feature::CTRL_RX) {
            return Ok(());
        }
        let RxMode {
            promiscuous,
            all_multicast,
            unicast,
            multicast,
        } = dev.rx_mode()?;
        // What comes in addition is switched on first, so that nothing is lost in between.
        let all_multicast = all_multicast || multicast.len() > MAX_ADDRESSES;
        let control = &self.control;
        let all = promiscuous || unicast.len() > MAX_ADDRESSES;
        if all {
            control.set_rx_mode(ctrl::RX_PROMISC, true)?;
        }
        if all_multicast {
            control.set_rx_mode(ctrl::RX_ALLMULTI, true)?;
        }
        control.set_mac_table(few(&unicast), few(&multicast))?;
        if !all_multicast {
            control.set_rx_mode(ctrl::RX_ALLMULTI, false)?;
        }
        if !all {
            control.set_rx_mode(ctrl::RX_PROMISC, false)?;
        }
        Ok(())
    }
}

/// The addresses of a table, none of those that are too many.
fn few(addresses: &[MacAddress]) -> &[MacAddress] {
    match addresses.len() {
        0..=MAX_ADDRESSES => addresses,
        _ => &[],
    }
}
