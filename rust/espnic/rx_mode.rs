// SPDX-License-Identifier: GPL-2.0

//! What the NIC is to receive: by Ethernet address (`CTRL_RX`) and by VLAN (`CTRL_VLAN`).
//!
//! A reset of the NIC ends all of it, so the driver keeps the VLANs, and asks the stack for the rest.

use crate::control::Control;
use espnic_wire::ctrl;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};

/// Number of VLAN ids (IEEE 802.1Q).
const VLANS: u16 = 4096;

/// What there is to know of it.
#[pin_data]
pub(crate) struct Receive {
    /// The NIC does not know the newest receive mode.
    pub(crate) changed: Atomic<bool>,
    /// That has been said in the log.
    pub(crate) failing: Atomic<bool>,
    /// The VLANs that the NIC was told to receive, one bit each. Held while it is told of one.
    #[pin]
    vlans: Mutex<[u64; VLANS as usize / 64]>,
}

impl Receive {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changed: Atomic::new(false),
            failing: Atomic::new(false),
            vlans <- new_mutex!([0; VLANS as usize / 64]),
        })
    }

    /// Lets `Nic::follow_rx_mode` tell the NIC the receive mode. Any context.
    pub(crate) fn request(&self) {
        self.changed.store(true, Relaxed);
    }

    /// Adds a VLAN (`on`) or deletes it, also if the NIC does not hear of the end. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command; `EINVAL` for an id that does not exist.
    pub(crate) fn change_vlan(&self, control: &Control, id: u16, on: bool) -> Result {
        let mut vlans = self.vlans.lock();
        let word = vlans.get_mut(usize::from(id / 64)).ok_or(EINVAL)?;
        let bit = 1 << (id % 64);
        match on {
            true => {
                control.change_vlan(ctrl::VLAN_ADD, id)?;
                *word |= bit;
            }
            false => {
                *word &= !bit;
                control.change_vlan(ctrl::VLAN_DEL, id)?;
            }
        }
        Ok(())
    }

    /// Tells the NIC all VLANs again, which has forgotten them. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of the control command.
    pub(crate) fn restore_vlans(&self, control: &Control) -> Result {
        let vlans = self.vlans.lock();
        let is_on = |id: u16| {
            let word = vlans.get(usize::from(id / 64)).copied();
            word.unwrap_or(0) & (1 << (id % 64)) != 0
        };
        (0..VLANS)
            .filter(|&id| is_on(id))
            .try_for_each(|id| control.change_vlan(ctrl::VLAN_ADD, id))
    }
}
